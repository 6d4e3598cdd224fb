"""What Debian's Alertmanager holds, against the rows: what never came is taken in, nothing is believed too early."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from pytest_django import Settings

from ingestion import alertmanager_checks
from ingestion.alertmanager_checks import CONFIRMED_AFTER, check_alertmanager
from ingestion.alertmanager_client import AlertmanagerAway
from ingestion.ledger import totals
from ingestion.models import Delivery, Receiver, ReconcileRun
from ingestion.reconcile_services import execute, request_run
from ingestion.services import create_receiver, edit_receiver
from storms.models import Alert, RemediationRequest, Storm
from storms.services.reconciling import Checked
from tests.harness.alertmanager import Alertmanager
from tests.harness.http import alert, payload, resolved, rfc3339
from tests.harness.served import served
from tests.harness.wait import wait_until
from tests.harness.webhook import Console

STARTED = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
"""With more digits than Alertmanager's API gives."""
NOBODY = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def _inside(settings: Settings) -> None:
    settings.ALLOWED_OUTGOING = ["127.0.0.1"]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """Its notifications reach nobody: what it holds is told by its API alone."""
    with Alertmanager(tmp_path_factory.mktemp("alertmanager"), NOBODY, "none") as running:
        yield running


@pytest.fixture
def alertmanager(started: Alertmanager) -> Iterator[Alertmanager]:
    """It holds nothing at first."""
    yield started
    started.resolve([item["labels"] for item in held(started)])
    wait_until(lambda: not held(started), message="Alertmanager has nothing left")


@pytest.fixture
def receiver(console: Console, alertmanager: Alertmanager) -> Receiver:
    return asking(alertmanager.url)


def asking(*urls: str, name: str = "stormconsole") -> Receiver:
    receiver = Receiver.objects.get(name="test")
    edit_receiver(receiver=receiver, alertmanager_urls=list(urls), alertmanager_receiver=name)
    return receiver


def fire(alertmanager: Alertmanager, *alerts: dict[str, Any]) -> None:
    alertmanager.fire([item["labels"] for item in alerts], starts_at=STARTED)
    wait_until(lambda: len(held(alertmanager)) >= len(alerts), message="Alertmanager has them")


def held(alertmanager: Alertmanager) -> list[Any]:
    answer: list[Any] = httpx.get(f"{alertmanager.url}/api/v2/alerts").json()
    return answer


def some(count: int = 1, **labels: str) -> list[dict[str, Any]]:
    return [alert(starts_at=STARTED, **labels) for _ in range(count)]


def look_twice(receiver: Receiver) -> Checked:
    """Now, as far as an Alertmanager that was started for the test is concerned, and once it is to be believed."""
    now = timezone.now() + CONFIRMED_AFTER + timedelta(seconds=10)
    assert check_alertmanager(receiver.pk, now).found == []
    return check_alertmanager(receiver.pk, now + CONFIRMED_AFTER)


def kinds(checked: Checked) -> list[str]:
    return [found.finding.kind for found in checked.found]


def repair(checked: Checked) -> None:
    for found in checked.found:
        assert found.repair is not None
        assert found.repair()


def assert_ledger_adds_up() -> None:
    assert totals()["unaccounted"] == 0


# --- resolutions that never came


def test_a_resolution_that_never_came_is_taken_from_alertmanager(console, receiver, alertmanager):
    gone, firing = some(2)
    console.post(payload([gone, firing]))
    fire(alertmanager, firing)

    checked = look_twice(receiver)
    repair(checked)

    assert [(found.finding.kind, found.finding.target) for found in checked.found] == [
        ("resolution_missed", "receiver test")
    ]
    assert checked.found[0].finding.detail == (
        "1 alert fires (PodCrashLooping 1) here, and Alertmanager has not had it for 15 minutes or more"
    )
    status = dict(Alert.objects.values_list("labels__pod", "status"))
    assert status == {gone["labels"]["pod"]: "resolved", firing["labels"]["pod"]: "firing"}
    delivery = Delivery.objects.latest("received_at")
    assert (delivery.kind, delivery.receiver, delivery.outcomes) == ("reconcile", receiver, {"resolved": 1})
    assert_ledger_adds_up()


