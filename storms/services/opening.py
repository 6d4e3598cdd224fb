"""A storm's rows when it opens: the storm, its RemediationRequest, and the alerts of its window that it takes in."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from psycopg.types.json import Jsonb

from storms.choices import CloseReason, EventKind, StormState
from storms.clock import to_datetime
from storms.detector import GroupDecision
from storms.policies import CompiledPolicy
from storms.remediation import request_namespace
from storms.services.lookup import WINDOW_FROM
from storms.services.requests import mark_storms_due


class StormConflict(Exception):
    """The database knows another open storm in the group, or knows the decided one as closed: the store was behind."""

    def __init__(self, group_key: str, open_storm: UUID | None, decided_storm: UUID) -> None:
        super().__init__(f"group {group_key}: storm {decided_storm} decided, but the rows disagree")
        self.group_key = group_key
        self.open_storm = open_storm
        self.decided_storm = decided_storm


@dataclass(frozen=True, slots=True)
class Opening:
    """An open storm that the store spoke of and the look-up did not know."""

    group_key: str
    group_labels: dict[str, str]
    policy: CompiledPolicy
    decision: GroupDecision
    joined_at: datetime


# Without a conflict target, both a repeated id and a second open storm of the group make this a no-op; the query after
# it tells which. A concurrent insert of the same group is waited for.
_INSERT_STORM = """
insert into storms_storm (id, policy_id, policy_name, policy_version, group_key, group_labels, state, threshold,
    window_seconds, quiet_seconds, max_duration_seconds, opened_at, opened_by, window_from, close_reason,
    alert_count, firing_count, resolved_count, severity, severity_counts, alert_names, last_alert_at, refreshed_xmin,
    previous_id)
select %(id)s, (select id from storms_stormpolicy where id = %(policy_id)s), %(policy_name)s, %(policy_version)s,
    %(group_key)s, %(group_labels)s, 'open', %(threshold)s, %(window)s, %(quiet)s, %(max)s, %(opened_at)s,
    %(opened_by)s, %(window_from)s, '', %(count)s, %(count)s, 0, 'info', '{}', '[]', %(opened_at)s, 0,
    (select id from storms_storm where group_key = %(group_key)s and state = 'closed' and close_reason = 'max_duration'
        and closed_at > %(opened_at)s - %(window)s * interval '1 second' order by closed_at desc limit 1)
on conflict do nothing
"""
_RIVALS = """
select id, state, closed_at, close_reason from storms_storm
where id = %(id)s or (group_key = %(group_key)s and state = 'open')
"""
_INSERT_REQUEST = """
insert into storms_remediationrequest (id, kind, storm_id, name, namespace, origin_namespace, created_at,
    desired_version, applied_version, rejected_version, sync_state, attempts, next_attempt_at, last_error,
    applied_hash, apply_count, cluster, uid, resource_version, generation, phase, phase_message)
values (%(id)s, 'storm', %(id)s, %(name)s, %(namespace)s, %(origin)s, now(), 1, 0, 0, 'pending', 0, now(), '', '', 0,
    '', '', '', 0, '', '')
on conflict (id) do nothing
"""
_INSERT_ALERT_REQUESTS = """
insert into storms_remediationrequest (id, kind, alert_id, name, namespace, origin_namespace, created_at,
    desired_version, applied_version, rejected_version, sync_state, attempts, next_attempt_at, last_error,
    applied_hash, apply_count, cluster, uid, resource_version, generation, phase, phase_message)
select t.id, 'alert', t.id, 'alert-' || t.id, t.namespace, t.origin, now(),
    1, 0, 0, 'pending', 0, now(), '', '', 0,
    '', '', '', 0, '', ''
from unnest(%(ids)s::uuid[], %(namespaces)s::text[], %(origins)s::text[]) as t(id, namespace, origin)
on conflict (id) do nothing
"""
_INSERT_EVENT = """
insert into storms_stormevent (storm_id, kind, at, message, detail, actor, once)
values (%(storm)s, %(kind)s, %(at)s, %(message)s, '{}', '', %(once)s)
on conflict (storm_id, once) do nothing
"""
_REOPEN = """
update storms_storm set state = 'open', closed_at = null, close_reason = '', reopened_at = %(at)s,
    last_alert_at = greatest(last_alert_at, %(at)s)
