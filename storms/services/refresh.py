"""Counting a storm anew from its alerts: one statement, so one snapshot.

How "something changed" is told without a lock on the storm's row, which every joining alert would fight for: each
change of an alert leaves its transaction's id in `changed_xid`, and a refresh leaves its snapshot's xmin in
`refreshed_xmin`. Every transaction below that xmin had ended, so the refresh saw it; a change the refresh missed
therefore has `changed_xid >= refreshed_xmin`, whenever it commits.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from storms import live
from storms.choices import CloseReason, EventKind, Severity
from storms.models import Storm, StormEvent
from storms.rate import BUCKET_SECONDS, BUCKETS
from storms.remediation import (
    MAX_AFFECTED,
    MAX_ALERT_NAMES,
    AffectedResource,
    StormFacts,
    common_environment,
    highest_priority,
)
from storms.services.opening import adopt_window

# More namespaces and clusters than this are not told apart.
MAX_PLACES = 200
_SEVERITY_ORDER = [Severity.CRITICAL.value, Severity.WARNING.value, Severity.INFO.value]

_COUNT = """
with m as materialized (
    select alertname, namespace, severity, resource_kind, resource_name, status = 'firing' as firing, source,
           environment, priority, occurrences, received_at, last_seen_at, decided_at, labels->>'cluster' as cluster
    from storms_alert where storm_id = %(storm)s
), names as (
    select alertname, count(*) as n from m group by 1
), resources as (
    select namespace, resource_kind, resource_name, alertname, bool_or(firing) as firing, min(decided_at) as first
    from m group by 1, 2, 3, 4
)
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    (select json_build_object('alerts', count(*), 'firing', count(*) filter (where firing),
        'occurrences', coalesce(sum(occurrences), 0), 'sources', array_agg(distinct source),
        'environments', array_agg(distinct environment), 'priorities', array_agg(distinct priority)) from m),
    (select min(received_at) from m), (select max(last_seen_at) from m), (select max(decided_at) from m),
    (select json_object_agg(severity, n) from (select severity, count(*) n from m group by 1) s),
    (select json_agg(place) from (
        select 'namespace ' || namespace as place from m where namespace <> ''
        union select 'cluster ' || cluster from m where cluster <> '' order by 1 limit %(places)s) p),
    (select json_agg(json_build_array(alertname, n)) from (
        select alertname, n from names order by n desc, alertname limit %(names)s) t),
    (select json_object_agg(bucket, n) from (
        select floor(extract(epoch from decided_at) / %(bucket)s)::bigint as bucket, count(*) as n from m
        where decided_at > now() - %(bucket)s * %(buckets)s * interval '1 second' group by 1) b),
    (select count(*) from names), (select count(*) from resources),
    (select json_agg(json_build_array(namespace, resource_kind, resource_name, alertname, firing)) from (
        select * from resources order by first, namespace, resource_kind, resource_name, alertname
        limit %(affected)s) t)
"""
_WRITE = """
update storms_storm set alert_count = %(alerts)s, firing_count = %(firing)s, resolved_count = %(alerts)s - %(firing)s,
    severity = %(severity)s, severity_counts = %(severities)s, alert_names = %(names)s, places = %(places)s,
    recent = %(recent)s, last_alert_at = greatest(last_alert_at, %(last)s), refreshed_at = now(),
    refreshed_xmin = %(xmin)s
where id = %(storm)s and refreshed_xmin <= %(xmin)s
"""
# A count reads every alert of the storm. A storm of so many may be counted each second, a larger one less often, in
# proportion: so it costs PostgreSQL a part of a core that does not grow with it.
COUNTED_PER_SECOND = 20_000
LONGEST_REST_SECONDS = 10.0
_RESTED = f"""(s.alert_count <= {COUNTED_PER_SECOND} or coalesce(s.refreshed_at, '-infinity') <= now()
    - least(s.alert_count / {COUNTED_PER_SECOND}.0, {LONGEST_REST_SECONDS}) * interval '1 second')"""
# Right after a restore from a dump the transaction counter may stand below what the rows say: count those anew too.
_CHANGED = f"""(s.state = 'open' or s.firing_count > 0 or s.closed_at > now() - interval '1 hour') and {_RESTED}
  and (s.refreshed_xmin > pg_snapshot_xmin(pg_current_snapshot())::text::bigint
       or exists (select 1 from storms_alert a where a.storm_id = s.id and a.changed_xid >= s.refreshed_xmin))"""  # noqa: S608  (fixed text)
# A storm whose request is pending or failed is on its way already; its refresh sees whatever changed until then.
_DIRTY = f"""
select s.id from storms_storm s join storms_remediationrequest r on r.storm_id = s.id
where r.sync_state in ('applied', 'rejected') and {_CHANGED}
"""  # noqa: S608  (fixed text)
_LEFT_BEHIND = f"""
select s.id from storms_storm s join storms_remediationrequest r on r.storm_id = s.id
where r.sync_state in ('pending', 'failed')
  and coalesce(s.refreshed_at, s.opened_at) < now() - %(patience)s * interval '1 second' and {_CHANGED}
