"""What History shows, read from the storms' rows: the alerts, of which there may be millions, are never touched."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.db import connection
from django.db.models import Max

from storms import heatmap, statistics
from storms.heatmap import DayFigures
from storms.models import DayTotals, StormPolicy
from storms.periods import DAY, Period, midnight
from storms.statistics import Intake, Ranked, Summary

COUNTED = ("storm_opened", "individual", "aggregated", "held", "deferred")
"""Outcomes of new alerts, each of which would have been a resource: no re-sends, resolutions, silenced or bad ones."""

# The figures of `statistics.summarise`, which a test compares: of every storm of two periods, by policy and together.
# Absorbed requests that were made count as resources of the storm that superseded them; that of a storm that was merged
# counts on its own row. The number of alerts is what the last refresh counted.
_SUMMARIES = """
with absorbed as materialized (
    select superseded_by_id as id, count(*) as n from storms_remediationrequest
    where superseded_by_id is not null and kind = 'alert' and sync_state <> 'skipped' group by 1
), chosen as (
    select s.policy_name, s.opened_at >= %(start)s as is_now, s.close_reason <> 'merged' as counts, s.state, s.severity,
        s.alert_count as alerts, 1 + coalesce(absorbed.n, 0) as resources,
        extract(epoch from s.closed_at - s.opened_at)::float8 as quiet,
        extract(epoch from s.acknowledged_at - s.opened_at)::float8 as acknowledged,
        s.state = 'closed' and s.alert_count <=
            greatest(floor(s.threshold * %(barely)s::float8 + 1e-9), s.threshold + 1) as is_barely
    from storms_storm s left join absorbed using (id)
    where s.opened_at >= %(before)s and s.opened_at < %(end)s
        and (s.opened_at >= %(start)s or s.opened_at < %(before_end)s)
)
select is_now, grouping(policy_name) = 1, policy_name,
    count(*) filter (where counts), count(*) filter (where not counts),
    count(*) filter (where counts and state = 'open'),
    coalesce(sum(alerts) filter (where counts), 0)::bigint, (avg(alerts) filter (where counts))::float8,
    percentile_cont(0.5) within group (order by alerts) filter (where counts),
    coalesce(max(alerts) filter (where counts), 0),
    percentile_cont(0.5) within group (order by quiet) filter (where counts),
    percentile_disc(0.9) within group (order by quiet) filter (where counts), count(acknowledged) filter (where counts),
    percentile_cont(0.5) within group (order by acknowledged) filter (where counts),
    percentile_disc(0.9) within group (order by acknowledged) filter (where counts),
    count(*) filter (where counts and is_barely), sum(resources)::bigint, (sum(alerts) - sum(resources))::bigint,
    count(*) filter (where counts and severity = 'critical'), count(*) filter (where counts and severity = 'warning'),
    count(*) filter (where counts and severity = 'info')
from chosen group by grouping sets ((is_now), (is_now, policy_name))
"""
_GROUPS = """
with ranked as (
    select group_key, count(*) filter (where opened_at >= %(start)s) as storms,
        sum(alert_count) filter (where opened_at >= %(start)s) as alerts,
        count(*) filter (where opened_at < %(before_end)s) as earlier
    from storms_storm where opened_at >= %(before)s and opened_at < %(end)s and close_reason <> 'merged' group by 1
    having bool_or(opened_at >= %(start)s) order by 2 desc, 3 desc, 1 limit %(limit)s
)
select group_key, (select s.group_labels from storms_storm s where s.group_key = r.group_key limit 1),
    storms, alerts::bigint, earlier
from ranked r order by 3 desc, 4 desc, 1
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


def report(period: Period) -> Report:
    """Everything but the calendar and the list of storms."""
    before = period.before()
    now, then = _summaries(period, before)
    return Report(
        period=period,
        before=before,
        now=now.get(None, Summary()),
        then=then.get(None, Summary()),
        intake_now=_intake(period),
        intake_then=_intake(before),
        intake_counted_at=DayTotals.objects.aggregate(at=Max("counted_at"))["at"],
        policies=_policies(period, now, then),
        groups=_groups(period, before),
        names=_names(period, before),
    )


def days(period: Period) -> dict[date, DayFigures]:
    """What was opened on each day of the calendar around the period."""
    first, last = heatmap.span(period.first, period.last)
    found = _rows(_DAYS, [midnight(first), midnight(last + DAY)])
    return {day: DayFigures(storms, int(alerts), critical) for day, storms, alerts, critical in found}


def _bounds(period: Period, before: Period) -> dict[str, Any]:
    return {"before": before.start, "before_end": before.end, "start": period.start, "end": period.end}


def _summaries(period: Period, before: Period) -> tuple[dict[str | None, Summary], dict[str | None, Summary]]:
    """Of the period and of the one before: {policy's name: its figures}, under None those of all together."""
    now: dict[str | None, Summary] = {}
    then: dict[str | None, Summary] = {}
    for is_now, is_whole, policy, *figures, critical, warning, info in _rows(
        _SUMMARIES, _bounds(period, before) | {"barely": statistics.BARELY}
    ):
        severities = {"critical": critical, "warning": warning, "info": info}
        present = {severity: number for severity, number in severities.items() if number}
        (now if is_now else then)[None if is_whole else policy] = replace(Summary(*figures), severities=present)
    return now, then


def _policies(period: Period, now: dict[str | None, Summary], then: dict[str | None, Summary]) -> list[PolicyRow]:
    """Those that had storms or near misses, the most storms first."""
    known = {policy.name: policy for policy in StormPolicy.objects.all()}
    near = dict(_rows(_NEAR, [period.first, period.last]))
    figures = {name: now.get(name, Summary()) for name in {*now, *near} if name is not None}
    ordered = sorted(figures.items(), key=lambda item: (-item[1].storms, -item[1].alerts, item[0]))
    return [
        PolicyRow(name, known.get(name), summary, then.get(name, Summary()), near.get(name, 0))
        for name, summary in ordered
    ]


def _groups(period: Period, before: Period) -> list[Group]:
    rows = _rows(_GROUPS, _bounds(period, before) | {"limit": statistics.TOP})
    return [Group(_decoded(labels), Ranked(key, *figures)) for key, labels, *figures in rows]


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
