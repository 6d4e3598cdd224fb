"""What History shows, read from the storms' rows: the alerts, of which there may be millions, are never touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import connection
from django.db.models import Max

from storms import heatmap, statistics
from storms.heatmap import DayFigures
from storms.models import DayTotals, StormPolicy
from storms.periods import DAY, Period, midnight
from storms.statistics import Intake, Ranked, StormFigures, Summary

MOST_STORMS = 50_000
"""Of more, in the two periods together, only the newest are added up; the page says so."""
COUNTED = ("storm_opened", "individual", "aggregated", "held", "deferred")
"""Outcomes of new alerts, each of which would have been a resource: no re-sends, resolutions, silenced or bad ones."""

# Absorbed requests that were made count as resources of the storm that superseded them; that of a storm that was merged
# counts on its own row. The number of alerts is what the last refresh counted.
_STORMS = """
with chosen as materialized (
    select id, policy_name, group_key, state, close_reason, severity, opened_at, closed_at, acknowledged_at,
        alert_count, threshold
    from storms_storm where opened_at >= %(before)s and opened_at < %(end)s order by opened_at desc limit %(limit)s
), absorbed as (
    select r.superseded_by_id as id, count(*) as n
    from storms_remediationrequest r join chosen c on c.id = r.superseded_by_id
    where r.kind = 'alert' and r.sync_state <> 'skipped' group by 1
)
select case when c.opened_at >= %(start)s then 'now' when c.opened_at < %(before_end)s then 'then' end,
    c.policy_name, c.group_key, c.state, c.close_reason, c.severity,
    extract(epoch from c.closed_at - c.opened_at)::float8, extract(epoch from c.acknowledged_at - c.opened_at)::float8,
    c.alert_count, c.threshold, 1 + coalesce(a.n, 0)
from chosen c left join absorbed a using (id)
"""
_DAYS = """
select (opened_at at time zone 'UTC')::date, count(*), coalesce(sum(alert_count), 0),
    count(*) filter (where severity = 'critical')
from storms_storm where opened_at >= %s and opened_at < %s and close_reason <> 'merged' group by 1
"""
_NAMES = """
with named as (
    select n.name, n.count as alerts, s.opened_at >= %(start)s as is_now
    from storms_storm s, jsonb_to_recordset(s.alert_names) n(name text, count int)
    where s.opened_at >= %(before)s and s.opened_at < %(end)s and s.close_reason <> 'merged'
        and (s.opened_at >= %(start)s or s.opened_at < %(before_end)s)
)
select name, count(*) filter (where is_now), coalesce(sum(alerts) filter (where is_now), 0),
    count(*) filter (where not is_now)
from named group by 1 having bool_or(is_now) order by 3 desc, 2 desc, 1 limit %(limit)s
"""
_LABELS = "select distinct on (group_key) group_key, group_labels from storms_storm where group_key = any(%s)"
_INTAKE = """
select coalesce(sum((select sum(value::bigint) from jsonb_each_text(outcomes) where key = any(%s))), 0),
    coalesce(sum(resources), 0), coalesce(sum(received), 0), coalesce(sum(deliveries), 0), count(*)
from storms_daytotals where day between %s and %s
"""
# A day on which the group had a storm after all is no miss.
_NEAR = """
select p.name, count(*) from storms_nearmiss n join storms_stormpolicy p on p.id = n.policy_id
where n.day between %s and %s and not exists (
    select 1 from storms_storm s where s.group_key = n.group_key
    and s.opened_at >= n.day::timestamp at time zone 'UTC'
    and s.opened_at < (n.day + 1)::timestamp at time zone 'UTC')
group by 1
"""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy's figures; `policy` is None where it was deleted or renamed since."""

    name: str
    policy: StormPolicy | None
    figures: Summary
    before: Summary
    near_misses: int


@dataclass(frozen=True, slots=True)
class Group:
    """One of the groups with the most storms."""

    labels: dict[str, str]
    ranked: Ranked


@dataclass(frozen=True, slots=True)
class Report:
    """A period, the one before it, and what both add up to."""

    period: Period
    before: Period
    now: Summary
    then: Summary
    intake_now: Intake
    intake_then: Intake
    intake_counted_at: datetime | None
    policies: list[PolicyRow]
    groups: list[Group]
    names: list[Ranked]
    is_cut: bool


def report(period: Period) -> Report:
    """Everything but the calendar and the list of storms."""
    before = period.before()
    rows = _rows(_STORMS, _bounds(period, before) | {"limit": MOST_STORMS})
    now = [StormFigures(*figures) for when, *figures in rows if when == "now"]
    then = [StormFigures(*figures) for when, *figures in rows if when == "then"]
    return Report(
        period=period,
        before=before,
        now=statistics.summarise(now),
        then=statistics.summarise(then),
        intake_now=_intake(period),
        intake_then=_intake(before),
        intake_counted_at=DayTotals.objects.aggregate(at=Max("counted_at"))["at"],
        policies=_policies(period, now, then),
        groups=_groups(now, then),
        names=_names(period, before),
        is_cut=len(rows) == MOST_STORMS,
    )


def days(period: Period) -> dict[date, DayFigures]:
    """What was opened on each day of the calendar around the period."""
    first, last = heatmap.span(period.first, period.last)
    found = _rows(_DAYS, [midnight(first), midnight(last + DAY)])
    return {day: DayFigures(storms, int(alerts), critical) for day, storms, alerts, critical in found}


def _bounds(period: Period, before: Period) -> dict[str, Any]:
    return {"before": before.start, "before_end": before.end, "start": period.start, "end": period.end}


def _policies(period: Period, now: Sequence[StormFigures], then: Sequence[StormFigures]) -> list[PolicyRow]:
    """Those that had storms or near misses."""
    known = {policy.name: policy for policy in StormPolicy.objects.all()}
    near = dict(_rows(_NEAR, [period.first, period.last]))
    figures, earlier = statistics.by_policy(now), dict(statistics.by_policy(then))
    figures += [(name, Summary()) for name in sorted(near.keys() - {name for name, _ in figures})]
    return [
        PolicyRow(name, known.get(name), summary, earlier.get(name, Summary()), near.get(name, 0))
        for name, summary in figures
    ]


def _groups(now: Sequence[StormFigures], then: Sequence[StormFigures]) -> list[Group]:
    top = statistics.top_groups(now, then)
    labels = {key: _decoded(value) for key, value in _rows(_LABELS, [[ranked.key for ranked in top]])}
    return [Group(labels.get(ranked.key, {}), ranked) for ranked in top]


def _names(period: Period, before: Period) -> list[Ranked]:
    rows = _rows(_NAMES, _bounds(period, before) | {"limit": statistics.TOP})
    return [Ranked(name, storms, int(alerts), then) for name, storms, alerts, then in rows]


def _intake(period: Period) -> Intake:
    [row] = _rows(_INTAKE, [list(COUNTED), period.first, period.last])
    return Intake(*map(int, row))


def _rows(statement: str, parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def _decoded(value: Any) -> dict[str, str]:
    # Django's connection leaves JSON as text.
    decoded: dict[str, str] = json.loads(value) if isinstance(value, str) else value
    return decoded
