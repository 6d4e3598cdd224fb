"""Retention: what is older than it may be goes, oldest first, in short transactions, and is counted.

The order matters: alerts before the storms that they keep, dead letters before the deliveries that they belong to.
"""

import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import connection, transaction

from ingestion.models import DeadLetter, PrunedTotal
from storms.locks import locked
from storms.services import retention

logger = logging.getLogger(__name__)

BATCH = 1000
LOCK = 0x5052554E  # "PRUN"

# Dead letters that stay keep their delivery (`letters`: those before it do not stay; null: all do). A receiver's last
# accepted delivery of a kind stays too: it says when the receiver was heard of.
_OLD_DELIVERIES = """
d.received_at < %(before)s
and not exists (select 1 from ingestion_deadletter l where l.delivery_id = d.id
                and (%(letters)s::timestamptz is null or l.received_at >= %(letters)s))
and (d.receiver_id is null or d.http_status >= 300 or exists (
    select 1 from ingestion_delivery n
    where n.receiver_id = d.receiver_id and n.kind = d.kind and n.received_at > d.received_at and n.http_status < 300))
"""
_PRUNE_DELIVERIES = f"""
with old as (
    select d.id from ingestion_delivery d where {_OLD_DELIVERIES}
    order by d.received_at limit %(batch)s for update of d skip locked
), gone as (
    delete from ingestion_delivery d using old where d.id = old.id
    returning d.received, d.outcomes, d.http_status, d.not_kept
)
select count(*), coalesce(sum(received), 0),
    coalesce(sum((select coalesce(sum(value::int), 0) from jsonb_each_text(outcomes))), 0),
    coalesce(sum((outcomes->>'rejected')::int), 0),
    coalesce(sum((outcomes->>'rejected')::int) filter (where http_status < 300), 0), coalesce(sum(not_kept), 0)
from gone
"""  # noqa: S608
_PRUNE_DEAD_LETTERS = """
with old as (
    select l.id from ingestion_deadletter l where l.received_at < %(before)s
    order by l.received_at limit %(batch)s for update of l skip locked
)
delete from ingestion_deadletter l using old where l.id = old.id
"""
# Those that wait are bounded where they come in (ingestion/ledger.py).
_TRIM_DEAD_LETTERS = """
with numbered as (
    select id, row_number() over (partition by receiver_id order by id desc) as place
    from ingestion_deadletter where state <> 'waiting'
)
delete from ingestion_deadletter l using numbered n where l.id = n.id and n.place > %(most)s
"""
_ADD = """
insert into ingestion_prunedtotal as t (counter, value) select * from unnest(%s::text[], %s::bigint[])
on conflict (counter) do update set value = t.value + excluded.value
"""


@dataclass(frozen=True, slots=True)
class Pruned:
    """A kind of row, and how many of it went (or would go). before: None where it is kept for ever."""

    name: str
    setting: str
    before: datetime | None
    count: int


@dataclass(frozen=True, slots=True)
class _Kind:
    """prune: deletes one batch of what is older, says how many; count: how many would go in all."""

    name: str
    setting: str
    before: datetime | None
    prune: Callable[[datetime], int]
    count: Callable[[datetime], int]


class PruningElsewhere(Exception):
    """Another process prunes at the moment."""


def prune(*, now: datetime, batches: int | None = None) -> list[Pruned]:
    """Delete what is older than its retention, `batches` of each kind at most (None: all of it).

    Raises: PruningElsewhere.
    """
    with locked(LOCK) as mine:
        if not mine:
            raise PruningElsewhere
        return [_pruned(kind, partial(_in_batches, kind, batches)) for kind in _kinds(now)]


def count_prunable(*, now: datetime) -> list[Pruned]:
    """What `prune` would delete; nothing is."""
    return [_pruned(kind, kind.count) for kind in _kinds(now)]


def _pruned(kind: _Kind, work: Callable[[datetime], int]) -> Pruned:
    return Pruned(kind.name, kind.setting, kind.before, work(kind.before) if kind.before is not None else 0)


