"""The decision in words, after everything that an alert may live through; the simple cases are in test_pages.py."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from ingestion.models import Silence
from storms import detector
from storms.models import Alert, Storm
from storms.services import operators
from storms.services.closing import close_due_storms
from storms.services.deferred import decide_deferred
from storms.services.releasing import release_due_alerts
from storms.trace import decision_trace
from tests.factories import make_admin, make_user
from tests.harness.http import alert, payload, resolved
from tests.harness.webhook import Console


def send(console: Console, count: int = 1, namespace: str = "demo", **fields: Any) -> list[Alert]:
    """Fire new alerts; their rows in the order of receipt."""
    known = set(Alert.objects.values_list("id", flat=True))
    console.post(payload([alert(namespace=namespace, **fields) for _ in range(count)]))
    return list(Alert.objects.exclude(id__in=known).order_by("count", "id"))


def words(row: Alert) -> list[str]:
    """The steps without reception, policy and resource; times as `T`."""
    fresh = Alert.objects.select_related("storm", "split_from", "policy", "remediation_request").get(id=row.id)
    steps = [step.text for step in decision_trace(fresh)]
    start = 1 if steps[1].startswith("Policy") else 0
    told = [step for step in steps[start + 1 :] if not step.startswith("Its RemediationRequest")]
    return [re.sub(r"\d\d:\d\d:\d\d", "T", step) for step in told]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`store.away()`, `store.back()`: as if the store had just failed to answer, or answered again."""

    class Store:
        def away(self) -> None:
            monkeypatch.setattr(detector, "_retry_store_at", float("inf"))

        def back(self) -> None:
            monkeypatch.setattr(detector, "_retry_store_at", 0.0)

    return Store()


HELD = "{} of 10 in 60 s in namespace=demo: below the threshold, so it was held until T UTC, in case a storm comes."
OPENED = "10 of 10 in 60 s in namespace=demo: it reached the threshold and opened the storm."
JOINED = "A storm of namespace=demo was open: it joined it."
TAKEN_IN = "A storm of its group took it in."
AWAY = "The store could not be reached: recorded, to be decided when it is back."
BACK = "The store came back, and it counted as of its receipt."


def test_held_and_released(console, clock):
    [row] = send(console)
    release_due_alerts(now=clock.advance(10))
    assert words(row) == [HELD.format(1), "No storm came: it was released and got a RemediationRequest of its own."]


def test_resolved_while_held(console):
    firing = alert(namespace="demo")
    console.post(payload([firing]))
    console.post(payload([resolved(firing)]))
    assert words(Alert.objects.get()) == [
        HELD.format(1),
        "It resolved while it was held: nothing was made for it.",
        "Resolved.",
    ]


def test_a_storm_from_its_first_alert_to_its_last(console):
    rows = send(console, 11)
    assert words(rows[0]) == [HELD.format(1), TAKEN_IN]
    assert words(rows[9]) == [OPENED]
    assert words(rows[10]) == [JOINED]


def test_deferred_and_decided_when_the_store_is_back(console, store):
    store.away()
    rows = [send(console)[0] for _ in range(11)]
    assert words(rows[0]) == [AWAY, "It still waits for its decision."]
    store.back()
    decide_deferred()
    assert words(rows[0]) == [AWAY, f"{BACK} {HELD.format(1)}", TAKEN_IN]
    assert words(rows[9]) == [AWAY, f"{BACK} {OPENED}"]
    assert words(rows[10]) == [AWAY, f"{BACK} {JOINED}"]


def test_deferred_and_not_held(console, store, set_policy):
    set_policy(hold_seconds=0)
    store.away()
    [row] = send(console)
    store.back()
    decide_deferred()
    assert words(row) == [
        AWAY,
        f"{BACK} 1 of 10 in 60 s in namespace=demo: below the threshold, and the policy holds nothing, "
        "so it got a RemediationRequest of its own at once.",
    ]


def a_silence(**fields: Any) -> Silence:
    now = timezone.now()
    defaults = {
        "matchers": 'namespace="demo"\nseverity="critical"',
        "starts_at": now - timedelta(hours=1),
        "ends_at": now + timedelta(hours=1),
        "author": "ada",
        "comment": "moving house",
    }
    return Silence.objects.create(**defaults | fields)


