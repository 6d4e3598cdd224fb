"""A webhook in the test's own process, against the session's PostgreSQL and Valkey."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.test import Client

from ingestion import receivers
from ingestion.services import create_receiver
from storms import detector, policies
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
