"""Heartbeats in Valkey: how the web process, and a container's health check, know that the others are alive.

`stormconsole:alive:<component>` is a sorted set of `host:pid` scored by the store's clock, in seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
from functools import cache

import psutil
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

BEAT_SECONDS = 3.0
ALIVE_SECONDS = 15
ANSWER_SECONDS = 1.0
"""How long Valkey may take to answer."""

KEY_PREFIX = "stormconsole:alive:"


def start_heartbeat(component: str) -> Callable[[], None]:
    """Beat for `component` from a daemon thread until the process ends, or the returned function is called.

    Never raises and never blocks: without Valkey it goes on trying.
    """
    stopped = threading.Event()
    thread = threading.Thread(target=_beat_until, args=(component, stopped), name=f"heartbeat-{component}", daemon=True)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join(ANSWER_SECONDS)
        with contextlib.suppress(redis.RedisError):
            store().zrem(KEY_PREFIX + component, _identity())

    atexit.register(stop)
    return stop


def forget_dead_processes(components: Iterable[str]) -> None:
    """Drop the heartbeats of this host's processes that are gone, so that a restart is not taken for alive early."""
    host = socket.gethostname()
    for component in components:
        for member in map(str, store().zrange(KEY_PREFIX + component, 0, -1)):
            name, _, pid = member.rpartition(":")
            if name == host and not psutil.pid_exists(int(pid)):
                store().zrem(KEY_PREFIX + component, member)


def is_alive(component: str) -> bool:
    """Whether any process of the component beat in the last `ALIVE_SECONDS`. Raises RedisError without Valkey."""
    return count_alive(component) > 0


def count_alive(component: str) -> int:
    """How many processes of the component beat in the last `ALIVE_SECONDS`. Raises RedisError without Valkey."""
    # A host's clock may be wrong, the store's is the same for those who beat and those who look.
    now = store().time()[0]
    return int(store().zcount(KEY_PREFIX + component, now - ALIVE_SECONDS, "+inf"))


@cache
def store() -> redis.Redis:
    """A client that gives up after `ANSWER_SECONDS`."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        decode_responses=True,
        retry=Retry(NoBackoff(), 1),  # once: a connection from before Valkey's restart is no news
    )


def _identity() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _beat_until(component: str, stopped: threading.Event) -> None:
    failing = False
    while not stopped.is_set():
        try:
            _beat(component)
            failing = False
        except redis.RedisError as error:
            if not failing:
                logger.warning("no heartbeat of %s, Valkey does not answer: %s", component, error)
            failing = True
        stopped.wait(BEAT_SECONDS)


def _beat(component: str) -> None:
    key = KEY_PREFIX + component
    now = store().time()[0]
    with store().pipeline(transaction=False) as pipeline:
        pipeline.zadd(key, {_identity(): now})
        pipeline.zremrangebyscore(key, "-inf", now - 4 * ALIVE_SECONDS)
        pipeline.expire(key, 4 * ALIVE_SECONDS)
        pipeline.execute()
