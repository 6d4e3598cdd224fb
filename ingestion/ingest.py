"""From the bytes of a webhook to recorded alerts: parse, take in, enqueue."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ingestion import receivers
from ingestion.adapters import alertmanager
from ingestion.adapters.alertmanager import Batch, PayloadError, Rejected
from ingestion.ledger import DeliveryRecord, Receipt, http_status
from ingestion.models import ReceiverKind
from ingestion.receivers import KnownReceiver
from stormconsole.problems import Problem
from storms.queue import enqueue_sync
from storms.services.intake import Origin, Result, take_in

PARSERS = {ReceiverKind.ALERTMANAGER.value: alertmanager.parse}
MAX_ERRORS_SHOWN = 20


class AllRejected(Problem):
    """No alert of the batch is valid: 400; `rejected` is how many there were."""

    def __init__(self, rejected: list[Rejected]) -> None:
        errors = [(item.pointer, item.error) for item in rejected[:MAX_ERRORS_SHOWN]]
        super().__init__(400, "No alert in the body is valid, so nothing was taken in.", errors=errors)
        self.rejected = len(rejected)


@dataclass(frozen=True, slots=True)
class Ingested:
    """The answer: HTTP status and body."""

    status: int
    body: dict[str, Any]


def ingest(*, body: bytes, receiver: KnownReceiver, receipt: Receipt) -> Ingested:
    """Take a webhook in; everything is committed when this returns.

    Raises: Problem (400 for what cannot be read, 401 for a token revoked a moment ago), django.db.Error if PostgreSQL
    fails; nothing is recorded then.
    """
    batch = _parse(receipt.kind, body)
    if not batch.alerts:
        raise AllRejected(batch.rejected)
    record = DeliveryRecord(
        receipt=receipt,
        receiver_id=receiver.id,
        body_bytes=len(body),
        rejected=batch.rejected,
        truncated_alerts=batch.truncated_alerts,
    )
    origin = Origin(
        receiver=receiver.name,
        kind=receiver.kind,
        delivery_id=receipt.id,
        received_at=receipt.received_at,
        still_valid=lambda: _require_valid(receiver),
    )
    intake = take_in(alerts=batch.alerts, origin=origin, companion=record)
    enqueue_sync(intake.requests)
    return _answer(receipt, intake.results, batch.rejected)


def _parse(kind: str, body: bytes) -> Batch:
    try:
        return PARSERS[kind](body)
    except PayloadError as error:
        raise Problem(400, f"The body cannot be read: {error}.", errors=[(error.pointer, str(error))]) from error


def _require_valid(receiver: KnownReceiver) -> None:
    receivers.reload()
    if not receivers.is_valid(receiver):
        raise Problem(
            401,
            "The token was revoked: rotate the receiver's token in the admin.",
            headers={"WWW-Authenticate": 'Bearer realm="stormconsole"'},
        )


def _answer(receipt: Receipt, results: list[Result], rejected: list[Rejected]) -> Ingested:
    outcomes = Counter(result.outcome for result in results) + Counter({"rejected": len(rejected)})
    rows = [_row(result) for result in results]
    if rejected:
        rows += [
            {"index": item.index, "outcome": "rejected", "error": {"pointer": item.pointer, "detail": item.error}}
            for item in rejected
        ]
        rows.sort(key=lambda row: row["index"])
    body = {"deliveryId": receipt.id, "received": len(rows), "summary": dict(outcomes), "results": rows}
    return Ingested(http_status(outcomes), body)


def _row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {
        "index": result.index,
        "fingerprint": result.fingerprint,
        "outcome": result.outcome,
        "group": result.group,
    }
    if result.count is not None:
        row["count"], row["threshold"] = result.count, result.threshold
    if result.storm is not None:
        row["storm"] = result.storm
    if result.remediation_request is not None:
        row["remediationRequest"] = result.remediation_request
    if result.release_at is not None:
        row["releaseAt"] = result.release_at
    return row
