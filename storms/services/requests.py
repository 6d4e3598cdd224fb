"""The life of a RemediationRequest's row: claim, applied, failed, and what the watch saw."""

import random
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from storms import live
from storms.choices import AuditAction, EventKind, RequestKind, StormState, SyncState
from storms.models import ObservedResource, RemediationRequest, StormEvent
from storms.services import audit

# At most one apply per second and storm.
APPLY_INTERVAL = timedelta(seconds=1)
# A message that the broker lost is sent again after this time.
ENQUEUE_AGAIN = timedelta(seconds=10)
# One chain of attempts backs off from 1 s to a minute; after it the row rests, visibly failed, and a new one starts.
CHAIN_ATTEMPTS = 8
CHAIN_REST = timedelta(minutes=5)
LONGEST_BACKOFF_SECONDS = 60.0
# A refused mark of a superseded request is sent again after this time, then after twice as long, and so on.
REFUSED_SECONDS, LONGEST_REFUSED_SECONDS = 10.0, 3600.0

DUE_AGAIN: dict[str, Any] = {
    "sync_state": SyncState.PENDING,
    "desired_version": F("desired_version") + 1,
    "next_attempt_at": Now(),
    "enqueued_at": None,
}
"""The columns of a request whose manifest is to be built and sent anew, at once."""

# What garbage collection leaves alone: the storm is open or one of its members fires, or the alert itself does.
ACTIVE = """(
    exists (select 1 from storms_storm s where s.id = r.storm_id and s.state = 'open')
    or exists (select 1 from storms_alert a where a.storm_id = r.storm_id and a.status = 'firing')
    or exists (select 1 from storms_alert a where a.id = r.alert_id and a.status = 'firing')
)"""
_CLAIM = f"""
update storms_remediationrequest r set last_attempt_at = now(), attempts = attempts + 1,
    sync_state = case when sync_state = 'failed' then 'failed' else 'pending' end,
    next_attempt_at = coalesce(next_attempt_at, now()), enqueued_at = now()
where id = %(id)s and sync_state <> 'skipped'
  and (sync_state <> 'collected' and collected_at is null or {ACTIVE})
  and (last_attempt_at is null or last_attempt_at <= now() - %(interval)s * interval '1 second')
  and (kind = 'storm' or desired_version > applied_version or sync_state in ('pending', 'failed'))
  and (sync_state <> 'failed' or next_attempt_at <= now())
  and (sync_state <> 'rejected' or desired_version > rejected_version)
"""  # noqa: S608
# A collected resource is made again only where it is active again (its storm was reopened): what else marked it due
# does not count.
_REST = f"""
update storms_remediationrequest r set sync_state = 'collected', next_attempt_at = null, enqueued_at = null
where id = %(id)s and collected_at is not null and sync_state in ('pending', 'failed') and not {ACTIVE}
"""  # noqa: S608


