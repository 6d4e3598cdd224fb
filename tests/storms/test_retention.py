"""Retention: what is old goes in its order, what is at work stays, and the ledger adds up before and after."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from ingestion import retention
from ingestion.ledger import totals
from ingestion.models import DeadLetter, Delivery, PrunedTotal
from ingestion.retention import LOCK, PruningElsewhere, count_prunable, prune, pruned_ever
from ingestion.tasks import prune as prune_task
from stormconsole.celery import app
from storms.models import Alert, ObservedResource, RemediationRequest, Storm, StormEvent
from storms.queue import COLLECT, PRUNE, SYNC
from storms.services import retention as storm_retention
from tests.factories import (
    make_alert,
    make_closed_storm,
    make_dead_letter,
    make_delivery,
    make_event,
    make_held_alert,
    make_receiver,
    make_request,
    make_storm,
)
from tests.harness.http import alert, payload, resolved

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _days(settings: Settings) -> None:
    settings.RETAIN_ALERTS_DAYS = 90
    settings.RETAIN_STORMS_DAYS = 365
    settings.RETAIN_DELIVERIES_DAYS = 30
    settings.RETAIN_DEAD_LETTERS_DAYS = 90


def ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def went(rows: list[retention.Pruned]) -> dict[str, int]:
    return {row.name: row.count for row in rows if row.count}


def prune_now() -> dict[str, int]:
    """Prunes, after a dry run that must have said the same."""
    now = timezone.now()
    expected = went(count_prunable(now=now))
    pruned = went(prune(now=now))
    assert pruned == expected
    assert went(count_prunable(now=now)) == {}
    return pruned


def old_alert(days: float = 91, **fields: Any) -> Alert:
    return make_alert(**{"received_at": ago(days), "last_seen_at": ago(days), "status": "resolved"} | fields)


# --- alerts


def test_alerts_go_when_they_were_not_seen_for_so_long() -> None:
    for fields in ({}, {"status": "firing"}, {"disposition": "silenced"}, {"disposition": "resolved_unseen"}):
        old_alert(**fields)
    kept = {old_alert(89), old_alert(91, last_seen_at=ago(89), status="firing")}
    assert prune_now() == {"alerts": 4}
    assert set(Alert.objects.all()) == kept


def test_alerts_at_work_stay() -> None:
    held = make_held_alert(received_at=ago(91), last_seen_at=ago(91))
    deferred = old_alert(disposition="deferred", outcome="deferred", decided_at=None)
    members = {
        old_alert(storm=make_storm(opened_at=ago(91))),
        old_alert(storm=make_closed_storm(opened_at=ago(91), firing_count=1)),
        old_alert(storm=make_closed_storm(opened_at=ago(91), closed_at=ago(89))),
    }
    gone = old_alert(storm=make_closed_storm(opened_at=ago(91)))
    assert prune_now() == {"alerts": 1}
    assert set(Alert.objects.all()) == {held, deferred, *members}
    assert not Alert.objects.filter(id=gone.id).exists()


@pytest.mark.parametrize(
    ("fields", "goes"),
    [
        ({"sync_state": "collected", "collected_at": datetime.fromisoformat("2026-01-01T00:00:00Z")}, True),
        ({"sync_state": "skipped", "applied_at": None}, True),
        ({"cluster": "https://former.example"}, True),
        ({"sync_state": "applied"}, False),
        ({"sync_state": "collected"}, False),
        ({"sync_state": "pending", "applied_at": None}, False),
        ({"sync_state": "failed", "applied_at": None}, False),
        ({"sync_state": "rejected"}, False),
        ({"sync_state": "rejected", "applied_at": None}, True),
    ],
    ids=lambda fields: " ".join(fields) if isinstance(fields, dict) else None,
)
def test_an_alert_waits_until_its_resource_is_gone(fields: dict[str, Any], goes: bool) -> None:
    make_request(alert=old_alert(), **fields)
    assert prune_now() == ({"alerts": 1} if goes else {})
    assert RemediationRequest.objects.exists() is not goes
    assert pruned_ever().get("requests", 0) == goes


# --- storms


def collected(**owner: Any) -> RemediationRequest:
    return make_request(**owner, sync_state="collected", collected_at=ago(300))


def test_a_storm_goes_with_its_requests_and_its_timeline_after_its_alerts() -> None:
    storm = make_closed_storm(opened_at=ago(366))
    request = collected(storm=storm)
    ObservedResource.objects.create(request=request, at=timezone.now(), body={})
    for _ in range(3):
        member = old_alert(300, storm=storm)
        collected(alert=member, superseded_by=request)
        make_event(storm)
    later = make_closed_storm(opened_at=ago(100), previous=storm, merged_into=storm)
    split = old_alert(10, split_from=storm)

    assert prune_now() == {"alerts": 3, "storms": 1}

    assert Storm.objects.get() == later
    later.refresh_from_db()
    split.refresh_from_db()
    assert (later.previous, later.merged_into, split.split_from) == (None, None, None)
    assert not RemediationRequest.objects.exists()
    assert not ObservedResource.objects.exists()
    assert not StormEvent.objects.exists()
    assert pruned_ever() == {"alerts": 3, "recorded": 3, "storms": 1, "requests": 4, "events": 3}


def test_an_alert_that_stays_keeps_its_storm(settings: Settings) -> None:
    storm = make_closed_storm(opened_at=ago(400))
    old_alert(400, storm=storm)
    old_alert(400, storm=storm, last_seen_at=ago(80))
    assert prune_now() == {"alerts": 1}
    settings.RETAIN_ALERTS_DAYS = 0
    assert prune_now() == {}
    assert Storm.objects.exists()
    settings.RETAIN_ALERTS_DAYS = 79
    assert prune_now() == {"alerts": 1, "storms": 1}


def test_storms_at_work_stay() -> None:
    make_storm(opened_at=ago(400))
    make_closed_storm(opened_at=ago(400), firing_count=1)
    make_closed_storm(opened_at=ago(400), closed_at=ago(364))
    make_request(storm=make_closed_storm(opened_at=ago(400)))
    assert prune_now() == {}


# --- the ledger


def test_deliveries_go_when_their_dead_letters_are_gone(settings: Settings) -> None:
    delivery = make_delivery(received_at=ago(40), received=1, outcomes={"rejected": 1})
    make_dead_letter(delivery=delivery)
    plain = make_delivery(received_at=ago(31), received=0, outcomes={})
    make_delivery(received_at=ago(29), received=0, outcomes={})
    assert prune_now() == {"deliveries": 1}
    assert not Delivery.objects.filter(id=plain.id).exists()
    assert DeadLetter.objects.exists()
    settings.RETAIN_DEAD_LETTERS_DAYS = 39
    assert prune_now() == {"dead letters": 1, "deliveries": 1}
    assert totals() == totals() | {"deliveries": 3, "received": 1, "rejected": 1, "dead_letters": 1, "unaccounted": 0}


def test_the_last_delivery_that_was_accepted_from_a_receiver_stays() -> None:
    receiver = make_receiver()
    for days, status in ((50, 202), (45, 202), (40, 401)):
        make_delivery(receiver=receiver, received_at=ago(days), http_status=status, received=0, outcomes={})
    assert prune_now() == {"deliveries": 2}
    assert Delivery.objects.get().received_at < ago(44)


def test_zero_days_keep_everything(settings: Settings) -> None:
    for name in ("ALERTS", "STORMS", "DELIVERIES", "DEAD_LETTERS"):
        setattr(settings, f"RETAIN_{name}_DAYS", 0)
    old_alert(10_000)
    make_closed_storm(opened_at=ago(10_000))
    make_dead_letter(delivery=make_delivery(received_at=ago(10_000)))
    assert prune_now() == {}
    assert not PrunedTotal.objects.exists()


def test_nothing_is_unaccounted_for_after_any_part_of_it(console: Any) -> None:
    firing = [alert(namespace="demo") for _ in range(15)]
    bad = alert() | {"labels": {"a": 7}}
    console.post(payload([*firing, bad]))
    console.post(payload([*firing[:5], resolved(firing[0])]))
    console.post(payload([bad]))
    before = totals()
    assert before == before | {"deliveries": 3, "received": 23, "recorded": 21, "rejected": 2, "unaccounted": 0}

    def unchanged() -> None:
        assert totals() == before

    long_ago = ago(1000)
    Storm.objects.update(opened_at=long_ago, closed_at=long_ago, state="closed", firing_count=0)
    RemediationRequest.objects.update(sync_state="skipped")
    Alert.objects.update(received_at=long_ago, last_seen_at=long_ago)
    Delivery.objects.update(received_at=F("received_at") - timedelta(days=1000))
    DeadLetter.objects.update(received_at=long_ago)
    cutoff = timezone.now()
    for count in (7, 7, 1, 0):
        assert storm_retention.prune_alerts(before=cutoff, account=retention.account, batch=7) == count
        unchanged()
    for count in (1, 0):
        assert storm_retention.prune_storms(before=cutoff, account=retention.account, batch=7) == count
        unchanged()
    assert retention.prune_dead_letters(before=cutoff) == 1
    unchanged()
    # The last accepted one stays.
    for count in (1, 1, 0):
        assert retention.prune_deliveries(before=cutoff, batch=1) == count
        unchanged()
    assert Delivery.objects.count() == 1
    console.post(payload([alert(namespace="demo")]))
    assert totals() == totals() | {"deliveries": 4, "received": 24, "recorded": 22, "unaccounted": 0}


def test_an_alert_that_was_pruned_and_comes_again_is_taken_in(console: Any) -> None:
    firing = alert(namespace="demo")
    console.post(payload([firing]))
    Alert.objects.update(received_at=ago(100), last_seen_at=ago(100), disposition="individual")
    assert prune_now() == {"alerts": 1}
    assert console.post(payload([firing])).status_code == 202
    assert Alert.objects.get().occurrences == 1
    assert totals()["unaccounted"] == 0


# --- running it


def test_it_works_in_batches_and_counts_on() -> None:
    for _ in range(5):
        old_alert()
    now = timezone.now()
    for count in (2, 2, 1, 0):
        assert (
            storm_retention.prune_alerts(before=now - timedelta(days=90), account=retention.account, batch=2) == count
        )
    assert pruned_ever() == {"alerts": 5, "recorded": 5, "requests": 0}
    old_alert()
    prune_task()
    assert pruned_ever()["alerts"] == 6


@pytest.mark.django_db(transaction=True)
def test_only_one_process_prunes() -> None:
    old_alert()
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", [LOCK])
        with pytest.raises(PruningElsewhere):
            prune(now=timezone.now())
        with pytest.raises(CommandError, match="another process is pruning"):
            call_command("prune")
        prune_task()
    finally:
        other.close()
    assert Alert.objects.exists()
    assert prune_now() == {"alerts": 1}
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_locks where locktype = 'advisory' and objid = %s", [LOCK])
        assert cursor.fetchone() == (0,)


def test_the_command_prints_what_goes(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    settings.RETAIN_STORMS_DAYS = 0
    old_alert()
    call_command("prune", "--dry-run")
    said = capsys.readouterr().out
    assert "would go  older than" in said
    assert f"alerts                 1  {ago(90):%Y-%m-%d}" in said
    assert "storms                 0  kept for ever (RETAIN_STORMS_DAYS)" in said
    assert Alert.objects.exists()
    call_command("prune")
    said = capsys.readouterr().out
    assert "went  older than" in said
    assert "ever: 1 alerts, 1 recorded, 0 requests" in said
    assert not Alert.objects.exists()


def test_a_worker_knows_every_task_that_is_enqueued_by_name() -> None:
    app.loader.import_default_modules()
    assert {COLLECT, PRUNE, SYNC} <= app.tasks.keys()
