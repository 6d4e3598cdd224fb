"""Dead letters: what was set aside is taken in once it can be, given up with a reason, and bounded either way."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from ingestion import dead_letter_services as services
from ingestion.dead_letter_services import LetterError, ReplayingElsewhere, StillInvalid
from ingestion.heartbeat import check_heartbeats
from ingestion.ledger import bounded_raw, totals
from ingestion.models import DeadLetter, Delivery, Receiver
from ingestion.retention import trim_dead_letters
from ingestion.services import create_receiver, edit_receiver
from ingestion.tasks import replay_dead_letters
from storms.models import Alert, AuditEntry, Storm
from tests.factories import make_dead_letter, make_delivery, make_receiver
from tests.harness.http import alert, payload, resolved


def limit_to(*namespaces: str) -> Receiver:
    receiver = Receiver.objects.get(name="test")
    edit_receiver(receiver=receiver, allowed_namespaces=list(namespaces))
    return receiver


def set_aside(console: Any, *alerts: dict[str, Any]) -> list[DeadLetter]:
    """These alerts as dead letters: the receiver may send only for `elsewhere`."""
    limit_to("elsewhere")
    assert console.post(payload(alerts)).status_code == 202
    return list(DeadLetter.objects.order_by("id"))


def assert_balanced() -> None:
    counted = totals()
    assert counted["unaccounted"] == 0, counted


# --- replay


def test_a_replay_takes_the_alert_in(console, enqueued):
    [letter] = set_aside(console, alert(namespace="payments"))
    limit_to()

    letter = services.replay(letter_id=letter.id, actor="ada")

    row = Alert.objects.get()
    assert (letter.state, letter.outcome, letter.attempts, letter.handled_by) == ("replayed", "held", 1, "ada")
    assert (letter.alert_id, letter.replayed_as) == (row.id, row.delivery_id)
    assert letter.handled_at is not None
    assert (row.receiver, row.source, row.namespace) == ("test", "alertmanager", "payments")
    delivery = Delivery.objects.get(id=letter.replayed_as)
    assert (delivery.kind, delivery.http_status, delivery.received) == ("replay", 202, 1)
    assert (delivery.outcomes, delivery.receiver.name) == ({"held": 1}, "test")
    told = AuditEntry.objects.get(action="dead_letter.replayed")
    assert (told.actor, told.target_id, told.after["state"]) == ("ada", str(letter.id), "replayed")
    assert told.after["alert"] == str(row.id)
    assert totals() == totals() | {"received": 2, "answered": 2, "rejected": 1, "recorded": 1, "dead_letters": 1}
    assert_balanced()


def test_a_replay_can_open_a_storm(console, set_policy, enqueued):
    set_policy(threshold=2)
    limit_to("payments")
    console.post(payload([alert(namespace="demo")]))
    limit_to()
    console.post(payload([alert(namespace="demo")]))

    letter = services.replay(letter_id=DeadLetter.objects.get().id, actor="ada")

    storm = Storm.objects.get()
    assert letter.outcome == "storm_opened"
    assert storm.alerts.count() == 2
    assert Delivery.objects.get(id=letter.replayed_as).http_status == 201
    assert enqueued[-1] == storm.id
    assert_balanced()


def test_a_replay_adds_the_receivers_labels_of_today(console):
    [letter] = set_aside(console, alert(namespace="payments"))
    edit_receiver(receiver=limit_to(), static_labels={"cluster": "prod-eu"})

    services.replay(letter_id=letter.id, actor="ada")

    assert Alert.objects.get().labels["cluster"] == "prod-eu"


def test_a_replay_of_an_alert_that_resolved_meanwhile_does_not_fire(console):
    firing = alert(namespace="payments")
    [letter] = set_aside(console, firing)
    limit_to()
    console.post(payload([resolved(firing)]))

    letter = services.replay(letter_id=letter.id, actor="ada")

    assert letter.outcome == "duplicate"
    assert Alert.objects.get().status == "resolved"
    assert_balanced()


def test_a_replay_while_the_store_is_away_is_deferred(console, settings: Settings, monkeypatch):
    [letter] = set_aside(console, alert(namespace="payments"))
    limit_to()
    monkeypatch.setattr("storms.detector._retry_store_at", float("inf"))

    assert services.replay(letter_id=letter.id, actor="ada").outcome == "deferred"

    assert Alert.objects.get().disposition == "deferred"
    assert_balanced()


def test_a_replay_that_fails_again_keeps_the_letter_with_the_new_error(console):
    [letter] = set_aside(console, alert(namespace="payments"))
    limit_to("batch")

    with pytest.raises(StillInvalid) as failure:
        services.replay(letter_id=letter.id, actor="ada")

    assert failure.value.pointer == "/alerts/0/labels/namespace"
    letter.refresh_from_db()
    assert (letter.state, letter.attempts, letter.handled_by) == ("waiting", 1, "ada")
    assert letter.error == "namespace 'payments': this receiver may send only for batch"
    assert letter.pointer == "/alerts/0/labels/namespace"
    refused = Delivery.objects.get(kind="replay")
    assert (refused.http_status, refused.outcomes) == (400, {"rejected": 1})
    told = AuditEntry.objects.get(action="dead_letter.replayed")
    assert (told.after, told.detail) == ({"state": "waiting"}, f"It still cannot be taken in: {letter.error}")
    assert not Alert.objects.exists()
    assert_balanced()


def test_the_pointer_of_a_failed_replay_leads_into_the_body_that_came(console):
    good, bad = alert(namespace="demo"), alert(namespace="demo") | {"labels": {"pod": 7}}
    console.post(payload([good, good, bad]))
    letter = DeadLetter.objects.get()
    assert (letter.base, letter.reason, letter.pointer) == ("/alerts/2", "unreadable", "/alerts/2/labels")

    with pytest.raises(StillInvalid):
        services.replay(letter_id=letter.id, actor="ada")

    letter.refresh_from_db()
    assert letter.pointer == "/alerts/2/labels"


def test_an_item_that_is_not_json_waits_on(console):
    console.post(payload([alert(namespace="demo")]))
    letter = make_dead_letter(delivery=Delivery.objects.get(), receiver=Receiver.objects.get(), raw='{"labels": \\xff}')

    with pytest.raises(StillInvalid, match="not JSON"):
        services.replay(letter_id=letter.id, actor="ada")

    letter.refresh_from_db()
    assert (letter.state, letter.reason) == ("waiting", "unreadable")


def in_threads(work: Callable[[], Any], number: int) -> list[Any]:
    """What each of `number` threads that begin at once returns, or the exception it ends with."""
    results: list[Any] = []
    barrier = threading.Barrier(number)

    def run() -> None:
        try:
            barrier.wait()
            results.append(work())
        except Exception as error:
            results.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_replaying_at_once_makes_one(console):
    [letter] = set_aside(console, alert(namespace="payments"))
    limit_to()

    results = in_threads(lambda: services.replay(letter_id=letter.id, actor="ada"), 8)

    assert sum(isinstance(result, DeadLetter) for result in results) == 1
    assert {str(result) for result in results if not isinstance(result, DeadLetter)} == {
        "It was replayed already, by ada."
    }
    assert Alert.objects.get().occurrences == 1
    assert Delivery.objects.filter(kind="replay").count() == 1
    assert AuditEntry.objects.filter(action="dead_letter.replayed").count() == 1
    assert_balanced()


def test_a_letter_discarded_while_it_is_replayed_is_not_taken_in(console, monkeypatch):
    """The replay has read the letter as waiting; by the time it records, somebody has discarded it."""
    [letter] = set_aside(console, alert(namespace="payments"))
    limit_to()
    read = services._read

    def discard_meanwhile(*arguments: Any) -> Any:
        services.discard(letter_id=letter.id, comment="Noise", actor="bob")
        return read(*arguments)

    monkeypatch.setattr(services, "_read", discard_meanwhile)
    with pytest.raises(LetterError, match="It was discarded already, by bob"):
        services.replay(letter_id=letter.id, actor="ada")

    assert not Alert.objects.exists()
    assert not Delivery.objects.filter(kind="replay").exists()
    assert_balanced()


def test_a_letter_of_a_disabled_or_deleted_receiver_is_not_replayed(console):
    [letter] = set_aside(console, alert(namespace="payments"))
    Receiver.objects.update(enabled=False)
    with pytest.raises(LetterError, match="deleted or is disabled"):
        services.replay(letter_id=letter.id, actor="ada")

    Receiver.objects.get().delete()
    with pytest.raises(LetterError, match="deleted or is disabled"):
        services.replay(letter_id=letter.id, actor="ada")

    letter.refresh_from_db()
    assert (letter.state, letter.attempts) == ("waiting", 0)


def test_a_replay_is_no_word_of_its_receiver(console):
    """Else an operator's click would reset the dead man's switch."""
    [letter] = set_aside(console, alert(namespace="payments"))
    receiver = limit_to()
    edit_receiver(receiver=receiver, heartbeat_minutes=10)
    Delivery.objects.update(received_at=timezone.now() - timedelta(minutes=11))

    services.replay(letter_id=letter.id, actor="ada")

    assert check_heartbeats(timezone.now()) == ["test"]


# --- the other formats


def other_receiver(kind: str) -> str:
    """The token of a receiver that may send only for `elsewhere`."""
    _, token = create_receiver(name=kind, kind=kind, allowed_namespaces=["elsewhere"])
    return token


def replay_after(console: Any, kind: str, body: Any, **headers: Any) -> tuple[DeadLetter, Alert]:
    """Set `body` aside, lift the limit, replay it; and the same body taken in at once gives the same alert."""
    token = other_receiver(kind)
    assert console.post(body, path=f"/api/v1/webhooks/{kind}", token=token, **headers).status_code == 202
    receiver = Receiver.objects.get(name=kind)
    edit_receiver(receiver=receiver, allowed_namespaces=[])
    letter = services.replay(letter_id=DeadLetter.objects.get().id, actor="ada")
    row = Alert.objects.get()
    assert row.source == kind
    again = console.post(body, path=f"/api/v1/webhooks/{kind}", token=token, **headers)
    assert again.json()["summary"] == {"duplicate": 1}
    assert_balanced()
    return letter, row


def test_a_kubernetes_event_is_replayed(console):
    event = {
        "kind": "Event",
        "reason": "BackOff",
        "type": "Warning",
        "involvedObject": {"kind": "Pod", "namespace": "payments", "name": "api-1", "uid": "u"},
        "firstTimestamp": "2026-11-16T10:30:00Z",
        "message": "Back-off restarting failed container",
    }
    letter, row = replay_after(console, "kubernetes-event", {"verb": "ADDED", "event": event})
    assert (letter.base, row.resource_name) == ("/event", "api-1")


def test_a_generic_alert_is_replayed_with_the_time_it_came_in(console):
    _, row = replay_after(console, "generic", {"id": "disk-7", "name": "DiskFull", "namespace": "payments"})
    assert row.starts_at == DeadLetter.objects.get().received_at


@pytest.mark.parametrize("batch", [False, True])
def test_a_cloud_event_is_replayed(console, batch):
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/ci",
        "type": "example.failed",
        "data": {"namespace": "payments"},
    }
    kind = "application/cloudevents-batch+json" if batch else "application/cloudevents+json"
    _, row = replay_after(console, "generic", [event] if batch else event, content_type=kind)
    assert row.alertname == "example.failed"


def test_a_cloud_event_in_headers_is_replayed(console):
    headers = {
        "HTTP_CE_SPECVERSION": "1.0",
        "HTTP_CE_ID": "e-1",
        "HTTP_CE_SOURCE": "/ci",
        "HTTP_CE_TYPE": "example.failed",
    }
    letter, row = replay_after(console, "generic", {"namespace": "payments"}, **headers)
    assert letter.headers["ce-id"] == "e-1"
    assert row.annotations["cloudevent_id"] == "e-1"


# --- many at once


def test_all_letters_of_a_choice_are_replayed_by_a_worker(console, set_policy):
    set_policy(threshold=100)
    letters = set_aside(console, *[alert(namespace="payments") for _ in range(5)], alert(namespace="batch"))
    limit_to("payments")

    chosen = DeadLetter.objects.filter(id__gte=letters[1].id)
    assert services.queue_replays(letters=chosen, actor="ada") == 5
    assert services.queue_replays(letters=chosen, actor="bob") == 0
    assert services.replay_queued() == 5
    assert services.replay_queued() == 0

    assert DeadLetter.objects.filter(state="replayed", handled_by="ada").count() == 4
    left = DeadLetter.objects.get(id=letters[5].id)
    assert (left.state, left.attempts, left.queued_at) == ("waiting", 1, None)
    assert DeadLetter.objects.get(id=letters[0].id).attempts == 0
    assert not services.any_queued()
    assert_balanced()


def test_the_worker_goes_on_until_nothing_is_queued(console, set_policy, monkeypatch):
    set_policy(threshold=100)
    set_aside(console, *[alert(namespace="payments") for _ in range(3)])
    limit_to()
    monkeypatch.setattr(services, "replay_queued", partial(services.replay_queued, limit=2))
    again: list[str] = []
    monkeypatch.setattr("ingestion.tasks.enqueue_replays", lambda: again.append("asked"))
    services.queue_replays(letters=DeadLetter.objects.all(), actor="ada")

    for _ in range(3):
        replay_dead_letters()

    assert again == ["asked", "asked"]
    assert DeadLetter.objects.filter(state="replayed").count() == 3


def test_a_letter_that_cannot_be_handled_does_not_stop_those_behind_it(console, set_policy, monkeypatch):
    set_policy(threshold=100)
    first, second = set_aside(console, alert(namespace="payments"), alert(namespace="payments"))
    limit_to()
    take = services._take

    def fail_on_first(letter: DeadLetter, *arguments: Any) -> None:
        if letter.id == first.id:
            raise RuntimeError("a bug")
        take(letter, *arguments)

    monkeypatch.setattr(services, "_take", fail_on_first)
    services.queue_replays(letters=DeadLetter.objects.all(), actor="ada")
    services.replay_queued()

    assert {letter.id: letter.state for letter in DeadLetter.objects.all()} == {
        first.id: "waiting",
        second.id: "replayed",
    }
    assert not services.any_queued()


def test_one_process_replays_what_is_queued(console):
    set_aside(console, alert(namespace="payments"))
    services.queue_replays(letters=DeadLetter.objects.all(), actor="ada")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        connection = connections["default"]
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", [services.LOCK])
            held.set()
            done.wait(10)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        with pytest.raises(ReplayingElsewhere):
            services.replay_queued()
    finally:
        done.set()
        thread.join()


# --- discard


def test_a_letter_is_discarded_with_a_reason(console):
    [letter] = set_aside(console, alert(namespace="payments"))

    letter = services.discard(letter_id=letter.id, comment=" A test of the sender ", actor="ada")

    assert (letter.state, letter.comment, letter.handled_by) == ("discarded", "A test of the sender", "ada")
    told = AuditEntry.objects.get(action="dead_letter.discarded")
    assert (told.actor, told.target_id, told.detail) == ("ada", str(letter.id), "A test of the sender")
    with pytest.raises(LetterError, match="It was discarded already, by ada"):
        services.discard(letter_id=letter.id, comment="again", actor="bob")
    with pytest.raises(LetterError, match="It was discarded already, by ada"):
        services.replay(letter_id=letter.id, actor="bob")
    assert_balanced()


def test_a_discard_needs_a_reason(console):
    [letter] = set_aside(console, alert(namespace="payments"))

    for comment in ("", "  ", "x" * 501):
        with pytest.raises(LetterError):
            services.discard(letter_id=letter.id, comment=comment, actor="ada")

    assert DeadLetter.objects.get().state == "waiting"


# --- bounds


def test_a_long_item_is_cut_and_cannot_be_replayed(console, settings: Settings):
    settings.MAX_DEAD_LETTER_BYTES = 1024
    [letter] = set_aside(console, alert(namespace="payments", annotations={"summary": "ü" * 1000}))

    assert letter.truncated
    assert len(letter.raw.encode()) in (1023, 1024)
    with pytest.raises(LetterError, match="too long to be kept whole"):
        services.replay(letter_id=letter.id, actor="ada")
    assert services.queue_replays(letters=DeadLetter.objects.all(), actor="ada") == 0
    assert services.discard(letter_id=letter.id, comment="Too long", actor="ada").state == "discarded"


def test_text_is_cut_between_characters():
    assert bounded_raw("aü", 3) == ("aü", False)
    assert bounded_raw("aüü", 4) == ("aü", True)


def test_what_comes_beyond_the_most_letters_is_counted_and_not_kept(console, settings: Settings):
    settings.MAX_DEAD_LETTERS = 3
    limit_to("elsewhere")

    for number in (2, 2, 4):
        response = console.post(payload([alert(namespace="payments") for _ in range(number)]))
        assert response.json()["summary"] == {"rejected": number}

    assert DeadLetter.objects.count() == 3
    assert list(Delivery.objects.order_by("received_at").values_list("not_kept", flat=True)) == [0, 1, 4]
    [overflow] = services.overflows()
    assert (overflow.receiver, overflow.not_kept) == ("test", 5)
    assert totals() == totals() | {"rejected": 8, "dead_letters": 3, "not_kept": 5, "unaccounted": 0}


def test_one_receivers_letters_take_no_place_from_anothers(console, settings: Settings):
    settings.MAX_DEAD_LETTERS = 1
    limit_to("elsewhere")
    _, token = create_receiver(name="other", kind="alertmanager", allowed_namespaces=["elsewhere"])

    console.post(payload([alert(namespace="payments")]))
    console.post(payload([alert(namespace="payments")]), token=token)

    assert sorted(DeadLetter.objects.values_list("receiver__name", flat=True)) == ["other", "test"]


def test_a_letter_that_was_handled_makes_room(console, settings: Settings):
    settings.MAX_DEAD_LETTERS = 1
    [letter] = set_aside(console, alert(namespace="payments"))
    services.discard(letter_id=letter.id, comment="Seen", actor="ada")

    console.post(payload([alert(namespace="payments")]))

    assert DeadLetter.objects.filter(state="waiting").count() == 1
    assert totals()["not_kept"] == 0


@pytest.mark.django_db
def test_of_handled_letters_the_newest_stay(settings: Settings):
    settings.MAX_DEAD_LETTERS = 2
    receivers = [make_receiver(), make_receiver()]
    letters = [
        make_dead_letter(
            delivery=make_delivery(receiver=receiver, received=1, outcomes={"rejected": 1}),
            receiver=receiver,
            state=state,
        )
        for receiver in receivers
        for state in ("discarded", "discarded", "waiting", "discarded")
    ]

    assert trim_dead_letters() == 2

    kept = {letter.id for place, letter in enumerate(letters) if place % 4}
    assert set(DeadLetter.objects.values_list("id", flat=True)) == kept
    assert_balanced()


def test_the_raw_item_is_json_for_whoever_reads_it(console):
    sent = alert(namespace="payments")
    [letter] = set_aside(console, sent)
    assert json.loads(letter.raw)["labels"] == sent["labels"]