def claim(*, rr_id: UUID) -> RemediationRequest | None:
    """The row if it is this caller's turn to sync it; None if another did within a second, or nothing is to do.

    The conditional update is the lock: of several callers one updates the row, the others see `last_attempt_at`. Until
    the end of the sync is recorded the row is pending: a worker that dies after it counted the storm, and before the
    cluster heard of it, leaves a row that is due again after `ENQUEUE_AGAIN`.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"id": rr_id, "interval": APPLY_INTERVAL.total_seconds()})
        if not cursor.rowcount:
            cursor.execute(_REST, {"id": rr_id})
            return None
    return (
        RemediationRequest.objects.select_related("alert", "storm", "superseded_by")
        .defer("manifest", "storm__alert_names")
        .get(id=rr_id)
    )


def take_due(*, limit: int = 500) -> list[UUID]:
    """Mark rows that are due and not on their way as enqueued; their ids, the longest waiting first.

    A row whose message was lost (the broker or the worker died) is due again after `ENQUEUE_AGAIN`. What is due is
    written and read by PostgreSQL's clock alone, so that a host whose own clock is behind is not late with everything.
    """
    due = (
        RemediationRequest.objects.filter(sync_state__in=[SyncState.PENDING, SyncState.FAILED])
        .filter(next_attempt_at__lte=Now())
        .filter(Q(last_attempt_at__isnull=True) | Q(last_attempt_at__lte=Now() - APPLY_INTERVAL))
        .filter(Q(enqueued_at__isnull=True) | Q(enqueued_at__lte=Now() - ENQUEUE_AGAIN))
        .order_by("next_attempt_at")
        .values_list("id", flat=True)[:limit]
    )
    ids = list(due)
    if ids:
        RemediationRequest.objects.filter(id__in=ids).update(enqueued_at=Now())
    return ids


def ask_refused_marks_again() -> None:
    """Requests that a storm superseded, but which the cluster refused to mark so: due again, ever later.

    Any other refused manifest waits for a change. Of an absorbed request nothing changes any more, and until the mark
    is taken the cluster has two active resources for one storm; what it is in was taken once, so that it is refused is
    about the cluster (a webhook, a definition that is being replaced) rather than about the manifest.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            update storms_remediationrequest set sync_state = 'pending', desired_version = desired_version + 1,
                next_attempt_at = now(), enqueued_at = null
            where sync_state = 'rejected' and superseded_by_id is not null and last_attempt_at
                <= now() - least(%(first)s * power(2, least(attempts, 20) - 1), %(longest)s) * interval '1 second'
            """,
            {"first": REFUSED_SECONDS, "longest": LONGEST_REFUSED_SECONDS},
        )


def make_due(*, rr_id: UUID) -> bool:
    """What got lost between the row and its sync: it is due now, whenever it was to be tried again."""
    rows = RemediationRequest.objects.filter(id=rr_id, sync_state__in=[SyncState.PENDING, SyncState.FAILED])
    return bool(rows.update(next_attempt_at=Now(), enqueued_at=None))


def make_failures_due() -> None:
    """The cluster answers again: what failed meanwhile is due now, not at the end of a pause of up to five minutes.

    `attempts` stay: what fails for a reason of its own goes on with its longer pauses. A row that a worker is writing
    is left to it.
    """
    waiting = RemediationRequest.objects.filter(sync_state=SyncState.FAILED, next_attempt_at__gt=Now())
    free = waiting.select_for_update(skip_locked=True).values("id")
    with transaction.atomic():
        RemediationRequest.objects.filter(id__in=free).update(next_attempt_at=Now(), enqueued_at=None)


def mark_storms_due(*, storm_ids: list[UUID]) -> None:
    """Their rows changed: the resource is to follow, one second after its last attempt at the earliest.

    The version rises even while a sync is on its way, which may have read the rows before the change.
    """
    if not storm_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            update storms_remediationrequest r set desired_version = desired_version + 1, enqueued_at = null,
                sync_state = case when sync_state = 'failed' then 'failed' else 'pending' end,
                next_attempt_at = case when sync_state = 'failed' then next_attempt_at
                                       else greatest(last_attempt_at + %(interval)s * interval '1 second', now()) end
            where storm_id = any(%(ids)s) and (sync_state <> 'collected' or {ACTIVE})
            """,  # noqa: S608
            {"ids": storm_ids, "interval": APPLY_INTERVAL.total_seconds()},
        )


def retry_now(*, rr_id: UUID, actor: str) -> bool:
    """A person asks for another attempt of a failed or rejected sync, at once; False if there is none to ask for.

    A rejected manifest is built and sent anew: what the cluster refused it for may have changed there.
    """
    failing = [SyncState.FAILED, SyncState.REJECTED]
    with transaction.atomic():
        updated = RemediationRequest.objects.filter(id=rr_id, sync_state__in=failing).update(**DUE_AGAIN, attempts=0)
        if updated:
            request = RemediationRequest.objects.only("id", "namespace", "name").get(id=rr_id)
            audit.record(action=AuditAction.SYNC_RETRIED, actor=actor, target=request)
    if updated:
        _publish(rr_id)
    return bool(updated)


