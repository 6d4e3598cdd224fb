"""How fast a storm grows (pure): alerts in buckets of 15 s, and what they say. static/console/rate.js says the same.

A bucket's number is its seconds since the epoch, divided by `BUCKET_SECONDS`. Buckets are absolute, so counts that were
taken once stay right while time passes, and a storm that gets no alert needs no new reading to be shown as quiet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storms.figures import rounded

BUCKET_SECONDS = 15
BUCKETS = 60
"""A quarter of an hour."""
SPARK_HEIGHT = 20
MINUTE_BUCKETS = 60 // BUCKET_SECONDS

RISING, STEADY, CALMING, QUIET = "rising", "steady", "calming", "quiet"


@dataclass(frozen=True, slots=True)
class Rate:
    """bars: `BUCKETS` counts, the newest last; per_minute: of the last minute; trend: against the minute before it."""

    bars: list[int]
    per_minute: int
    trend: str

    @property
    def path(self) -> str:
        """The bars as an SVG path in a box of `BUCKETS` by `SPARK_HEIGHT`; the highest reaches the top."""
        most = max(self.bars)
        parts = []
        for place, count in enumerate(self.bars):
            if count:
                tall = max(round(SPARK_HEIGHT * count / most, 1), 1.5)
                parts.append(f"M{place} {SPARK_HEIGHT}v{-tall:g}h.8v{tall:g}z")
        return "".join(parts)


def recent_counts(counts: Mapping[str, int]) -> dict[str, Any]:
    """`{bucket: count}`, as a storm's row has it, in short: `{"from": first bucket, "counts": [...]}`; {} for none."""
    if not counts:
        return {}
    last = max(map(int, counts))
    first = max(min(map(int, counts)), last - BUCKETS + 1)
    return {"from": first, "counts": [counts.get(str(bucket), 0) for bucket in range(first, last + 1)]}


def rate_of(recent: Mapping[str, Any], now: float) -> Rate:
    """The rate at `now` (seconds since the epoch) of what `recent_counts` made."""
    last = int(now // BUCKET_SECONDS)
    first, counts = recent.get("from", 0), recent.get("counts", [])
    places = range(last - BUCKETS + 1 - first, last + 1 - first)
    bars = [counts[place] if 0 <= place < len(counts) else 0 for place in places]
    # The minute slides: of the bucket that it enters, the part counts that it still covers.
    elapsed = now / BUCKET_SECONDS - last
    latest, before = (_minute(bars, end, elapsed) for end in (BUCKETS, BUCKETS - MINUTE_BUCKETS))
    return Rate(bars, int(rounded(latest)), _trend(latest, before))


def _minute(bars: list[int], end: int, elapsed: float) -> float:
    whole = bars[end - MINUTE_BUCKETS : end - 1]
    newest = bars[end - 1] * (1 if end == BUCKETS else elapsed)
    return sum(whole) + newest + bars[end - MINUTE_BUCKETS - 1] * (1 - elapsed)


def _trend(latest: float, before: float) -> str:
    if latest < 0.5:
        return QUIET
    if latest > before * 1.25 + 1:
        return RISING
    return CALMING if latest < before * 0.75 - 1 else STEADY
