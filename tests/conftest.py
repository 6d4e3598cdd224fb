"""Fixtures for every package; each package's own are in its `conftest.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache import caches
from django.test import TransactionTestCase
from pytest_django.plugin import DjangoDbBlocker

import tests.harness.examples  # noqa: F401 - loads the profile
from storms import signals
from tests.harness import database
from tests.harness.kube import kube
from tests.harness.stack import Stack
from tests.harness.webhook import clock, console, enqueued, quiet_broker, set_policy
from tests.plugin import failed

# Here only: imported into two conftests it would be two fixtures, and two API servers.
__all__ = ["clock", "console", "enqueued", "kube", "quiet_broker", "set_policy"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Tests that commit leave the database as they found it, sooner than Django's own way does."""
    with django_db_blocker.unblock():
        database.remember()
    TransactionTestCase._fixture_teardown = lambda self: database.restore()  # type: ignore[attr-defined]


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    """A client of the session's Valkey, which is empty before and after the test."""
    client = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True)
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


@pytest.fixture
def stack_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stack]]:
    """`stack_factory(web=4, ...)`: a running `Stack`, stopped at the end of the test, with its logs if that failed."""
    started: list[Stack] = []
    with ExitStack() as stacks:

        def start(**options: Any) -> Stack:
            started.append(stacks.enter_context(Stack(**options)))
            return started[-1]

        yield start
        if request.node.stash.get(failed, False):
            for stack in started:
                stack.show_logs()


@pytest.fixture(autouse=True)
def _nothing_failed_this_minute() -> None:
    """What bounds the audit of failed logins is the process's; tests share one."""
    signals._failures._taken = 0


@pytest.fixture(autouse=True)
def _fresh_clients() -> Iterator[None]:
    """Connections to Valkey made in one test are not found, perhaps broken, in the next."""
    yield
    for cache in caches.all(initialized_only=True):
        cache.close()
