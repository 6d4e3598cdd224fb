"""What a period's storms add up to (pure). `docs/history.md` has every definition in words.

A storm that was merged into another has no alerts any more: it is left out of counts, sizes and times; the resources
made for it are not, since they were made.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

MERGED = "merged"
BARELY = 1.2
"""A storm that ended with at most so many times its threshold barely was one."""
NEAR = 0.8
"""A group that reached so much of its threshold, and no storm, was a near miss."""
TOP = 10


class StormFigures(NamedTuple):
    """A storm as the statistics need it; a tuple, since a thousand are made for a page.

    resources: made for its alerts, its own among them. seconds_to_quiet: from its opening to its close, None while it
    is open. seconds_to_acknowledge: None if nobody did.
    """

    state: str
    close_reason: str
    severity: str
    seconds_to_quiet: float | None
    seconds_to_acknowledge: float | None
    alerts: int
    threshold: int
    resources: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of some storms; None where there is nothing to take a figure of. Times in seconds."""

    storms: int = 0
    merged: int = 0
    still_open: int = 0
    alerts: int = 0
    mean_size: float | None = None
    median_size: float | None = None
    largest: int = 0
    quiet_median: float | None = None
    quiet_p90: float | None = None
    acknowledged: int = 0
    acknowledge_median: float | None = None
    acknowledge_p90: float | None = None
    barely: int = 0
    resources: int = 0
    saved: int = 0
    severities: dict[str, int] = field(default_factory=dict)

    @property
    def acknowledged_share(self) -> float | None:
        return self.acknowledged / self.storms if self.storms else None

    @property
    def barely_share(self) -> float | None:
        return self.barely / self.storms if self.storms else None


@dataclass(frozen=True, slots=True)
class Ranked:
    """One of the most frequent: storms and alerts in the period, and storms in the one before."""

    key: str
    storms: int
    alerts: int
    storms_before: int = 0


@dataclass(frozen=True, slots=True)
class Intake:
    """What came in and what was made, from the daily roll-up. episodes: new alerts that were counted or held."""

    episodes: int = 0
    resources: int = 0
    received: int = 0
    deliveries: int = 0
    days: int = 0

    @property
    def noise_reduction(self) -> float | None:
        """The share of alerts that got no resource of their own, 0 to 1."""
        return max(1 - self.resources / self.episodes, 0.0) if self.episodes else None


@dataclass(frozen=True, slots=True)
class Change:
    """From one period to the next. share: of the figure before, None where that was 0. verdict: better, worse or ''."""

    by: float
    share: float | None
    verdict: str


@cache
def barely_size(threshold: int) -> int:
    """The largest storm that barely is one: a fifth above the threshold, one alert at least."""
    return max(math.floor(threshold * BARELY + 1e-9), threshold + 1)


def is_near(peak: int, threshold: int) -> bool:
    """Whether a group came close to a storm without being one."""
    return peak < threshold and peak >= threshold * NEAR - 1e-9


def summarise(storms: Iterable[StormFigures]) -> Summary:
    every = list(storms)
    counted = [storm for storm in every if storm.close_reason != MERGED]
    sizes = [storm.alerts for storm in counted]
    quiet = _known(storm.seconds_to_quiet for storm in counted)
    acknowledged = _known(storm.seconds_to_acknowledge for storm in counted)
    resources = sum([storm.resources for storm in every])
    return Summary(
        storms=len(counted),
        merged=len(every) - len(counted),
        still_open=[storm.state for storm in counted].count("open"),
        alerts=sum(sizes),
        mean_size=statistics.fmean(sizes) if sizes else None,
        median_size=median(sizes),
        largest=max(sizes, default=0),
        quiet_median=median(quiet),
        quiet_p90=percentile(quiet, 0.9),
        acknowledged=len(acknowledged),
        acknowledge_median=median(acknowledged),
        acknowledge_p90=percentile(acknowledged, 0.9),
        barely=sum(storm.alerts <= barely_size(storm.threshold) for storm in counted if storm.state == "closed"),
        resources=resources,
        # Every alert would have been a resource: those that were not made.
        saved=sum([storm.alerts for storm in every]) - resources,
        severities=dict(Counter([storm.severity for storm in counted])),
    )


def median(values: Sequence[float]) -> float | None:
    return float(statistics.median(values)) if values else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    return float(ordered[max(math.ceil(share * len(ordered) - 1e-9), 1) - 1])


def change(now: float | None, before: float | None, *, up_is: str = "") -> Change | None:
    """From `before` to `now`; None where either is unknown.

    Args:
        up_is: what more of it means, "better" or "worse"; "" where it means nothing by itself.
    """
    if now is None or before is None:
        return None
    by = now - before
    verdict = ""
    if by and up_is:
        verdict = up_is if by > 0 else {"better": "worse", "worse": "better"}[up_is]
    return Change(by, by / before if before else None, verdict)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def sizes(storms: Iterable[StormFigures]) -> list[tuple[str, int]]:
    """How many storms reached how many times their threshold; those that are over, without merged ones."""
    over = [storm for storm in storms if storm.state == "closed" and storm.close_reason != MERGED]
    bounds = ((BARELY, "barely (up to a fifth above)"), (2.0, "up to twice"), (5.0, "up to five times"))
    found, below = [], 0
    for times, words in bounds:
        limits = [max(storm.threshold * times + 1e-9, barely_size(storm.threshold)) for storm in over]
        reached = sum(storm.alerts <= limit for storm, limit in zip(over, limits, strict=True))
        found.append((words, reached - below))
        below = reached
    return [*found, ("more than five times", len(over) - below)]