def record_applied(
    *,
    rr_id: UUID,
    version: int,
    apply_count: int,
    manifest: dict[str, Any],
    manifest_hash: str,
    cluster: str,
    uid: str,
    resource_version: str,
    generation: int,
) -> None:
    """The cluster holds what the rows said at `version`; a change since then keeps the row pending.

    The operator's phase is not taken from the answer: the watch may have mirrored a newer one already. Only a new
    object (another uid) starts without one.

    Args:
        apply_count: the row's when it was claimed. If it rose since, two syncs overlapped (one was slow), and which
            manifest the cluster took last is unknown: the row is synced once more.
    """
    first = RemediationRequest.objects.filter(id=rr_id, applied_at__isnull=True).exists()
    fresh = RemediationRequest.objects.filter(id=rr_id).exclude(uid=uid)
    if fresh.update(phase="", phase_message="", phase_at=None):
        ObservedResource.objects.filter(request_id=rr_id).update(status={})
    applied: dict[str, Any] = {
        "applied_at": timezone.now(),
        "manifest": manifest,
        "applied_hash": manifest_hash,
        "apply_count": F("apply_count") + 1,
        "namespace": manifest["metadata"]["namespace"],
        "cluster": cluster,
        "uid": uid,
        "resource_version": resource_version,
        "generation": generation,
        "collected_at": None,
    }
    if not RemediationRequest.objects.filter(id=rr_id, apply_count=apply_count).update(**applied):
        unsure = applied | {"applied_hash": "", "desired_version": F("desired_version") + 1}
        RemediationRequest.objects.filter(id=rr_id).update(**unsure)
    ObservedResource.objects.filter(request_id=rr_id).update(body=None, at=timezone.now())
    _settle_version(rr_id, version)
    if first:
        _storm_event(rr_id, EventKind.APPLIED, "RemediationRequest applied", once=EventKind.APPLIED)
    _publish(rr_id)


def record_unchanged(*, rr_id: UUID, version: int) -> None:
    """What the cluster holds is what the rows say: no call was needed."""
    _settle_version(rr_id, version)


