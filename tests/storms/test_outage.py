"""The store away: what comes meanwhile is deferred, and decided at its return as of its receipt."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
import time_machine
from django.core.cache import caches
from django.db import connection
from django.utils import timezone

from ingestion.ledger import totals
from storms import detector, sweep
from storms.models import Alert, RemediationRequest, Storm
from storms.services import deferred
from storms.services.deferred import LOCK, Round, decide_deferred
from storms.services.refresh import refresh_storm
from storms.services.releasing import release_due_alerts
from storms.sweep import sweep_once
from tests.harness.http import alert, payload, resolved
from tests.storms.arrivals import dispositions, send

pytestmark = pytest.mark.usefixtures("quiet_broker")


@pytest.fixture
def store_away(console, settings):
    """The store refuses connections until `back()`."""

    class Away:
        def back(self) -> None:
            settings.CACHES = self.caches
            self._forget()

        def go(self) -> None:
            self.caches = settings.CACHES
            default = settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}
            settings.CACHES = settings.CACHES | {"default": default}
            self._forget()

        def _forget(self) -> None:
            caches["default"].close()
            del caches["default"]
            detector._retry_store_at = 0.0

    away = Away()
    away.go()
    return away


def test_alerts_are_deferred_while_the_store_is_away_and_decided_in_order(console, store_away):
    answers = [console.post(payload([alert(namespace="demo")])) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {202}
    assert dispositions() == {"deferred": 12}
    assert decide_deferred().decided == 0
    store_away.back()

    round_ = decide_deferred()

    storm = Storm.objects.get()
    assert (round_.decided, round_.requests) == (12, (storm.id,))
    assert dispositions() == {"member": 12}
    counts = Alert.objects.order_by("received_at", "id").values_list("count", flat=True)
    assert list(counts) == list(range(1, 13))
    assert set(Alert.objects.values_list("outcome", flat=True)) == {"deferred"}
    assert totals()["unaccounted"] == 0


def receive(console, clock, count: int) -> None:
    """Alerts that come now by the clock, which is everybody's."""
    before = set(Alert.objects.values_list("id", flat=True))
    with time_machine.travel(clock.now, tick=False):
        send(console, count)
    Alert.objects.exclude(id__in=before).filter(disposition="deferred").update(deferred_at=clock.now)


def receive_one_by_one(console, clock, count: int, seconds: float) -> None:
    for _ in range(count):
        receive(console, clock, 1)
        clock.advance(seconds)


def cut_in_two(console, store_away, clock) -> None:
    """Three alerts of a burst right before an outage longer than a window, nine in it, and the store's return."""
    store_away.back()
    receive(console, clock, 3)
    clock.advance(1)
    store_away.go()
    receive(console, clock, 9)
    release_due_alerts(now=clock.advance(61))
    store_away.back()


def storm_before(console, store_away, clock) -> Storm:
    """An open storm of ten, and the store there."""
    store_away.back()
    receive(console, clock, 10)
    storm = Storm.objects.get()
    refresh_storm(storm_id=storm.id)
    return storm


def test_a_burst_that_an_outage_cuts_in_two_is_one_storm(console, store_away, clock):
    """What was decided right before a long outage is older than a window when the rest is decided."""
    cut_in_two(console, store_away, clock)

    sweep_once()

    assert dispositions() == {"member": 12}
    assert Storm.objects.count() == 1
    assert set(RemediationRequest.objects.filter(kind="alert").values_list("sync_state", flat=True)) == {"skipped"}


def test_a_burst_is_one_storm_whoever_is_decided_first_after_an_outage(console, store_away, clock):
    """Alerts that come at the store's return open the storm before the sweep decides what had waited."""
    cut_in_two(console, store_away, clock)
    receive(console, clock, 10)
    assert dispositions() == {"individual": 3, "deferred": 9, "member": 10}

    sweep_once()

    assert dispositions() == {"member": 22}
    assert Storm.objects.count() == 1


