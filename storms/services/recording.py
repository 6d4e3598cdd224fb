"""Writing a batch of alerts: one multi-row statement, whatever is new, re-sent or resolved in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection

from storms.clock import to_datetime
from storms.detector import Answer
from storms.incoming import IncomingAlert
from storms.rules import Classified


@dataclass(frozen=True, slots=True)
class Row:
    """One episode of a batch. `occurrences` and `resolutions` are how often the batch holds it firing and resolved."""

    alert: IncomingAlert
    classified: Classified
    status: str
    ends_at: datetime | None
    outcome: str
    disposition: str
    receiver: str
    source: str
    delivery_id: UUID
    received_at: datetime
    occurrences: int
    resolutions: int
    policy_id: int
    policy_version: int
    policy_reason: str
    group_key: str
    group_labels: dict[str, str]
    threshold: int
    silence_id: int | None
    flapping: bool
    answer: Answer | None

    @property
    def id(self) -> UUID:
        return self.alert.id


_COLUMNS = {
    "id": "uuid",
    "fingerprint": "text",
    "starts_at": "timestamptz",
    "ends_at": "timestamptz",
    "status": "text",
    "outcome": "text",
    "disposition": "text",
    "alertname": "text",
    "namespace": "text",
    "severity": "text",
    "environment": "text",
    "priority": "text",
    "resource_kind": "text",
    "resource_name": "text",
    "labels": "jsonb",
    "annotations": "jsonb",
    "generator_url": "text",
    "receiver": "text",
    "source": "text",
    "delivery_id": "uuid",
    "received_at": "timestamptz",
    "last_seen_at": "timestamptz",
    "occurrences": "int",
    "resolutions": "int",
    "policy_id": "bigint",
    "policy_version": "int",
    "policy_reason": "text",
    "group_key": "text",
    "group_labels": "jsonb",
    "decided_at": "timestamptz",
    "count": "int",
    "threshold": "int",
    "release_at": "timestamptz",
    "storm_id": "uuid",
    "silence_id": "bigint",
    "flapping": "bool",
}

# An episode that was silenced and is decided now that it is sent again after the silence.
_DECIDED_LATE = "(a.disposition = 'silenced' and excluded.decided_at is not null)"
_LATE_COLUMNS = (
    "decided_at", "count", "threshold", "release_at", "storm_id", "policy_id", "policy_version", "policy_reason",
    "group_key", "group_labels",
)  # fmt: skip

# One JSON parameter holds all rows: thirty arrays would cost the process as much time to write as PostgreSQL to insert.
# Rows go in by id, so two requests with the same episodes lock them in the same order. A policy may have been deleted
# since it was compiled. Of a known row only counters and the first resolution change; an update that moves no indexed
# column stays on its page (HOT), so a re-sent group is cheap.
_RECORD = """
with {{companion}} incoming as (
    select * from json_to_recordset(%(rows)s) as t({columns})
), saved as (
    insert into storms_alert as a ({names}, deferred_at, changed_xid)
    select {values}, case when i.disposition = 'deferred' then now() end, pg_current_xact_id()::text::bigint
    from incoming i order by i.id
    on conflict (id) do update set
        occurrences = a.occurrences + excluded.occurrences,
        resolutions = a.resolutions + excluded.resolutions,
        last_seen_at = greatest(a.last_seen_at, excluded.last_seen_at),
        status = case when excluded.status = 'resolved' then 'resolved' else a.status end,
        ends_at = case when excluded.status = 'resolved' and a.status = 'firing' then excluded.ends_at
                       else a.ends_at end,
        disposition = case when {decided_late} then excluded.disposition
                           when excluded.status = 'resolved' and a.disposition = 'held' then 'resolved_while_held'
                           else a.disposition end,
        changed_xid = case when {decided_late} or excluded.status = 'resolved' and a.status = 'firing'
                           then excluded.changed_xid else a.changed_xid end,
        {late_columns}
    returning a.id, a.disposition, a.changed_xid, (a.xmax <> 0) as repeated
), resolved_requests as (
    update storms_remediationrequest r set desired_version = r.desired_version + 1, sync_state = 'pending',
        next_attempt_at = now(), enqueued_at = null
    from saved s where r.alert_id = s.id and s.repeated and s.disposition = 'individual'
        and s.changed_xid = pg_current_xact_id()::text::bigint
)
select id from saved where repeated
""".format(  # noqa: S608  (column names only)
    decided_late=_DECIDED_LATE,
    late_columns=", ".join(
        f"{name} = case when {_DECIDED_LATE} then excluded.{name} else a.{name} end" for name in _LATE_COLUMNS
    ),
    columns=", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items()),
    names=", ".join(_COLUMNS),
    values=", ".join(
        "(select p.id from storms_stormpolicy p where p.id = i.policy_id)" if name == "policy_id" else f"i.{name}"
        for name in _COLUMNS
    ),
)


def record_alerts(rows: Sequence[Row], companion: tuple[str, dict[str, Any]]) -> set[UUID]:
    """Insert or update the alerts together with the caller's rows; the ids that were there already.

    Args:
        companion: common table expressions (each followed by a comma) and their parameters.
    """
    statement, parameters = companion
    encoded = msgspec.json.encode([_values(row) for row in rows]).decode()
    with connection.cursor() as cursor:
        cursor.execute(_RECORD.replace("{companion}", statement), {"rows": encoded, **parameters})
        return {id_ for [id_] in cursor.fetchall()}


def _values(row: Row) -> dict[str, Any]:
    alert, answer = row.alert, row.answer
    return {
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "starts_at": alert.starts_at,
        "ends_at": row.ends_at,
        "status": row.status,
        "outcome": row.outcome,
        "disposition": row.disposition,
        "alertname": alert.alertname,
        "namespace": alert.namespace,
        "severity": row.classified.severity,
        "environment": row.classified.environment,
        "priority": row.classified.priority,
        "resource_kind": alert.resource_kind,
        "resource_name": alert.resource_name,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "generator_url": alert.generator_url,
        "receiver": row.receiver,
        "source": row.source,
        "delivery_id": row.delivery_id,
        "received_at": row.received_at,
        "last_seen_at": row.received_at,
        "occurrences": row.occurrences,
        "resolutions": row.resolutions,
        "policy_id": row.policy_id,
        "policy_version": row.policy_version,
        "policy_reason": row.policy_reason,
        "group_key": row.group_key,
        "group_labels": row.group_labels,
        "decided_at": to_datetime(answer.decided_us) if answer is not None else None,
        "count": answer.count if answer is not None else None,
        "threshold": row.threshold,
        "release_at": to_datetime(answer.release_us) if answer is not None and answer.release_us is not None else None,
        "storm_id": answer.storm_id if answer is not None else None,
        "silence_id": row.silence_id,
        "flapping": row.flapping,
    }