where id = %(storm)s and state = 'closed'
"""
_BEGAN_EARLIER = f"""
update storms_storm s set window_from = %(window_from)s where id = %(storm)s and {WINDOW_FROM} > %(window_from)s
"""  # noqa: S608  (fixed text)
# The window is (window_from, opened_at], both by the store's clock, which orders all decisions of a group: it holds
# exactly the episodes that the script counted. Rows are locked in the order of their ids, as everywhere.
# What belongs to the open storm `s` of its group and is not in it. Of its window: recorded late. Decided after its
# opening: the store had been set back to before it, and the alert's request had looked the rows up before the storm was
# there; only what the storm would have taken in then, neither quiet for too long nor too old nor closed meanwhile (a
# close is first in the store, and in the rows long before `SETTLED_SECONDS`).
SETTLED_SECONDS = 5
STRAYED = f"""a.group_key = s.group_key and a.storm_id is null and a.split_from_id is null and s.state = 'open'
  and a.decided_at > {WINDOW_FROM}
  and (a.decided_at <= s.opened_at
       or a.decided_at > coalesce(s.reopened_at, s.opened_at)
          and a.received_at < now() - interval '{SETTLED_SECONDS} seconds'
          and a.decided_at < s.last_alert_at + s.quiet_seconds * interval '1 second'
          and a.decided_at < s.opened_at + s.max_duration_seconds * interval '1 second')"""
_ADOPT = f"""
with strayed as (
    select a.id from storms_alert a join storms_storm s on s.id = %(storm)s where {STRAYED}
    order by a.id for update of a
)
update storms_alert a set storm_id = %(storm)s, disposition = 'member',
    changed_xid = pg_current_xact_id()::text::bigint
from strayed where a.id = strayed.id and a.storm_id is null returning a.id
"""  # noqa: S608  (fixed text)
# A statement of its own: the one above may have waited for a release, whose request only a new snapshot shows.
_ABSORB = """
update storms_remediationrequest set superseded_by_id = %(storm)s, desired_version = desired_version + 1,
    next_attempt_at = now(), enqueued_at = null,
    sync_state = case when last_attempt_at is null then 'skipped' when sync_state = 'collected' then 'collected'
                      else 'pending' end
