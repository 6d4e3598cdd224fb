"""A receiver's limit: whole batches are refused with 503, all of it in one call of the store, and nothing is lost."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.urls import reverse
from django_redis import get_redis_connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion import limits, refusals
from ingestion.ledger import totals
from ingestion.models import Delivery, Receiver
from ingestion.services import create_receiver, edit_receiver
from stormconsole import pressure
from storms import detector
from storms.models import Alert
from tests.factories import make_admin
from tests.harness.examples import examples
from tests.harness.http import alert, payload

MINUTE = 60_000_000
START = 1_700_000_000_000_000


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    limits._full_until.clear()
    pressure._counts.clear()
    refusals._rows.clear()


def limited(limit: int | None) -> Receiver:
    receiver = Receiver.objects.get(name="test")
    edit_receiver(receiver=receiver, alerts_per_minute=limit)
    return receiver


def batch(count: int) -> Any:
    return payload([alert(namespace="payments") for _ in range(count)])


# --- the script


def wait(count: int, *, limit: int = 60, now: int = START, receiver: int = 1) -> int:
    return detector.within_limit(receiver_id=receiver, limit=limit, count=count, now_us=now)


@pytest.fixture
def store(valkey: redis.Redis) -> redis.Redis:
    detector._retry_store_at = 0.0
    return valkey


def test_a_minute_s_alerts_may_come_at_once_and_the_rest_waits(store: redis.Redis) -> None:
    assert wait(60) == 0
    assert wait(1) == 1_000_000
    assert wait(5) == 5_000_000
    assert wait(5, now=START + 4_999_999) == 1
    assert wait(5, now=START + 5_000_000) == 0
    assert wait(1, receiver=2) == 0


def test_a_refused_batch_uses_nothing_up(store: redis.Redis) -> None:
    assert wait(50) == 0
    for _ in range(20):
        assert wait(11) > 0
    assert wait(10) == 0


def test_a_batch_larger_than_the_limit_gets_its_turn_and_then_a_minute_s_rest(store: redis.Redis) -> None:
    assert wait(1000) == 0
    assert wait(1, now=START + MINUTE) == 1_000_000
    assert wait(1, now=START + MINUTE + 1_000_000) == 0
    assert wait(1000, now=START + MINUTE + 1_000_000) > 0
    assert wait(1000, now=START + 3 * MINUTE) == 0


def test_a_clock_that_is_set_back_shuts_nobody_out(store: redis.Redis) -> None:
    assert wait(60) == 0
    assert wait(1, now=START - 3600 * 1_000_000) <= 2 * MINUTE


@given(
    limit=st.integers(1, 5000),
    steps=st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 90_000_000)), min_size=1, max_size=30),
)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_minute_takes_in_more_than_two_minutes_worth_and_a_batch(
    store: redis.Redis, limit: int, steps: list[tuple[int, int]]
) -> None:
    """Whatever comes: within any minute at most twice the limit, or one batch that is larger by itself."""
    store.flushdb()
    now, let_in = START, []
    for count, pause in steps:
        now += pause
        waiting = wait(count, limit=limit, now=now)
        if waiting == 0:
            let_in.append((now, count))
        else:
            assert wait(count, limit=limit, now=now + waiting + 1) == 0
            let_in.append((now + waiting + 1, count))
            now += waiting + 1
    for start, _ in let_in:
        inside = [count for at, count in let_in if start <= at < start + MINUTE]
        assert sum(inside[:-1]) <= 2 * limit or inside[0] > limit


# --- the webhook


def test_over_the_limit_a_whole_batch_is_refused_by_name(console, clock):
    limited(30)
    assert console.post(batch(20)).status_code == 201

    response = console.post(batch(15))

    assert response.status_code == 503
    assert response["Retry-After"] == "10"
    assert response["Content-Type"] == "application/problem+json"
    assert "Receiver test is over its limit of 30 alerts per minute" in response.json()["detail"]
    assert Alert.objects.count() == 20
    assert totals()["unaccounted"] == 0
    assert Delivery.objects.count() == 1
    assert console.post(batch(10)).status_code < 300
    clock.advance(60)
    limits._full_until.clear()
    assert console.post(batch(15)).status_code < 300


def test_a_limit_costs_one_call_and_only_its_own_receiver(console, clock, monkeypatch):
    calls = []
    real = detector.within_limit
    monkeypatch.setattr(detector, "within_limit", lambda **asked: calls.append(asked) or real(**asked))
    _, other = create_receiver(name="other", kind="alertmanager")
    console.post(batch(1))
    assert calls == []
    receiver = limited(10)
    console.post(batch(10))
    assert calls == [{"receiver_id": receiver.pk, "limit": 10, "count": 10}]

    monkeypatch.setattr(limits, "FULL_SECONDS", 60)
    for _ in range(5):
        assert console.post(batch(1)).status_code == 503
    assert len(calls) == 2, "a receiver that is known to be full is not asked for again"
    assert console.post(batch(1), token=other).status_code < 300


def test_bad_alerts_count_too(console, clock):
    limited(3)
    bad = payload([alert()])
    bad["alerts"] += [{"labels": 7}] * 2
    assert console.post(bad).status_code == 202
    assert console.post(batch(1)).status_code == 503


def test_a_limit_does_not_hold_while_the_store_is_away(console, monkeypatch):
    limited(1)
    monkeypatch.setattr(detector, "_retry_store_at", float("inf"))
    for _ in range(3):
        response = console.post(batch(5))
        assert response.status_code == 202
        assert response.json()["summary"] == {"deferred": 5}


def test_a_raised_limit_holds_at_once(console, clock):
    limited(1)
    assert console.post(batch(1)).status_code == 202
    assert console.post(batch(1)).status_code == 503
    limits._full_until.clear()  # a second passes
    limited(None)
    assert console.post(batch(1)).status_code == 202


def test_a_lowered_limit_holds_from_the_next_webhook_on(console, clock):
    limited(100)
    assert console.post(batch(5)).status_code == 202
    limited(1)
    assert console.post(batch(2)).status_code == 503


def test_what_was_refused_is_counted_and_shown(console, clock, client):
    receiver = limited(1)
    console.post(batch(1))
    for _ in range(3):
        console.post(batch(1))
    pressure.send()

    assert pressure.shed_totals()["receiver_limit"] == 3
    assert pressure.over_limit([receiver.pk, 999]) == {receiver.pk: 3, 999: 0}
    client.force_login(make_admin())
    assert "3 webhooks" in client.get(reverse("admin:ingestion_receiver_change", args=[receiver.pk])).content.decode()
    assert "1/min" in client.get(reverse("admin:ingestion_receiver_changelist")).content.decode()


def test_counts_are_kept_while_the_store_is_away(valkey, monkeypatch):
    def away() -> Any:
        raise redis.ConnectionError

    pressure.count(pressure.Reason.QUEUE_FULL)
    with monkeypatch.context() as gone:
        gone.setattr("stormconsole.alive.store", away)
        with pytest.raises(redis.ConnectionError):
            pressure.shed_totals()
        pressure.send()
    pressure.count(pressure.Reason.QUEUE_FULL)
    pressure.send()
    assert pressure.shed_totals()["queue_full"] == 2


# --- strangers


@pytest.fixture
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute of `PerMinute` does not end during the test."""
    monkeypatch.setattr(pressure.time, "monotonic", lambda: 60_000.0)


