"""Groups that count towards a storm: their held alerts, how far they are, when the next one is released."""

import json
from datetime import datetime
from typing import TypedDict

from django.db import connection
from django.utils import timezone

from storms.choices import Severity

MAX_HELD = 1000
"""Most held alerts looked at, those that are released first; it bounds the query, whatever waits."""
MAX_GROUPS = 12

_SEVERITIES = [Severity.CRITICAL.value, Severity.WARNING.value, Severity.INFO.value]

# Counted is what the store counts: the episodes of the window that are in no storm, held or released already.
_HELD = """
with held as (
    select group_key, policy_id, group_labels, severity, threshold, release_at, decided_at from storms_alert
    where disposition = 'held' order by release_at limit %(alerts)s
), groups as (
    select group_key, count(*) as held, min(release_at) as release_at, max(policy_id) as policy_id,
        (array_agg(group_labels order by decided_at desc))[1] as labels,
        (array_agg(threshold order by decided_at desc))[1] as threshold,
        min(array_position(%(severities)s::text[], severity::text)) as severity
    from held group by group_key
), counted as materialized (
    select g.*, coalesce(p.name, '') as policy, greatest((
        select count(distinct case when a.flapping and p.count_flapping_once then a.fingerprint else a.id::text end)
        from storms_alert a
        where a.group_key = g.group_key and a.storm_id is null and a.split_from_id is null
          and a.decided_at > %(now)s - coalesce(p.window_seconds, 60) * interval '1 second'
    ), 1) as counted
    from groups g left join storms_stormpolicy p on p.id = g.policy_id
)
select group_key, labels, severity, held, threshold, release_at, policy, counted,
    count(*) over (), sum(held) over ()::bigint from counted
order by counted::float / greatest(threshold, 1) desc, release_at, group_key limit %(groups)s
"""


class HeldGroup(TypedDict):
    """counted of threshold episodes are in the window; release_at: ISO 8601, of the alert that is released next."""

    key: str
    group_labels: dict[str, str]
    severity: str
    held: int
    counted: int
    threshold: int
    release_at: str
    policy: str


class Held(TypedDict):
    """The groups nearest to their threshold first, how many more there are, and the held alerts of all."""

    groups: list[HeldGroup]
    more: int
    alerts: int


def held_groups(now: datetime | None = None) -> Held:
    """What counts towards a storm at `now`, the present by default."""
    with connection.cursor() as cursor:
        cursor.execute(
            _HELD,
            {
                "alerts": MAX_HELD,
                "groups": MAX_GROUPS,
                "severities": _SEVERITIES,
                "now": now or timezone.now(),
            },
        )
        rows = cursor.fetchall()
    total, alerts = rows[0][-2:] if rows else (0, 0)
    return {"groups": [_group(*row[:-2]) for row in rows], "more": total - len(rows), "alerts": alerts}


def _group(
    key: str,
    labels: str,
    severity: int,
    held: int,
    threshold: int,
    release_at: datetime,
    policy: str,
    counted: int,
) -> HeldGroup:
    return {
        "key": key,
        "group_labels": json.loads(labels),
        "severity": _SEVERITIES[severity - 1],
        "held": held,
        "counted": counted,
        "threshold": threshold,
        "release_at": release_at.isoformat(),
        "policy": policy,
    }
