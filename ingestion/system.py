"""What the System page shows, read from the rows; each part is a few indexed queries, however many rows there are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now

from ingestion.heartbeat import KIND as CONSOLE_KIND
from ingestion.ledger import RECONCILED, REPLAY
from ingestion.models import DeadLetter, Delivery, LetterState
from storms.choices import SyncState
from storms.models import Alert, RemediationRequest, WatchState
from storms.services.watching import ROW

RATE_MINUTES = 60
BUCKETS = 20
"""Bars of a receiver's rate, each of three minutes."""
RECEIVERS_SHOWN = 200
FAILURES_SHOWN = 25
LETTERS_SHOWN = 20
LATE_WATCH = timedelta(minutes=3)
"""A watch lasts a minute at most, so one that says nothing for so long is stuck or gone."""
TROUBLE = ("silent", "failing", "never", "ok", "disabled")
"""States of receivers, the worst first."""

_RECEIVERS = """
select r.id, r.name, r.kind, r.enabled, r.heartbeat_minutes, r.created_at, latest.received_at, accepted.received_at,
    refused.received_at, refused.http_status, refused.error
from ingestion_receiver r
left join lateral (
    select d.received_at from ingestion_delivery d
    where d.receiver_id = r.id and d.kind <> all(%(own)s) order by d.received_at desc limit 1
) latest on true
left join lateral (
    select d.received_at from ingestion_delivery d
    where d.receiver_id = r.id and d.http_status < 300 and d.kind <> all(%(own)s) order by d.received_at desc limit 1
) accepted on true
left join lateral (
    select d.received_at, d.http_status, d.error from ingestion_delivery d
    where d.receiver_id = r.id and d.http_status >= 300 and d.kind <> all(%(own)s) order by d.received_at desc limit 1
) refused on true
order by r.name limit %(limit)s
"""
_RATES = """
select receiver_id, floor(extract(epoch from %(now)s - received_at) / %(bucket)s)::int as bucket, count(*)
from ingestion_delivery where received_at > %(since)s and receiver_id is not null group by 1, 2
"""


@dataclass(frozen=True, slots=True)
class ReceiverRow:
    """A receiver and its last word. rate: deliveries in each bucket of the last hour, the oldest first."""

    id: int
    name: str
    kind: str
    enabled: bool
    heartbeat_minutes: int | None
    created_at: datetime
    last_at: datetime | None
    accepted_at: datetime | None
    refused_at: datetime | None
    refused_status: int | None
    refused_error: str | None
    rate: list[int]
    now: datetime

    @property
    def due_at(self) -> datetime | None:
        """When its dead man's switch goes off."""
        if self.heartbeat_minutes is None or not self.enabled:
            return None
        return (self.accepted_at or self.created_at) + timedelta(minutes=self.heartbeat_minutes)

    @property
    def state(self) -> str:
        """disabled, silent (its switch went off), failing (its last word was refused), never (not heard yet) or ok."""
        if not self.enabled:
            return "disabled"
        if self.due_at is not None and self.due_at <= self.now:
            return "silent"
        if self.refused_at is not None and self.refused_at == self.last_at:
            return "failing"
        return "ok" if self.accepted_at is not None else "never"

    @property
    def per_hour(self) -> int:
        return sum(self.rate)


def receivers(now: datetime) -> list[ReceiverRow]:
    """Silent ones first."""
    rates = _rates(now)
    own = [CONSOLE_KIND, REPLAY, RECONCILED]
    rows = [
        ReceiverRow(*(*row, rates.get(row[0], [0] * BUCKETS), now))
        for row in _rows(_RECEIVERS, {"own": own, "limit": RECEIVERS_SHOWN})
    ]
    return sorted(rows, key=lambda row: (TROUBLE.index(row.state), row.name))


def _rates(now: datetime) -> dict[int, list[int]]:
    since, bucket = now - timedelta(minutes=RATE_MINUTES), RATE_MINUTES * 60 / BUCKETS
    rates: dict[int, list[int]] = defaultdict(lambda: [0] * BUCKETS)
    for receiver, age, count in _rows(_RATES, {"now": now, "since": since, "bucket": bucket}):
        # A delivery that came in while this was asked has an age below 0.
        rates[receiver][BUCKETS - 1 - min(max(age, 0), BUCKETS - 1)] += count
    return rates


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be done. due: requests whose next attempt should have begun, the oldest at `oldest_due`."""

    due: int
    oldest_due: datetime | None
    pending: int
    failed: int
    rejected: int


def backlog() -> Backlog:
    """From the partial indexes of what is not in the cluster yet."""
    waiting = RemediationRequest.objects.filter(sync_state__in=[SyncState.PENDING, SyncState.FAILED])
    counted = waiting.aggregate(
        due=Count("id", filter=Q(next_attempt_at__lte=Now())),
        oldest=Min("next_attempt_at", filter=Q(next_attempt_at__lte=Now())),
        pending=Count("id", filter=Q(sync_state=SyncState.PENDING)),
        failed=Count("id", filter=Q(sync_state=SyncState.FAILED)),
    )
    rejected = _failing().filter(sync_state=SyncState.REJECTED).count()
    return Backlog(counted["due"], counted["oldest"], counted["pending"], counted["failed"], rejected)


def sync_failures() -> list[RemediationRequest]:
    """The latest attempts first."""
    rows = _failing().select_related("storm", "alert").defer("manifest", "alert__labels", "alert__annotations")
    return list(rows.order_by("-last_attempt_at")[:FAILURES_SHOWN])


def _failing() -> QuerySet[RemediationRequest]:
    return RemediationRequest.objects.filter(sync_state__in=[SyncState.FAILED, SyncState.REJECTED])


@dataclass(frozen=True, slots=True)
class Watch:
    """How the watch of the cluster stands: `state` is ok, failing, late or never."""

    row: WatchState | None
    state: str


def watch(now: datetime) -> Watch:
    row = WatchState.objects.filter(id=ROW).first()
    if row is not None and row.failing_since is not None:
        return Watch(row, "failing")
    if row is None or row.heard_at is None:
        return Watch(row, "never")
    return Watch(row, "late" if now - row.heard_at > LATE_WATCH else "ok")


def waiting_letters() -> list[dict[str, Any]]:
    """[{receiver__name, error, count}] of the dead letters that wait, the most first."""
    rows: QuerySet[Any, Any] = DeadLetter.objects.filter(state=LetterState.WAITING).values("receiver__name", "error")
    return list(rows.annotate(count=Count("id")).order_by("-count", "receiver__name", "error")[:LETTERS_SHOWN])


def deliveries(*, receiver: str, answer: str) -> QuerySet[Delivery]:
    """Of the ledger, the receiver's of that name ("" for all), and accepted, refused or those with rejected alerts."""
    rows = Delivery.objects.select_related("receiver")
    if receiver:
        rows = rows.filter(receiver__name=receiver)
    if answer == "accepted":
        return rows.filter(http_status__lt=300)
    if answer == "refused":
        return rows.filter(http_status__gte=300)
    return rows.filter(outcomes__has_key="rejected") if answer == "rejected" else rows


def alerts_of(delivery: Delivery, limit: int) -> list[Alert]:
    """Those that it brought first; it stamped them, so that the index on the time finds them."""
    rows = Alert.objects.filter(received_at=delivery.received_at, delivery_id=delivery.id)
    return list(rows.select_related("storm").defer("annotations")[:limit])


def _rows(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