def test_strangers_cannot_fill_the_ledger(console, monkeypatch, one_minute):
    monkeypatch.setattr(refusals, "MOST", 5)
    for _ in range(12):
        assert console.post(batch(1), token="scr_guessed").status_code == 401
    assert Delivery.objects.filter(http_status=401).count() == 5
    pressure.send()
    assert get_redis_connection("default").hget(pressure.KEY, "stranger") == b"7"
    assert console.post(batch(1)).status_code == 202


def test_a_stranger_costs_one_query_and_no_reload(console, django_assert_num_queries, monkeypatch):
    monkeypatch.setattr(refusals, "MOST", 0)
    with django_assert_num_queries(1):
        assert console.post(batch(1), token="scr_guessed").status_code == 401


def test_a_receiver_whose_requests_cannot_be_read_cannot_fill_it_either(console, monkeypatch, one_minute):
    """Nor keep another's refusals from it; but what was an alert is in it, however often."""
    monkeypatch.setattr(refusals, "MOST", 5)
    for _ in range(12):
        assert console.post("{").status_code == 400
    assert console.post("{", token="scr_guessed").status_code == 401
    bad = payload([alert() | {"startsAt": "yesterday"}])
    for _ in range(7):
        assert console.post(bad).status_code == 400
    assert list(Delivery.objects.values_list("http_status", "received").order_by("received_at")) == [
        *[(400, 0)] * 5,
        (401, 0),
        *[(400, 1)] * 7,
    ]
    pressure.send()
    receiver = Receiver.objects.get(name="test")
    assert get_redis_connection("default").hmget(pressure.KEY, "refused", f"refused:{receiver.id}") == [b"7", b"7"]
    assert totals()["unaccounted"] == 0


def test_what_is_invalid_counts_against_the_limit_too(console):
    limited(3)
    bad = payload([alert() | {"startsAt": "yesterday"}])
    assert [console.post(bad).status_code for _ in range(4)] == [400, 400, 400, 503]
    assert totals()["unaccounted"] == 0
