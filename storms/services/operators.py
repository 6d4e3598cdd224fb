"""Operators' hands: what a person does to a storm. Each writes the timeline with the person's name."""

from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from storms import detector, live
from storms.choices import AuditAction, CloseReason, Disposition, EventKind, StormState
from storms.clock import to_datetime, to_us
from storms.models import Alert, RemediationRequest, Storm, StormEvent
from storms.services import audit
from storms.services.closing import close_storm
from storms.services.opening import insert_alert_requests
from storms.services.requests import DUE_AGAIN, mark_storms_due

MAX_TEXT = 500


class OperatorError(ValueError):
    """What was asked for cannot be done; the message says why and what to do instead."""


def acknowledge(*, storm_id: UUID, actor: str) -> None:
    """Somebody looks after it. The first one stays on the row; a repeat changes nothing."""
    with transaction.atomic():
        storm = _lock_storm(storm_id)
        if storm.acknowledged_at is not None:
            return
        Storm.objects.filter(id=storm_id).update(acknowledged_at=timezone.now(), acknowledged_by=actor)
        _event(storm_id, EventKind.ACKNOWLEDGED, f"Acknowledged by {actor}", actor)
        audit.record(action=AuditAction.STORM_ACKNOWLEDGED, actor=actor, target=storm, after={"acknowledged_by": actor})
    live.publish_storm(storm_id, at_once=True)


def assign(*, storm_id: UUID, assignee: str, actor: str) -> None:
    """An empty assignee takes it back."""
    assignee = assignee.strip()[:150]
    with transaction.atomic():
        storm = _lock_storm(storm_id)
        before = storm.assignee
        if before == assignee:
            return
        Storm.objects.filter(id=storm_id).update(assignee=assignee)
        _event(storm_id, EventKind.ASSIGNED, f"Assigned to {assignee}" if assignee else "Assigned to nobody", actor)
        audit.record(
            action=AuditAction.STORM_ASSIGNED,
            actor=actor,
            target=storm,
            before={"assignee": before},
            after={"assignee": assignee},
        )
    live.publish_storm(storm_id, at_once=True)


def add_note(*, storm_id: UUID, text: str, actor: str) -> None:
    """Raises: OperatorError for an empty or too long note."""
    text = text.strip()
    if not 0 < len(text) <= MAX_TEXT:
        raise OperatorError(f"A note has 1 to {MAX_TEXT} characters; this one has {len(text)}.")
    with transaction.atomic():
        storm = _lock_storm(storm_id)
        _event(storm_id, EventKind.NOTE, text, actor)
        audit.record(action=AuditAction.STORM_NOTED, actor=actor, target=storm, detail=text)
    live.publish_storm(storm_id, at_once=True)


def close(*, storm_id: UUID, comment: str, actor: str) -> None:
    """Close an open storm whatever goes on in it; a new burst in its group is a new storm.

    Raises: OperatorError, StoreUnavailable.
    """
    comment = comment.strip()[:MAX_TEXT]
    if not comment:
        raise OperatorError("Say why: the reason stands on the timeline and in the resource.")
    storm = Storm.objects.get(id=storm_id)
    closed = close_storm(
        storm_id=storm_id, group_key=storm.group_key, reason=CloseReason.OPERATOR, actor=actor, comment=comment
    )
    if not closed:
        raise OperatorError("The storm is closed already.")


def split(*, alert_id: UUID, actor: str) -> UUID:
    """Take an alert out of its storm and give it a RemediationRequest of its own; the request's id.

    Raises: OperatorError if it is in no storm, or is the last one in it.
    """
    with transaction.atomic():
        alert = _lock_member(alert_id)
        storm_id = alert.storm_id
        if not Alert.objects.filter(storm_id=storm_id).exclude(id=alert_id).exists():
            raise OperatorError("It is the storm's last alert: close the storm instead.")
        _take_out(alert)
        mark_storms_due(storm_ids=[storm_id])
        _event(storm_id, EventKind.SPLIT, f"{alert} was split out into alert-{alert_id}", actor)
        audit.record(
            action=AuditAction.ALERT_SPLIT,
            actor=actor,
            target=alert,
            before={"storm": storm_id},
            after={"storm": None},
        )
    live.publish_storm(storm_id, at_once=True)
    return alert_id


def _lock_member(alert_id: UUID) -> Any:
    """The alert, its storm locked before it as everywhere; a merge may move it in between, so look again.

    Raises: OperatorError.
    """
    for _ in range(5):
        storm_id = Alert.objects.values_list("storm_id", flat=True).get(id=alert_id)
        if storm_id is None:
            raise OperatorError("The alert is in no storm.")
        _lock_storm(storm_id)
        alert = Alert.objects.select_for_update(of=("self",)).get(id=alert_id)
        if alert.storm_id == storm_id:
            return alert
    raise OperatorError("The alert's storm is being merged: try again.")


