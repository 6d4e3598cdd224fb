"""The dead man's switch: who falls silent is heard of, and who speaks again too."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command

from ingestion.heartbeat import check_heartbeats
from ingestion.ledger import totals
from ingestion.models import Delivery, Receiver
from ingestion.services import create_receiver, edit_receiver
from storms.models import Alert
from tests.factories import make_delivery
from tests.harness.http import alert, payload

START = datetime.now(UTC).replace(microsecond=0)


def minutes(number: float) -> datetime:
    return START + timedelta(minutes=number)


@pytest.fixture
def watched(console: Any) -> Receiver:
    """Heard at the start, to be heard every ten minutes."""
    receiver = Receiver.objects.get(name="test")
    edit_receiver(receiver=receiver, heartbeat_minutes=10)
    speak(receiver, START)
    return receiver


def speak(receiver: Receiver, at: datetime, **fields: Any) -> None:
    make_delivery(receiver=receiver, received_at=at, received=0, outcomes={}, **fields)


def episodes() -> list[tuple[str, datetime]]:
    rows = Alert.objects.filter(alertname="StormconsoleReceiverSilent").order_by("starts_at")
    return [(row.status, row.starts_at) for row in rows]


def test_it_raises_one_alert_for_a_receiver_that_fell_silent(watched, enqueued):
    assert check_heartbeats(minutes(9.9)) == []
    assert check_heartbeats(minutes(10)) == ["test"]
    assert check_heartbeats(minutes(10.1)) == []

    row = Alert.objects.get()
    assert row.labels == {"alertname": "StormconsoleReceiverSilent", "receiver": "test", "severity": "critical"}
    assert (row.namespace, row.severity, row.receiver, row.source) == ("", "critical", "stormconsole", "heartbeat")
    assert (row.resource_kind, row.resource_name) == ("Receiver", "test")
    assert (row.status, row.disposition, row.starts_at) == ("firing", "held", minutes(10))
    assert row.annotations["summary"] == "Receiver test has been silent for 10 minutes"


def test_it_is_in_the_ledger(watched):
    check_heartbeats(minutes(10))
    speak(watched, minutes(11))
    check_heartbeats(minutes(11))

    deliveries = Delivery.objects.filter(kind="heartbeat").order_by("received_at")
    assert list(deliveries.values_list("receiver", "outcomes")) == [(None, {"held": 1}), (None, {"resolved": 1})]
    assert totals() == totals() | {"received": 2, "recorded": 2, "unaccounted": 0}


def test_it_resolves_when_the_receiver_speaks_again(watched):
    check_heartbeats(minutes(10))
    speak(watched, minutes(12))

    assert check_heartbeats(minutes(12.1)) == ["test"]
    assert check_heartbeats(minutes(12.2)) == []
    assert Alert.objects.get().ends_at == minutes(12.1)
    assert check_heartbeats(minutes(22)) == ["test"]
    assert episodes() == [("resolved", minutes(10)), ("firing", minutes(22))]


def test_a_sender_that_is_refused_is_silent(watched):
    speak(watched, minutes(9), http_status=400)

    assert check_heartbeats(minutes(10)) == ["test"]


def test_a_real_webhook_is_speech(console, watched):
    assert check_heartbeats(minutes(20)) == ["test"]
    console.post(payload([alert()]))
    Delivery.objects.exclude(kind="heartbeat").exclude(received=0).update(received_at=minutes(21))

    assert check_heartbeats(minutes(21)) == ["test"]
    assert episodes() == [("resolved", minutes(10))]


@pytest.mark.parametrize("change", [{"enabled": False}, {"heartbeat_minutes": None}, {"name": "other"}])
def test_it_resolves_when_nobody_waits_for_the_receiver_any_more(watched, change):
    check_heartbeats(minutes(10))
    edit_receiver(receiver=watched, **change)

    check_heartbeats(minutes(11))

    assert Alert.objects.get(labels__receiver="test").status == "resolved"


def test_it_resolves_when_the_receiver_is_deleted(watched):
    check_heartbeats(minutes(10))
    watched.delete()

    assert check_heartbeats(minutes(11)) == ["test"]
    assert episodes() == [("resolved", minutes(10))]


def test_a_switch_that_is_off_and_on_again_in_one_silence_fires_anew(watched):
    check_heartbeats(minutes(10))
    edit_receiver(receiver=watched, enabled=False)
    check_heartbeats(minutes(11))
    edit_receiver(receiver=watched, enabled=True)

    assert check_heartbeats(minutes(12)) == ["test"]
    assert episodes() == [("resolved", minutes(10)), ("firing", minutes(12))]


def test_a_receiver_that_never_spoke_is_silent_since_it_was_made(console):
    create_receiver(name="new", kind="generic", heartbeat_minutes=1)

    assert check_heartbeats(datetime.now(UTC)) == []
    assert check_heartbeats(datetime.now(UTC) + timedelta(minutes=1)) == ["new"]


def test_after_the_console_was_away_the_senders_get_time_to_be_heard(watched):
    assert check_heartbeats(minutes(60), watching_since=minutes(59)) == []
    assert check_heartbeats(minutes(64), watching_since=minutes(59)) == ["test"]


def test_a_raised_alert_resolves_right_after_a_restart_too(watched):
    check_heartbeats(minutes(10))
    speak(watched, minutes(60))

    assert check_heartbeats(minutes(60), watching_since=minutes(60)) == ["test"]


def test_ten_silent_receivers_are_a_storm(console):
    for number in range(10):
        create_receiver(name=f"edge-{number}", kind="generic", heartbeat_minutes=1)

    check_heartbeats(datetime.now(UTC) + timedelta(minutes=2))

    assert set(Alert.objects.values_list("disposition", flat=True)) == {"member"}
    assert totals()["unaccounted"] == 0


def test_the_sweep_checks(watched, capsys):
    Delivery.objects.update(received_at=START - timedelta(hours=1))

    call_command("sweep", "--once")

    assert [status for status, _ in episodes()] == ["firing"]
