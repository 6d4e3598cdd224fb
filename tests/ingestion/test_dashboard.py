"""The admin's first page, its sidebar, the ways between admin and console, and what a policy is tuned by."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from storms import statistics
from storms.choices import AuditAction
from storms.models import StormPolicy
from storms.policy_evidence import evidence
from storms.services import audit
from storms.services.near_misses import find_near_misses
from tests.factories import (
    make_admin,
    make_alert,
    make_closed_storm,
    make_dead_letter,
    make_delivery,
    make_held_alert,
    make_policy,
    make_receiver,
    make_request,
    make_storm,
    make_user,
)
from tests.storms.test_statistics import storm

pytestmark = pytest.mark.django_db

EVIL = "<script>alert(1)</script>\"'><img src=x>"
NOW = datetime.now(UTC)


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def index(client: Client) -> str:
    response = client.get("/admin/")
    assert response.status_code == 200
    return response.content.decode()


def cards(page: str) -> dict[str, str]:
    return dict(re.findall(r'dash-title">([^<]+)</span><span class="dash-value">([^<]+)<', page))


def test_the_first_page_says_how_things_stand(admin: Client) -> None:
    policy = make_policy(name="checkout")
    make_closed_storm(policy=policy, policy_name="checkout", opened_at=NOW, alert_count=40)
    make_request(storm=make_storm(opened_at=NOW), sync_state="failed", last_error="503 on fire")
    make_dead_letter()
    make_receiver(name="edge", heartbeat_minutes=1, created_at=NOW - timedelta(hours=1))
    audit.record(action=AuditAction.POLICY_EDITED, actor="ada", target=policy)
    audit.record(action=AuditAction.LOGGED_IN, actor="grace")
    page = index(admin)
    assert cards(page) == {
        "Open storms": "1",
        "Storms": "2",
        "Noise reduction": "-",
        "Failing syncs": "1",
        "Receivers in trouble": "1",
        "Dead letters": "1",
    }
    assert "503 on fire" in page
    assert "policy edited" in page
    assert "grace" not in page, "a login changes nothing"
    assert 'data-state="silent"' in page
    assert f"{reverse('history')}?days=7&amp;policy=checkout#storms" in page


def test_a_policy_without_a_storm_is_listed_too(admin: Client) -> None:
    make_policy(name="idle")
    make_policy(name="asleep", enabled=False)
    page = index(admin)
    assert "idle" in page
    assert "asleep" not in page


def test_each_part_is_for_who_may_see_it(client: Client) -> None:
    make_request(storm=make_storm(opened_at=NOW), sync_state="failed", last_error="503 on fire")
    make_receiver(name="edge-receiver")
    audit.record(action=AuditAction.POLICY_EDITED, actor="ada", target=StormPolicy.objects.first())
    client.force_login(make_user("tunes", "storms.view_stormpolicy", "storms.change_stormpolicy"))
    page = index(client)
    assert cards(page) == {}
    for secret in ("503 on fire", "edge-receiver", "policy edited"):
        assert secret not in page


def sidebar(page: str) -> list[str]:
    """The addresses in it."""
    nav = page[page.index('id="nav-sidebar"') : page.index('<div class="dash"')]
    return re.findall(r'href="(/[^"]*)"', nav)


def test_the_sidebar_has_what_the_person_may_see(client: Client) -> None:
    client.force_login(make_user("tunes", "storms.view_stormpolicy", "storms.change_stormpolicy", "storms.view_storm"))
    links = sidebar(index(client))
    assert {"/history/", "/admin/storms/stormpolicy/", "/admin/storms/storm/"} <= set(links)
    for forbidden in ("/system/", "/alerts/", "/admin/ingestion/receiver/", "/admin/auth/user/"):
        assert forbidden not in links


def test_every_link_of_an_administrator_s_sidebar_opens(admin: Client) -> None:
    links = sidebar(index(admin))
    assert len(links) > 15
    for link in set(links):
        assert admin.get(link).status_code == 200, link


def test_from_each_row_a_button_leads_to_its_page_in_the_console(admin: Client) -> None:
    opened, alert = make_storm(), make_alert()
    receiver, policy = make_receiver(name="prod & co"), make_policy(name="a & b")
    delivery = make_delivery(receiver=receiver)
    of_storm, of_alert = make_request(storm=opened), make_request(alert=alert)
    for row, button, target in (
        (opened, "in-console", f"/storms/{opened.id}/"),
        (alert, "in-console", f"/alerts/{alert.id}/"),
        (of_storm, "in-console", f"/storms/{opened.id}/"),
        (of_alert, "in-console", f"/alerts/{alert.id}/"),
        (delivery, "in-console", f"/system/deliveries/{delivery.id}/"),
        (receiver, "in-console", "/system/?receiver=prod+%26+co#deliveries"),
        (policy, "in-history", "/history/?days=30&policy=a+%26+b#storms"),
    ):
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}"
        page = admin.get(reverse(f"{name}_change", args=[row.pk])).content.decode()
        found = re.search(rf'href="([^"]*/{button}/?)"', page)
        assert found, row
        response = admin.get(found[1])
        assert (response.status_code, response["Location"]) == (302, target)
        assert admin.get(target).status_code == 200


def test_the_button_is_for_who_may_see_the_row(client: Client) -> None:
    opened = make_storm()
    client.force_login(make_user("tunes", "storms.change_stormpolicy"))
    button = reverse("admin:storms_storm_view_in_console", args=[opened.id])
    assert client.get(button).status_code == 403


# --- evidence for tuning


def test_sizes_are_told_in_times_of_the_threshold() -> None:
    storms = [storm(alerts) for alerts in (10, 12, 13, 20, 21, 50, 51, 900)]
    storms += [storm(30, minutes=None), storm(0, reason="merged")]
    assert [count for _, count in statistics.sizes(storms)] == [2, 2, 2, 2]
    assert [count for _, count in statistics.sizes([storm(2, threshold=1), storm(3, threshold=1)])] == [1, 0, 1, 0]


def test_a_policy_s_page_shows_what_it_is_to_be_tuned_by(admin: Client) -> None:
    policy = make_policy(name="checkout", threshold=10)
    for alerts in (11, 40):
        make_closed_storm(policy=policy, policy_name="checkout", opened_at=NOW - timedelta(days=2), alert_count=alerts)
    make_closed_storm(policy=policy, opened_at=NOW - timedelta(days=40))
    make_held_alert(policy=policy, count=9, received_at=NOW, namespace="nearly")
    find_near_misses(since=NOW)
    found = evidence(policy, NOW)
    assert (found.figures.storms, found.figures.barely, found.near_total) == (2, 1, 1)
    page = admin.get(reverse("admin:storms_stormpolicy_change", args=[policy.pk])).content.decode()
    assert "Evidence for tuning" in page
    assert "namespace=nearly" in page
    assert "9 of 10" in page
    assert "Evidence for tuning" not in admin.get(reverse("admin:storms_stormpolicy_add")).content.decode()


def test_the_evidence_is_for_who_may_see_storms(client: Client) -> None:
    policy = make_policy()
    client.force_login(make_user("tunes", "storms.view_stormpolicy", "storms.change_stormpolicy"))
    page = client.get(reverse("admin:storms_stormpolicy_change", args=[policy.pk])).content.decode()
    assert policy.name in page
    assert "Evidence for tuning" not in page


def test_hostile_text_is_text(admin: Client) -> None:
    policy = make_policy(name=EVIL[:60])
    labels = {EVIL: EVIL}
    make_closed_storm(policy=policy, policy_name=policy.name, opened_at=NOW, group_labels=labels)
    make_held_alert(policy=policy, count=9, received_at=NOW, namespace=EVIL)
    find_near_misses(since=NOW)
    make_request(storm=make_storm(), sync_state="failed", last_error=EVIL)
    make_receiver(name=EVIL)
    audit.record(action=EVIL[:40], actor=EVIL, target=policy)
    for page in (
        index(admin),
        admin.get(reverse("admin:storms_stormpolicy_change", args=[policy.pk])).content.decode(),
    ):
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_the_first_page_costs_as_much_with_many_rows_as_with_few(
    admin: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(15):
        policy = make_policy()
        make_closed_storm(policy=policy, policy_name=policy.name, opened_at=NOW)
        make_request(storm=make_storm(opened_at=NOW), sync_state="failed", last_error="503")
        make_receiver()
        audit.record(action=AuditAction.POLICY_EDITED, actor="ada", target=policy)
    with django_assert_max_num_queries(22):
        index(admin)
