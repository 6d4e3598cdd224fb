"""Liveness, readiness, and the heartbeats that let the web process know the others are alive.

`/healthz` says that this process answers. `/readyz` asks PostgreSQL, Valkey, the migration table, and the heartbeats
of the components named in `EXPECTED_COMPONENTS`; each has an entry of its own in the answer.

Heartbeats: `stormconsole:alive:<component>` is a sorted set of `host:pid` scored by the store's clock, in seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import cache
from typing import Any

import psutil
import redis
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.backoff import NoBackoff
from redis.retry import Retry

from stormconsole import env

logger = logging.getLogger(__name__)

BEAT_SECONDS = 3.0
ALIVE_SECONDS = 15
CHECK_TIMEOUT_SECONDS = 1.0
KEY_PREFIX = "stormconsole:alive:"


class NotReadyError(Exception):
    """A check's own words for what is wrong."""


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as the process serves requests: a failing database is no reason to restart it."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 `{"status": "ok", "checks": {name: {"status": "ok"}}}`, or 503 with a `detail` beside what is not ok."""
    checks = readiness()
    ready = all(check["status"] == "ok" for check in checks.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": checks}, status=200 if ready else 503)


def readiness() -> dict[str, dict[str, Any]]:
    """Run every check, at once, each for at most `CHECK_TIMEOUT_SECONDS`."""
    components = env.names("EXPECTED_COMPONENTS")
    running = {
        "postgresql": _pool("postgresql").submit(_check_postgresql),
        "valkey": _pool("valkey").submit(_check_valkey),
        "migrations": _pool("migrations").submit(_check_migrations),
    } | {name: _pool("components").submit(_check_component, name) for name in components}
    deadline = time.monotonic() + CHECK_TIMEOUT_SECONDS
    return {name: _outcome(future, deadline) for name, future in running.items()}


def start_heartbeat(component: str) -> Callable[[], None]:
    """Beat for `component` from a daemon thread until the process ends, or the returned function is called.

    Never raises and never blocks: without Valkey it goes on trying.
    """
    stopped = threading.Event()
    thread = threading.Thread(target=_beat_until, args=(component, stopped), name=f"heartbeat-{component}", daemon=True)
    thread.start()

    def stop() -> None:
        stopped.set()
        thread.join(CHECK_TIMEOUT_SECONDS)
        with contextlib.suppress(redis.RedisError):
            _store().zrem(KEY_PREFIX + component, _identity())

    atexit.register(stop)
    return stop


def forget_dead_processes(components: list[str]) -> None:
    """Drop the heartbeats of this host's processes that are gone, so that a restart is not taken for alive early."""
    host = socket.gethostname()
    for component in components:
        for member in _store().zrange(KEY_PREFIX + component, 0, -1):
            name, _, pid = member.rpartition(":")
            if name == host and not psutil.pid_exists(int(pid)):
                _store().zrem(KEY_PREFIX + component, member)


def _check_postgresql() -> None:
    # A connection of its own: the question is whether PostgreSQL takes new work, not whether an old socket is open.
    database = connection.copy()
    try:
        with database.cursor() as cursor:
            cursor.execute("select 1")
    finally:
        database.close()


def _check_valkey() -> None:
    _store().ping()


def _check_migrations() -> None:
    _require_migrated()


def _check_component(name: str) -> None:
    # A host's clock may be wrong, the store's is the same for those who beat and those who look.
    now = _store().time()[0]
    if not _store().zcount(KEY_PREFIX + name, now - ALIVE_SECONDS, "+inf"):
        raise NotReadyError(f"no heartbeat of a {name} process in {ALIVE_SECONDS} s")


@cache
def _require_migrated() -> None:
    """Raise while migrations are missing; remembered once they are not, since they are never taken back under us."""
    database = connection.copy()
    try:
        executor = MigrationExecutor(database)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    finally:
        database.close()
    if plan:
        first = plan[0][0]
        raise NotReadyError(f"{len(plan)} not applied, first {first.app_label}.{first.name}: run manage.py migrate")


def _outcome(future: Future[None], deadline: float) -> dict[str, Any]:
    try:
        future.result(max(deadline - time.monotonic(), 0))
    except FutureTimeoutError:
        future.cancel()
        return {"status": "failed", "detail": f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"}
    except Exception as error:  # any failure of a check is its result, whatever library it comes from
        return {"status": "failed", "detail": _first_line(error)}
    return {"status": "ok"}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@cache
def _pool(name: str) -> ThreadPoolExecutor:
    """Two threads per check: one that hangs on a dead server must not hold up the checks of the others."""
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix=f"readyz-{name}")


@cache
def _store() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=CHECK_TIMEOUT_SECONDS,
        socket_connect_timeout=CHECK_TIMEOUT_SECONDS,
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
                logger.warning("no heartbeat of %s, Valkey does not answer: %s", component, _first_line(error))
            failing = True
        stopped.wait(BEAT_SECONDS)


def _beat(component: str) -> None:
    key = KEY_PREFIX + component
    now = _store().time()[0]
    with _store().pipeline(transaction=False) as pipeline:
        pipeline.zadd(key, {_identity(): now})
        pipeline.zremrangebyscore(key, "-inf", now - 4 * ALIVE_SECONDS)
        pipeline.expire(key, 4 * ALIVE_SECONDS)
        pipeline.execute()
