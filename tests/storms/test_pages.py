"""The console's pages as the server renders them, and the decision trace in words."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from storms import live
from storms.models import Storm
from storms.trace import decision_trace
from tests.factories import (
    make_admin,
    make_alert,
    make_closed_storm,
    make_event,
    make_held_alert,
    make_policy,
    make_request,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db

UNKNOWN = "5f0c6d2e-0000-4000-8000-000000000000"
"""An id of nothing; fixed, since it is part of the names of tests, which xdist compares between its workers."""


@pytest.fixture
def admin(client: Client) -> Client:
    live._totals = (0.0, {})
    client.force_login(make_admin())
    return client


@pytest.mark.parametrize("path", ["/", f"/storms/{UNKNOWN}/", f"/alerts/{UNKNOWN}/"])
def test_a_page_asks_for_a_login(path: str, client: Client) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/login/?next=/")


@pytest.mark.parametrize("path", ["/", f"/storms/{UNKNOWN}/", f"/alerts/{UNKNOWN}/"])
def test_a_page_needs_the_permission(path: str, client: Client) -> None:
    client.force_login(make_user())
    response = client.get(path)
    assert response.status_code == 403
    assert "You may not see this." in response.content.decode()


def test_what_does_not_exist_is_404(admin: Client) -> None:
    for path in (f"/storms/{uuid4()}/", f"/alerts/{uuid4()}/", "/nothing/"):
        response = admin.get(path)
        assert response.status_code == 404
        assert "There is nothing here." in response.content.decode()


def test_the_page_without_storms_says_what_to_do_next(admin: Client) -> None:
    seen = admin.get("/").content.decode()
    assert "All quiet: no storm is open." in seen
    assert "http://testserver/api/v1/webhooks/alertmanager" in seen
    assert "No Kubernetes cluster is configured." in seen
    assert "<details open>" in seen
    make_alert()
    assert "<details open>" not in admin.get("/").content.decode()


def test_the_page_shows_every_storm_in_its_section(admin: Client) -> None:
    for storm in (make_storm(), make_closed_storm(firing_count=2), make_closed_storm()):
        make_request(storm=storm)
    seen = admin.get("/").content.decode()
    assert [seen.count(f'data-state="{state}" data-severity') for state in ("settled", "closed")] == [1, 1]
    assert seen.count('data-state="open" data-severity') == 2  # one storm and the template


def test_the_page_takes_as_many_queries_for_many_storms_as_for_one(
    admin: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        make_request(storm=make_storm())
        make_request(storm=make_closed_storm())
    with django_assert_max_num_queries(8):
        admin.get("/")


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def evil_storm() -> Storm:
    storm = make_storm(
        group_labels={"namespace": EVIL, EVIL: "x"}, alert_names=[{"name": EVIL, "count": 1}], policy_name=EVIL
    )
    make_event(storm, message=EVIL, actor=EVIL)
    make_request(storm=storm, last_error=EVIL, phase=EVIL[:32], phase_message=EVIL, manifest={"spec": EVIL})
    return storm


def test_hostile_text_is_text(admin: Client) -> None:
    storm = evil_storm()
    alert = make_alert(
        storm=storm,
        labels={"alertname": EVIL, EVIL: EVIL},
        annotations={EVIL: EVIL},
        resource_name=EVIL,
        receiver=EVIL[:100],
        policy_reason=EVIL,
        generator_url="javascript:alert(1)",
    )
    for path in ("/", f"/storms/{storm.id}/", f"/alerts/{alert.id}/"):
        seen = admin.get(path).content.decode()
        assert "<script>alert" not in seen, path
        assert "<img src=x" not in seen, path
        assert 'href="javascript:' not in seen, path


def test_pages_need_no_inline_script_or_style(admin: Client) -> None:
    """So that a content security policy can forbid both."""
    storm = make_storm()
    make_request(storm=storm)
    alert = make_alert(storm=storm)
    for path in ("/", f"/storms/{storm.id}/", f"/alerts/{alert.id}/"):
        seen = admin.get(path).content.decode()
        assert " style=" not in seen
        assert "<style" not in seen
        assert " onclick=" not in seen
        files = re.findall(r'<script (?:type="module"|defer) src="/static/', seen)
        assert len(re.findall(r"<script\b", seen)) == len(files)


def test_a_storm_s_page_tells_its_story(admin: Client) -> None:
    earlier = make_closed_storm()
    storm = make_storm(previous=earlier)
    make_event(storm, message="10 alerts in 60 s reached the threshold of 10")
    request = make_request(storm=storm, phase="Processing", phase_message="scaling up")
    make_request(superseded_by=request)
    make_alert(storm=storm, resource_name="api-1")
    seen = admin.get(f"/storms/{storm.id}/").content.decode()
    for words in ("10 alerts in 60 s reached", "scaling up", "1 earlier resource,", "api-1"):
        assert words in seen
    assert f"/storms/{earlier.id}/" in seen
    assert "signalName: HighLatency" in seen
    assert f"/storms/{storm.id}/" in admin.get(f"/storms/{earlier.id}/").content.decode()


# --- the decision in words


def words(alert: Any) -> list[str]:
    return [step.text for step in decision_trace(alert)]


def test_the_trace_of_a_held_alert() -> None:
    policy = make_policy(name="default-like", threshold=10, window_seconds=60)
    alert = make_held_alert(policy=policy, count=7, policy_reason="no narrower policy matched")
    assert words(alert) == [
        "Received firing from the receiver “alertmanager” (alertmanager); "
        "by its own account it started at 2026-11-16 10:29:30 UTC.",
        "Policy “default-like”, version 1, took it: no narrower policy matched. Its group is namespace=payments.",
        "7 of 10 in 60 s in namespace=payments: below the threshold, so it was held until 10:30:10 UTC, "
        "in case a storm comes.",
        "It still waits.",
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outcome": "storm_opened", "count": 10}, "10 of 10 in 60 s in namespace=payments: it reached the threshold"),
        ({"outcome": "aggregated"}, "A storm of namespace=payments was open: it joined it."),
        ({"outcome": "held"}, "A storm of its group took it in."),
        ({"outcome": "individual"}, "A storm of its group took it in."),
        ({"occurrences": 4}, "Received firing 4 times so far; it counted once."),
        ({"status": "resolved", "resolutions": 1}, "Resolved."),
    ],
)
def test_the_trace_of_a_storm_s_member(fields: dict[str, Any], expected: str) -> None:
    storm = make_storm(group_labels={"namespace": "payments"})
    assert any(expected in step for step in words(make_alert(storm=storm, **fields)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outcome": "held", "disposition": "individual"}, "No storm came: it was released"),
        ({"outcome": "individual"}, "the policy holds nothing, so it got a RemediationRequest of its own at once."),
        ({"outcome": "deferred", "disposition": "deferred"}, "It still waits for its decision."),
        ({"outcome": "held", "disposition": "resolved_while_held"}, "It resolved while it was held"),
        ({"outcome": "resolved", "disposition": "resolved_unseen"}, "It was never seen firing"),
        ({"outcome": "silenced", "disposition": "silenced"}, "An active silence matched"),
    ],
)
def test_the_trace_of_an_alert_without_a_storm(fields: dict[str, Any], expected: str) -> None:
    assert any(expected in step for step in words(make_alert(**fields)))


def test_the_trace_ends_with_the_resource() -> None:
    alert = make_alert(received_at=timezone.now())
    request = make_request(alert=alert, superseded_by=make_request(storm=make_storm()), phase="Pending")
    assert words(alert)[-1] == (
        f"Its RemediationRequest payments/{request.name} is applied, phase Pending; it is superseded by its storm's."
    )
