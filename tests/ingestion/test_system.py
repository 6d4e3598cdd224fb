"""The System page: what it says of the ledger, receivers, processes and failures; who may do what on it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
import time_machine
from django.test import Client

from ingestion import counting, pages, system, tasks
from ingestion.ledger import totals
from ingestion.models import LedgerCount
from stormconsole import alive, facts
from storms.choices import AuditAction
from storms.models import AuditEntry, DayTotals, RemediationRequest, WatchState
from storms.queue import enqueue_counting, enqueue_sync
from storms.services import requests, watching
from tests.factories import (
    NOW,
    make_admin,
    make_alert,
    make_closed_storm,
    make_dead_letter,
    make_delivery,
    make_receiver,
    make_request,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db

EVIL = "<script>alert(1)</script>\"'><img src=x>"
VIEWER = ("storms.view_storm", "storms.view_remediationrequest", "ingestion.view_delivery", "ingestion.view_deadletter")


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(make_user("looks", *VIEWER))
    return client


def seen(client: Client, query: str = "") -> str:
    response = client.get(f"/system/{query}")
    assert response.status_code == 200
    return response.content.decode()


def expensive(**fields: Any) -> LedgerCount:
    """The last count, which took long, so that looks do not count."""
    defaults = {"id": 1, "totals": totals(), "counted_at": NOW, "took_ms": 2_000}
    return LedgerCount.objects.create(**defaults | fields)


# --- the ledger


def test_where_counting_is_cheap_the_ledger_is_of_now() -> None:
    counting.count_ledger()
    LedgerCount.objects.update(took_ms=5)
    make_delivery(received=3)
    assert counting.ledger().totals["received"] == 3


def test_where_counting_is_dear_the_last_count_is_shown_with_its_age(admin: Client) -> None:
    expensive()
    make_delivery(received=3)
    shown = counting.ledger()
    assert (shown.totals["received"], shown.counted_at, shown.took_ms) == (0, NOW, 2_000)
    assert f'datetime="{NOW.isoformat()}"' in seen(admin)
    assert admin.get("/api/v1/status/").json()["ledger_counted_at"] == "2026-11-16T10:30:00Z"


def test_the_next_count_waits_as_long_as_the_last_one_took_twenty_times() -> None:
    expensive(took_ms=3_000)
    with time_machine.travel(NOW + timedelta(seconds=59), tick=False):
        assert not counting.count_if_due()
    with time_machine.travel(NOW + timedelta(seconds=61), tick=False):
        assert counting.count_if_due()
        assert LedgerCount.objects.get().counted_at == NOW + timedelta(seconds=61)
        assert not counting.count_if_due()


def test_a_count_that_began_earlier_does_not_replace_a_later_one() -> None:
    expensive(counted_at=NOW + timedelta(minutes=1), totals={"received": 7})
    with time_machine.travel(NOW, tick=False):
        counting.count_ledger()
    assert LedgerCount.objects.get().totals == {"received": 7}


def test_the_worker_counts_and_rolls_the_days_up() -> None:
    make_delivery(received_at=datetime.now(UTC), received=3)
    tasks.count()
    assert LedgerCount.objects.get().totals["received"] == 3
    assert DayTotals.objects.get().received == 3


def test_an_operator_counts_now_and_it_is_audited(admin: Client) -> None:
    expensive()
    make_delivery(received=3, outcomes={"held": 1})
    response = admin.post("/system/count/", follow=True)
    assert "Counted: 3 alerts are not accounted for." in response.content.decode()
    assert counting.ledger().totals["received"] == 3
    assert AuditEntry.objects.get(action=AuditAction.LEDGER_COUNTED).actor == "admin"


# --- receivers


def test_receivers_in_trouble_come_first() -> None:
    fine, failing, silent = (
        make_receiver(name="a"),
        make_receiver(name="b"),
        make_receiver(name="c", heartbeat_minutes=5),
    )
    make_receiver(name="d", enabled=False)
    make_receiver(name="e")
    for receiver in (fine, failing, silent):
        make_delivery(receiver=receiver, received_at=NOW - timedelta(minutes=6))
    make_delivery(receiver=failing, received_at=NOW, http_status=401, error="The token was revoked.")
    make_delivery(receiver=fine, received_at=NOW - timedelta(minutes=7), http_status=413, error="Too long.")
    rows = system.receivers(NOW)
    assert [(row.name, row.state) for row in rows] == [
        ("c", "silent"),
        ("b", "failing"),
        ("e", "never"),
        ("a", "ok"),
        ("d", "disabled"),
    ]
    failing_row = rows[1]
    assert (failing_row.refused_status, failing_row.refused_error) == (401, "The token was revoked.")
    assert failing_row.accepted_at == NOW - timedelta(minutes=6)


def test_what_the_console_says_itself_is_no_word_of_a_receiver() -> None:
    receiver = make_receiver(heartbeat_minutes=5, created_at=NOW - timedelta(hours=1))
    for kind in ("heartbeat", "replay"):
        make_delivery(receiver=receiver, kind=kind, received_at=NOW)
    [row] = system.receivers(NOW)
    assert (row.state, row.accepted_at) == ("silent", None)


def test_a_receiver_s_rate_has_its_latest_deliveries_on_the_right() -> None:
    receiver = make_receiver()
    for minutes in (0, 1, 4, 59, 61):
        make_delivery(receiver=receiver, received_at=NOW - timedelta(minutes=minutes))
    [row] = system.receivers(NOW)
    assert row.rate == [1, *[0] * (system.BUCKETS - 3), 1, 2]
    assert row.per_hour == 4


# --- what fails, and trying again


def test_a_failed_sync_is_tried_again_at_once(admin: Client, enqueued: Any) -> None:
    row = make_request(
        storm=make_storm(),
        sync_state="failed",
        attempts=7,
        last_error="503",
        last_attempt_at=NOW,
        next_attempt_at=NOW + timedelta(days=365),
    )
    page = seen(admin)
    assert "503" in page
    assert "1 to be retried, 0 rejected" in page
    when = '<time datetime="2027-11-16T10:30:00+00:00" title="2027-11-16 10:30:00 UTC">10:30:00</time> UTC'
    assert f"the next at {when}" in page
    assert f"the next at {when}" in admin.get(f"/storms/{row.id}/").content.decode()
    response = admin.post(f"/system/retry/{row.id}/", follow=True)
    assert "is tried again now." in response.content.decode()
    row.refresh_from_db()
    assert (row.sync_state, row.attempts, row.desired_version) == ("pending", 0, 2)
    assert requests.claim(rr_id=row.id) is not None
    assert AuditEntry.objects.get(action=AuditAction.SYNC_RETRIED).target_id == str(row.id)


def test_a_rejected_manifest_is_built_and_sent_anew(admin: Client) -> None:
    row = make_request(storm=make_storm(), sync_state="rejected", rejected_version=1, last_attempt_at=NOW)
    assert requests.claim(rr_id=row.id) is None
    assert requests.retry_now(rr_id=row.id, actor="ada")
    assert requests.claim(rr_id=row.id) is not None


def test_what_does_not_fail_is_not_tried_again(admin: Client) -> None:
    row = make_request(storm=make_storm())
    response = admin.post(f"/system/retry/{row.id}/", follow=True)
    assert "does not fail any more." in response.content.decode()
    assert RemediationRequest.objects.get(id=row.id).desired_version == 1
    assert admin.post(f"/system/retry/{uuid4()}/").status_code == 404


def test_the_backlog_is_what_should_have_begun() -> None:
    make_request(sync_state="pending", next_attempt_at=NOW - timedelta(minutes=5))
    make_request(sync_state="failed", next_attempt_at=NOW - timedelta(minutes=9))
    make_request(sync_state="pending", next_attempt_at=datetime.now(UTC) + timedelta(days=1))
    make_request(sync_state="rejected")
    make_request()
    assert system.backlog() == system.Backlog(
        due=2, oldest_due=NOW - timedelta(minutes=9), pending=2, failed=1, rejected=1
    )


# --- the watch


def test_the_watch_leaves_its_state_behind() -> None:
    assert system.watch(NOW).state == "never"
    with time_machine.travel(NOW, tick=False):
        watching.note_failure(error="connection refused")
    with time_machine.travel(NOW + timedelta(minutes=1), tick=False):
        watching.note_failure(error="still refused")
    row = WatchState.objects.get()
    assert (row.failing_since, row.failed_at, row.error) == (NOW, NOW + timedelta(minutes=1), "still refused")
    assert system.watch(NOW).state == "failing"
    with time_machine.travel(NOW + timedelta(minutes=2), tick=False):
        watching.note_listed(cluster="https://cluster.example")
        watching.note_heard(event_at=NOW)
    row = WatchState.objects.get()
    assert (row.cluster, row.failing_since, row.event_at) == ("https://cluster.example", None, NOW)
    assert system.watch(NOW + timedelta(minutes=3)).state == "ok"
    assert system.watch(NOW + timedelta(minutes=6)).state == "late"


# --- processes and servers


def test_who_beats_is_alive_and_who_stopped_is_dead(admin: Client, valkey: redis.Redis) -> None:
    alive._beat("worker")
    valkey.zadd("stormconsole:alive:sweep", {"host:7": valkey.time()[0] - 40})
    states = {name: state for state, name in re.findall(r'component-(\w+)">\w+</span> <b>(\w+)</b>', seen(admin))}
    assert states == {"worker": "ok", "sweep": "dead", "watch": "dead"}
    assert f":{os.getpid()}" in seen(admin)


def test_messages_that_nobody_has_taken_are_counted(admin: Client, valkey: redis.Redis) -> None:
    enqueue_sync([uuid4()])
    enqueue_counting()
    assert facts.store_facts().queued == 2
    assert '<dd data-total="queued">2</dd>' in seen(admin)


def test_a_store_that_may_throw_away_what_is_counted_is_warned_of(admin: Client, valkey: redis.Redis) -> None:
    policy = valkey.config_get("maxmemory-policy")["maxmemory-policy"]
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "Set it to noeviction." in seen(admin)
    finally:
        valkey.config_set("maxmemory-policy", policy)
    assert ("Set it to noeviction." in seen(admin)) == (policy != "noeviction")


def test_without_the_store_the_page_says_so(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on the port that the store's client is pointed to."""
    gone = redis.Redis(port=1, socket_connect_timeout=1, decode_responses=True)
    monkeypatch.setattr(facts, "store", lambda: gone)
    page = seen(admin)
    assert "The store does not answer:" in page
    assert page.count("component-unknown") == 3
    assert "Deliveries" in page


