"""Which label values are suspect: far more frequent in a storm than elsewhere (pure)."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

MIN_COUNT = 3
"""Alerts of the storm that must have the value: two may be chance."""
MIN_SHARE = 0.1
MIN_LIFT = 1.5
MIN_ELSEWHERE = 20
"""Alerts outside of the storm below which a comparison says nothing."""
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Counted:
    """How many alerts of the storm, and how many elsewhere, have this label value."""

    name: str
    value: str
    in_storm: int
    elsewhere: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """`share` and `share_elsewhere` are from 0 to 1; `lift` is the one by the other, smoothed."""

    counted: Counted
    share: float
    share_elsewhere: float
    lift: float


def lift(in_storm: int, of_storm: int, elsewhere: int, of_elsewhere: int) -> float:
    """The share of alerts with a value within the storm, by the share elsewhere.

    Half an alert with and half an alert without the value are added on both sides, so that few alerts give no extreme
    lift and nothing is divided by zero: the fewer there are, the closer to 1 it stays.
    """
    return ((in_storm + 0.5) / (of_storm + 1)) / ((elsewhere + 0.5) / (of_elsewhere + 1))


def suspects(
    counted: Iterable[Counted], *, of_storm: int, of_elsewhere: int, ignored: Collection[str] = ()
) -> list[Suspect]:
    """The over-represented values, the most telling first; [] with too few alerts elsewhere to compare with.

    Args:
        of_storm: alerts of the storm that were counted; of_elsewhere: those outside of it.
        ignored: label names that all alerts of the storm share by definition, its group's.

    What comes first says most about the storm: its share times the logarithm of its lift (a value's part of the
    Kullback-Leibler divergence). So a value that most alerts have comes before a rarer one with a higher lift.
    """
    if of_elsewhere < MIN_ELSEWHERE:
        return []
    found = [
        Suspect(
            counted=one,
            share=one.in_storm / of_storm,
            share_elsewhere=one.elsewhere / of_elsewhere,
            lift=lift(one.in_storm, of_storm, one.elsewhere, of_elsewhere),
        )
        for one in counted
        if one.name not in ignored and one.in_storm >= max(MIN_COUNT, MIN_SHARE * of_storm)
    ]
    telling = [one for one in found if one.lift >= MIN_LIFT]
    return sorted(telling, key=lambda s: (-s.share * math.log(s.lift), s.counted.name, s.counted.value))[:SHOWN]