def test_a_storm_follows_the_resolutions_that_never_came(console, receiver, set_policy):
    set_policy(threshold=3)
    console.post(payload(some(3)))

    repair(look_twice(receiver))

    storm = Storm.objects.get()
    request = RemediationRequest.objects.get(storm=storm)
    assert not Alert.objects.filter(storm=storm, status="firing").exists()
    assert request.desired_version > 1 or request.sync_state == "pending"


def test_what_ended_a_moment_ago_is_left_to_its_webhook(console, receiver):
    console.post(payload(some()))
    now = timezone.now() + CONFIRMED_AFTER + timedelta(seconds=10)

    for minutes in (0, 5, 14):
        assert check_alertmanager(receiver.pk, now + timedelta(minutes=minutes)).found == []


def test_what_was_there_in_between_is_looked_at_anew(console, receiver, alertmanager):
    [known] = some()
    console.post(payload([known]))
    now = timezone.now() + CONFIRMED_AFTER + timedelta(seconds=10)
    check_alertmanager(receiver.pk, now)
    fire(alertmanager, known)
    check_alertmanager(receiver.pk, now + timedelta(minutes=5))
    alertmanager.resolve([known["labels"]])
    wait_until(lambda: not held(alertmanager))

    assert check_alertmanager(receiver.pk, now + CONFIRMED_AFTER).found == []


def test_by_an_alertmanager_that_does_not_send_here_nothing_is_over(console, alertmanager):
    console.post(payload(some()))

    with pytest.raises(AlertmanagerAway, match=r"has no receiver 'console' \(but stormconsole\): is it the right one"):
        check_alertmanager(asking(alertmanager.url, name="console").pk, timezone.now() + timedelta(hours=1))


def test_an_alertmanager_that_just_started_is_not_believed(console, receiver):
    console.post(payload(some()))

    with pytest.raises(AlertmanagerAway, match="UTC only: what it does not have it may not have yet"):
        check_alertmanager(receiver.pk, timezone.now())


def test_what_any_replica_holds_is_not_over(console, receiver, alertmanager, tmp_path):
    first, second = some(2)
    console.post(payload([first, second]))
    fire(alertmanager, first)
    with Alertmanager(tmp_path / "second", NOBODY, "none") as other:
        fire(other, second)

        assert kinds(look_twice(asking(alertmanager.url, other.url))) == []


def test_nothing_is_over_while_a_replica_is_away(console, receiver, alertmanager):
    console.post(payload(some()))
    asked = asking(alertmanager.url, NOBODY.rstrip("/"))

    with pytest.raises(
        AlertmanagerAway, match=r"http://127\.0\.0\.1:9/api/v2/receivers: 127\.0\.0\.1:9 did not answer"
    ):
        check_alertmanager(asked.pk, timezone.now() + timedelta(hours=1))


def test_nothing_is_over_where_a_replica_is_not_named(console, fake):
    console.post(payload(some()))

    with pytest.raises(AlertmanagerAway, match="is one of 3 replicas, of which 1 are named"):
        check_alertmanager(asking(fake((200, b"[]"), replicas=3)).pk, timezone.now())


def test_what_is_still_sent_is_not_over_whoever_sends_it(console, receiver):
    """A second Alertmanager that has the same token, and was forgotten."""
    [known] = some()
    console.post(payload([known]))
    now = timezone.now() + timedelta(hours=1)
    check_alertmanager(receiver.pk, now)
    Alert.objects.update(last_seen_at=now + timedelta(minutes=10))

    assert kinds(check_alertmanager(receiver.pk, now + CONFIRMED_AFTER)) == []


def test_what_is_sent_again_meanwhile_is_not_resolved(console, receiver):
    [known] = some()
    console.post(payload([known]))
    [found] = look_twice(receiver).found
    console.post(payload([known]))

    assert found.repair is not None
    assert not found.repair()
    assert Alert.objects.get().status == "firing"


