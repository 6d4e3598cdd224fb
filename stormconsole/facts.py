"""What the console runs on: its servers, libraries, migrations and configuration, for people to look at."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from django.conf import settings
from django.core import checks
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

import stormconsole
from stormconsole.alive import ALIVE_SECONDS, KEY_PREFIX, store

LIBRARIES = (
    *("Django", "djangorestframework", "django-redis", "django-unfold", "celery", "channels", "channels_redis"),
    *("kubernetes", "psycopg", "redis", "uvicorn", "msgspec", "google-re2"),
)
COMPONENTS = ("worker", "sweep", "watch")
SAFE_POLICY = "noeviction"


@dataclass(frozen=True, slots=True)
class Beat:
    """A process of a component. seconds: since its last heartbeat."""

    process: str
    seconds: float

    @property
    def is_alive(self) -> bool:
        return self.seconds <= ALIVE_SECONDS


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """Valkey or Redis. maxmemory: bytes, 0 without a limit. queued: messages that no worker has taken yet."""

    name: str
    version: str
    used_memory: int
    maxmemory: int
    policy: str
    uptime_seconds: int
    clients: int
    queued: int
    beats: dict[str, list[Beat]]

    @property
    def may_evict(self) -> bool:
        """It would throw away what the detector counts when its memory is full."""
        return self.policy != SAFE_POLICY


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """PostgreSQL. size: bytes of this database."""

    version: str
    size: int
    connections: int
    max_connections: int


def store_facts() -> StoreFacts:
    """In one round trip. Raises: RedisError without a store."""
    with store().pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.info()
        pipeline.llen(queue_key())
        for component in COMPONENTS:
            pipeline.zrange(KEY_PREFIX + component, 0, -1, withscores=True)
        (now, _), info, queued, *beats = pipeline.execute()
    is_valkey = "valkey_version" in info
    return StoreFacts(
        name="Valkey" if is_valkey else "Redis",
        version=str(info["valkey_version"] if is_valkey else info.get("redis_version", "")),
        used_memory=int(info.get("used_memory", 0)),
        maxmemory=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "")),
        uptime_seconds=int(info.get("uptime_in_seconds", 0)),
        clients=int(info.get("connected_clients", 0)),
        queued=queued,
        beats={name: _beats(members, now) for name, members in zip(COMPONENTS, beats, strict=True)},
    )


def queue_key() -> str:
    """Where Celery's messages wait (kombu's list of the only queue)."""
    prefix = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"]
    return f"{prefix}{settings.CELERY_TASK_DEFAULT_QUEUE}"


def _beats(members: Iterable[tuple[str, float]], now: int) -> list[Beat]:
    """The latest first; one of before a clock step counts as of now."""
    found = [Beat(str(name), max(now - at, 0.0)) for name, at in members]
    return sorted(found, key=lambda beat: (beat.seconds, beat.process))


def database_facts() -> DatabaseFacts:
    with connection.cursor() as cursor:
        cursor.execute(
            "select current_setting('server_version'), pg_database_size(current_database()),"
            " (select count(*) from pg_stat_activity where backend_type = 'client backend'),"
            " current_setting('max_connections')::int"
        )
        return DatabaseFacts(*cursor.fetchone())


def missing_migrations() -> list[str]:
    """`app.name` of those that this version brings and the database has not."""
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in _migrations() - applied.keys())


@cache
def _migrations() -> frozenset[tuple[str, str]]:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    replaced = {key for migration in loader.disk_migrations.values() for key in migration.replaces}
    return frozenset(loader.disk_migrations.keys() - replaced)


@cache
def versions() -> dict[str, str]:
    """{name: version} of the console, Python and the libraries that matter."""
    libraries = {name: metadata.version(name) for name in LIBRARIES}
    return {"stormconsole": stormconsole.__version__, "Python": platform.python_version()} | libraries


@cache
def configuration_warnings() -> list[checks.CheckMessage]:
    """What `manage.py check --deploy --tag security` says, the worst first; it stays so as long as the process."""
    found = checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=True)
    return sorted((message for message in found if not message.is_silenced()), key=lambda message: -message.level)
