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
MOST_STORMS = 5_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of the last `days`. sizes: (words, storms); near: the closest first, without days on which the group had one."""

    days: int
    figures: Summary
    sizes: list[tuple[str, int]]
    latest: list[Storm]
    near: list[NearMiss]
    near_total: int


def evidence(policy: StormPolicy, now: datetime) -> Evidence:
    """Its newest `MOST_STORMS` storms at most are added up."""
    since = now - timedelta(days=DAYS)
    storms = Storm.objects.filter(policy=policy, opened_at__gte=since).order_by("-opened_at", "-id")
    figures = [_figures(storm) for storm in storms.defer("places", "severity_counts")[:MOST_STORMS]]
    near = _near_misses(policy, since)
    return Evidence(
        days=DAYS,
        figures=statistics.summarise(figures),
        sizes=statistics.sizes(figures),
        latest=list(storms[:SHOWN]),
        near=list(near.order_by("-peak", "-day", "group_key")[:SHOWN]),
        near_total=near.count(),
    )


def _near_misses(policy: StormPolicy, since: datetime) -> QuerySet[NearMiss]:
    on_the_day = Storm.objects.filter(group_key=OuterRef("group_key"), opened_at__date=OuterRef("day"))
    return NearMiss.objects.filter(~Exists(on_the_day), policy=policy, day__gte=since.date())


def _figures(storm: Storm) -> StormFigures:
    closed, acknowledged = storm.closed_at, storm.acknowledged_at
    return StormFigures(
        policy=storm.policy_name,
        group_key=storm.group_key,
        state=storm.state,
        close_reason=storm.close_reason,
        severity=storm.severity,
        seconds_to_quiet=(closed - storm.opened_at).total_seconds() if closed else None,
        seconds_to_acknowledge=(acknowledged - storm.opened_at).total_seconds() if acknowledged else None,
        alerts=storm.alert_count,
        threshold=storm.threshold,
        resources=1,
    )