order by s.refreshed_at nulls first limit %(limit)s
"""  # noqa: S608
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Counted:
    xmin: int
    alerts: int
    firing: int
    occurrences: int
    source: str
    environment: str
    priority: str
    first_seen: datetime
    last_seen: datetime
    last_decided: datetime
    severities: dict[str, int]
    places: list[str]
    recent: dict[str, int]
    names: list[tuple[str, int]]
    names_total: int
    resources_total: int
    resources: list[list[Any]]


def dirty_storms() -> list[UUID]:
    """Storms of which an alert joined or resolved since they were counted last."""
    with connection.cursor() as cursor:
        cursor.execute(_DIRTY)
        return [id_ for [id_] in cursor.fetchall()]


def left_behind_storms(*, limit: int = 5) -> list[UUID]:
    """Storms that changed and wait for their sync: the cluster fails, or no worker takes them.

    The resource may be late then, what the pages show may not. A few at a time, those that waited longest.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LEFT_BEHIND, {"patience": PATIENCE_SECONDS, "limit": limit})
        return [id_ for [id_] in cursor.fetchall()]


def refresh_storm(*, storm_id: UUID) -> StormFacts | None:
    """Count a storm, write the counts to its row, tell the open pages, and return what its resource says.

    None if the storm is open and has no alert yet (its opener is still recording). One that was merged away has none.
    """
    with transaction.atomic():
        adopt_window(storm_id=storm_id)
    before = Storm.objects.get(id=storm_id)
    counted = _count(before)
    if not counted.alerts and before.closed_at is None:
        return None
    severity = _severity(counted)
    _write(storm_id, counted, severity)
    _write_events(before, counted, severity)
    live.publish_storm(storm_id)
    return _facts(before, counted, severity)


def storm_facts(*, storm_id: UUID) -> StormFacts | None:
    """What `refresh_storm` returns, without writing anything."""
    storm = Storm.objects.get(id=storm_id)
    counted = _count(storm)
    return _facts(storm, counted, _severity(counted)) if counted.alerts or storm.closed_at is not None else None


def _count(storm: Storm) -> _Counted:
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT,
            {
                "storm": storm.id,
                "names": MAX_ALERT_NAMES,
                "affected": MAX_AFFECTED,
                "places": MAX_PLACES,
                "bucket": BUCKET_SECONDS,
                "buckets": BUCKETS,
            },
        )
        counted = cursor.fetchone()
    xmin, sums, first, last, decided, severities, places, names, recent, names_total, total, resources = counted
    return _Counted(
        xmin=xmin,
        alerts=sums["alerts"],
        firing=sums["firing"],
        occurrences=sums["occurrences"],
        source=", ".join(sorted(sums["sources"] or ())),
        environment=common_environment(sums["environments"] or ()),
        priority=highest_priority(sums["priorities"] or ()),
        first_seen=first or storm.opened_at,
        last_seen=last or storm.last_alert_at,
        last_decided=decided or storm.last_alert_at,
        severities=severities or {},
        places=places or [],
        recent=recent or {},
        names=[(name, count) for name, count in names or ()],
        names_total=names_total,
        resources_total=total,
        resources=resources or [],
    )


def _severity(counted: _Counted) -> str:
    return next((level for level in _SEVERITY_ORDER if counted.severities.get(level)), Severity.INFO.value)


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
                "places": json.dumps(counted.places),
                "recent": json.dumps(counted.recent),
                "last": counted.last_decided,
                "xmin": counted.xmin,
            },
        )


def _write_events(before: Storm, counted: _Counted, severity: str) -> None:
    """What is new inside the storm gets an event of its own, so that it is not buried in the count."""
    news = news_of(before, alerts=counted.alerts, severity=severity, places=counted.places)
    if before.closed_at is not None and before.firing_count and not counted.firing:
        news.append((EventKind.SETTLED, "The last alert resolved", f"settled-{before.closed_at.isoformat()}"))
    for kind, message, once in news:
        StormEvent.objects.get_or_create(
            storm=before, once=once, defaults={"kind": kind, "at": timezone.now(), "message": message[:500]}
        )


def news_of(before: Storm, *, alerts: int, severity: str, places: list[str]) -> list[tuple[EventKind, str, str]]:
    """(kind, message, key that makes it happen once) for a higher severity than any before, a place that was not
    reached before, and every doubling of the count, measured against the row of the last refresh."""
    news: list[tuple[EventKind, str, str]] = []
    doublings = (alerts // max(before.threshold, 1)).bit_length() - 1
    if doublings > 0 and alerts > before.alert_count:
        news.append((EventKind.DOUBLED, f"Doubled: {alerts:,} alerts by now", f"doubled-{doublings}"))
    if before.refreshed_at is None:
        return news
    if _SEVERITY_ORDER.index(severity) < _SEVERITY_ORDER.index(before.severity):
        news.append((EventKind.SEVERITY_RAISED, f"Severity raised to {severity}", f"severity-{severity}"))
    if fresh := [place for place in places if place not in before.places]:
        more = f" and {len(fresh) - 1} more" if len(fresh) > 1 else ""
        key = sha256(fresh[0].encode()).hexdigest()[:32]
        news.append((EventKind.SPREAD, f"Reached {fresh[0]}{more}", f"place-{key}"))
    return news


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
        environment=counted.environment,
        priority=counted.priority,
        labels={**storm.group_labels, **common, "severity": severity},
        annotations={"summary": f"{counted.alerts:,} alerts in {storm.group_title}"},
    )
