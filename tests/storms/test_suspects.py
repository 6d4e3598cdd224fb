"""Lift and suspects, and what they are counted from."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from hypothesis import given
from hypothesis import strategies as st

from storms.breakdown import breakdown_of
from storms.models import LabelBaseline, Storm
from storms.services import label_baseline
from storms.services.label_baseline import ALL, baseline_is_due, measure_label_baseline, sample_to
from storms.suspects import MIN_COUNT, MIN_ELSEWHERE, MIN_LIFT, MIN_SHARE, SHOWN, Counted, lift, suspects
from storms.sweep import housekeep
from tests.factories import make_admin, make_alert, make_storm, make_user

many = st.integers(0, 10**7)


@st.composite
def shares(draw: st.DrawFn) -> tuple[int, int, int, int]:
    of_storm, of_elsewhere = draw(many), draw(many)
    return draw(st.integers(0, of_storm)), of_storm, draw(st.integers(0, of_elsewhere)), of_elsewhere


@given(shares())
def test_a_lift_is_always_a_number_above_nothing(counts: tuple[int, int, int, int]) -> None:
    assert 0 < lift(*counts) < float("inf")


@given(shares())
def test_more_alerts_in_the_storm_raise_it_and_more_elsewhere_lower_it(counts: tuple[int, int, int, int]) -> None:
    n, of_storm, m, of_elsewhere = counts
    assert lift(n + 1, of_storm + 1, m, of_elsewhere) >= lift(n, of_storm, m, of_elsewhere)
    assert lift(n, of_storm, m + 1, of_elsewhere + 1) <= lift(n, of_storm, m, of_elsewhere)


@given(st.integers(0, 1_000), st.integers(0, 1_000))
def test_the_same_share_has_no_lift(part: int, rest: int) -> None:
    assert lift(part, part + rest, part, part + rest) == 1


def test_it_is_the_one_share_by_the_other_where_there_are_many() -> None:
    assert lift(8_000, 10_000, 100_000, 1_000_000) == pytest.approx(8, rel=0.001)


def test_few_alerts_prove_little() -> None:
    assert lift(3, 3, 0, 2) < lift(3, 3, 0, 20) < lift(3, 3, 0, 200)
    assert lift(1, 1, 0, 0) <= MIN_LIFT


labelled = st.builds(
    Counted, st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 500), st.integers(0, 2_000)
)


@given(st.lists(labelled, unique_by=lambda one: (one.name, one.value)), st.randoms())
def test_suspects_have_evidence_and_one_order(counted: list[Counted], random: Any) -> None:
    found = suspects(counted, of_storm=500, of_elsewhere=2_000, ignored={"c"})
    assert len(found) <= SHOWN
    for suspect in found:
        assert suspect.counted.name != "c"
        assert suspect.counted.in_storm >= max(MIN_COUNT, MIN_SHARE * 500)
        assert suspect.lift >= MIN_LIFT
    random.shuffle(counted)
    assert suspects(counted, of_storm=500, of_elsewhere=2_000, ignored={"c"}) == found


def test_what_most_alerts_have_comes_before_what_is_rarer_and_more_unusual() -> None:
    most = Counted("node", "node-7", 90, 100)
    rare = Counted("version", "2.14.0", 12, 1)
    equal = Counted("team", "checkout", 100, 1_000)
    assert [s.counted for s in suspects([equal, rare, most], of_storm=100, of_elsewhere=1_000)] == [most, rare]


def test_too_few_alerts_elsewhere_make_nobody_suspect() -> None:
    one = Counted("node", "node-7", 10, 0)
    assert suspects([one], of_storm=10, of_elsewhere=MIN_ELSEWHERE - 1) == []
    assert suspects([one], of_storm=10, of_elsewhere=MIN_ELSEWHERE) != []


# --- counted from the rows

pytestmark = pytest.mark.django_db


def labels(**more: str) -> dict[str, str]:
    return {"alertname": "HighLatency", "namespace": "payments", "pod": "api", **more}


def usual(number: int, **more: str) -> None:
    for _ in range(number):
        make_alert(received_at=timezone.now() - timedelta(hours=1), labels=labels(**more))


def storm_on(node: str, number: int = 10, namespace: str = "payments") -> Storm:
    storm = make_storm(group_labels={"namespace": namespace}, alert_count=number)
    for n in range(number):
        make_alert(storm=storm, received_at=timezone.now(), labels=labels(node=node, pod=f"api-{n}"))
    return storm


def measured() -> LabelBaseline:
    measure_label_baseline(now=timezone.now())
    return LabelBaseline.objects.get()


def test_the_node_that_a_storm_is_on_is_suspect() -> None:
    usual(27, node="node-1")
    usual(3, node="node-7")
    storm = storm_on("node-7")
    measured()
    found = breakdown_of(storm)
    assert (found.alerts, found.elsewhere, found.sampled) == (10, 30, False)
    [suspect] = found.suspects
    assert suspect.counted == Counted("node", "node-7", 10, 3)
    assert suspect.lift == pytest.approx((10.5 / 11) / (3.5 / 31))


def test_a_storm_is_not_compared_with_itself() -> None:
    """Else the larger a storm is, the more usual it would look."""
    usual(30, node="node-1")
    storm = storm_on("node-7", number=60)
    measured()
    [suspect] = breakdown_of(storm).suspects
    assert suspect.counted == Counted("node", "node-7", 60, 0)
    later = storm_on("node-7", namespace="checkout")  # received after the count, so no part of it
    assert breakdown_of(later).elsewhere == 90


def test_without_a_baseline_there_is_a_breakdown_and_no_suspect() -> None:
    found = breakdown_of(storm_on("node-7"))
    assert (found.suspects, found.since) == ([], None)
    assert [label.name for label in found.labels] == ["alertname", "namespace", "node", "pod"]


def test_the_breakdown_is_bounded_and_says_what_it_left_out() -> None:
    pods = next(label for label in breakdown_of(storm_on("node-7", number=45)).labels if label.name == "pod")
    assert (len(pods.values), pods.different, pods.more, pods.alerts) == (40, 45, 5, 45)


def test_a_large_storm_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storms.breakdown.SAMPLE", 40)
    found = breakdown_of(storm_on("node-7", number=200))
    assert found.sampled
    assert 15 <= found.alerts <= 75


def test_a_sample_s_bound_is_its_share_of_all_ids() -> None:
    assert sample_to(10, 10) == UUID(int=ALL)
    assert sample_to(10, 0) == UUID(int=ALL)
    assert sample_to(1, 4).int == ALL // 4


def test_a_large_week_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_baseline, "SAMPLE", 40)
    usual(200, node="node-1")
    baseline = measured()
    assert 15 <= baseline.sampled <= 75
    assert baseline.counts["node"] == {"node-1": baseline.sampled}
    assert baseline.sample_to == UUID(int=ALL * 40 // 200)


def test_what_is_usual_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_baseline, "MAX_VALUES", 4)
    usual(3, node="node-1")
    usual(2, node="node-2", note="x" * 300)
    baseline = measured()
    assert baseline.counts == {
        "alertname": {"HighLatency": 5},
        "namespace": {"payments": 5},
        "pod": {"api": 5},
        "node": {"node-1": 3},
    }
    assert baseline.floor == 3


def test_old_alerts_are_not_usual_any_more() -> None:
    make_alert(received_at=timezone.now() - timedelta(days=8))
    assert (measured().sampled, measured().counts) == (0, {})


def test_it_is_counted_every_ten_minutes() -> None:
    now = timezone.now()
    measure_label_baseline(now=now - timedelta(minutes=11))
    assert baseline_is_due(now=now)
    measure_label_baseline(now=now)
    usual(1)
    measure_label_baseline(now=now + timedelta(minutes=9))
    assert LabelBaseline.objects.get().sampled == 0
    measure_label_baseline(now=now + timedelta(minutes=11))
    assert LabelBaseline.objects.get().sampled == 1


# --- the page


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def test_the_page_shows_suspects_with_their_lift(admin: Client, django_assert_num_queries: Any) -> None:
    usual(27, node="node-1")
    usual(3, node="node-7")
    storm = storm_on("node-7")
    measured()
    with django_assert_num_queries(5):
        seen = admin.get(f"/storms/{storm.id}/breakdown/").content.decode()
    assert "<html" in seen
    for words in ("node-7", "100 %", "10 %", "8.5\u00d7", "Lift is how many times more frequent"):
        assert words in seen


def test_a_part_has_no_page_around_it_and_fewer_labels(admin: Client) -> None:
    storm = make_storm()
    make_alert(storm=storm, labels=labels(**{f"label{n}": "x" for n in range(9)}))
    part = admin.get(f"/storms/{storm.id}/breakdown/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert part.count("<caption>") == 6
    assert "All 12 labels" in part


def test_a_part_leaves_out_labels_that_differ_on_every_alert(admin: Client) -> None:
    storm = storm_on("node-7")
    page = f"/storms/{storm.id}/breakdown/"
    part = admin.get(page, headers={"HX-Request": "true"}).content.decode()
    assert "<caption>node" in part
    assert "<caption>pod" not in part
    assert "<caption>pod" in admin.get(page).content.decode()


def test_its_own_page_shows_the_values_that_a_part_leaves_out(admin: Client) -> None:
    storm = storm_on("node-7", number=12)
    for n in range(12):
        make_alert(storm=storm, labels=labels(zone=f"zone-{n:02}", pod="same"))
    make_alert(storm=storm, labels=labels(zone="zone-00", pod="same"))
    page = f"/storms/{storm.id}/breakdown/"
    part = admin.get(page, headers={"HX-Request": "true"}).content.decode()
    assert part.count(">zone-") == 5
    assert "and 7 more values" in part
    whole = admin.get(page).content.decode()
    assert whole.count(">zone-") == 12
    assert "more value" not in whole


def test_each_value_leads_to_the_storm_s_alerts_with_it(admin: Client) -> None:
    usual(30, node="node-1")
    value = 'a "b" & c\\d'
    storm = storm_on(value)
    storm_on(value, namespace="elsewhere")
    make_alert(storm=storm, labels=labels(node="node-8", pod="other"))
    measured()
    seen = admin.get(f"/storms/{storm.id}/breakdown/").content.decode()
    link = rf'<a class="like" href="([^"]+)"[^>]*>{re.escape(escape(value))}<'
    suspect, listed = re.findall(link, seen)
    assert suspect == listed
    found = admin.get(unescape(suspect))
    assert {(alert.storm_id, alert.labels["node"]) for alert, _ in found.context["rows"]} == {(storm.id, value)}
    assert found.context["shown"] == 10


def test_a_value_that_was_cut_and_a_name_that_no_matcher_has_lead_nowhere(admin: Client) -> None:
    storm = make_storm()
    make_alert(storm=storm, labels={"alertname": "A", "note": "x" * 300, "app.kubernetes.io/name": "shop"})
    seen = admin.get(f"/storms/{storm.id}/breakdown/").content.decode()
    assert re.findall(r'<a class="like"[^>]*>([^<]+)<', seen) == ["A"]


def test_the_page_says_why_nothing_is_suspect(admin: Client) -> None:
    storm = storm_on("node-7")
    page = f"/storms/{storm.id}/breakdown/"
    assert "Nothing to compare with yet" in admin.get(page).content.decode()
    measured()
    assert "Too little to compare with: 0 other alerts" in admin.get(page).content.decode()


def test_labels_are_shown_to_who_may_see_alerts(client: Client) -> None:
    storm = storm_on("node-7")
    client.force_login(make_user("viewer", "storms.view_storm"))
    assert client.get(f"/storms/{storm.id}/breakdown/").status_code == 403
    assert "/breakdown/" not in client.get(f"/storms/{storm.id}/").content.decode()


def test_hostile_labels_are_text(admin: Client) -> None:
    storm = make_storm()
    make_alert(storm=storm, labels={"alertname": "<script>alert(1)</script>", "<img src=x>": "<b>"})
    seen = admin.get(f"/storms/{storm.id}/breakdown/").content.decode()
    assert "<script>alert" not in seen
    assert "<img src=x" not in seen


@pytest.mark.usefixtures("valkey")
def test_the_sweep_asks_for_it_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("storms.sweep.enqueue_label_baseline", lambda: asked.append(True))
    housekeep()
    assert asked == [True]
    measured()
    housekeep()
    assert asked == [True]