where alert_id = any(%(alerts)s) and superseded_by_id is null
returning id, sync_state
"""


def ensure_storm(opening: Opening) -> None:
    """The rows of an open storm, made if they are not there; inside the caller's transaction.

    Raises: StormConflict.
    """
    decision, policy = opening.decision, opening.policy
    assert decision.storm_id is not None
    values = _storm_values(opening)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_STORM, values)
        created = cursor.rowcount == 1
        if not created:
            cursor.execute(_RIVALS, values)
            _check_rivals(opening, cursor.fetchall())
        insert_storm_request(storm_id=decision.storm_id, namespace=opening.group_labels.get("namespace", ""))
        message = (
            f"Opened: {values['count']} of {policy.rule.threshold} alerts in "
            f"{policy.rule.window_us // 1_000_000} s, by policy {policy.name} (version {policy.version})"
        )
        cursor.execute(
            _INSERT_EVENT,
            {
                "storm": decision.storm_id,
                "kind": EventKind.OPENED.value,
                "at": values["opened_at"],
                "message": message,
                "once": EventKind.OPENED.value,
            },
        )


def begin_earlier(*, storm_id: UUID, window_from_us: int) -> None:
    """The storm takes in what came since then, if it did not yet: `adopt_window` does it."""
    with connection.cursor() as cursor:
        cursor.execute(_BEGAN_EARLIER, {"storm": storm_id, "window_from": to_datetime(window_from_us)})


def _storm_values(opening: Opening) -> dict[str, Any]:
    decision, policy = opening.decision, opening.policy
    return {
        "id": decision.storm_id,
        "policy_id": policy.id,
        "policy_name": policy.name,
        "policy_version": policy.version,
        "group_key": opening.group_key,
        "group_labels": Jsonb(opening.group_labels),
        "threshold": policy.rule.threshold,
        "window": policy.rule.window_us // 1_000_000,
        "quiet": policy.rule.quiet_us // 1_000_000,
        "max": policy.rule.max_us // 1_000_000,
        "opened_at": to_datetime(decision.opened_us),
        "opened_by": decision.opened_by or decision.storm_id,
        "window_from": _window_from(decision, policy),
        "count": policy.rule.threshold,
    }


def _window_from(decision: GroupDecision, policy: CompiledPolicy) -> datetime | None:
    """None where it is what `opened_at` says, so nearly always."""
    if decision.window_from_us >= decision.opened_us - policy.rule.window_us:
        return None
    return to_datetime(decision.window_from_us)


def _check_rivals(opening: Opening, rows: list[tuple[UUID, str, datetime | None, str]]) -> None:
    """The decided storm is open, was closed after this alert joined it, or was reopened since; else: a conflict."""
    storm_id, reopened_us = opening.decision.storm_id, opening.decision.reopened_us
    assert storm_id is not None
    rival = next((row[0] for row in rows if row[0] != storm_id and row[1] == StormState.OPEN), None)
    for id_, state, closed_at, reason in rows:
        if id_ != storm_id:
            continue
        if state == StormState.OPEN or (closed_at is not None and opening.joined_at <= closed_at):
            return
        itself = reason in (CloseReason.QUIET, CloseReason.RESOLVED)
        if rival is None and itself and reopened_us is not None and closed_at is not None:
            reopened_at = to_datetime(reopened_us)
            if closed_at <= reopened_at:
                _reopen(storm_id, reopened_at)
                return
    raise StormConflict(opening.group_key, rival, storm_id)


def _reopen(storm_id: UUID, reopened_at: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_REOPEN, {"storm": storm_id, "at": reopened_at})
        cursor.execute(
            _INSERT_EVENT,
            {
                "storm": storm_id,
                "kind": EventKind.REOPENED.value,
                "at": reopened_at,
                "message": "Reopened: a new alert soon after it had closed",
                "once": f"reopened-{reopened_at.isoformat()}",
            },
        )
    mark_storms_due(storm_ids=[storm_id])


def adopt_window(*, storm_id: UUID) -> list[UUID]:
    """Take every alert of the storm's window in, and what strayed.

    Returns the ids of absorbed RemediationRequests that the cluster must hear of.

    Repeating it is safe: a request that recorded its held alert late is taken in by the next call.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ADOPT, {"storm": storm_id})
        adopted = [id_ for [id_] in cursor.fetchall()]
        if not adopted:
            return []
        cursor.execute(_ABSORB, {"storm": storm_id, "alerts": adopted})
        return [id_ for id_, sync_state in cursor.fetchall() if sync_state == "pending"]


def insert_storm_request(*, storm_id: UUID, namespace: str) -> bool:
    """The storm's RemediationRequest, made if it is not there; True if it was not.

    Args:
        namespace: the value of the group's label.
    """
    name, origin = request_namespace(namespace, settings.REMEDIATION_NAMESPACE)
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT_REQUEST, {"id": storm_id, "name": f"storm-{storm_id}", "namespace": name, "origin": origin}
        )
        return cursor.rowcount == 1


def insert_alert_requests(alerts: Iterable[tuple[UUID, str]]) -> list[UUID]:
    """A RemediationRequest for each alert (id, namespace label); their ids."""
    rows = [(id_, *request_namespace(namespace, settings.REMEDIATION_NAMESPACE)) for id_, namespace in alerts]
    if not rows:
        return []
    ids, namespaces, origins = (list(column) for column in zip(*rows, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_ALERT_REQUESTS, {"ids": ids, "namespaces": namespaces, "origins": origins})
    return ids
