"""How fast a storm grows, from its buckets; static/console/rate.js is held to the same in tests/browser/test_now.py."""

from typing import Any

import pytest

from storms.rate import BUCKET_SECONDS, BUCKETS, CALMING, QUIET, RISING, STEADY, rate_of, recent_counts

NOW = 1_800_000_000.0  # the start of a bucket
BUCKET = int(NOW) // BUCKET_SECONDS


def recent(*counts: int) -> dict[str, Any]:
    """Counts of the buckets up to the one that ends at NOW."""
    return recent_counts({str(BUCKET - len(counts) + place): count for place, count in enumerate(counts)})


def test_it_keeps_a_quarter_of_an_hour_and_no_more() -> None:
    assert recent_counts({}) == {}
    assert recent_counts({"100": 4, "103": 7}) == {"from": 100, "counts": [4, 0, 0, 7]}
    assert recent_counts({"100": 4, "900": 7}) == {"from": 841, "counts": [0] * 59 + [7]}


def test_it_draws_a_quarter_of_an_hour() -> None:
    rate = rate_of(recent(7, 0, 3), NOW)
    assert len(rate.bars) == BUCKETS == 60
    assert rate.bars[-4:] == [7, 0, 3, 0]
    assert sum(rate_of(recent(7, 0, 3), NOW + 15 * 60 + 45).bars) == 0


@pytest.mark.parametrize(
    ("counts", "trend"),
    [
        ((0, 0, 0, 0, 0, 0, 0, 12), RISING),
        ((5, 5, 5, 5, 9, 9, 9, 9), RISING),
        ((5, 5, 5, 5, 5, 5, 5, 5), STEADY),
        ((9, 9, 9, 9, 2, 2, 2, 2), CALMING),
        ((9, 9, 9, 9, 0, 0, 0, 0), QUIET),
        ((1, 0, 0, 0, 1, 0, 1, 0), STEADY),
        ((), QUIET),
    ],
)
def test_the_last_minute_is_held_against_the_one_before(counts: tuple[int, ...], trend: str) -> None:
    assert rate_of(recent(*counts), NOW).trend == trend


def test_an_even_stream_is_steady_at_every_moment_of_a_bucket() -> None:
    for second in range(BUCKET_SECONDS):
        rate = rate_of({"from": BUCKET - 20, "counts": [15] * 20 + [second]}, NOW + second)
        assert (rate.per_minute, rate.trend) == (60, STEADY), second


def test_the_minute_slides() -> None:
    burst = recent(40)
    assert [rate_of(burst, NOW + seconds).per_minute for seconds in (0, 44, 52.5, 60)] == [40, 40, 20, 0]


def test_it_calms_down_without_a_new_reading() -> None:
    counts = recent(*[20] * 8)
    assert [rate_of(counts, NOW + seconds).trend for seconds in (0, 30, 75)] == [STEADY, CALMING, QUIET]


def test_the_highest_bar_reaches_the_top() -> None:
    assert rate_of(recent(10, 1000, 1), NOW).path == "M56 20v-1.5h.8v1.5zM57 20v-20h.8v20zM58 20v-1.5h.8v1.5z"
    assert rate_of({}, NOW).path == ""