@pytest.mark.parametrize("batch", [deferred.BATCH, 10])
def test_an_outage_s_first_alerts_are_in_the_storm_that_new_ones_open(console, store_away, clock, monkeypatch, batch):
    """Older than its window and too few by themselves: what came right after them joins, and makes them enough."""
    monkeypatch.setattr(deferred, "BATCH", batch)
    receive(console, clock, 6)
    clock.advance(1)
    receive(console, clock, 2)
    clock.advance(0.5)
    receive(console, clock, 9)
    clock.advance(59)
    store_away.back()
    receive(console, clock, 10)
    began = Storm.objects.get().begins_at

    while decide_deferred().read:
        pass

    storm = Storm.objects.get()
    assert dispositions() == {"member": 27}
    assert Alert.objects.filter(storm=storm).count() == 27
    assert storm.begins_at < began


def test_what_came_one_by_one_during_an_outage_is_no_storm(console, store_away, clock):
    receive_one_by_one(console, clock, 12, seconds=30)
    store_away.back()

    sweep_once()
    release_due_alerts(now=clock.advance(10))

    assert dispositions() == {"individual": 12}
    assert list(Alert.objects.order_by("received_at").values_list("count", flat=True)) == [1] + [2] * 11
    assert not Storm.objects.exists()


@pytest.mark.parametrize("first", ["the sweep", "a new alert"])
def test_an_outage_longer_than_the_quiet_time_does_not_split_a_storm_that_goes_on(console, store_away, clock, first):
    storm_before(console, store_away, clock)
    clock.advance(100)
    store_away.go()
    receive_one_by_one(console, clock, 6, seconds=100)
    store_away.back()
    if first == "a new alert":
        receive(console, clock, 1)

    sweep_once()
    receive(console, clock, 1)

    assert set(Storm.objects.values_list("state", "alert_count")) == {("open", 10)}
    assert dispositions() == {"member": 17 if first == "the sweep" else 18}


def test_who_joined_a_storm_before_it_ended_during_an_outage_is_in_it(console, store_away, clock):
    storm = storm_before(console, store_away, clock)
    store_away.go()
    clock.advance(100)
    receive(console, clock, 2)
    clock.advance(590)
    receive(console, clock, 3)
    store_away.back()

    sweep_once()
    sweep_once()

    storm.refresh_from_db()
    assert (storm.close_reason, storm.closed_at - storm.opened_at) == ("quiet", timedelta(seconds=400))
    assert dispositions() == {"member": 12, "held": 3}


def test_two_bursts_of_one_outage_are_two_storms(console, store_away, clock):
    for _ in range(2):
        receive_one_by_one(console, clock, 12, seconds=1)
        clock.advance(1000)
    store_away.back()

    for _ in range(4):
        sweep_once()

    assert set(Storm.objects.values_list("state", "close_reason")) == {("closed", "quiet")}
    for storm in Storm.objects.all():
        last = max(storm.alerts.values_list("decided_at", flat=True))
        assert storm.closed_at == last + timedelta(seconds=storm.quiet_seconds), "not when the sweep came to it"
    assert sorted(storm.alerts.count() for storm in Storm.objects.all()) == [12, 12]
    assert dispositions() == {"member": 24}


def test_what_cannot_be_decided_keeps_storms_open_for_a_minute_only(console, store_away, clock, monkeypatch):
    storm_before(console, store_away, clock)
    store_away.go()
    receive(console, clock, 1)
    store_away.back()
    clock.advance(400)
    monkeypatch.setattr(deferred, "_update", lambda _: 1 / 0)

    sweep_once()
    assert Storm.objects.get().state == "open"
    monkeypatch.setattr("storms.sweep._undecided_since", time.monotonic() - 61)
    sweep_once()
    assert Storm.objects.get().state == "closed"


