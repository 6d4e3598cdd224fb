"""The ledger: what came in, what was answered, what is stored, and whether the three agree."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from psycopg.types.json import Jsonb

from ingestion.adapters.batch import Content, Rejected
from ingestion.models import DeadLetter, Delivery, LetterState, Receiver
from storms.choices import AuditAction
from storms.services import audit

MAX_ERROR = 500
REPLAY = "replay"
"""The kind of a delivery that is a dead letter's replay: no word of its receiver."""
RECONCILED = "reconcile"
"""The kind of a delivery that the console fetched itself (`ingestion.alertmanager_checks`)."""

# One statement, so one snapshot: a webhook writes its delivery and its alerts in one transaction, and so does retention
# with what it deletes and what it counts.
_TOTALS = """
select d.deliveries, d.received, d.answered, d.rejected, a.recorded, l.dead_letters, d.not_kept, d.accepted_rejected,
    (select coalesce(json_object_agg(counter, value), '{}') from ingestion_prunedtotal)
from (
    select count(*) as deliveries, coalesce(sum(received), 0) as received,
        coalesce(sum((select coalesce(sum(value::int), 0) from jsonb_each_text(outcomes))), 0) as answered,
        coalesce(sum((outcomes->>'rejected')::int), 0) as rejected, coalesce(sum(not_kept), 0) as not_kept,
        coalesce(sum((outcomes->>'rejected')::int) filter (where http_status < 300), 0) as accepted_rejected
    from ingestion_delivery
) d, (select coalesce(sum(occurrences), 0) + coalesce(sum(resolutions), 0) as recorded from storms_alert) a,
    (select count(*) as dead_letters from ingestion_deadletter) l
"""
_TOTALS_NAMES = (
    "deliveries", "received", "answered", "rejected", "recorded", "dead_letters", "not_kept", "accepted_rejected",
)  # fmt: skip
_DELIVERY = """
delivery as (
    insert into ingestion_delivery (id, receiver_id, kind, received_at, remote_addr, http_status, body_bytes,
        received, outcomes, not_kept, truncated_alerts, old_token, error)
    values ({id}, %(d_receiver)s, %(d_kind)s, %(d_received_at)s, %(d_remote_addr)s, %(d_status)s, %(d_bytes)s,
        %(d_received)s, %(d_outcomes)s, {not_kept}, %(d_truncated)s, %(d_old_token)s, '')
),
"""
# A receiver keeps so many waiting ones; of two webhooks at once each may fill the same last places.
_DEAD_LETTERS = """
dead_letters as (
    insert into ingestion_deadletter (delivery_id, receiver_id, received_at, index, raw, truncated, media_type, headers,
        base, pointer, reason, error)
    select %(d_id)s, %(d_receiver)s, %(d_received_at)s, t.index, t.raw, t.truncated, %(l_media_type)s, %(l_headers)s,
        t.base, t.pointer, t.reason, t.error
    from unnest(%(l_index)s::int[], %(l_raw)s::text[], %(l_truncated)s::bool[], %(l_base)s::text[],
                %(l_pointer)s::text[], %(l_reason)s::text[], %(l_error)s::text[])
        with ordinality as t(index, raw, truncated, base, pointer, reason, error, place)
    where t.place <= %(l_most)s - (select count(*) from (select 1 from ingestion_deadletter w
        where w.receiver_id = %(d_receiver)s and w.state = 'waiting' limit %(l_most)s) waiting)
    returning 1
),
"""
_ID = "%(d_id)s"
_NOT_KEPT = "%(l_count)s - (select count(*) from dead_letters)"
# The letter is taken and its delivery made in one statement. If it waits no longer the id is null, which the table
# refuses: the replay is undone with all that it recorded.
_REPLAYED = """
replayed as (
    update ingestion_deadletter set state = 'replayed', attempts = attempts + 1, queued_at = null,
        handled_at = %(d_received_at)s, handled_by = %(r_actor)s, outcome = %(r_outcome)s, replayed_as = %(d_id)s,
        alert_id = %(r_alert)s
    where id = %(r_letter)s and state = 'waiting' returning 1
),
"""
_REPLAY_ID = "(select %(d_id)s::uuid from replayed)"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of a webhook request before it is read."""

    id: UUID
    kind: str
    received_at: datetime
    remote_addr: str | None
    old_token: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """A delivery that is the replay of one dead letter, by `actor`, which became this alert."""

    letter_id: int
    alert_id: UUID
    actor: str


class DeliveryRecord:
    """The ledger's row and the dead letters of one webhook, committed together with its alerts.

    The statement violates a not-null constraint if it is the replay of a letter that does not wait any more.
    """

    def __init__(
        self,
        *,
        receipt: Receipt,
        receiver_id: int | None,
        content: Content | None,
        rejected: list[Rejected],
        truncated_alerts: int,
        replay: Replay | None = None,
    ) -> None:
        self._receipt = receipt
        self._receiver_id = receiver_id
        self._content = content
        self._rejected = rejected
        self._truncated_alerts = truncated_alerts
        self._replay = replay

    def statement(self, outcomes: Counter[str]) -> tuple[str, dict[str, Any]]:
        counted = self._counted(outcomes)
        parameters: dict[str, Any] = {
            "d_id": self._receipt.id,
            "d_receiver": self._receiver_id,
            "d_kind": self._receipt.kind,
            "d_received_at": self._receipt.received_at,
            "d_remote_addr": self._receipt.remote_addr,
            "d_status": http_status(counted),
            "d_bytes": len(self._content.body) if self._content is not None else 0,
            "d_received": sum(counted.values()),
            "d_outcomes": Jsonb(counted),
            "d_truncated": self._truncated_alerts,
            "d_old_token": self._receipt.old_token,
        }
        if self._replay is not None:
            parameters |= {
                "r_letter": self._replay.letter_id,
                "r_alert": self._replay.alert_id,
                "r_actor": self._replay.actor,
                "r_outcome": next(iter(outcomes)),
            }
            return _REPLAYED + _DELIVERY.format(id=_REPLAY_ID, not_kept="0"), parameters
        if not self._rejected:
            return _DELIVERY.format(id=_ID, not_kept="0"), parameters
        return _DEAD_LETTERS + _DELIVERY.format(id=_ID, not_kept=_NOT_KEPT), parameters | self._letters()

    @property
    def in_transaction(self) -> bool:
        return self._replay is not None

    def finish(self, outcomes: Counter[str]) -> None:
        if self._replay is not None:
            audit.record(
                action=AuditAction.DEAD_LETTER_REPLAYED,
                actor=self._replay.actor,
                target=DeadLetter(id=self._replay.letter_id),
                before={"state": LetterState.WAITING},
                after={"state": LetterState.REPLAYED, "outcome": next(iter(outcomes)), "alert": self._replay.alert_id},
            )

    def correct(self, outcomes: Counter[str]) -> None:
        counted = self._counted(outcomes)
        Delivery.objects.filter(id=self._receipt.id).update(outcomes=dict(counted), http_status=http_status(counted))
        if self._replay is not None:
            DeadLetter.objects.filter(id=self._replay.letter_id).update(outcome=next(iter(outcomes)))

    def _letters(self) -> dict[str, Any]:
        # More than fit in any case need not be sent.
        most = settings.MAX_DEAD_LETTERS
        items = self._rejected[:most]
        raw = [bounded_raw(item.raw, settings.MAX_DEAD_LETTER_BYTES) for item in items]
        return {
            "l_most": most,
            "l_count": len(self._rejected),
            "l_media_type": self._content.media_type[:100] if self._content is not None else "",
            "l_headers": Jsonb(dict(self._content.headers) if self._content is not None else {}),
            "l_index": [item.index for item in items],
            "l_raw": [text for text, _ in raw],
            "l_truncated": [truncated for _, truncated in raw],
            "l_base": [item.base for item in items],
            "l_pointer": [item.pointer[:MAX_ERROR] for item in items],
            "l_reason": [item.reason for item in items],
            "l_error": [item.error[:MAX_ERROR] for item in items],
        }

    def _counted(self, outcomes: Counter[str]) -> Counter[str]:
        return outcomes + Counter({"rejected": len(self._rejected)})


def bounded_raw(raw: str, limit: int) -> tuple[str, bool]:
    """(text of at most `limit` bytes, whether it was cut)."""
    encoded = raw.encode()
    if len(encoded) <= limit:
        return raw, False
    return encoded[:limit].decode(errors="ignore"), True


def http_status(outcomes: Counter[str]) -> int:
    """201 if any alert will get a RemediationRequest made by this webhook, else 202."""
    return 201 if outcomes["storm_opened"] or outcomes["individual"] else 202


def record_refusal(
    *,
    receipt: Receipt,
    receiver_id: int | None,
    http_status: int,
    body_bytes: int,
    error: str,
    rejected: int = 0,
) -> None:
    """A webhook that was answered with an error, or a replay that failed: the ledger's row and nothing else."""
    # Its receiver may have been deleted a moment ago.
    known = Receiver.objects.filter(id=receiver_id).values_list("id", flat=True).first() if receiver_id else None
    Delivery.objects.create(
        id=receipt.id,
        receiver_id=known,
        kind=receipt.kind,
        received_at=receipt.received_at,
        remote_addr=receipt.remote_addr,
        old_token=receipt.old_token,
        http_status=http_status,
        body_bytes=body_bytes,
        received=rejected,
        outcomes={"rejected": rejected} if rejected else {},
        error=error.replace("\x00", "\\0")[:MAX_ERROR],
    )


def totals() -> dict[str, int]:
    """All deliveries added up, with those that retention has deleted.

    received, answered (alerts with an outcome), rejected, recorded (in rows of alerts), dead_letters, not_kept (set
    aside when there were too many dead letters already), deliveries, and unaccounted: received but not answered,
    answered but not in a row, set aside but neither in a dead letter nor counted as not kept. It is 0.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS)
        *stored, pruned = cursor.fetchone()
    counted = {name: int(count) + pruned.get(name, 0) for name, count in zip(_TOTALS_NAMES, stored, strict=True)}
    accepted_rejected = counted.pop("accepted_rejected")
    unaccounted = (
        abs(counted["received"] - counted["answered"])
        + abs(counted["answered"] - counted["rejected"] - counted["recorded"])
        + abs(accepted_rejected - counted["dead_letters"] - counted["not_kept"])
    )
    return counted | {"unaccounted": unaccounted}
