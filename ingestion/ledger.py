"""The ledger: what came in, what was answered, what is stored, and whether the three agree."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from psycopg.types.json import Jsonb

from ingestion.adapters.batch import Rejected
from ingestion.models import Delivery, Receiver

MAX_ERROR = 500

# One statement, so one snapshot: a webhook writes its delivery and its alerts in one transaction, and so does retention
# with what it deletes and what it counts.
_TOTALS = """
select d.deliveries, d.received, d.answered, d.rejected, a.recorded, l.dead_letters, d.accepted_rejected,
    (select coalesce(json_object_agg(counter, value), '{}') from ingestion_prunedtotal)
from (
    select count(*) as deliveries, coalesce(sum(received), 0) as received,
        coalesce(sum((select coalesce(sum(value::int), 0) from jsonb_each_text(outcomes))), 0) as answered,
        coalesce(sum((outcomes->>'rejected')::int), 0) as rejected,
        coalesce(sum((outcomes->>'rejected')::int) filter (where http_status < 300), 0) as accepted_rejected
    from ingestion_delivery
) d, (select coalesce(sum(occurrences), 0) + coalesce(sum(resolutions), 0) as recorded from storms_alert) a,
    (select count(*) as dead_letters from ingestion_deadletter) l
"""
_DELIVERY = """
delivery as (
    insert into ingestion_delivery (id, receiver_id, kind, received_at, remote_addr, http_status, body_bytes,
        received, outcomes, truncated_alerts, error)
    values (%(d_id)s, %(d_receiver)s, %(d_kind)s, %(d_received_at)s, %(d_remote_addr)s, %(d_status)s, %(d_bytes)s,
        %(d_received)s, %(d_outcomes)s, %(d_truncated)s, '')
),
"""
_DEAD_LETTERS = """
dead_letters as (
    insert into ingestion_deadletter (delivery_id, receiver_id, received_at, index, raw, pointer, error)
    select %(d_id)s, %(d_receiver)s, %(d_received_at)s, t.index, t.raw, t.pointer, t.error
    from unnest(%(l_index)s::int[], %(l_raw)s::text[], %(l_pointer)s::text[], %(l_error)s::text[])
        as t(index, raw, pointer, error)
),
"""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of a webhook request before it is read."""

    id: UUID
    kind: str
    received_at: datetime
    remote_addr: str | None


class DeliveryRecord:
    """The ledger's row and the dead letters of one webhook, committed together with its alerts."""

    def __init__(
        self,
        *,
        receipt: Receipt,
        receiver_id: int | None,
        body_bytes: int,
        rejected: list[Rejected],
        truncated_alerts: int,
    ) -> None:
        self._receipt = receipt
        self._receiver_id = receiver_id
        self._body_bytes = body_bytes
        self._rejected = rejected
        self._truncated_alerts = truncated_alerts

    def statement(self, outcomes: Counter[str]) -> tuple[str, dict[str, Any]]:
        counted = self._counted(outcomes)
        parameters: dict[str, Any] = {
            "d_id": self._receipt.id,
            "d_receiver": self._receiver_id,
            "d_kind": self._receipt.kind,
            "d_received_at": self._receipt.received_at,
            "d_remote_addr": self._receipt.remote_addr,
            "d_status": http_status(counted),
            "d_bytes": self._body_bytes,
            "d_received": sum(counted.values()),
            "d_outcomes": Jsonb(counted),
            "d_truncated": self._truncated_alerts,
        }
        if not self._rejected:
            return _DELIVERY, parameters
        parameters |= {
            "l_index": [item.index for item in self._rejected],
            "l_raw": [item.raw for item in self._rejected],
            "l_pointer": [item.pointer[:MAX_ERROR] for item in self._rejected],
            "l_error": [item.error[:MAX_ERROR] for item in self._rejected],
        }
        return _DELIVERY + _DEAD_LETTERS, parameters

    def correct(self, outcomes: Counter[str]) -> None:
        counted = self._counted(outcomes)
        Delivery.objects.filter(id=self._receipt.id).update(outcomes=dict(counted), http_status=http_status(counted))

    def _counted(self, outcomes: Counter[str]) -> Counter[str]:
        return outcomes + Counter({"rejected": len(self._rejected)})


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
    """A webhook that was answered with an error: the ledger's row and nothing else."""
    # Its receiver may have been deleted a moment ago.
    known = Receiver.objects.filter(id=receiver_id).values_list("id", flat=True).first() if receiver_id else None
    Delivery.objects.create(
        id=receipt.id,
        receiver_id=known,
        kind=receipt.kind,
        received_at=receipt.received_at,
        remote_addr=receipt.remote_addr,
        http_status=http_status,
        body_bytes=body_bytes,
        received=rejected,
        outcomes={"rejected": rejected} if rejected else {},
        error=error.replace("\x00", "\\0")[:MAX_ERROR],
    )


def totals() -> dict[str, int]:
    """All deliveries added up, with those that retention has deleted.

    received, answered (alerts with an outcome), rejected, recorded (in rows of alerts), dead_letters, deliveries, and
    unaccounted: received but not answered, answered but not in a row, set aside but not in a dead letter. It is 0.
    """
    names = ("deliveries", "received", "answered", "rejected", "recorded", "dead_letters", "accepted_rejected")
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS)
        *stored, pruned = cursor.fetchone()
    counted = {name: int(count) + pruned.get(name, 0) for name, count in zip(names, stored, strict=True)}
    accepted_rejected = counted.pop("accepted_rejected")
    unaccounted = (
        abs(counted["received"] - counted["answered"])
        + abs(counted["answered"] - counted["rejected"] - counted["recorded"])
        + abs(accepted_rejected - counted["dead_letters"])
    )
    return counted | {"unaccounted": unaccounted}
