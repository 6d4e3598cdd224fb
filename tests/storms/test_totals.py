"""The totals of the first page: right, shared, and cheap."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import time_machine
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from storms import totals
from storms.models import Alert, RemediationRequest
from storms.totals import count_in_sight, last_day
from tests.factories import make_alert, make_closed_storm, make_held_alert, make_request, make_storm

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]

NOON = datetime(2026, 11, 16, 12, 0, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _counted_anew(valkey: redis.Redis) -> None:
    totals.forget()


def came(ago: timedelta, number: int = 1) -> None:
    for _ in range(number):
        make_alert(received_at=NOON - ago)


def test_they_count_what_waits_what_fails_and_what_came_in_a_day() -> None:
    with time_machine.travel(NOON, tick=False):
        came(timedelta(hours=25))
        came(timedelta(hours=23), 3)
        make_held_alert(received_at=NOON)
        make_alert(received_at=NOON, disposition="deferred", decided_at=None)
        make_alert(received_at=NOON - timedelta(days=2), source="heartbeat")
        make_alert(received_at=NOON - timedelta(days=2), source="heartbeat", status="resolved")
        for state in ("failed", "rejected", "applied"):
            make_request(alert=Alert.objects.last(), sync_state=state, created_at=NOON) if state == "failed" else (
                make_request(alert=make_alert(received_at=NOON - timedelta(days=3)), sync_state=state, created_at=NOON)
            )
        assert totals.totals() == {
            "held": 1,
            "deferred": 1,
            "failed_syncs": 2,
            "silent_receivers": 1,
            "open_storms": 0,
            "settled_storms": 0,
            "firing_in_storms": 0,
            "alerts_24h": 5,
            "resources_24h": 3,
            "last_alert_at": "2026-11-16T12:00:30+00:00",
        }


def test_another_process_counts_nothing_for_some_seconds(django_assert_num_queries: Any) -> None:
    with time_machine.travel(NOON, tick=False):
        came(timedelta(minutes=5))
        first = totals.totals()
        came(timedelta(seconds=10))
        with django_assert_num_queries(0):
            assert totals.totals() is first
            totals._totals = (0.0, None)  # what a process that has not asked yet knows
            assert totals.totals() == first
        totals._totals = (0.0, None)
        cache.delete(totals.TOTALS_KEY)
        assert totals.totals()["alerts_24h"] == 2


def test_minutes_that_are_over_are_read_once() -> None:
    came(timedelta(hours=23), 2)
    came(timedelta(minutes=30), 3)
    came(timedelta(seconds=20))
    assert last_day(NOON) == (6, 0)
    Alert.objects.filter(received_at__lt=NOON - timedelta(minutes=10)).delete()
    came(timedelta(seconds=50))  # committed late, in a minute that may still change
    assert last_day(NOON) == (7, 0)
    with CaptureQueriesContext(connection) as queries:
        last_day(NOON)
    assert "2026-11-16 11:59:00" in queries[0]["sql"]
    # Later the day has moved on, and the store's memory with it.
    assert last_day(NOON + timedelta(hours=2)) == (5, 0)
    assert last_day(NOON + timedelta(hours=26)) == (0, 0)


def test_a_process_goes_on_from_what_another_counted() -> None:
    came(timedelta(hours=3), 4)
    last_day(NOON)
    totals._settled = (0, {})
    Alert.objects.all().delete()
    assert last_day(NOON) == (4, 0)


def test_they_are_counted_while_the_cache_is_away(settings: Any) -> None:
    settings.CACHES = {
        "default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"},
    }
    came(timedelta(hours=3), 4)
    assert last_day(NOON) == (4, 0)
    Alert.objects.all().delete()
    assert last_day(NOON) == (4, 0)  # this process remembers
    assert totals.totals()["held"] == 0


def test_resources_are_counted_with_the_alerts() -> None:
    came(timedelta(hours=1), 3)
    make_request(alert=Alert.objects.first(), created_at=NOON - timedelta(hours=1))
    make_request(alert=Alert.objects.last(), created_at=NOON - timedelta(hours=30))
    assert RemediationRequest.objects.count() == 2
    assert last_day(NOON) == (3, 1)


def test_storms_in_sight_are_counted_with_what_fires_in_them() -> None:
    make_storm(firing_count=7)
    make_storm(firing_count=0)
    make_closed_storm(firing_count=2)
    make_closed_storm()
    assert count_in_sight() == {"open_storms": 2, "settled_storms": 1, "firing_in_storms": 9}