def _take_out(alert: Alert) -> None:
    Alert.objects.filter(id=alert.id).update(storm=None, split_from=alert.storm_id, disposition=Disposition.INDIVIDUAL)
    insert_alert_requests([(alert.id, alert.namespace)])
    # It may have had one that the storm absorbed.
    RemediationRequest.objects.filter(id=alert.id, superseded_by__isnull=False).update(superseded_by=None, **DUE_AGAIN)


def merge(*, storm_id: UUID, into: UUID, actor: str) -> None:
    """Put an open storm's alerts into another open storm of the same policy; the emptied one is closed as merged.

    A new burst in the emptied storm's group is a new storm. An alert that joins while this runs follows (see
    `move_merged_alerts`).

    Raises: OperatorError, StoreUnavailable.
    """
    source, target = _mergeable(storm_id, into)
    with transaction.atomic():
        # Before the store's: of two merges of the same storms one must find out while nothing is closed yet.
        _lock_open([source.id, target.id])
        verdict = detector.close(
            group_key=source.group_key,
            storm_id=source.id,
            reason=CloseReason.MERGED,
            idle_us=0,
            last_us=to_us(source.last_alert_at),
        )
        Storm.objects.filter(id=source.id).update(
            state=StormState.CLOSED,
            closed_at=to_datetime(verdict.us),
            close_reason=CloseReason.MERGED,
            merged_into=target,
            alert_count=0,
            firing_count=0,
            resolved_count=0,
        )
        _move(source.id, target.id)
        RemediationRequest.objects.filter(id=source.id).update(superseded_by_id=target.id, **DUE_AGAIN)
        mark_storms_due(storm_ids=[target.id])
        _event(source.id, EventKind.MERGED, f"Merged into {target.group_title}", actor)
        _event(target.id, EventKind.MERGED, f"{source.group_title} was merged into this storm", actor)
        audit.record(
            action=AuditAction.STORM_MERGED,
            actor=actor,
            target=source,
            before={"state": source.state, "alerts": source.alert_count},
            after={"state": StormState.CLOSED, "merged_into": target.id},
        )
    live.publish_storm(source.id, at_once=True)
    live.publish_storm(target.id, at_once=True)


def _mergeable(storm_id: UUID, into: UUID) -> tuple[Storm, Storm]:
    if storm_id == into:
        raise OperatorError("A storm cannot be merged into itself.")
    source, target = Storm.objects.get(id=storm_id), Storm.objects.get(id=into)
    if source.state != StormState.OPEN or target.state != StormState.OPEN:
        raise OperatorError("Only open storms can be merged.")
    if source.policy_id is None or source.policy_id != target.policy_id:
        raise OperatorError("Only storms of one policy can be merged.")
    return source, target


def _lock_open(storm_ids: list[UUID]) -> None:
    """In the order of their ids, so that two merges do not wait for each other. Raises: OperatorError."""
    states = list(
        Storm.objects.select_for_update(no_key=True)
        .filter(id__in=storm_ids)
        .order_by("id")
        .values_list("state", flat=True)
    )
    if states != [StormState.OPEN] * len(storm_ids):
        raise OperatorError("One of the two storms was closed meanwhile.")


_MOVE = """
with moving as (select id from storms_alert where storm_id = %(source)s order by id for update)
update storms_alert a set storm_id = %(target)s, changed_xid = pg_current_xact_id()::text::bigint
from moving m where a.id = m.id
"""
_MERGED_WITH_ALERTS = """
select s.id, s.merged_into_id from storms_storm s
where s.merged_into_id is not null and s.closed_at > now() - interval '1 hour'
  and exists (select 1 from storms_alert a where a.storm_id = s.id)
"""


def _move(source: UUID, target: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, {"source": source, "target": target})


def move_merged_alerts() -> int:
    """Alerts that joined a storm while it was merged follow it; how many storms they came from."""
    with connection.cursor() as cursor:
        cursor.execute(_MERGED_WITH_ALERTS)
        pairs = cursor.fetchall()
    for source, target in pairs:
        with transaction.atomic():
            _move(source, target)
    return len(pairs)


def _lock_storm(storm_id: UUID) -> Storm:
    """Joins only share its key and go on."""
    return Storm.objects.select_for_update(no_key=True).get(id=storm_id)


def _event(storm_id: UUID, kind: EventKind, message: str, actor: str) -> None:
    """A line of the timeline; the storm is published by who calls, after the commit."""
    StormEvent.objects.create(
        storm_id=storm_id, kind=kind, at=timezone.now(), message=message[:MAX_TEXT], actor=actor[:150]
    )