def test_migrations_that_are_missing_are_named() -> None:
    assert facts.missing_migrations() == []
    facts.MigrationRecorder(facts.connection).record_unapplied("storms", "0002_generation_and_default_policy")
    assert facts.missing_migrations() == ["storms.0002_generation_and_default_policy"]


def test_versions_and_warnings_are_there(admin: Client) -> None:
    page = seen(admin)
    for name in ("Django", "celery", "stormconsole", "Python"):
        assert f"<dt>{name}</dt>" in page
    assert {message.id for message in facts.configuration_warnings()} >= {"security.W008"}  # no HTTPS in tests
    assert "security.W008" in page


# --- deliveries


def test_deliveries_are_filtered_and_paged_by_key(admin: Client) -> None:
    receiver = make_receiver(name="prod")
    make_delivery(receiver=receiver, http_status=401, error="no token", received=0, outcomes={})
    make_delivery(outcomes={"held": 1, "rejected": 2})
    for n in range(60):
        make_delivery(received_at=NOW - timedelta(seconds=n // 7))

    def rows(query: str) -> int:
        return len(re.findall(r'href="/system/deliveries/', seen(admin, query)))

    assert rows("?receiver=prod") == rows("?answer=refused") == rows("?answer=rejected") == 1
    assert rows("?receiver=nobody") == rows("?receiver=%00x") == 0
    ids: list[str] = []
    url = "/system/?answer=accepted"
    while url:
        page = admin.get(url).content.decode()
        ids += re.findall(r'href="/system/deliveries/([^"/]+)/', page)
        found = re.search(r'rel="next" href="([^"]+)#deliveries"', page)
        url = found[1].replace("&amp;", "&") if found else ""
    assert len(ids) == len(set(ids)) == 61


def test_a_delivery_shows_what_it_held(admin: Client) -> None:
    delivery = make_delivery(receiver=make_receiver(name="prod"), outcomes={"aggregated": 1, "rejected": 1}, received=2)
    storm = make_closed_storm()
    make_alert(delivery_id=delivery.id, storm=storm, alertname="DiskFull", received_at=delivery.received_at)
    make_alert(alertname="Other", received_at=delivery.received_at)
    make_dead_letter(delivery=delivery)
    page = admin.get(f"/system/deliveries/{delivery.id}/").content.decode()
    assert "DiskFull" in page
    assert "Other" not in page
    assert "expected a string" in page
    assert 'Delivery of <time datetime="2026-11-16T10:30:00+00:00"' in page
    assert f"/storms/{storm.id}/" in page
    assert admin.get(f"/system/deliveries/{uuid4()}/").status_code == 404


# --- who, and what it costs


def test_a_viewer_sees_no_button_and_is_refused(viewer: Client) -> None:
    row = make_request(storm=make_storm(), sync_state="failed", last_error="503")
    page = seen(viewer)
    assert "503" in page
    assert "Count now" not in page
    assert "Retry now" not in page
    for path in ("/system/count/", f"/system/retry/{row.id}/"):
        assert viewer.post(path).status_code == 403
        assert viewer.get(path).status_code == 405
    assert RemediationRequest.objects.get(id=row.id).sync_state == "failed"


def test_what_a_person_may_not_see_is_not_on_the_page(client: Client) -> None:
    delivery = make_delivery(outcomes={"rejected": 1, "held": 1}, received=2)
    make_dead_letter(delivery=delivery, error="secret error")
    make_request(storm=make_storm(), sync_state="failed", last_error="secret failure")
    make_alert(delivery_id=delivery.id, received_at=delivery.received_at, alertname="SecretAlert")
    client.force_login(make_user("ledger", "ingestion.view_delivery"))
    page = seen(client) + client.get(f"/system/deliveries/{delivery.id}/").content.decode()
    for secret in ("secret error", "secret failure", "SecretAlert"):
        assert secret not in page


@pytest.mark.parametrize("path", ["/system/", "/system/deliveries/9b2f0a52-7a0e-4a35-9b8b-0d4d6a1f3c11/"])
def test_it_asks_for_a_login_and_the_permission(path: str, client: Client) -> None:
    assert client.get(path).status_code == 302
    client.force_login(make_user())
    assert client.get(path).status_code == 403


def test_it_takes_as_many_queries_for_much_as_for_little(admin: Client, django_assert_num_queries: Any) -> None:
    expensive()
    for n in range(2):
        for _ in range(12 * n + 1):
            receiver = make_receiver()
            make_delivery(receiver=receiver)
            make_dead_letter()
            make_request(storm=make_storm(), sync_state="failed", last_error="503")
            make_request(sync_state="rejected", last_error="422")
        facts.versions()
        with django_assert_num_queries(17):
            seen(admin)


def test_htmx_gets_the_part_that_changes(admin: Client) -> None:
    part = admin.get("/system/", headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div id="system"')
    assert "<html" not in part


def test_hostile_text_is_text(admin: Client) -> None:
    receiver = make_receiver(name=EVIL)
    delivery = make_delivery(receiver=receiver, http_status=400, error=EVIL, outcomes={"rejected": 1}, received=1)
    make_dead_letter(delivery=delivery, error=EVIL, pointer=EVIL)
    storm = make_storm(group_labels={EVIL: EVIL})
    make_request(storm=storm, sync_state="failed", last_error=EVIL)
    make_request(alert=make_alert(labels={"alertname": EVIL}), sync_state="failed", last_error=EVIL)
    make_alert(delivery_id=delivery.id, received_at=delivery.received_at, labels={"alertname": EVIL})
    WatchState.objects.create(id=1, failing_since=NOW, failed_at=NOW, error=EVIL)
    for page in (seen(admin), admin.get(f"/system/deliveries/{delivery.id}/").content.decode()):
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert " style=" not in page


def test_a_watch_of_a_configured_cluster_is_told(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "is_local", lambda: False)
    assert "not begun" in seen(admin)
    watching.note_failure(error="connection refused")
    assert "connection refused" in seen(admin)
