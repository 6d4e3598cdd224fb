"""The sweep: the console's timekeeper. Whatever was to happen by now and has not, happens here.

It is a process of its own (`manage.py sweep`) and not a Celery task, because what it keeps are promises about time
(a held alert is released within a second, a quiet storm closed within two) that must not wait in a queue, nor die with
the broker. Several may run; one of them holds PostgreSQL's advisory lock and works, the others stand by.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from storms import detector, locks
from storms.clock import to_datetime
from storms.detector import StoreUnavailable
from storms.queue import enqueue_collection, enqueue_label_baseline, enqueue_sync, queue_takes_more
from storms.services.closing import close_due_storms
from storms.services.collection import take_collectable
from storms.services.deferred import anything_deferred, decide_deferred
from storms.services.expiring import expire_alerts
from storms.services.label_baseline import baseline_is_due
from storms.services.operators import move_merged_alerts
from storms.services.refresh import dirty_storms, left_behind_storms, refresh_storm
from storms.services.releasing import adopt_stragglers, release_due_alerts
from storms.services.requests import ask_refused_marks_again, mark_storms_due, take_due

logger = logging.getLogger(__name__)

LOCK = 0x53544F52  # "STOR"
TICK_SECONDS = 0.25
HOUSEKEEPING_SECONDS = 30.0
# What one tick does at most, in batches; the next tick goes on.
BATCHES = 20
# After an outage thousands of alerts wait for their decision, and others for their release meanwhile.
DECIDING_SECONDS = 0.25
LONGEST_UNDECIDED_SECONDS = 60.0
_undecided_since: float | None = None


@dataclass(slots=True)
class Swept:
    """What one tick did."""

    adopted: int = 0
    released: int = 0
    decided: int = 0
    closed: int = 0
    enqueued: list[UUID] = field(default_factory=list)
    goes_on: bool = False
    """More deferred alerts wait: the next tick is due at once."""
    asked: bool = False
    """The store answered."""
    undecided: bool = True
    """Deferred alerts may still wait, and may have kept a storm from being quiet."""

    @property
    def anything(self) -> bool:
        return bool(self.adopted or self.released or self.decided or self.closed)


def try_lock() -> bool:
    """True if this process is the one that sweeps, for as long as its database connection lives."""
    return locks.try_lock(LOCK)


def sweep_once() -> Swept:
    """One tick. Each part stands alone: what fails in one does not keep the others.

    Raises: django.db's OperationalError and InterfaceError, with which the lock goes too.
    """
    store_now = _store_now()
    swept, now = Swept(asked=store_now is not None), store_now or timezone.now()
    if swept.asked:
        _part("deferred alerts", lambda: _decide(swept))
    _part("stragglers", lambda: _adopt(swept))
    _part("releases", lambda: _release(swept, now))
    if _may_close(swept):
        _part("closing", lambda: _close(swept, now))
    _part("changed storms", lambda: mark_storms_due(storm_ids=dirty_storms()))
    _part("due requests", lambda: _enqueue(swept))
    _part("storms without a sync", _count_left_behind)
    return swept


def housekeep() -> None:
    """What may wait half a minute: alerts that ended without a word, resources that are over, what is usual."""
    now = _store_now() or timezone.now()
    ask_refused_marks_again()
    expired = expire_alerts(now=now)
    collectable = take_collectable(now)
    enqueue_collection(collectable)
    if baseline_is_due(now=now):
        enqueue_label_baseline()
    if expired or collectable:
        logger.info("expired %d alerts, collecting %d resources", len(expired), len(collectable))


def _store_now() -> datetime | None:
    """The store's clock, which also timed the decisions; None while the store is away."""
    try:
        return to_datetime(detector.store_time_us())
    except StoreUnavailable:
        return None


def _part(name: str, work: Callable[[], None]) -> None:
    try:
        work()
    except StoreUnavailable as error:
        logger.debug("sweep: %s wait for the store: %s", name, error)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        # One bad row must not keep every held alert from its release.
        logger.exception("sweep: %s failed, the other parts go on", name)


def _decide(swept: Swept) -> None:
    until = time.monotonic() + DECIDING_SECONDS
    had_their_turn: set[str] = set()
    while time.monotonic() < until:
        # Nearly every tick: nothing waits.
        swept.undecided = anything_deferred()
        if not swept.undecided:
            return
        batch = decide_deferred(without=had_their_turn)
        swept.decided += batch.decided
        enqueue_sync(batch.requests)
        had_their_turn |= set(batch.set_aside)
        if not batch.read:
            return
    swept.goes_on = True


def _may_close(swept: Swept) -> bool:
    """Not before what waits is decided; but what cannot be decided does not keep storms open for ever."""
    global _undecided_since
    if not swept.undecided or swept.decided or not swept.asked:
        _undecided_since = None
        return not swept.undecided
    _undecided_since = _undecided_since or time.monotonic()
    return time.monotonic() > _undecided_since + LONGEST_UNDECIDED_SECONDS


def _adopt(swept: Swept) -> None:
    swept.adopted = len(adopt_stragglers()) + move_merged_alerts()


def _release(swept: Swept, now: datetime) -> None:
    for _ in range(BATCHES):
        released = release_due_alerts(now=now)
        swept.released += len(released)
        if not released:
            return


def _close(swept: Swept, now: datetime) -> None:
    swept.closed = len(close_due_storms(now=now))


def _count_left_behind() -> None:
    for storm_id in left_behind_storms():
        # First: a sync under way counted before this, and must not be the last word once this has counted.
        mark_storms_due(storm_ids=[storm_id])
        refresh_storm(storm_id=storm_id)


def _enqueue(swept: Swept) -> None:
    if queue_takes_more():
        swept.enqueued = take_due()
    enqueue_sync(swept.enqueued)