@pytest.mark.parametrize("changed", [{"alertmanager_urls": []}, {"static_labels": {"cluster": "prod"}}])
def test_an_alertmanager_that_is_asked_no_more_resolves_nothing(console, receiver, changed):
    console.post(payload(some()))
    [found] = look_twice(receiver).found
    named = {"alertmanager_receiver": ""} if "alertmanager_urls" in changed else {}
    edit_receiver(receiver=Receiver.objects.get(), **changed, **named)

    assert found.repair is not None
    assert not found.repair()
    assert Alert.objects.get().status == "firing"


def test_looks_with_a_long_pause_between_do_not_add_up(console, receiver):
    console.post(payload(some()))
    now = timezone.now() + timedelta(hours=1)
    check_alertmanager(receiver.pk, now)

    assert kinds(check_alertmanager(receiver.pk, now + timedelta(hours=5))) == []


def test_alerts_from_before_the_receiver_are_not_its_business(console, receiver):
    console.post(payload(some()))
    Receiver.objects.update(created_at=timezone.now())

    assert kinds(look_twice(receiver)) == []


def test_an_episode_that_ended_and_the_next_that_began_unheard(console, receiver, alertmanager, set_policy):
    """The console was away for both: the old one is over, the new one counts."""
    [old] = some()
    console.post(payload([old]))
    later = STARTED + timedelta(hours=3)
    alertmanager.fire([old["labels"]], starts_at=later)
    wait_until(lambda: held(alertmanager))

    checked = look_twice(receiver)
    repair(checked)

    assert kinds(checked) == ["resolution_missed", "alert_missed"]
    milliseconds = later.replace(microsecond=123000)
    assert list(Alert.objects.order_by("starts_at").values_list("starts_at", "status")) == [
        (STARTED, "resolved"),
        (milliseconds, "firing"),
    ]
    assert kinds(look_twice(receiver)) == []


def test_many_are_taken_in_batch_by_batch(console, receiver, alertmanager, monkeypatch):
    monkeypatch.setattr(alertmanager_checks, "BATCH", 2)
    fire(alertmanager, *some(5))

    repair(look_twice(receiver))

    assert Alert.objects.count() == 5
    assert sorted(Delivery.objects.values_list("received", flat=True)) == [1, 2, 2]
    assert_ledger_adds_up()


def test_another_receiver_s_alerts_are_not_its_business(console, receiver):
    _, token = create_receiver(name="other", kind="alertmanager")
    console.post(payload(some()), token=token)

    assert kinds(look_twice(receiver)) == []


def test_what_resolved_meanwhile_is_not_resolved_again(console, receiver):
    [known] = some()
    console.post(payload([known]))
    checked = look_twice(receiver)
    console.post(payload([resolved(known)]))
    before = Delivery.objects.count()

    [found] = checked.found
    assert found.repair is not None
    assert not found.repair()
    assert Delivery.objects.count() == before


# --- alerts that never came


def test_what_a_webhook_cut_off_is_taken_in_and_makes_a_storm(console, receiver, alertmanager, set_policy):
    """As with `max_alerts`: one came, and word that four were left out."""
    set_policy(threshold=5)
    alerts = some(5)
    console.post(payload(alerts[:1], truncatedAlerts=4))
    fire(alertmanager, *alerts)

    checked = look_twice(receiver)
    repair(checked)

    assert checked.count == 5
    assert kinds(checked) == ["alert_missed"]
    assert Alert.objects.filter(status="firing", source="alertmanager", receiver="test").count() == 5
    assert Storm.objects.get().alerts.count() == 5
    assert_ledger_adds_up()
    assert kinds(look_twice(receiver)) == []


def test_what_came_is_known_although_the_api_gives_fewer_digits(console, receiver, alertmanager):
    alerts = some(2)
    console.post(payload(alerts))
    fire(alertmanager, *alerts)

    assert kinds(look_twice(receiver)) == []