@pytest.mark.parametrize(
    ("fields", "lasts"),
    [
        ({"ends_at": timezone.now() + timedelta(hours=1)}, r"active until \d{4}-\d\d-\d\d T UTC"),
        ({"ends_at": None}, "active until it is ended by hand"),
        (
            {"weekdays": list(range(7)), "window_start": "00:00", "window_minutes": 1440, "ends_at": None},
            "a weekly window, active until it is ended by hand",
        ),
    ],
    ids=["end", "no-end", "weekly"],
)
def test_silenced(console, fields, lasts):
    silence = a_silence(**fields)
    [row] = send(console)
    [told] = words(row)
    expected = rf'Silence {silence.id} of ada matched \(namespace="demo", severity="critical"\); {lasts}: recorded, .*'
    assert re.fullmatch(expected, told), told


def test_silenced_and_sent_again_after_the_silence(console):
    silence = a_silence()
    firing = alert(namespace="demo")
    console.post(payload([firing]))
    Silence.objects.filter(id=silence.id).update(ends_at=timezone.now())
    console.post(payload([firing]))
    told = words(Alert.objects.get())
    assert told[0].startswith(f"Silence {silence.id} of ada matched")
    assert told[1:] == [
        f"It was sent again, still firing, when no silence matched any more. {HELD.format(1)}",
        "It still waits.",
        "Received firing 2 times so far; it counted once.",
    ]


def test_the_page_leads_who_may_to_the_silence(console):
    silence = a_silence()
    [row] = send(console)
    client = Client()
    client.force_login(make_admin())
    address = f"/admin/ingestion/silence/{silence.id}/change/"
    assert f'href="{address}"' in client.get(f"/alerts/{row.id}/").content.decode()
    client.force_login(make_user("viewer", "storms.view_alert"))
    assert address not in client.get(f"/alerts/{row.id}/").content.decode()


def test_split_out(console):
    rows = send(console, 11)
    for row in (rows[0], rows[9], rows[10]):
        operators.split(alert_id=row.id, actor="ada")
    split = "ada split it out of the storm of namespace=demo: it has a RemediationRequest of its own."
    assert words(rows[0]) == [HELD.format(1), TAKEN_IN, split]
    assert words(rows[9]) == [OPENED, split]
    assert words(rows[10]) == [JOINED, split]


def test_merged_and_then_split_out(console):
    rows = send(console, 11)
    send(console, 10, "other")
    storm, other = (Storm.objects.get(group_labels={"namespace": name}) for name in ("demo", "other"))
    operators.merge(storm_id=storm.id, into=other.id, actor="ada")
    merged = "Its storm was merged into that of namespace=other by ada."
    assert words(rows[10]) == [JOINED, merged]
    operators.split(alert_id=rows[0].id, actor="bob")
    split = "bob split it out of the storm of namespace=other: it has a RemediationRequest of its own."
    assert words(rows[0]) == [HELD.format(1), TAKEN_IN, merged, split]


def test_reopened(console, clock, set_policy):
    set_policy(reopen_seconds=60)
    send(console, 10)
    close_due_storms(now=clock.advance(300))
    clock.advance(30)
    [first] = send(console)
    clock.advance(1)
    [second] = send(console)
    reopened = "The storm of namespace=demo had closed, but so shortly before that it reopened it and joined it."
    assert words(first) == [reopened]
    assert words(second) == [JOINED]


@pytest.mark.parametrize(("once", "ending"), [(True, "; the policy counts its episodes once."), (False, ".")])
def test_flapping(console, set_policy, once, ending):
    set_policy(count_flapping_once=once, hold_seconds=0)
    for second in range(5):
        firing = alert(namespace="demo", pod="flapper", starts_at=f"2026-01-01T00:00:{second:02d}Z")
        console.post(payload([firing]))
        console.post(payload([resolved(firing)]))
    flaps = "It flaps: it had fired anew three times within the hour before" + ending
    first, *_, last = Alert.objects.order_by("starts_at")
    assert flaps not in words(first)
    assert words(last)[0] == flaps
