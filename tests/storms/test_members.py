"""All that is in a storm: searched, and paged through without losing or repeating a row."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.test import Client

from storms.members import AlertKey, Search, _read, alerts_of, resources_of
from storms.models import Alert, Storm
from tests.factories import NOW, make_admin, make_alert, make_storm, make_user

pytestmark = pytest.mark.django_db


def on(storm: Storm, name: str, **fields: Any) -> Alert:
    labels = {"alertname": "HighLatency", "namespace": "payments", "pod": name} | fields.pop("labels", {})
    return make_alert(storm=storm, labels=labels, alertname=labels["alertname"], **fields)


def all_pages(find: Any, storm: Storm, search: Search, size: int) -> list[Any]:
    found, after = [], search.after
    while True:
        page = find(storm, Search(search.text, search.status, after), size)
        found += page.rows
        if not page.after:
            return found
        after = page.after


def test_alerts_of_one_moment_come_once_each() -> None:
    storm = make_storm()
    rows = [on(storm, f"api-{n}", received_at=NOW + timedelta(seconds=n // 4)) for n in range(11)]
    on(make_storm(), "api-0")
    found = all_pages(alerts_of, storm, Search(), 3)
    expected = sorted(rows, key=lambda row: (row.received_at, row.id), reverse=True)
    assert [row.id for row in found] == [row.id for row in expected]


def test_new_alerts_do_not_move_the_pages_behind() -> None:
    storm = make_storm()
    for n in range(6):
        on(storm, f"api-{n}", received_at=NOW + timedelta(seconds=n))
    first = alerts_of(storm, Search(), 3)
    on(storm, "late", received_at=NOW + timedelta(seconds=60))
    second = alerts_of(storm, Search(after=first.after), 3)
    assert [row.resource_name for row in second.rows] == ["api-2", "api-1", "api-0"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("API-1", {"api-1"}),
        ("node-7", {"api-2"}),
        ("highlat", {"api-1", "api-2", "odd%_name"}),
        ("%_", {"odd%_name"}),
        ("nothing like it", set()),
    ],
)
def test_a_text_is_found_in_names_resources_and_labels(text: str, found: set[str]) -> None:
    storm = make_storm()
    on(storm, "api-1")
    on(storm, "api-2", labels={"node": "node-7"})
    on(storm, "odd%_name")
    assert {row.resource_name for row in alerts_of(storm, Search(text), 10).rows} == found


def test_alerts_by_status() -> None:
    storm = make_storm()
    on(storm, "fires")
    on(storm, "over", status="resolved")
    assert [row.resource_name for row in alerts_of(storm, Search(status="firing"), 9).rows] == ["fires"]
    assert [row.resource_name for row in alerts_of(storm, Search(status="resolved"), 9).rows] == ["over"]


def test_a_resource_is_one_row_whatever_fires_about_it() -> None:
    storm = make_storm()
    for name in ("HighLatency", "PodCrashLooping", "TargetDown", "DiskPressure"):
        on(storm, "api-1", labels={"alertname": name}, severity="info")
    on(storm, "api-1", status="resolved", received_at=NOW + timedelta(seconds=9))
    on(storm, "api-2", status="resolved", severity="warning")
    api_1, api_2 = resources_of(storm, Search(), 10).rows
    assert (api_1.kind, api_1.name, api_1.alerts, api_1.firing, api_1.severity) == ("Pod", "api-1", 5, 4, "critical")
    assert (api_1.names, api_1.more) == (["DiskPressure", "HighLatency", "PodCrashLooping"], 1)
    assert api_1.last_at == NOW + timedelta(seconds=9)
    assert (api_2.name, api_2.firing, api_2.severity) == ("api-2", 0, "warning")


def test_resources_are_paged_with_those_that_fire_first() -> None:
    storm = make_storm()
    for n in range(7):
        on(storm, f"api-{n}", namespace=f"ns-{n % 2}", status="firing" if n % 3 else "resolved")
    found = all_pages(resources_of, storm, Search(), 2)
    assert [row.name for row in found] == ["api-2", "api-4", "api-1", "api-5", "api-0", "api-6", "api-3"]
    assert [row.name for row in all_pages(resources_of, storm, Search(status="resolved"), 1)] == [
        "api-0",
        "api-6",
        "api-3",
    ]


@pytest.mark.parametrize(
    ("text", "found"), [("pod/API-1", ["api-1"]), ("ns-b/", ["b%"]), ("diskp", ["b%"]), ("%", ["b%"]), ("\\", [])]
)
def test_resources_are_found_by_text(text: str, found: list[str]) -> None:
    storm = make_storm()
    on(storm, "api-1", namespace="ns-a")
    on(storm, "b%", namespace="ns-b", labels={"alertname": "DiskPressure"})
    assert [row.name for row in resources_of(storm, Search(text), 10).rows] == found


@pytest.mark.parametrize("nonsense", ["x", "W10=", "WzEsMl0=", "\u00e9", "AAAA", "bnVsbA=="])
def test_a_key_that_is_none_is_the_first_page(nonsense: str) -> None:
    assert _read(nonsense, AlertKey) is None
    storm = make_storm()
    on(storm, "api-1")
    assert len(alerts_of(storm, Search(after=nonsense), 1).rows) == 1
    assert len(resources_of(storm, Search(after=nonsense), 1).rows) == 1


# --- the pages


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def listed(page: str) -> list[str]:
    return re.findall(r"Pod/(api-\d+)</td>", page)


@pytest.mark.parametrize("kind", ["alerts", "resources"])
def test_a_list_leads_on_and_back(kind: str, admin: Client, django_assert_num_queries: Any) -> None:
    storm = make_storm(alert_count=60)
    for n in range(60):
        on(storm, f"api-{n:02}", received_at=NOW - timedelta(seconds=n))
    address = f"/storms/{storm.id}/{kind}/"
    with django_assert_num_queries(4):
        first = admin.get(address + "?q=api").content.decode()
    assert listed(first) == [f"api-{n:02}" for n in range(50)]
    [more] = re.findall(r'href="([^"]+)">More<', first)
    second = admin.get(more.replace("&amp;", "&")).content.decode()
    assert listed(second) == [f"api-{n:02}" for n in range(50, 60)]
    assert f'href="{address}?q=api">Back to the start<' in second


@pytest.mark.parametrize("kind", ["alerts", "resources"])
def test_a_part_is_short_and_stands_alone(kind: str, admin: Client) -> None:
    storm = make_storm(alert_count=20)
    for n in range(20):
        on(storm, f"api-{n:02}")
    part = admin.get(f"/storms/{storm.id}/{kind}/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert len(listed(part)) == 15
    assert f'id="{kind}-found"' in part


@pytest.mark.parametrize("kind", ["alerts", "resources"])
def test_an_empty_search_says_so(kind: str, admin: Client) -> None:
    storm = make_storm()
    on(storm, "api-1")
    assert "of this storm is like that" in admin.get(f"/storms/{storm.id}/{kind}/?q=zzz%00").content.decode()


@pytest.mark.parametrize("kind", ["alerts", "resources"])
def test_who_may_not_see_alerts_sees_no_list(kind: str, client: Client) -> None:
    storm = make_storm()
    on(storm, "secret-1")
    client.force_login(make_user("viewer", "storms.view_storm"))
    assert client.get(f"/storms/{storm.id}/{kind}/").status_code == 403
    assert "secret-1" not in client.get(f"/storms/{storm.id}/").content.decode()


def test_a_resource_leads_to_as_many_alerts_as_it_is_said_to_have(admin: Client) -> None:
    storm = make_storm(alert_count=9)
    for _ in range(2):
        on(storm, "api-1", namespace="a&b")
    on(storm, "api-1", namespace="a&b", status="resolved", labels={"alertname": "DiskPressure"})
    on(storm, "api-1", namespace="other")
    on(storm, "api-1", namespace="a&b", resource_kind="Node")
    on(storm, "api-10", namespace="a&b")
    on(make_storm(), "api-1", namespace="a&b")
    for search in ("", "?q=diskpressure", "?status=firing"):
        page = admin.get(f"/storms/{storm.id}/resources/{search}").content.decode()
        links = re.findall(r'href="([^"]+)" aria-label="The alerts of [^"]+">(\d+)</a>', page)
        counted = {unescape(address): int(number) for address, number in links}
        assert sorted(counted.values()) == ([3] if "disk" in search else [1, 1, 1, 3])
        for address, number in counted.items():
            assert len(admin.get(address).context["page"].rows) == number


def test_the_alerts_of_a_resource_are_searched_and_left_again(admin: Client) -> None:
    storm = make_storm(alert_count=61)
    for n in range(60):
        on(storm, "api-1", received_at=NOW - timedelta(seconds=n))
    on(storm, "api-2")
    address = f"/storms/{storm.id}/alerts/"
    query = "?namespace=payments&amp;kind=Pod&amp;name=api-1"
    seen = admin.get(address + unescape(query)).content.decode()
    assert "Pod/api-1 in payments" in seen
    assert f'<a class="chip" href="{address}"' in seen
    for name, value in (("namespace", "payments"), ("kind", "Pod"), ("name", "api-1")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in seen
    [more] = re.findall(r'href="([^"]+)">More<', seen)
    assert listed(admin.get(unescape(more)).content.decode()) == ["api-1"] * 10
    lines = b"".join(admin.get(f"/storms/{storm.id}/alerts.csv{unescape(query)}").streaming_content).splitlines()
    assert len(lines) == 61


def test_hostile_names_are_text(admin: Client) -> None:
    storm = make_storm()
    on(storm, "<script>alert(1)</script>", namespace='"><img src=x>', labels={"alertname": "<b>"})
    resource = urlencode({"namespace": '"><img src=x>', "kind": "<b>\0", "name": "<script>alert(1)</script>"})
    assert "<script>alert" not in admin.get(f"/storms/{storm.id}/alerts/?{resource}").content.decode()
    for kind in ("alerts", "resources"):
        seen = admin.get(f"/storms/{storm.id}/{kind}/?q=%22%3E%3Cimg").content.decode()
        seen += admin.get(f"/storms/{storm.id}/{kind}/").content.decode()
        assert "<script>alert" not in seen
        assert "<img src=x" not in seen


def test_the_storm_s_page_costs_so_many_queries(admin: Client, django_assert_num_queries: Any) -> None:
    storm = make_storm(alert_count=30)
    for n in range(30):
        on(storm, f"api-{n}", id=UUID(int=n + 1))
    with django_assert_num_queries(14):
        admin.get(f"/storms/{storm.id}/")