def test_what_is_silenced_there_is_not_taken_in(receiver, alertmanager):
    [quiet] = some()
    fire(alertmanager, quiet)
    matcher = {"name": "pod", "value": quiet["labels"]["pod"], "isRegex": False}
    now = datetime.now(UTC)
    silence = {
        "matchers": [matcher], "startsAt": rfc3339(now), "endsAt": rfc3339(now + timedelta(hours=1)),
        "createdBy": "test", "comment": "quiet",
    }  # fmt: skip
    httpx.post(f"{alertmanager.url}/api/v2/silences", json=silence).raise_for_status()
    wait_until(lambda: held(alertmanager)[0]["status"]["state"] == "suppressed")

    assert kinds(look_twice(receiver)) == []


def test_what_goes_to_others_is_not_taken_in(console, fake):
    body = json.dumps([group(*some(), receiver="pager")]).encode()

    assert kinds(look_twice(asking(fake((200, body))))) == []


def test_the_receiver_s_terms_hold(console, receiver, alertmanager):
    edit_receiver(receiver=receiver, static_labels={"cluster": "prod"}, allowed_namespaces=["demo"])
    mine, foreign = some()[0], some(namespace="foreign")[0]
    fire(alertmanager, mine, foreign)

    repair(look_twice(receiver))

    [row] = Alert.objects.all()
    assert row.labels == mine["labels"] | {"cluster": "prod"}


def test_what_is_not_allowed_any_more_is_not_over(console, receiver, alertmanager):
    [known] = some()
    console.post(payload([known]))
    fire(alertmanager, known)
    edit_receiver(receiver=receiver, allowed_namespaces=["another"])

    assert kinds(look_twice(receiver)) == []


def test_a_receiver_edited_meanwhile_takes_nothing_in(console, receiver, alertmanager):
    fire(alertmanager, *some())
    [found] = look_twice(receiver).found
    edit_receiver(receiver=receiver, static_labels={"cluster": "prod"})

    assert found.repair is not None
    assert not found.repair()
    assert not Alert.objects.exists()


def test_what_another_receiver_brought_did_come(console, receiver, alertmanager):
    _, token = create_receiver(name="other", kind="alertmanager")
    [known] = some()
    console.post(payload([known]), token=token)
    fire(alertmanager, known)

    assert kinds(look_twice(receiver)) == []


def test_what_fires_there_again_with_its_old_start_is_told(console, receiver, alertmanager):
    """A resolution is never taken back, as a late copy of the alert looks the same; but nobody should believe it."""
    [known] = some()
    console.post(payload([known]))
    console.post(payload([resolved(known)]))
    fire(alertmanager, known)

    [found] = look_twice(receiver).found

    assert (found.finding.kind, found.repair) == ("fires_again", None)
    assert found.finding.advice
    assert Alert.objects.get().status == "resolved"


# --- asking


@pytest.fixture
def fake() -> Iterator[Callable[..., str]]:
    """`fake((status, body))`: the address of a server that runs since long ago and answers so."""
    servers = ExitStack()

    def start(groups: tuple[int, bytes], *, replicas: int = 1) -> str:
        peers = [{"name": str(number), "address": "10.0.0.1:9094"} for number in range(replicas)]

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = {
                    "/prefix/api/v2/status": {"uptime": "2020-01-01T00:00:00.000Z", "cluster": {"peers": peers}},
                    "/prefix/api/v2/receivers": [{"name": "pager"}, {"name": "stormconsole"}],
                }
                status, body = (200, json.dumps(known[self.path]).encode()) if self.path in known else groups
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return f"http://127.0.0.1:{servers.enter_context(served(Answers))}/prefix/"

    with servers:
        yield start


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"<html>"), "did not answer as Alertmanager does"),
        ((200, b'{"alerts": []}'), "did not answer as Alertmanager does"),
        (
            (200, b'[{"receiver": {"name": "a"}, "alerts": [{"labels": {"a": 1}}]}]'),
            "did not answer as Alertmanager does",
        ),
        ((401, b""), "give its credentials in OUTGOING_CREDENTIALS"),
        ((404, b""), "is it Alertmanager's own address"),
        ((302, b""), "answered 302"),
    ],
)
def test_what_is_no_alertmanager_resolves_nothing(console, fake, answer, said):
    console.post(payload(some()))

    with pytest.raises(AlertmanagerAway, match=said):
        check_alertmanager(asking(fake(answer)).pk, timezone.now())


