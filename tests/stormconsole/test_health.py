"""/healthz and /readyz, each check failing for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory

from stormconsole import alive, health
from tests.harness.wait import wait_until
from tests.plugin import session


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    """Checks remember a client and that migrations were fine."""
    yield
    alive.store.cache_clear()
    health._require_migrated.cache_clear()


def _readyz(rf: RequestFactory) -> tuple[int, dict[str, Any]]:
    response: HttpResponse = health.readyz(rf.get("/readyz"))
    return response.status_code, json.loads(response.content)


def test_healthz_asks_nobody(rf: RequestFactory) -> None:
    response = health.healthz(rf.get("/healthz"))
    assert (response.status_code, json.loads(response.content)) == (200, {"status": "ok"})


@pytest.mark.django_db(transaction=True)
def test_readyz_names_every_check(rf: RequestFactory) -> None:
    assert _readyz(rf) == (
        200,
        {
            "status": "ok",
            "checks": {
                "postgresql": {"status": "ok"},
                "valkey": {"status": "ok"},
                "migrations": {"status": "ok"},
            },
        },
    )


@pytest.mark.django_db(transaction=True)
def test_readyz_waits_for_expected_components(
    rf: RequestFactory, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPECTED_COMPONENTS", "sweep,watch")
    stop = health.start_heartbeat("sweep")
    wait_until(lambda: alive.is_alive("sweep"))
    status, body = _readyz(rf)
    assert status == 503
    assert body["checks"]["sweep"] == {"status": "ok"}
    assert body["checks"]["watch"] == {"status": "failed", "detail": "no heartbeat of a watch process in 15 s"}
    stop()
    assert not alive.is_alive("sweep")


@pytest.mark.django_db(transaction=True)
def test_readyz_without_valkey(rf: RequestFactory, settings: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings.REDIS_URL = f"redis://127.0.0.1:{closed.getsockname()[1]}/0"
        alive.store.cache_clear()
        status, body = _readyz(rf)
    assert status == 503
    assert body["checks"]["postgresql"] == {"status": "ok"}
    assert "refused" in body["checks"]["valkey"]["detail"]


@pytest.mark.django_db(transaction=True)
def test_readyz_with_a_migration_missing(rf: RequestFactory) -> None:
    with connection.cursor() as cursor:
        cursor.execute("delete from django_migrations where app = 'sessions' returning name, applied")
        name, applied = cursor.fetchone()
        try:
            status, body = _readyz(rf)
        finally:
            cursor.execute(
                "insert into django_migrations (app, name, applied) values ('sessions', %s, %s)", [name, applied]
            )
    assert status == 503
    assert body["checks"]["migrations"]["detail"] == (f"1 not applied, first sessions.{name}: run manage.py migrate")


@pytest.mark.skipif(bool(os.environ.get("TEST_DATABASE_URL")), reason="stops the PostgreSQL server: embedded only")
@pytest.mark.django_db(transaction=True)
def test_readyz_answers_soon_while_postgresql_hangs(rf: RequestFactory) -> None:
    postgres = session().postgres
    assert postgres
    assert postgres.pid
    os.kill(postgres.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        status, body = _readyz(rf)
        took = time.monotonic() - started
    finally:
        os.kill(postgres.pid, signal.SIGCONT)
    assert status == 503
    assert body["checks"]["postgresql"] == {"status": "failed", "detail": "no answer within 1 s"}
    assert body["checks"]["valkey"] == {"status": "ok"}
    assert took < 2


def test_heartbeat_survives_a_lost_store(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "BEAT_SECONDS", 0.05)
    stop = health.start_heartbeat("watch")
    wait_until(lambda: alive.is_alive("watch"))
    valkey.flushdb()
    wait_until(lambda: alive.is_alive("watch"))
    stop()


def test_dead_processes_of_this_host_are_forgotten(valkey: redis.Redis) -> None:
    key = f"{alive.KEY_PREFIX}sweep"
    now = int(valkey.time()[0])
    gone, here, elsewhere = f"{socket.gethostname()}:999999999", f"{socket.gethostname()}:{os.getpid()}", "other:1"
    valkey.zadd(key, {gone: now, here: now, elsewhere: now})
    alive.forget_dead_processes(["sweep"])
    assert set(valkey.zrange(key, 0, -1)) == {here, elsewhere}
