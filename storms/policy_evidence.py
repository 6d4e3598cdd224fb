"""What a policy's past says about its threshold: its storms lately, their sizes, and what nearly was one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, QuerySet

from storms import statistics
from storms.models import NearMiss, Storm, StormPolicy
from storms.statistics import StormFigures, Summary

DAYS = 30
SHOWN = 10
MOST_STORMS = 1_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of the last `days`, or of their newest storms where those are too many (`is_cut`).

    sizes: (words, storms); near: the closest first, without days on which the group had a storm.
    """

    days: int
    figures: Summary
    sizes: list[tuple[str, int]]
    latest: list[Storm]
    near: list[NearMiss]
    near_total: int
    is_cut: bool


def evidence(policy: StormPolicy, now: datetime) -> Evidence:
    """Its newest `MOST_STORMS` storms at most are added up."""
    since = now - timedelta(days=DAYS)
    storms = Storm.objects.filter(policy=policy, opened_at__gte=since).order_by("-opened_at", "-id")
    figures = [_figures(*row) for row in storms.values_list(*FIGURES)[:MOST_STORMS]]
    near = _near_misses(policy, since)
    return Evidence(
        days=DAYS,
        figures=statistics.summarise(figures),
        sizes=statistics.sizes(figures),
        latest=list(storms[:SHOWN]),
        near=list(near.order_by("-peak", "-day", "group_key")[:SHOWN]),
        near_total=near.count(),
        is_cut=len(figures) == MOST_STORMS,
    )


def _near_misses(policy: StormPolicy, since: datetime) -> QuerySet[NearMiss]:
    on_the_day = Storm.objects.filter(group_key=OuterRef("group_key"), opened_at__date=OuterRef("day"))
    return NearMiss.objects.filter(~Exists(on_the_day), policy=policy, day__gte=since.date())


# Columns and no objects: thousands of storms, each with JSON that nobody reads here.
FIGURES = (
    "state",
    "close_reason",
    "severity",
    "opened_at",
    "closed_at",
    "acknowledged_at",
    "alert_count",
    "threshold",
)


def _figures(
    state: str,
    close_reason: str,
    severity: str,
    opened_at: datetime,
    closed_at: datetime | None,
    acknowledged_at: datetime | None,
    alerts: int,
    threshold: int,
) -> StormFigures:
    return StormFigures(
        state=state,
        close_reason=close_reason,
        severity=severity,
        seconds_to_quiet=(closed_at - opened_at).total_seconds() if closed_at else None,
        seconds_to_acknowledge=(acknowledged_at - opened_at).total_seconds() if acknowledged_at else None,
        alerts=alerts,
        threshold=threshold,
        resources=1,
    )