def test_a_group_that_cannot_be_recorded_keeps_no_other_waiting(console, store_away, clock, monkeypatch, caplog):
    with time_machine.travel(clock.now, tick=False):
        send(console, 3, namespace="bad")
        send(console, 3, namespace="good")
    bad = Alert.objects.filter(namespace="bad").first()
    assert bad is not None
    update = deferred._update

    def fail(answers: list[Any]) -> set[UUID]:
        if any(alert.group_key == bad.group_key for alert, _ in answers):
            raise ValueError("one bad row")
        return update(answers)

    monkeypatch.setattr(deferred, "_update", fail)
    monkeypatch.setattr(deferred, "BATCH", 2)
    store_away.back()

    sweep_once()

    assert set(Alert.objects.values_list("namespace", "disposition")) == {("bad", "deferred"), ("good", "held")}
    assert "could not be recorded" in caplog.text
    monkeypatch.setattr(deferred, "_update", update)
    sweep_once()
    assert dispositions() == {"held": 6}


def another_connection() -> psycopg.Connection[Any]:
    parameters = connection.get_connection_params()
    return psycopg.connect(
        **{name: parameters[name] for name in ("dbname", "user", "host", "port") if name in parameters}
    )


def test_only_one_process_decides_what_waited(console, store_away):
    send(console, 2)
    store_away.back()
    with another_connection() as other:
        other.execute("select pg_advisory_lock(%s)", [LOCK])
        assert decide_deferred() == Round()
        # Not left to the end of the connection, which the server notices when it likes.
        other.execute("select pg_advisory_unlock(%s)", [LOCK])
    assert decide_deferred().decided == 2


def test_what_waits_in_one_group_keeps_no_other_storm_open(console, store_away, clock):
    storm_before(console, store_away, clock)
    clock.advance(100)
    store_away.go()
    with time_machine.travel(clock.now, tick=False):
        send(console, 1, namespace="other")
    Alert.objects.filter(disposition="deferred").update(deferred_at=clock.now)
    clock.advance(300)
    store_away.back()

    receive(console, clock, 1)

    assert Alert.objects.latest("received_at").disposition == "held"


def test_a_storm_that_nothing_joined_for_its_quiet_time_is_closed_after_an_outage(console, store_away, clock):
    storm_before(console, store_away, clock)
    store_away.go()
    clock.advance(301)
    receive(console, clock, 1)
    store_away.back()

    sweep_once()
    sweep_once()

    assert Storm.objects.get().close_reason == "quiet"
    assert dispositions() == {"member": 10, "held": 1}


def test_a_flapping_alert_counts_once_after_an_outage_too(console, store_away, set_policy):
    set_policy(count_flapping_once=True)
    one = alert(namespace="demo", starts_at=timezone.now() - timedelta(minutes=10))
    for minute in range(12):
        again = alert(
            namespace="demo", pod=one["labels"]["pod"], starts_at=timezone.now() - timedelta(minutes=9 - minute / 2)
        )
        console.post(payload([again]))
    assert dispositions() == {"deferred": 12}
    store_away.back()

    decide_deferred()

    assert max(Alert.objects.values_list("count", flat=True)) == 4
    assert not Storm.objects.exists()


def test_an_alert_that_resolved_while_deferred_makes_nothing(console, store_away, clock):
    [one] = send(console, 1)
    console.post(payload([resolved(one)]))
    store_away.back()

    decide_deferred()
    release_due_alerts(now=clock.advance(60))

    assert dispositions() == {"resolved_while_held": 1}
    assert not RemediationRequest.objects.exists()


def test_a_deferred_alert_joins_the_storm_that_the_rows_have_open(console, store_away, valkey):
    store_away.back()
    send(console, 10)
    store_away.go()
    send(console, 5)
    valkey.flushdb()
    store_away.back()

    decide_deferred()

    assert Storm.objects.count() == 1
    assert dispositions() == {"member": 15}


def test_deciding_what_waited_leaves_time_for_the_rest(console, monkeypatch):
    """After an outage thousands wait; a held alert is released within a second all the same."""
    calls: list[float] = []

    def endless(**_: Any) -> Round:
        calls.append(time.monotonic())
        time.sleep(0.05)
        return Round(1000, 1000)

    monkeypatch.setattr("storms.sweep.anything_deferred", lambda: True)
    monkeypatch.setattr("storms.sweep.decide_deferred", endless)
    swept = sweep_once()
    assert swept.goes_on
    assert calls[-1] - calls[0] < sweep.DECIDING_SECONDS
