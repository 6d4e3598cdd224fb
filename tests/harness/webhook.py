"""A webhook in the test's own process, against the session's PostgreSQL and Valkey, with a clock to turn."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from django.test import Client

from ingestion import receivers
from ingestion.services import create_receiver
from storms import detector, policies
from storms.clock import to_datetime, to_us
from storms.policies import SECOND_US
from storms.services.policies import save_policy
from tests.harness.http import WEBHOOK


class Console:
    """Posts to the webhook as one receiver: `console.post(payload)`."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.client = Client()

    def post(self, body: Any, *, path: str = WEBHOOK, token: str | None = None, **headers: Any) -> Any:
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        headers.setdefault("content_type", "application/json")
        headers.setdefault("HTTP_AUTHORIZATION", f"Bearer {token or self.token}")
        return self.client.post(path, data, **headers)


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ids handed to Celery; the broker itself is tested with real processes."""
    ids: list[Any] = []
    monkeypatch.setattr("ingestion.ingest.enqueue_sync", ids.extend)
    return ids


@pytest.fixture
def quiet_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep's messages are tested with real processes in tests/acceptance."""
    monkeypatch.setattr("storms.sweep.enqueue_sync", lambda ids: None)


@pytest.fixture
def console(transactional_db: None, valkey: redis.Redis, enqueued: list[Any]) -> Console:
    forget_caches()
    _, token = create_receiver(name="test", kind="alertmanager")
    return Console(token)


def forget_caches() -> None:
    """What a process remembers of the configuration; the database of the last test is gone."""
    policies._current = policies.PolicySet(-1, ())
    receivers._by_hash = {}
    detector._retry_store_at = 0.0


@pytest.fixture
def set_policy(console: Console) -> Callable[..., None]:
    """`set_policy(threshold=3)`: edit the default policy as the admin would."""

    def edit(**fields: Any) -> None:
        policy = policies._restore_default()
        for name, value in fields.items():
            setattr(policy, name, value)
        save_policy(policy=policy, actor="test")

    return edit


class Clock:
    """The store's clock and the sweep's: stands still until it is turned."""

    def __init__(self, freeze: ExitStack) -> None:
        self._freeze = freeze
        self.us = to_us(datetime.now(UTC))
        self.advance(0)

    @property
    def now(self) -> datetime:
        return to_datetime(self.us)

    def advance(self, seconds: float) -> datetime:
        self.us += int(seconds * SECOND_US)
        self._freeze.enter_context(detector.frozen(self.us))
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    with ExitStack() as freeze:
        yield Clock(freeze)
