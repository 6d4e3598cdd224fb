"""Garbage collection of resources that are over: which ones, and what their rows say before, during and after it.

Never an active one: the conditions are checked when a candidate is found, and again with its storm locked when it is
taken; whoever deletes it looks at the resource itself and deletes exactly what it saw (`storms.collection_tasks`).
While that runs the row is `collected` without `collected_at`. A storm that is reopened meanwhile makes it `pending`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from storms import live
from storms.choices import EventKind, Phase, RequestKind, SyncState
from storms.cluster.address import cluster_label
from storms.models import RemediationRequest, Storm, StormEvent
from storms.services.requests import ACTIVE

DONE = (Phase.COMPLETED.value, Phase.FAILED.value, Phase.CANCELLED.value)
"""Phases after which an operator does nothing more."""

# Longer than any call to the cluster: an apply that is on its way would make the resource again.
SETTLED = timedelta(minutes=5)
ENQUEUE_AGAIN = timedelta(minutes=10)
TRY_AGAIN = timedelta(hours=1)

# What is over, since when, and whether the longer limit has passed. A storm ended with the last news of its members;
# within its policy's grace time it may be opened again. A row that stayed `collected` without a time was left in the
# middle of it.
_CANDIDATES = f"""
select r.id, r.namespace, r.name, r.phase, o.over_at,
       coalesce(o.over_at <= %(limit)s, false) as past_limit
from storms_remediationrequest r
left join storms_storm st on st.id = r.storm_id
left join storms_stormpolicy p on p.id = st.policy_id
left join storms_alert al on al.id = r.alert_id
cross join lateral (
    select case when r.kind = 'alert' then al.last_seen_at
        else greatest(st.closed_at, (select max(m.last_seen_at) from storms_alert m where m.storm_id = st.id))
        end as over_at
) o
where r.applied_at is not null and r.collected_at is null and r.cluster = %(cluster)s
  and r.sync_state in ('applied', 'rejected', 'collected')
  and (r.last_attempt_at is null or r.last_attempt_at <= %(settled)s)
  and (r.next_attempt_at is null or r.next_attempt_at <= %(now)s)
  and (r.kind = 'alert' or st.closed_at + coalesce(p.reopen_seconds, 0) * interval '1 second' <= %(now)s)
  and (o.over_at <= %(limit)s
       or (r.phase = any(%(done)s) and r.phase_at <= %(after)s and o.over_at <= %(after)s))
  and not {ACTIVE}
"""  # noqa: S608
_TAKE = f"""
with due as ({_CANDIDATES}
    and (r.enqueued_at is null or r.enqueued_at <= %(again)s)
    order by r.applied_at limit %(count)s for update of r skip locked
)
update storms_remediationrequest r set enqueued_at = %(now)s from due where r.id = due.id returning r.id
"""  # noqa: S608
_BEGIN = f"""
with due as ({_CANDIDATES} and r.id = %(id)s for update of r)
update storms_remediationrequest r set sync_state = 'collected' from due where r.id = due.id
returning r.id, r.namespace, r.name, r.phase, due.over_at, due.past_limit
"""  # noqa: S608
_RELEASE = """
update storms_remediationrequest set enqueued_at = null, last_error = %(error)s, next_attempt_at = %(next)s,
    sync_state = case when desired_version <= applied_version then 'applied'
                      when desired_version <= rejected_version then 'rejected' else 'pending' end
where id = %(id)s and sync_state = 'collected' and collected_at is null
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A resource that is over. past_limit: it goes whatever its phase; else its operator is done with it."""

    id: UUID
    namespace: str
    name: str
    phase: str
    over_at: datetime
    past_limit: bool


def candidates(*, now: datetime) -> list[Candidate]:
    """Every resource that garbage collection would delete now, the longest over first."""
    if not _enabled():
        return []
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES + " order by o.over_at, r.id", _parameters(now))
        return [Candidate(*row) for row in cursor.fetchall()]


def take_collectable(now: datetime, limit: int = 500) -> list[UUID]:
    """Mark rows whose resources are to be deleted as enqueued; their ids.

    A row whose message got lost is due again after `ENQUEUE_AGAIN`.
    """
    if not _enabled():
        return []
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, _parameters(now) | {"again": now - ENQUEUE_AGAIN, "count": limit})
        return [id_ for [id_] in cursor.fetchall()]


@transaction.atomic
def begin_collection(*, rr_id: UUID, now: datetime) -> Candidate | None:
    """Take the row for deletion: no worker applies it from here on. None if it is not to be deleted (any more)."""
    if not _enabled():
        return None
    # Its storm first, as everywhere: a storm that is being reopened is waited for, and found open below.
    list(Storm.objects.select_for_update(no_key=True).filter(remediation_request=rr_id).values_list("id"))
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, _parameters(now) | {"id": rr_id})
        row = cursor.fetchone()
    return Candidate(*row) if row else None


def is_collecting(*, rr_id: UUID) -> bool:
    """False once the row became due again: its storm was reopened."""
    return RemediationRequest.objects.filter(
        id=rr_id, sync_state=SyncState.COLLECTED, collected_at__isnull=True
    ).exists()


def record_collected(*, rr_id: UUID) -> bool:
    """The resource is gone. False if the row became due again meanwhile: it is made anew."""
    now = timezone.now()
    with transaction.atomic():
        updated = RemediationRequest.objects.filter(
            id=rr_id, sync_state=SyncState.COLLECTED, collected_at__isnull=True
        ).update(collected_at=now, enqueued_at=None, next_attempt_at=None, last_error="", applied_hash="")
        if updated:
            _write_event(rr_id, now)
    if updated:
        live.publish_storm(rr_id)
    return bool(updated)


def release(*, rr_id: UUID, now: datetime, error: str = "") -> None:
    """It was not deleted: the row stands as before, says why, and is looked at again after `TRY_AGAIN`."""
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"id": rr_id, "error": error, "next": now + TRY_AGAIN})


def _write_event(rr_id: UUID, now: datetime) -> None:
    row = RemediationRequest.objects.only("id", "kind", "namespace", "name", "phase").get(id=rr_id)
    if row.kind == RequestKind.STORM:
        StormEvent.objects.create(
            storm_id=rr_id,
            kind=EventKind.COLLECTED,
            at=now,
            message=f"{row} was deleted by garbage collection ({row.phase or 'no phase'})"[:500],
        )


def _enabled() -> bool:
    return bool(settings.COLLECT_AFTER_HOURS or settings.COLLECT_LIMIT_HOURS)


def _parameters(now: datetime) -> dict[str, Any]:
    """Times before which something happened; None, which is before nothing, where a limit is switched off."""
    return {
        "now": now,
        "cluster": cluster_label(),
        "settled": now - SETTLED,
        "done": list(DONE),
        "after": _before(now, settings.COLLECT_AFTER_HOURS),
        "limit": _before(now, settings.COLLECT_LIMIT_HOURS),
    }


def _before(now: datetime, hours: int) -> datetime | None:
    return now - timedelta(hours=hours) if hours else None
