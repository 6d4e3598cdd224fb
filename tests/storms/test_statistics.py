"""What a period's storms add up to: literal figures, and sums that must agree whatever the storms are."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storms import heatmap, statistics
from storms.heatmap import DayFigures
from storms.periods import Period, PeriodError, last_days, parse_period
from storms.statistics import Change, Intake, StormFigures, Summary

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)


def storm(
    alerts: int = 20,
    *,
    reason: str = "quiet",
    minutes: float | None = 10,
    acknowledged: float | None = None,
    threshold: int = 10,
    resources: int = 1,
    severity: str = "critical",
) -> StormFigures:
    """Closed after `minutes`, open without; acknowledged after so many minutes."""
    return StormFigures(
        state="open" if minutes is None else "closed",
        close_reason="" if minutes is None else reason,
        severity=severity,
        seconds_to_quiet=None if minutes is None else minutes * 60,
        seconds_to_acknowledge=None if acknowledged is None else acknowledged * 60,
        alerts=alerts,
        threshold=threshold,
        resources=resources,
    )


def test_a_period_is_summed_up() -> None:
    storms = [
        storm(12, minutes=5, acknowledged=2),
        storm(30, minutes=20, severity="warning"),
        storm(100, minutes=None, acknowledged=4, resources=4),
        storm(0, reason="merged", minutes=1),
    ]
    assert statistics.summarise(storms) == Summary(
        storms=3,
        merged=1,
        still_open=1,
        alerts=142,
        mean_size=142 / 3,
        median_size=30.0,
        largest=100,
        quiet_median=750.0,
        quiet_p90=1200.0,
        acknowledged=2,
        acknowledge_median=180.0,
        acknowledge_p90=240.0,
        barely=1,
        resources=7,
        saved=135,
        severities={"critical": 2, "warning": 1},
    )


def test_nothing_adds_up_to_nothing() -> None:
    empty = statistics.summarise([])
    assert empty == Summary()
    assert empty.acknowledged_share is None
    assert Intake().noise_reduction is None


@pytest.mark.parametrize(
    ("threshold", "largest"), [(1, 2), (4, 5), (5, 6), (10, 12), (15, 18), (25, 30), (50, 60), (1000, 1200)]
)
def test_a_storm_barely_is_one_up_to_a_fifth_above_its_threshold(threshold: int, largest: int) -> None:
    def barely(alerts: int, **options: Any) -> int:
        return statistics.summarise([storm(alerts, threshold=threshold, **options)]).barely

    assert barely(largest) == 1
    assert barely(largest + 1) == 0
    assert barely(threshold, minutes=None) == 0, "an open one may grow"
    assert barely(0, reason="merged") == 0


def test_a_near_miss_came_within_a_fifth_of_the_threshold() -> None:
    assert [peak for peak in range(12) if statistics.is_near(peak, 10)] == [8, 9]
    assert [peak for peak in range(6) if statistics.is_near(peak, 5)] == [4]
    assert [peak for peak in range(4) if statistics.is_near(peak, 2)] == []


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([], 0.9, None),
        ([7], 0.9, 7),
        ([1, 2], 0.5, 1),
        (range(1, 11), 0.9, 9),
        (range(1, 12), 0.9, 10),
        ([3, 1, 2], 1, 3),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[float], share: float, found: float | None) -> None:
    assert statistics.percentile(list(values), share) == found


@pytest.mark.parametrize(
    ("now", "before", "up_is", "found"),
    [
        (12, 10, "worse", Change(2, 0.2, "worse")),
        (8, 10, "worse", Change(-2, -0.2, "better")),
        (8, 10, "better", Change(-2, -0.2, "worse")),
        (8, 10, "", Change(-2, -0.2, "")),
        (5, 0, "worse", Change(5, None, "worse")),
        (5, 5, "worse", Change(0, 0.0, "")),
        (None, 5, "worse", None),
        (5, None, "worse", None),
    ],
)
def test_up_may_be_bad(now: float | None, before: float | None, up_is: str, found: Change | None) -> None:
    assert statistics.change(now, before, up_is=up_is) == found


def test_noise_reduction_is_the_share_of_alerts_without_a_resource() -> None:
    assert Intake(episodes=200, resources=30, days=1).noise_reduction == pytest.approx(0.85)
    assert Intake(episodes=2, resources=3, days=1).noise_reduction == 0


_storms = st.lists(
    st.builds(
        storm,
        st.integers(0, 5000),
        reason=st.sampled_from(["quiet", "resolved", "merged", "operator"]),
        minutes=st.none() | st.floats(0, 10_000),
        acknowledged=st.none() | st.floats(0, 10_000),
        threshold=st.integers(1, 100),
        resources=st.integers(0, 50),
    ),
    max_size=60,
)


@given(_storms)
def test_what_was_merged_adds_nothing_but_its_resources(storms: list[StormFigures]) -> None:
    whole = statistics.summarise(storms)
    counted = statistics.summarise([item for item in storms if item.close_reason != "merged"])
    assert whole.storms + whole.merged == len(storms)
    for name in ("storms", "still_open", "alerts", "acknowledged", "barely", "largest", "median_size", "quiet_p90"):
        assert getattr(whole, name) == getattr(counted, name), name
    assert whole.saved == sum(item.alerts for item in storms) - whole.resources
    if whole.storms:
        assert whole.median_size is not None
        assert whole.median_size <= whole.largest
    if whole.quiet_p90 is not None:
        assert whole.quiet_median is not None
        assert whole.quiet_p90 >= whole.quiet_median - 1e-6


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_leaves_at_most_the_rest_above_it(values: list[float], share: float) -> None:
    found = statistics.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6


# --- periods


def test_the_last_days_have_today_in_them_and_are_compared_up_to_the_same_hour() -> None:
    period = last_days(7, NOON)
    assert (period.first, period.last, period.days) == (date(2026, 11, 10), date(2026, 11, 16), 7)
    assert (period.start, period.end, period.is_running) == (datetime(2026, 11, 10, tzinfo=UTC), NOON, True)
    before = period.before()
    assert (before.first, before.last) == (date(2026, 11, 3), date(2026, 11, 9))
    assert before.end == datetime(2026, 11, 9, 12, tzinfo=UTC)
    assert before.days == 7


def test_a_period_that_is_over_is_compared_with_whole_days() -> None:
    period = parse_period({"from": "2026-11-02", "to": "2026-11-03"}, NOON)
    assert (period.start, period.end) == (datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC))
    assert not period.is_running
    assert (period.before().start, period.before().end) == (datetime(2026, 10, 31, tzinfo=UTC), period.start)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ({}, date(2026, 10, 18), date(2026, 11, 16)),
        ({"days": "90"}, date(2026, 8, 19), date(2026, 11, 16)),
        ({"from": "2026-11-10"}, date(2026, 11, 10), date(2026, 11, 16)),
        ({"to": "2026-11-10"}, date(2026, 11, 10), date(2026, 11, 10)),
        ({"from": "2026-11-10", "to": "2027-01-01"}, date(2026, 11, 10), date(2026, 11, 16)),
        ({"days": "7", "from": "2026-11-10"}, date(2026, 11, 10), date(2026, 11, 16)),
    ],
)
def test_a_period_is_read_from_the_address(asked: dict[str, str], first: date, last: date) -> None:
    assert parse_period(asked, NOON) == Period(first, last, NOON)


@pytest.mark.parametrize(
    "asked",
    [
        {"days": "8"},
        {"days": "seven"},
        {"from": "yesterday"},
        {"from": "2026-11-10", "to": "2026-11-09"},
        {"from": "2026-12-24"},
        {"from": "2025-11-15", "to": "2026-11-16"},
        {"from": "0001-01-01", "to": "0001-01-02"},
        {"to": "9999-12-31", "from": "\x00"},
    ],
)
def test_what_is_no_period_is_refused_with_a_reason(asked: dict[str, str]) -> None:
    with pytest.raises(PeriodError, match=r"\w{3}"):
        parse_period(asked, NOON)


@given(st.dates(date(2000, 1, 1), date(2026, 11, 16)), st.integers(1, 366), st.integers(0, 86_399))
def test_the_period_before_is_as_long_and_right_before(first: date, days: int, second: int) -> None:
    now = datetime(2026, 11, 16, tzinfo=UTC) + timedelta(seconds=second)
    period = Period(first, min(first + timedelta(days=days - 1), now.date()), now)
    before = period.before()
    assert before.days == period.days
    assert before.end - before.start == period.end - period.start
    assert before.last + timedelta(days=1) == period.first


# --- the heat map


def test_the_calendar_has_half_a_year_of_whole_weeks_and_ends_with_the_period() -> None:
    start, end = heatmap.span(date(2026, 11, 10), date(2026, 11, 18))
    assert (start, end) == (date(2026, 5, 25), date(2026, 11, 18))
    assert start.weekday() == 0
    assert heatmap.span(date(2025, 11, 18), date(2026, 11, 18))[0] == date(2025, 11, 17)


def test_the_calendar_colours_by_what_was_asked_for() -> None:
    days = {date(2026, 11, 16): DayFigures(storms=1, alerts=900), date(2026, 11, 17): DayFigures(storms=16, alerts=16)}
    first, last = date(2026, 11, 17), date(2026, 11, 18)
    by_storms = {cell.day: cell for cell in heatmap.calendar(first, last, days, by="storms").cells}
    by_alerts = {cell.day: cell for cell in heatmap.calendar(first, last, days, by="alerts").cells}
    monday, tuesday, wednesday = date(2026, 11, 16), date(2026, 11, 17), date(2026, 11, 18)
    assert [by_storms[day].level for day in (monday, tuesday, wednesday)] == [1, 4, 0]
    assert [by_alerts[day].level for day in (monday, tuesday, wednesday)] == [4, 1, 0]
    assert [by_storms[day].is_inside for day in (monday, tuesday, wednesday)] == [False, True, True]
    assert (by_storms[tuesday].x, by_storms[tuesday].y) == (by_storms[monday].x, by_storms[monday].y + heatmap.STEP)
    assert max(by_storms) == wednesday


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_day_with_storms_is_never_pale_as_one_without(value: int, more: int) -> None:
    most = value + more
    assert (heatmap.level(value, most) == 0) == (value == 0)
    assert heatmap.level(value, most) <= heatmap.level(most, most) <= heatmap.LEVELS
