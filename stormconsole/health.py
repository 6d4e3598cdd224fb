"""Liveness, readiness, and the heartbeats that let the web process know the others are alive.

`/healthz` says that this process answers. `/readyz` asks PostgreSQL, Valkey, the migration table, and the heartbeats
of the components named in `EXPECTED_COMPONENTS`; each has an entry of its own in the answer.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import cache
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from stormconsole import env
from stormconsole.alive import ALIVE_SECONDS, is_alive, start_heartbeat, store

__all__ = ["healthz", "readiness", "readyz", "start_heartbeat"]

CHECK_TIMEOUT_SECONDS = 1.0


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
    body = {"status": "ok" if ready else "unavailable", "checks": checks}
    response = JsonResponse(body, status=200 if ready else 503)
    # Whoever asks gets the reason; Django would log an error for every probe of a console that is still starting.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


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


def _check_postgresql() -> None:
    # Always a new connection: the question is whether PostgreSQL takes new work, not whether an old socket is open.
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    finally:
        connection.close()


def _check_valkey() -> None:
    store().ping()


def _check_migrations() -> None:
    _require_migrated()


def _check_component(name: str) -> None:
    if not is_alive(name):
        raise NotReadyError(f"no heartbeat of a {name} process in {ALIVE_SECONDS} s")


@cache
def _require_migrated() -> None:
    """Raise while migrations are missing; remembered once they are not, since they are never taken back under us."""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    finally:
        connection.close()
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