def group(*alerts: dict[str, Any], receiver: str = "stormconsole", **status: Any) -> dict[str, Any]:
    """A group as Alertmanager 0.28 and later tell of it."""
    told = {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []} | status
    shown = [item | {"startsAt": "2026-11-20T10:00:00.123Z", "status": told} for item in alerts]
    return {"labels": {}, "receiver": {"name": receiver}, "alerts": shown}


def test_what_no_webhook_could_bring_is_not_taken_in_and_not_over_either(console, fake):
    """Its annotations grew: the webhook's copy was set aside, the alert fires on."""
    grown, fresh = some(2)
    console.post(payload([grown]))
    long = {"annotations": {"description": "x" * 40_000}}
    body = json.dumps([group(grown | long, fresh | long)]).encode()

    assert kinds(look_twice(asking(fake((200, body))))) == []


def test_what_has_no_annotations_is_taken_in(console, fake):
    [bare] = some()
    body = json.dumps([group(bare | {"annotations": None, "generatorURL": None}, mutedBy=None)]).encode()

    repair(look_twice(asking(fake((200, body)))))

    assert [row.labels for row in Alert.objects.all()] == [bare["labels"]]


def test_what_a_time_interval_mutes_for_us_is_not_taken_in(console, fake):
    """A route may be muted while another one notifies."""
    [muted] = some()
    body = json.dumps([group(muted, state="suppressed", mutedBy=["nights"]), group(muted, receiver="pager")]).encode()

    assert kinds(look_twice(asking(fake((200, body))))) == []


def test_a_run_that_cannot_ask_says_why_and_does_the_rest(console, receiver, settings):
    settings.ALLOWED_OUTGOING = []

    run = reconciled()

    assert list(run.skipped) == ["Alertmanager of test"]
    assert (
        "127.0.0.1 is an internal address: name it, or its network, in ALLOWED_OUTGOING"
        in (run.skipped["Alertmanager of test"])
    )
    assert "resources in the cluster" in run.checked


def test_a_run_finds_and_repairs_and_a_dry_one_only_finds(console, receiver, alertmanager, monkeypatch):
    monkeypatch.setattr(alertmanager_checks, "CONFIRMED_AFTER", timedelta(0))
    fire(alertmanager, *some(2))

    dry = reconciled(dry_run=True)
    assert [(row["kind"], row["result"]) for row in dry.findings] == [("alert_missed", "would be repaired")]
    assert not Alert.objects.exists()

    done = reconciled()
    assert [(row["kind"], row["result"]) for row in done.findings] == [("alert_missed", "repaired")]
    assert (done.checked["Alertmanager of test"], Alert.objects.count()) == (2, 2)
    assert reconciled().findings == []


def reconciled(*, dry_run: bool = False) -> ReconcileRun:
    return execute(run_id=request_run(dry_run=dry_run).id)


def test_who_is_asked_is_enabled_and_named(console, receiver):
    create_receiver(name="silent", kind="alertmanager")
    assert [one.name for one in alertmanager_checks.receivers_to_ask()] == ["test"]
    edit_receiver(receiver=receiver, enabled=False)
    assert alertmanager_checks.receivers_to_ask() == []


NAMED = {"alertmanager_receiver": "stormconsole"}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (NAMED | {"kind": "generic", "alertmanager_urls": ["http://alertmanager.example"]}, "alertmanager_urls"),
        (NAMED | {"alertmanager_urls": ["javascript:alert(1)"]}, "alertmanager_urls"),
        (NAMED | {"alertmanager_urls": ["http://user@alertmanager.example"]}, "alertmanager_urls"),
        (NAMED | {"alertmanager_urls": ["http://alertmanager.example/?x=1"]}, "alertmanager_urls"),
        (NAMED, "alertmanager_urls"),
        ({"alertmanager_urls": ["http://alertmanager.example"]}, "alertmanager_receiver"),
    ],
)
def test_an_address_that_cannot_be_asked_is_refused(transactional_db, options, field):
    with pytest.raises(ValidationError) as refused:
        create_receiver(**({"name": "new", "kind": "alertmanager"} | options))
    assert field in refused.value.message_dict