def _settle_version(rr_id: UUID, version: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            update storms_remediationrequest set applied_version = greatest(applied_version, %(version)s),
                sync_state = case when desired_version > greatest(applied_version, %(version)s) then 'pending'
                                  else 'applied' end,
                next_attempt_at = case when desired_version > greatest(applied_version, %(version)s)
                    then last_attempt_at + %(interval)s * interval '1 second' end,
                attempts = 0, last_error = '', enqueued_at = null
            where id = %(id)s
            """,
            {"id": rr_id, "version": version, "interval": APPLY_INTERVAL.total_seconds()},
        )


def record_failure(*, rr_id: UUID, attempts: int, error: str, retry_after: float | None = None) -> None:
    """The cluster did not take it: the row says why and when the next attempt comes.

    It may have taken it all the same (a call that timed out), so what it held before is no longer known.
    """
    delay = CHAIN_REST if attempts % CHAIN_ATTEMPTS == 0 else backoff(attempts, retry_after)
    RemediationRequest.objects.filter(id=rr_id).update(
        sync_state=SyncState.FAILED,
        last_error=error,
        next_attempt_at=Now() + delay,
        enqueued_at=None,
        applied_hash="",
    )
    if attempts == 1:
        _storm_event(rr_id, EventKind.SYNC_FAILED, f"Sync failed: {error}"[:500])
    _publish(rr_id)


def backoff(attempts: int, retry_after: float | None = None) -> timedelta:
    """1 s, 2 s, 4 s ... 60 s, each with a jitter of up to a half, and never before the server's own Retry-After."""
    seconds = min(2.0 ** (attempts - 1), LONGEST_BACKOFF_SECONDS) * random.uniform(1.0, 1.5)  # noqa: S311
    return timedelta(seconds=max(seconds, retry_after or 0.0))


def record_rejection(*, rr_id: UUID, version: int, error: str) -> None:
    """The cluster says the manifest is wrong: the same one is not sent again, a changed one is."""
    # Not where a newer one was taken meanwhile.
    RemediationRequest.objects.filter(id=rr_id, applied_version__lte=version).update(
        sync_state=SyncState.REJECTED,
        rejected_version=version,
        last_error=error,
        next_attempt_at=None,
        enqueued_at=None,
    )
    _storm_event(rr_id, EventKind.SYNC_FAILED, f"Rejected by the cluster: {error}"[:500])
    _publish(rr_id)


def move_to_namespace(*, rr_id: UUID, namespace: str, origin_namespace: str) -> None:
    """The alert's own namespace is not in the cluster: the request lives in the fallback one, and is due at once."""
    due_soon = DUE_AGAIN | {"next_attempt_at": Now() + APPLY_INTERVAL}
    RemediationRequest.objects.filter(id=rr_id).update(
        namespace=namespace, origin_namespace=origin_namespace, **due_soon
    )


def mirror_status(
    *,
    rr_id: UUID,
    uid: str,
    resource_version: str,
    generation: int,
    phase: str,
    message: str,
    status: dict[str, Any],
) -> None:
    """The operator's word, from the watch: mirrored to the row, a changed phase to the storm's timeline."""
    with transaction.atomic():
        observe(rr_id=rr_id, status=status)
        changed = (
            RemediationRequest.objects.filter(id=rr_id)
            .exclude(phase=phase, phase_message=message)
            .update(phase=phase, phase_message=message, phase_at=timezone.now())
        )
        RemediationRequest.objects.filter(id=rr_id).update(uid=uid, resource_version=resource_version)
        if changed and phase:
            text = f"Phase: {phase}" + (f" ({message})" if message else "")
            _storm_event(rr_id, EventKind.PHASE_CHANGED, text[:500])
    _publish(rr_id)


def mirror_deleted(*, rr_id: UUID) -> bool:
    """Somebody deleted the resource: made again while it is wanted (an open storm, an alert that fires)."""
    observe(rr_id=rr_id, body={}, status={})
    return _correct(rr_id, "The resource was deleted in the cluster; it is made again")


def mirror_difference(*, rr_id: UUID, apply_count: int, body: dict[str, Any] | None) -> None:
    """The cluster holds `body`, which is not what was applied; None: it is again.

    `apply_count` is the row's that it was compared with: of an older manifest nothing is kept.
    """
    with transaction.atomic():
        rows = RemediationRequest.objects.select_for_update(no_key=True, of=("self",))
        if not rows.filter(id=rr_id, apply_count=apply_count).exists():
            return
        observe(rr_id=rr_id, body=body)
    _publish(rr_id)


def mirror_drift(*, rr_id: UUID, detail: str, changes: list[dict[str, str | None]]) -> bool:
    """Somebody edited the resource: corrected while it is wanted.

    `changes` are the first fields that differ, {path, applied, found}, with values as JSON.
    """
    return _correct(
        rr_id, f"The resource was edited in the cluster; it is corrected: {detail}"[:500], {"changes": changes}
    )


def observe(*, rr_id: UUID, **seen: Any) -> None:
    """Keep what was seen of the resource: its `body`, its `status`, or both; see `ObservedResource`."""
    ObservedResource.objects.update_or_create(request_id=rr_id, defaults={**seen, "at": timezone.now()})


def _correct(rr_id: UUID, message: str, detail: dict[str, Any] | None = None) -> bool:
    with transaction.atomic():
        corrected = _make_due_again(rr_id)
        if corrected:
            _storm_event(rr_id, EventKind.DRIFT, message, detail=detail)
    # Also where it stays as it is: the storm's page shows what the cluster has.
    _publish(rr_id)
    return corrected


def _make_due_again(rr_id: UUID) -> bool:
    wanted = Q(storm__state=StormState.OPEN) | Q(storm__firing_count__gt=0) | Q(alert__status="firing")
    rows = RemediationRequest.objects.filter(wanted, id=rr_id, superseded_by__isnull=True)
    # What the console deleted itself is not missed.
    ids = rows.exclude(sync_state=SyncState.COLLECTED).values_list("id", flat=True)
    return bool(RemediationRequest.objects.filter(id__in=list(ids)).update(**DUE_AGAIN, applied_hash=""))


def _storm_event(
    rr_id: UUID, kind: EventKind, message: str, *, once: str | None = None, detail: dict[str, Any] | None = None
) -> None:
    """On the storm's timeline, if the request is a storm's (its id is the storm's)."""
    if not RemediationRequest.objects.filter(id=rr_id, kind=RequestKind.STORM).exists():
        return
    StormEvent.objects.bulk_create(
        [StormEvent(storm_id=rr_id, kind=kind, at=timezone.now(), message=message, once=once, detail=detail or {})],
        ignore_conflicts=True,
    )


def _publish(rr_id: UUID) -> None:
    live.publish_storm(rr_id)
