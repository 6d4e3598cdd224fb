"""Counting a storm anew from its alerts: one statement, so one snapshot.

How "something changed" is told without a lock on the storm's row, which every joining alert would fight for: each
change of an alert leaves its transaction's id in `changed_xid`, and a refresh leaves its snapshot's xmin in
`refreshed_xmin`. Every transaction below that xmin had ended, so the refresh saw it; a change the refresh missed
therefore has `changed_xid >= refreshed_xmin`, whenever it commits.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from storms import live
from storms.choices import CloseReason, EventKind, Severity
from storms.models import Storm, StormEvent
from storms.remediation import MAX_AFFECTED, MAX_ALERT_NAMES, AffectedResource, StormFacts
from storms.services.opening import adopt_window

_SEVERITY_ORDER = [Severity.CRITICAL.value, Severity.WARNING.value, Severity.INFO.value]

_COUNT = """
with m as materialized (
    select alertname, namespace, severity, resource_kind, resource_name, status = 'firing' as firing, source,
           occurrences, received_at, last_seen_at, decided_at
    from storms_alert where storm_id = %(storm)s
), names as (
    select alertname, count(*) as n from m group by 1
), resources as (
    select namespace, resource_kind, resource_name, alertname, bool_or(firing) as firing, min(decided_at) as first
    from m group by 1, 2, 3, 4
)
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    (select json_build_object('alerts', count(*), 'firing', count(*) filter (where firing),
        'occurrences', coalesce(sum(occurrences), 0), 'sources', array_agg(distinct source)) from m),
    (select min(received_at) from m), (select max(last_seen_at) from m), (select max(decided_at) from m),
    (select json_object_agg(severity, n) from (select severity, count(*) n from m group by 1) s),
    (select json_agg(json_build_array(alertname, n)) from (
        select alertname, n from names order by n desc, alertname limit %(names)s) t),
    (select count(*) from names), (select count(*) from resources),
    (select json_agg(json_build_array(namespace, resource_kind, resource_name, alertname, firing)) from (
        select * from resources order by first, namespace, resource_kind, resource_name, alertname
        limit %(affected)s) t)
"""
_WRITE = """
update storms_storm set alert_count = %(alerts)s, firing_count = %(firing)s, resolved_count = %(alerts)s - %(firing)s,
    severity = %(severity)s, severity_counts = %(severities)s, alert_names = %(names)s,
    last_alert_at = greatest(last_alert_at, %(last)s), refreshed_at = now(), refreshed_xmin = %(xmin)s
where id = %(storm)s and refreshed_xmin <= %(xmin)s
"""
# A storm whose request is pending or failed is on its way already; its refresh sees whatever changed until then.
# Right after a restore from a dump the transaction counter may stand below what the rows say: count those anew too.
_DIRTY = """
select s.id from storms_storm s join storms_remediationrequest r on r.storm_id = s.id
where r.sync_state in ('applied', 'rejected')
  and (s.state = 'open' or s.firing_count > 0 or s.closed_at > now() - interval '1 hour')
  and (s.refreshed_xmin > pg_snapshot_xmin(pg_current_snapshot())::text::bigint
       or exists (select 1 from storms_alert a where a.storm_id = s.id and a.changed_xid >= s.refreshed_xmin))
"""


@dataclass(frozen=True, slots=True)
class _Counted:
    xmin: int
    alerts: int
    firing: int
    occurrences: int
    source: str
    first_seen: datetime
    last_seen: datetime
    last_decided: datetime
    severities: dict[str, int]
    names: list[tuple[str, int]]
    names_total: int
    resources_total: int
    resources: list[list[Any]]


def dirty_storms() -> list[UUID]:
    """Storms of which an alert joined or resolved since they were counted last."""
    with connection.cursor() as cursor:
        cursor.execute(_DIRTY)
        return [id_ for [id_] in cursor.fetchall()]


def refresh_storm(*, storm_id: UUID) -> StormFacts | None:
    """Count a storm, write the counts to its row, tell the open pages, and return what its resource says.

    None if the storm has no alert yet (its opener is still recording).
    """
    with transaction.atomic():
        adopt_window(storm_id=storm_id)
    counted = _count(storm_id)
    if counted is None:
        return None
    before = Storm.objects.get(id=storm_id)
    severity = next((level for level in _SEVERITY_ORDER if counted.severities.get(level)), Severity.INFO.value)
    _write(storm_id, counted, severity)
    _write_events(before, counted, severity)
    live.publish_storm(storm_id)
    return _facts(before, counted, severity)


def _count(storm_id: UUID) -> _Counted | None:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"storm": storm_id, "names": MAX_ALERT_NAMES, "affected": MAX_AFFECTED})
        xmin, sums, first, last, decided, severities, names, names_total, total, resources = cursor.fetchone()
    if not sums["alerts"]:
        return None
    return _Counted(
        xmin=xmin,
        alerts=sums["alerts"],
        firing=sums["firing"],
        occurrences=sums["occurrences"],
        source=", ".join(sorted(sums["sources"])),
        first_seen=first,
        last_seen=last,
        last_decided=decided,
        severities=severities,
        names=[(name, count) for name, count in names],
        names_total=names_total,
        resources_total=total,
        resources=resources,
    )


def _write(storm_id: UUID, counted: _Counted, severity: str) -> None:
    names = [{"name": name, "count": count} for name, count in counted.names]
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE,
            {
                "storm": storm_id,
                "alerts": counted.alerts,
                "firing": counted.firing,
                "severity": severity,
                "severities": json.dumps(counted.severities),
                "names": json.dumps(names),
                "last": counted.last_decided,
                "xmin": counted.xmin,
            },
        )


def _write_events(before: Storm, counted: _Counted, severity: str) -> None:
    raised = _SEVERITY_ORDER.index(severity) < _SEVERITY_ORDER.index(before.severity)
    if before.refreshed_at is not None and raised:
        _once(before, EventKind.SEVERITY_RAISED, f"Severity raised to {severity}", once=f"severity-{severity}")
    if before.closed_at is not None and before.firing_count and not counted.firing:
        _once(before, EventKind.SETTLED, "The last alert resolved", once=EventKind.SETTLED)


def _once(storm: Storm, kind: EventKind, message: str, *, once: str) -> None:
    StormEvent.objects.get_or_create(
        storm=storm, once=once, defaults={"kind": kind, "at": timezone.now(), "message": message}
    )


def _facts(storm: Storm, counted: _Counted, severity: str) -> StormFacts:
    only_name = counted.names[0][0] if counted.names_total == 1 else ""
    common = {"alertname": only_name} if only_name else {}
    return StormFacts(
        id=storm.id,
        state="open" if storm.closed_at is None else "settled" if counted.firing else "closed",
        group_labels=storm.group_labels,
        threshold=storm.threshold,
        window_seconds=storm.window_seconds,
        opened_at=storm.opened_at,
        closed_at=storm.closed_at,
        close_reason=str(CloseReason(storm.close_reason)) if storm.close_reason else "",
        alert_count=counted.alerts,
        firing_count=counted.firing,
        resolved_count=counted.alerts - counted.firing,
        alert_names=counted.names,
        severity_counts=counted.severities,
        affected=[AffectedResource(*resource) for resource in counted.resources],
        affected_total=counted.resources_total,
        first_seen=counted.first_seen,
        last_seen=counted.last_seen,
        occurrences=counted.occurrences,
        severity=severity,
        signal_name=only_name or "AlertStorm",
        source=counted.source,
        labels={**storm.group_labels, **common, "severity": severity},
        annotations={"summary": f"{counted.alerts} alerts in {storm.group_title}"},
    )
