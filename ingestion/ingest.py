"""From the bytes of a webhook to recorded alerts: parse, take in, enqueue."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ingestion import receivers, silences
from ingestion.adapters import alertmanager, generic, kubernetes_event
from ingestion.adapters.batch import Batch, Content, PayloadError, Rejected
from ingestion.ledger import DeliveryRecord, Receipt, Replay, http_status
from ingestion.limits import require_within_limit
from ingestion.models import ReceiverKind
from ingestion.normalise import Terms
from ingestion.receivers import KnownReceiver
from stormconsole.problems import Problem
from storms.queue import enqueue_sync
from storms.services.intake import Origin, Result, take_in

T = TypeVar("T")

PARSERS: dict[str, Callable[[Content, Terms], Batch]] = {
    ReceiverKind.ALERTMANAGER.value: alertmanager.parse,
    ReceiverKind.KUBERNETES_EVENT.value: kubernetes_event.parse,
    ReceiverKind.GENERIC.value: generic.parse,
}
MAX_ERRORS_SHOWN = 20
# How often the receiver may be edited while one webhook is taken in.
MAX_EDITS = 5


class AllRejected(Problem):
    """No alert of the batch is valid: 400; `rejected` is how many there were.

    Alerts that the receiver may not send are readable, and are set aside with a 202.
    """

    def __init__(self, rejected: list[Rejected]) -> None:
        errors = [(item.pointer, item.error) for item in rejected[:MAX_ERRORS_SHOWN]]
        super().__init__(400, "No alert in the body is valid, so nothing was taken in.", errors=errors)
        self.rejected = len(rejected)


@dataclass(frozen=True, slots=True)
class Ingested:
    """The answer: HTTP status and body."""

    status: int
    body: dict[str, Any]


class _ReceiverEdited(Exception):
    """The receiver's terms or its limit are not what they were: what was read under the old ones is void."""

    def __init__(self, receiver: KnownReceiver) -> None:
        super().__init__(f"receiver {receiver.name} was edited")
        self.receiver = receiver


def ingest(*, content: Content, receiver: KnownReceiver, receipt: Receipt) -> Ingested:
    """Take a webhook in; everything is committed when this returns.

    Raises: Problem (400 for what cannot be read, 401 for a token revoked a moment ago, 503 for a receiver over its
    limit), django.db.Error if PostgreSQL fails; nothing is recorded then.
    """
    counted_against: list[int | None] = []

    def take(receiver: KnownReceiver) -> Ingested:
        batch = _parse(receipt.kind, content, receiver.terms)
        # Once, unless it is the limit that was edited meanwhile.
        if receiver.alerts_per_minute not in counted_against:
            counted_against.append(receiver.alerts_per_minute)
            require_within_limit(receiver, len(batch.alerts) + len(batch.rejected))
        if not batch.readable:
            raise AllRejected(batch.rejected)
        results = record_batch(
            batch=batch,
            receipt=receipt,
            receiver_id=receiver.id,
            receiver_name=receiver.name,
            content=content,
            still_valid=partial(require_same, receiver),
        )
        return _answer(receipt, results, batch.rejected)

    return under_current_terms(receiver, take)


def under_current_terms(receiver: KnownReceiver, take: Callable[[KnownReceiver], T]) -> T:
    """What `take` returns; it is called again if the receiver is edited meanwhile.

    Args:
        take: passes `require_same` as `still_valid` to `record_batch`.

    Raises: Problem 503 if that happens again and again.
    """
    for _ in range(MAX_EDITS):
        try:
            return take(receiver)
        except _ReceiverEdited as edited:
            receiver = edited.receiver
    raise Problem(503, "The receiver is being edited: send it again.", headers={"Retry-After": "1"})


def record_batch(
    *,
    batch: Batch,
    receipt: Receipt,
    receiver_id: int | None,
    receiver_name: str,
    content: Content | None = None,
    source: str = "",
    replay: Replay | None = None,
    still_valid: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Decide and record a batch with its row in the ledger, then enqueue what it made; a result for each good alert.

    Args:
        content: None for what the console makes itself.
        source: the alerts' own, where it is not the delivery's kind.
        replay: the one alert of the batch comes from this dead letter.

    Raises: django.db.Error if PostgreSQL fails; nothing is recorded then.
    """
    record = DeliveryRecord(
        receipt=receipt,
        receiver_id=receiver_id,
        content=content,
        rejected=batch.rejected,
        truncated_alerts=batch.truncated_alerts,
        replay=replay,
    )
    origin = Origin(
        receiver=receiver_name,
        kind=source or receipt.kind,
        delivery_id=receipt.id,
        received_at=receipt.received_at,
        still_valid=still_valid,
        silence_of=lambda labels: silences.find(labels, receipt.received_at),
    )
    intake = take_in(alerts=batch.alerts, origin=origin, companion=record)
    enqueue_sync(intake.requests)
    return intake.results


def _parse(kind: str, content: Content, terms: Terms) -> Batch:
    """Raises: Problem 400."""
    try:
        return PARSERS[kind](content, terms)
    except PayloadError as error:
        raise Problem(400, f"The body cannot be read: {error}.", errors=[(error.pointer, str(error))]) from error


def require_same(receiver: KnownReceiver) -> None:
    """Raises: Problem 401 if the token was revoked, or what `under_current_terms` waits for."""
    receivers.reload()
    now = receivers.same(receiver)
    if now is None:
        raise Problem(
            401,
            "The token was revoked: rotate the receiver's token in the admin.",
            headers={"WWW-Authenticate": 'Bearer realm="stormconsole"'},
        )
    if (now.terms, now.alerts_per_minute) != (receiver.terms, receiver.alerts_per_minute):
        raise _ReceiverEdited(now)


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
