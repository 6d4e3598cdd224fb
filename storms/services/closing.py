"""Closing storms: the store decides, atomically against a join; the row follows."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from storms import detector, live
from storms.choices import AlertStatus, AuditAction, CloseReason, EventKind, StormState
from storms.clock import to_datetime, to_us
from storms.models import Alert, Storm, StormEvent
from storms.policies import SECOND_US
from storms.services import audit
from storms.services.requests import mark_storms_due

logger = logging.getLogger(__name__)

# A member whose join was decided longer ago than this is recorded, so "every member resolved" can be believed.
RESOLVED_GRACE_US = 2 * SECOND_US
# An idle time that nothing reaches: ask the store without closing.
NEVER_US = 10**18


def close_due_storms(*, now: datetime) -> list[UUID]:
    """Close every storm that is quiet, all resolved or too old; the ids of those that closed.

    Raises: StoreUnavailable; the next call goes on.
    """
    closed = []
    for storm_id, group_key, reason, idle_us in _due(now):
        if close_storm(storm_id=storm_id, group_key=group_key, reason=reason, idle_us=idle_us):
            closed.append(storm_id)
    return closed


def _due(now: datetime) -> list[tuple[UUID, str, CloseReason, int]]:
    due: list[tuple[UUID, str, CloseReason, int]] = []
    for storm in Storm.objects.filter(state=StormState.OPEN):
        if storm.opened_at + timedelta(seconds=storm.max_duration_seconds) <= now:
            due.append((storm.id, storm.group_key, CloseReason.MAX_DURATION, 0))
        elif storm.last_alert_at + timedelta(seconds=storm.quiet_seconds) <= now:
            due.append((storm.id, storm.group_key, CloseReason.QUIET, storm.quiet_seconds * SECOND_US))
        elif storm.alert_count and not storm.firing_count and not _fires(storm.id):
            due.append((storm.id, storm.group_key, CloseReason.RESOLVED, RESOLVED_GRACE_US))
    return due


def _fires(storm_id: UUID) -> bool:
    return Alert.objects.filter(storm_id=storm_id, status=AlertStatus.FIRING).exists()


def close_storm(
    *, storm_id: UUID, group_key: str, reason: CloseReason, idle_us: int = 0, actor: str = "", comment: str = ""
) -> bool:
    """Close one storm unless an alert joined within `idle_us`; True if this call closed its row.

    Raises: StoreUnavailable.
    """
    last = Alert.objects.filter(storm_id=storm_id).aggregate(last=Max("decided_at"))["last"]
    verdict = detector.close(
        group_key=group_key, storm_id=storm_id, reason=reason, idle_us=idle_us, last_us=to_us(last) if last else 0
    )
    if verdict.verdict == "active":
        # The row was behind; the next look at it comes when the storm can be quiet.
        Storm.objects.filter(id=storm_id).update(last_alert_at=to_datetime(verdict.us))
        return False
    return _close_row(storm_id, verdict.us, verdict.reason or reason, actor, comment)


def close_what_the_store_closed(*, storm_id: UUID) -> bool:
    """Let the row follow if the store closed this storm already (a sweep may have died in between)."""
    storm = Storm.objects.get(id=storm_id)
    verdict = detector.close(
        group_key=storm.group_key, storm_id=storm_id, reason="", idle_us=NEVER_US, last_us=to_us(storm.last_alert_at)
    )
    if verdict.verdict != "closed":
        return False
    _close_row(storm_id, verdict.us, verdict.reason)
    return True


def _close_row(storm_id: UUID, closed_us: int, reason: str, actor: str = "", comment: str = "") -> bool:
    reason = reason if reason in CloseReason.values else CloseReason.QUIET.value
    closed_at = to_datetime(closed_us)
    with transaction.atomic():
        updated = Storm.objects.filter(id=storm_id, state=StormState.OPEN).update(
            state=StormState.CLOSED, closed_at=closed_at, close_reason=reason, close_comment=comment
        )
        if not updated:
            return False
        StormEvent.objects.create(
            storm_id=storm_id,
            kind=EventKind.CLOSED,
            at=closed_at,
            message=f"Closed: {CloseReason(reason).label.lower()}" + (f" ({comment})" if comment else ""),
            actor=actor,
        )
        mark_storms_due(storm_ids=[storm_id])
        if actor:
            audit.record(
                action=AuditAction.STORM_CLOSED,
                actor=actor,
                target=Storm.objects.get(id=storm_id),
                before={"state": StormState.OPEN},
                after={"state": StormState.CLOSED, "close_reason": reason},
                detail=comment,
            )
    live.publish_storm(storm_id, at_once=True)
    return True
