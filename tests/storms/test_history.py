"""History: what the page shows, who may see it, and what it costs; the roll-ups that it reads."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from html import unescape
from random import Random
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils.html import escape

from ingestion.daily import roll_up
from ingestion.retention import prune_deliveries
from storms import heatmap, history, statistics
from storms.heatmap import DayFigures
from storms.models import DayTotals, NearMiss, Storm
from storms.periods import last_days
from storms.services.near_misses import find_near_misses
from storms.statistics import Intake, StormFigures, Summary
from tests.factories import (
    NOW,
    group_key,
    make_admin,
    make_alert,
    make_closed_storm,
    make_delivery,
    make_held_alert,
    make_policy,
    make_request,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db

YESTERDAY = NOW - timedelta(days=1)
LAST_WEEK = NOW - timedelta(days=7)
EVIL = "<script>alert(1)</script>\"'><img src=x>"


@pytest.fixture(autouse=True)
def _at_now() -> Any:
    with time_machine.travel(NOW + timedelta(hours=1), tick=False):
        yield


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def seen(client: Client, query: str = "") -> str:
    response = client.get(f"/history/{query}")
    assert response.status_code == 200
    return response.content.decode()


def figures(page: str) -> dict[str, tuple[str, str]]:
    """{key: (figure, change)} of the tiles."""
    found = {}
    for key, tile in re.findall(r'data-figure="(\w+)"(.*?)</dd>', page, re.DOTALL):
        text = {
            name: " ".join(re.findall(rf'class="{name}"[^>]*>([^<]*)<', tile)).strip() for name in ("figure", "delta")
        }
        found[key] = (text["figure"], text["delta"])
    return found


def test_it_compares_the_period_with_the_one_before(admin: Client) -> None:
    make_closed_storm(opened_at=YESTERDAY, alert_count=40, acknowledged_at=YESTERDAY + timedelta(minutes=2))
    make_closed_storm(opened_at=NOW, alert_count=11, closed_at=NOW + timedelta(minutes=21))
    make_closed_storm(opened_at=LAST_WEEK, alert_count=20)
    page = seen(admin, "?days=7")
    assert figures(page) == {
        "storms": ("2", "▲ 1 (+100 %), worse"),
        "alerts": ("51", "▲ 31 (+155 %), worse"),
        "size": ("25.5", "▲ 5.5 (+28 %)"),
        "quiet": ("15 min", "▲ 6 min (+67 %), worse"),
        "acknowledge": ("2 min", ""),
        "barely": ("1", "▲ 1, worse"),
        "saved": ("49", "▲ 30 (+158 %)"),
        "noise": ("-", ""),
    }
    assert "10 Nov 2026 to 16 Nov 2026" in page
    assert "compared with 3 Nov 2026 to 9 Nov 2026" in page


def test_a_storm_of_the_hours_that_are_yet_to_come_is_not_held_against_the_period_before(admin: Client) -> None:
    make_closed_storm(opened_at=LAST_WEEK + timedelta(hours=5))
    assert figures(seen(admin, "?days=7"))["storms"] == ("0", "unchanged")


def test_a_merged_storm_counts_for_its_resource_only(admin: Client) -> None:
    make_closed_storm(opened_at=NOW, alert_count=30)
    make_closed_storm(opened_at=NOW, alert_count=0, close_reason="merged")
    found = figures(seen(admin))
    assert (found["storms"][0], found["alerts"][0], found["saved"][0]) == ("1", "30", "28")


def test_the_database_adds_up_as_the_definitions_do() -> None:
    """Any storms, in both periods: `history` says of them what `statistics.summarise` says."""
    chance = Random(7)
    period = last_days(7, NOW + timedelta(hours=1))
    made: dict[tuple[bool, str], list[StormFigures]] = {}
    for _ in range(150):
        is_now, policy = chance.random() < 0.6, chance.choice("abc")
        opened = (NOW if is_now else LAST_WEEK) - timedelta(seconds=chance.randrange(6 * 86400))
        is_open, threshold, alerts = chance.random() < 0.1, chance.randint(1, 40), chance.randint(0, 60)
        quiet = None if is_open else chance.randrange(10**10) / 1e6
        taken = chance.randrange(10**9) / 1e6 if chance.random() < 0.5 else None
        values: dict[str, Any] = {
            "opened_at": opened,
            "policy_name": policy,
            "group_key": group_key({"n": chance.choice("xyz")}),
            "severity": chance.choice(["critical", "warning", "info"]),
            "alert_count": alerts,
            "threshold": threshold,
            "acknowledged_at": opened + timedelta(seconds=taken) if taken is not None else None,
        }
        if is_open:
            storm = make_storm(**values | {"group_key": group_key({"n": str(chance.random())})})
        else:
            reason = chance.choice(["quiet", "resolved", "merged", "operator"])
            storm = make_closed_storm(**values, closed_at=opened + timedelta(seconds=quiet or 0), close_reason=reason)
        absorbed = chance.choice([0, 0, 0, 1, 2])
        if absorbed:
            own = make_request(storm=storm)
            for _ in range(absorbed):
                make_request(superseded_by=own)
        made.setdefault((is_now, policy), []).append(
            StormFigures(
                state=storm.state,
                close_reason=storm.close_reason,
                severity=storm.severity,
                seconds_to_quiet=quiet,
                seconds_to_acknowledge=taken,
                alerts=alerts,
                threshold=threshold,
                resources=1 + absorbed,
            )
        )
    report = history.report(period)
    assert report.now == near(statistics.summarise([storm for name in "abc" for storm in made[True, name]]))
    assert report.then == near(statistics.summarise([storm for name in "abc" for storm in made[False, name]]))
    for row in report.policies:
        assert row.figures == near(statistics.summarise(made[True, row.name]))
        assert row.before == near(statistics.summarise(made[False, row.name]))
    order = [(-row.figures.storms, -row.figures.alerts, row.name) for row in report.policies]
    assert order == sorted(order)
    assert len(order) == 3


def near(summary: Summary) -> Summary:
    """Equal but for the last digit of its fractions."""
    close = {name: pytest.approx(value) for name, value in asdict(summary).items() if isinstance(value, float)}
    return replace(summary, **close)


def test_groups_are_ranked_and_compared_with_the_period_before() -> None:
    for name, alerts, opened, reason in (
        ("a", 20, NOW, "quiet"), ("b", 20, NOW, "quiet"), ("b", 30, NOW, "quiet"), ("c", 99, NOW, "quiet"),
        ("d", 0, NOW, "merged"), ("a", 20, LAST_WEEK, "quiet"), ("a", 20, LAST_WEEK, "quiet"),
        ("b", 0, LAST_WEEK, "merged"), ("e", 5, LAST_WEEK, "quiet"),
    ):  # fmt: skip
        make_closed_storm(
            group_key=group_key({"n": name}),
            group_labels={"n": name},
            alert_count=alerts,
            opened_at=opened,
            close_reason=reason,
        )
    groups = history.report(last_days(7, NOW + timedelta(hours=1))).groups
    assert [(g.labels["n"], g.ranked.storms, g.ranked.alerts, g.ranked.storms_before) for g in groups] == [
        ("b", 2, 50, 0),
        ("c", 1, 99, 0),
        ("a", 1, 20, 2),
    ]


def test_absorbed_resources_that_were_made_are_not_saved() -> None:
    storm = make_request(storm=make_closed_storm(opened_at=NOW, alert_count=30))
    make_request(superseded_by=storm)
    make_request(superseded_by=storm, sync_state="skipped")
    assert history.report(last_days(7, NOW + timedelta(hours=1))).now.saved == 28


def test_each_policy_shows_what_it_is_to_be_tuned_by(admin: Client) -> None:
    policy = make_policy(name="checkout", threshold=10)
    make_closed_storm(policy=policy, policy_name="checkout", opened_at=NOW, alert_count=12)
    make_closed_storm(policy=policy, policy_name="checkout", opened_at=NOW, alert_count=13)
    make_held_alert(policy=policy, count=9, received_at=NOW)
    make_held_alert(policy=policy, count=7, received_at=NOW, namespace="other")
    find_near_misses(since=NOW)
    make_closed_storm(policy_name="gone", opened_at=NOW)
    rows = {row.name: row for row in history.report(last_days(7, NOW + timedelta(hours=1))).policies}
    assert (rows["checkout"].figures.storms, rows["checkout"].figures.barely, rows["checkout"].near_misses) == (2, 1, 1)
    page = seen(admin)
    assert f"/admin/storms/stormpolicy/{policy.pk}/change/" in page
    assert "(no longer there)" in page


def test_who_may_not_see_policies_gets_no_link_to_them(client: Client) -> None:
    policy = make_policy(name="checkout")
    make_closed_storm(policy=policy, policy_name="checkout", opened_at=NOW)
    client.force_login(make_user("viewer", "storms.view_storm"))
    page = seen(client)
    assert "checkout" in page
    assert "/admin/" not in page


# --- the calendar


def test_an_alert_name_leads_to_its_alerts_in_storms_of_the_period(admin: Client, client: Client) -> None:
    name = 'Disk "full" & slow'
    storm = make_closed_storm(opened_at=NOW, alert_names=[{"name": name, "count": 2}])
    for received_at in (NOW, NOW, NOW - timedelta(days=7)):
        make_alert(storm=storm, labels={"alertname": name}, received_at=received_at)
    make_alert(labels={"alertname": name}, received_at=NOW)
    page = seen(admin, "?days=7")
    [address] = re.findall(r'<a class="like" href="([^"]+)"', page)
    found = admin.get(unescape(address))
    assert [alert.received_at for alert, _ in found.context["rows"]] == [NOW, NOW]
    client.force_login(make_user("viewer", "storms.view_storm"))
    page = seen(client, "?days=7")
    assert 'class="like"' not in page
    assert escape(name) in page


def test_each_day_with_storms_is_a_link_to_them(admin: Client) -> None:
    make_closed_storm(opened_at=YESTERDAY, alert_count=1200, group_labels={"namespace": "yesterday"})
    make_closed_storm(opened_at=NOW, severity="warning", group_labels={"namespace": "today"})
    page = seen(admin, "?days=7&by=alerts")
    assert 'aria-label="Sun 15 Nov 2026: 1 storm, 1,200 alerts, 1 critical"' in page
    assert 'href="?days=7&amp;by=alerts&amp;day=2026-11-15#storms"' in page
    assert page.count('data-level="0"') == heatmap.WEEKS * 7 - 6 - 2 + 1, "every other day, and the key's"
    of_the_day = seen(admin, "?days=7&day=2026-11-15")
    assert "Storms of Sunday, 15 November 2026" in of_the_day
    assert ("yesterday" in listed(of_the_day), "today" in listed(of_the_day)) == (True, False)


def test_the_days_agree_with_the_period() -> None:
    for hours in (0, 3, 23, 24, 30, 24 * 5):
        make_closed_storm(opened_at=NOW - timedelta(hours=hours), alert_count=hours)
    make_closed_storm(opened_at=NOW, close_reason="merged", alert_count=0)
    period = last_days(7, NOW + timedelta(hours=1))
    report, days = history.report(period), history.days(period)
    inside = [figures for day, figures in days.items() if period.first <= day <= period.last]
    assert sum(day.storms for day in inside) == report.now.storms == 6
    assert sum(day.alerts for day in inside) == report.now.alerts == 200
    assert days[date(2026, 11, 16)] == DayFigures(storms=2, alerts=3, critical=2)


# --- all storms


def listed(page: str) -> str:
    return page[page.index('id="storms"') :]


def test_when_a_storm_opened_is_a_time(admin: Client) -> None:
    make_closed_storm(opened_at=NOW)
    when = '<time datetime="2026-11-16T10:30:00+00:00" title="2026-11-16 10:30:00 UTC">16 Nov, 10:30</time>'
    assert when in listed(seen(admin))


def test_the_storms_are_filtered(admin: Client) -> None:
    make_storm(opened_at=NOW, group_labels={"namespace": "payments", "cluster": "eu"}, policy_name="a")
    make_closed_storm(opened_at=NOW, group_labels={"namespace": "search"}, severity="warning", close_reason="operator")
    make_closed_storm(opened_at=NOW, group_labels={"namespace": "ledger"}, firing_count=3)

    def groups(query: str) -> list[str]:
        return re.findall(r'label-value">(payments|search|ledger)<', listed(seen(admin, query)))

    assert sorted(groups("")) == ["ledger", "payments", "search"]
    assert groups("?q=PAYM") == groups("?q=cluster") == groups("?policy=a") == groups("?state=open") == ["payments"]
    assert groups("?severity=warning") == groups("?reason=operator") == ["search"]
    assert groups("?state=settled") == ["ledger"]
    for none in ("?q=nothing", "?state=bad", "?severity=x", "?q=%00%25", "?policy=a&severity=info"):
        assert groups(none) == []
        assert "No storm matches." in seen(admin, none)


def test_htmx_gets_the_list_alone_and_it_is_the_pages(admin: Client, django_assert_max_num_queries: Any) -> None:
    make_storm(opened_at=NOW, policy_name="a")
    make_closed_storm(opened_at=NOW, policy_name="b", severity="warning")
    query = "/history/?severity=warning"
    with django_assert_max_num_queries(6):
        part = admin.get(query, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert part.strip() in seen(admin, "?severity=warning")


def test_the_storms_are_paged_by_key_and_keep_the_filter(admin: Client) -> None:
    for n in range(70):
        make_closed_storm(
            opened_at=NOW - timedelta(minutes=n // 3), group_labels={"namespace": f"n-{n}"}, policy_name="a"
        )
    names: list[str] = []
    url = "/history/?days=7&policy=a"
    while url:
        page = listed(admin.get(url).content.decode())
        names += re.findall(r'label-value">(n-\d+)<', page)
        found = re.search(r'rel="next" href="([^"]+)#storms"', page)
        url = found[1].replace("&amp;", "&") if found else ""
        assert not url or "policy=a" in url
    assert len(names) == len(set(names)) == 70
    assert 'rel="prev"' in page
    assert len(re.findall(r'label-value">(n-\d+)<', listed(seen(admin, "?cursor=nonsense")))) == 30


def test_the_page_says_what_to_do_when_there_is_nothing(admin: Client) -> None:
    page = seen(admin)
    assert "No storm opened in this period." in page
    assert "Choose a longer period above." in page


def test_a_wrong_period_is_said_and_the_standard_one_is_shown(admin: Client) -> None:
    response = admin.get("/history/?from=tomorrow")
    assert response.status_code == 400
    assert "is no day such as 2026-11-16" in response.content.decode()
    assert admin.get("/history/export.json?days=8").status_code == 400
    assert admin.get("/history/export.csv?days=8").status_code == 400


# --- export


def test_the_figures_can_be_taken_along_as_json(admin: Client) -> None:
    make_closed_storm(opened_at=NOW, alert_count=40, alert_names=[{"name": "HighLatency", "count": 40}])
    response = admin.get("/history/export.json?days=7")
    assert response["Content-Disposition"] == 'attachment; filename="storms-2026-11-10-2026-11-16.json"'
    document = response.json()
    assert document["period"] == {
        "from": "2026-11-10",
        "to": "2026-11-16",
        "until": "2026-11-16T11:30:00+00:00",
        "days": 7,
        "time_zone": "UTC",
    }
    assert (document["storms"]["now"]["alerts"], document["storms"]["before"]["alerts"]) == (40, 0)
    assert document["alert_names"] == [{"name": "HighLatency", "alerts": 40, "storms": 1, "storms_before": 0}]
    assert document["days"] == [{"day": "2026-11-16", "storms": 1, "alerts": 40, "critical": 1}]


def test_the_figures_can_be_taken_along_as_csv_that_runs_no_formula(admin: Client) -> None:
    make_closed_storm(opened_at=NOW, policy_name="=cmd()", group_labels={"=1+1": "x"}, alert_count=40)
    lines = list(csv.reader(io.StringIO(admin.get("/history/export.csv?days=7").content.decode())))
    assert lines[0] == ["section", "name", "figure", "value", "before"]
    assert ["storms", "", "alerts", "40", "0"] in lines
    assert ["policy", "'=cmd()", "storms", "1", "0"] in lines
    assert ["group", "'=1+1=x", "storms", "1", "0"] in lines
    assert ["period", "", "from", "2026-11-10", "2026-11-03"] in lines


# --- who, and what it costs


PATHS = ["/history/", "/history/export.csv", "/history/export.json"]


@pytest.mark.parametrize("path", PATHS)
def test_it_asks_for_a_login_and_the_permission(path: str, client: Client) -> None:
    assert client.get(path).status_code == 302
    client.force_login(make_user())
    assert client.get(path).status_code == 403
    client.force_login(make_user("sees", "storms.view_storm"))
    assert client.get(path).status_code == 200
    assert client.post(path).status_code == 405


def test_it_takes_as_many_queries_for_many_storms_as_for_one(admin: Client, django_assert_num_queries: Any) -> None:
    for n in range(2):
        for _ in range(30 * n + 1):
            policy = make_policy()
            make_request(storm=make_closed_storm(opened_at=NOW, policy=policy, policy_name=policy.name))
            make_storm(opened_at=YESTERDAY)
        with django_assert_num_queries(12):
            seen(admin, "?days=7")


def test_hostile_text_is_text(admin: Client) -> None:
    policy = make_policy(name=EVIL[:90])
    make_closed_storm(
        opened_at=NOW,
        policy=policy,
        policy_name=policy.name,
        group_labels={EVIL: EVIL},
        alert_names=[{"name": EVIL, "count": 3}],
        assignee=EVIL,
    )
    page = seen(admin, "?q=%3Cscript%3E")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert " style=" not in page


# --- the roll-ups


def test_each_day_is_added_up_from_its_deliveries() -> None:
    make_delivery(received_at=NOW, received=5, outcomes={"held": 2, "aggregated": 1, "duplicate": 1, "resolved": 1})
    make_delivery(received_at=NOW, received=2, outcomes={"storm_opened": 1, "silenced": 1}, http_status=201)
    make_delivery(received_at=YESTERDAY, received=0, outcomes={}, http_status=401)
    make_request(created_at=NOW)
    make_request(created_at=NOW, sync_state="skipped")
    assert roll_up(now=NOW) == 2
    today = DayTotals.objects.get(day=NOW.date())
    assert (today.deliveries, today.refused, today.received, today.resources) == (2, 0, 7, 1)
    assert today.outcomes == {
        "held": 2, "aggregated": 1, "duplicate": 1, "resolved": 1, "storm_opened": 1, "silenced": 1,
    }  # fmt: skip
    assert DayTotals.objects.get(day=YESTERDAY.date()).refused == 1
    report = history.report(last_days(7, NOW))
    assert report.intake_now == Intake(episodes=4, resources=1, received=7, deliveries=3, days=2)
    assert report.intake_now.noise_reduction == 0.75


def test_adding_up_again_counts_nothing_twice_and_follows_what_came() -> None:
    make_delivery(received_at=NOW, received=3)
    for _ in range(2):
        roll_up(now=NOW)
    assert DayTotals.objects.get().received == 3
    make_delivery(received_at=NOW + timedelta(minutes=5), received=4)
    roll_up(now=NOW + timedelta(minutes=6))
    assert DayTotals.objects.get().received == 7


def test_a_webhook_from_before_midnight_that_committed_after_it_is_counted() -> None:
    midnight = datetime(2026, 11, 17, tzinfo=UTC)
    roll_up(now=midnight - timedelta(seconds=5))
    make_delivery(received_at=midnight - timedelta(seconds=1), received=3)
    roll_up(now=midnight + timedelta(minutes=1))
    assert DayTotals.objects.get().day == date(2026, 11, 16)


def test_what_retention_deletes_stays_counted() -> None:
    make_delivery(received_at=NOW, received=3, receiver=None)
    roll_up(now=NOW)
    assert prune_deliveries(before=NOW + timedelta(days=1)) == 1
    roll_up(now=NOW, everything=True)
    assert DayTotals.objects.get().received == 3


def test_a_near_miss_is_the_closest_that_a_group_came_in_a_day() -> None:
    policy = make_policy(threshold=10)
    for count in (8, 9, 7):
        make_held_alert(policy=policy, count=count, received_at=NOW + timedelta(seconds=count))
    assert find_near_misses(since=NOW) == 1
    assert find_near_misses(since=NOW) == 0
    miss = NearMiss.objects.get()
    assert (miss.peak, miss.threshold, miss.day) == (9, 10, NOW.date())
    assert miss.group_labels == {"namespace": "payments"}


def test_a_group_that_had_a_storm_on_the_day_missed_nothing() -> None:
    policy = make_policy(threshold=10)
    make_held_alert(policy=policy, count=9, received_at=NOW)
    make_alert(policy=policy, count=9, received_at=NOW, storm=make_closed_storm(opened_at=NOW))
    find_near_misses(since=NOW)
    period = last_days(7, NOW + timedelta(hours=1))
    assert [row.near_misses for row in history.report(period).policies if row.name == policy.name] == [1]
    Storm.objects.update(group_key=group_key({"namespace": "payments"}))
    assert [row.near_misses for row in history.report(period).policies if row.name == policy.name] == []
