"""What the web processes turned away, or left unrecorded: counted here, summed over all of them in Valkey.

`stormconsole:shed` is a hash of reason -> how often, since Valkey was last empty; `receiver_limit:7` and `refused:7`
are receiver 7's parts. Counting costs an addition; the sums are sent at most once a second, later if Valkey is away.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from enum import StrEnum

import redis

KEY = "stormconsole:shed"


class Reason(StrEnum):
    QUEUE_FULL = "queue_full"
    """As many requests wait for a thread as may (WEB_QUEUE): 503."""
    BUFFER_FULL = "buffer_full"
    """The bodies held in memory are as many bytes as may be (WEB_BUFFER_BYTES): 503."""
    CONNECTION_REFUSED = "connection_refused"
    """More connections than WEB_CONNECTIONS, each at work: 503."""
    CONNECTION_DROPPED = "connection_dropped"
    """More connections than that, so the oldest that brought no whole request had to go."""
    SOCKET_REFUSED = "socket_refused"
    """As many pages are kept up to date as may (WEB_SOCKETS): they try again later."""
    SLOW_HEAD = "slow_head"
    SLOW_BODY = "slow_body"
    SLOW_READER = "slow_reader"
    HEAD_TOO_LARGE = "head_too_large"
    RECEIVER_LIMIT = "receiver_limit"
    """A receiver sent more alerts in a minute than it may: 503."""
    LOGIN = "login"
    """A login that failed and is not in the audit: of somebody who is locked out, or one of too many."""
    STRANGER = "stranger"
    """Refused without a known token, and not in the ledger: there were too many of them."""
    REFUSED = "refused"
    """The same of a receiver: it sends again and again what cannot be read."""


class PerMinute:
    """At most so many a minute, in this process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._minute = self._taken = 0

    def take(self) -> bool:
        """Whether there was still room in this minute."""
        minute = int(time.monotonic() // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._taken = minute, 0
            if self._taken >= self.most:
                return False
            self._taken += 1
            return True


_counts: Counter[str] = Counter()
_lock = threading.Lock()


def count(reason: Reason, receiver_id: int | None = None) -> None:
    with _lock:
        _counts[reason.value] += 1
        if receiver_id is not None:
            _counts[f"{reason.value}:{receiver_id}"] += 1


def anything_to_send() -> bool:
    return bool(_counts)


def send() -> None:
    """Add what was counted since to the sums; without Valkey it is kept for the next time."""
    from stormconsole.alive import store  # here: it needs the settings, which the edge is loaded before

    with _lock:
        counted = dict(_counts)
        _counts.clear()
    try:
        with store().pipeline() as pipeline:
            for reason, number in counted.items():
                pipeline.hincrby(KEY, reason, number)
            pipeline.execute()
    except redis.RedisError:
        with _lock:
            _counts.update(counted)


def shed_totals() -> dict[str, int]:
    """{reason: how often}, every reason named. Raises RedisError without Valkey."""
    from stormconsole.alive import store

    stored = store().hgetall(KEY)
    return {reason.value: int(stored.get(reason.value, 0)) for reason in Reason}


def over_limit(receiver_ids: list[int]) -> dict[int, int]:
    """{receiver: how often it was over its limit}. Raises RedisError without Valkey."""
    from stormconsole.alive import store

    if not receiver_ids:
        return {}
    values = store().hmget(KEY, [f"{Reason.RECEIVER_LIMIT.value}:{id_}" for id_ in receiver_ids])
    return {id_: int(value or 0) for id_, value in zip(receiver_ids, values, strict=True)}