def _in_batches(kind: _Kind, batches: int | None, before: datetime) -> int:
    total = 0
    for _ in itertools.count() if batches is None else range(batches):
        count = kind.prune(before)
        total += count
        if not count:
            break
    if total:
        logger.info("pruned %d %s from before %s", total, kind.name, before.isoformat(timespec="minutes"))
    return total


def _kinds(now: datetime) -> list[_Kind]:
    """In the order in which they have to go."""
    before = {
        setting: now - timedelta(days=days) if (days := getattr(settings, setting)) else None
        for setting in (
            "RETAIN_ALERTS_DAYS",
            "RETAIN_STORMS_DAYS",
            "RETAIN_DEAD_LETTERS_DAYS",
            "RETAIN_DELIVERIES_DAYS",
            "RETAIN_AUDIT_DAYS",
        )
    }
    alerts, letters = before["RETAIN_ALERTS_DAYS"], before["RETAIN_DEAD_LETTERS_DAYS"]
    work: list[tuple[str, Callable[[datetime], int], Callable[[datetime], int]]] = [
        (
            "alerts",
            lambda time: retention.prune_alerts(before=time, account=account),
            lambda time: retention.count_prunable_alerts(before=time),
        ),
        (
            "storms",
            lambda time: retention.prune_storms(before=time, account=account),
            lambda time: retention.count_prunable_storms(before=time, alerts_before=alerts),
        ),
        ("dead letters", lambda time: prune_dead_letters(before=time), _count_dead_letters),
        (
            "deliveries",
            lambda time: prune_deliveries(before=time),
            lambda time: _count_deliveries(time, letters),
        ),
        (
            "audit entries",
            lambda time: retention.prune_audit(before=time, account=account),
            lambda time: retention.count_prunable_audit(before=time),
        ),
    ]
    return [
        _Kind(name, setting, time, do, count)
        for (setting, time), (name, do, count) in zip(before.items(), work, strict=True)
    ]


def _count_dead_letters(before: datetime) -> int:
    return DeadLetter.objects.filter(received_at__lt=before).count()


def _count_deliveries(before: datetime, letters: datetime | None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"select count(*) from ingestion_delivery d where {_OLD_DELIVERIES}",  # noqa: S608
            {"before": before, "letters": letters},
        )
        return int(cursor.fetchone()[0])


def account(counts: Mapping[str, int]) -> None:
    """Add to what was pruned ever, inside the transaction that deletes: the ledger still adds up."""
    with connection.cursor() as cursor:
        # In one order, so that two deletions do not wait for each other.
        names = sorted(counts)
        cursor.execute(_ADD, [names, [counts[name] for name in names]])


def pruned_ever() -> dict[str, int]:
    """{counter: how many} since the beginning."""
    return dict(PrunedTotal.objects.order_by("counter").values_list("counter", "value"))


@transaction.atomic
def prune_dead_letters(*, before: datetime, batch: int = BATCH) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE_DEAD_LETTERS, {"before": before, "batch": batch})
        count = cursor.rowcount
    if count:
        account({"dead_letters": count})
    return count


@transaction.atomic
def trim_dead_letters() -> int:
    """Of each receiver's replayed and discarded letters the last MAX_DEAD_LETTERS stay; how many went."""
    with connection.cursor() as cursor:
        cursor.execute(_TRIM_DEAD_LETTERS, {"most": settings.MAX_DEAD_LETTERS})
        count = cursor.rowcount
    if count:
        account({"dead_letters": count})
    return count


@transaction.atomic
def prune_deliveries(*, before: datetime, batch: int = BATCH) -> int:
    """Deliveries without dead letters: those go first, after their own retention."""
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE_DELIVERIES, {"before": before, "letters": None, "batch": batch})
        count, received, answered, rejected, accepted_rejected, not_kept = map(int, cursor.fetchone())
    if count:
        account(
            {
                "deliveries": count,
                "received": received,
                "answered": answered,
                "rejected": rejected,
                "accepted_rejected": accepted_rejected,
                "not_kept": not_kept,
            }
        )
    return count
