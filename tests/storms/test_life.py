"""The life of alerts and storms after the webhook: release, absorption, closing, deferral, counting."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
import time_machine
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from stormconsole import alive
from stormconsole.facts import queue_key
from storms.models import Alert, RemediationRequest, Storm, StormEvent
from storms.services import requests
from storms.services.closing import close_due_storms
from storms.services.refresh import dirty_storms, left_behind_storms, refresh_storm
from storms.services.releasing import adopt_stragglers, release_due_alerts
from storms.sweep import housekeep, sweep_once
from tests.harness.http import alert, payload, resolved
from tests.storms.arrivals import dispositions, send

pytestmark = pytest.mark.usefixtures("quiet_broker")


def test_a_held_alert_is_released_at_its_time_and_not_before(console, clock):
    send(console, 3)

    assert release_due_alerts(now=clock.advance(9.9)) == []
    assert len(release_due_alerts(now=clock.advance(0.1))) == 3

    assert dispositions() == {"individual": 3}
    assert set(RemediationRequest.objects.values_list("kind", "namespace")) == {("alert", "demo")}
    assert release_due_alerts(now=clock.advance(1)) == []


def test_an_alert_that_resolved_while_held_makes_nothing(console, clock):
    alerts = send(console, 3)
    console.post(payload([resolved(alerts[0])]))

    release_due_alerts(now=clock.advance(10))

    assert dispositions() == {"individual": 2, "resolved_while_held": 1}
    assert RemediationRequest.objects.count() == 2


def test_a_storm_absorbs_released_alerts_of_its_window(console, clock):
    send(console, 9)
    release_due_alerts(now=clock.advance(10))

    send(console, 1)

    assert dispositions() == {"member": 10}
    storm = RemediationRequest.objects.get(kind="storm")
    absorbed = RemediationRequest.objects.filter(kind="alert")
    assert set(absorbed.values_list("superseded_by", flat=True)) == {storm.id}
    # None was sent to the cluster yet, so none need be made there.
    assert set(absorbed.values_list("sync_state", flat=True)) == {"skipped"}


def test_a_request_that_the_cluster_has_is_told_that_it_is_superseded(console, clock):
    send(console, 9)
    release_due_alerts(now=clock.advance(10))
    for request in RemediationRequest.objects.all():
        assert requests.claim(rr_id=request.id) is not None

    send(console, 1)

    assert set(RemediationRequest.objects.filter(kind="alert").values_list("sync_state", "desired_version")) == {
        ("pending", 2)
    }


def test_an_alert_older_than_the_window_stays_out_of_the_storm(console, clock):
    send(console, 1)
    release_due_alerts(now=clock.advance(61))

    send(console, 10)

    assert dispositions() == {"individual": 1, "member": 10}


def test_an_alert_recorded_after_its_storm_opened_is_taken_in(console, clock):
    """Its request decided before the threshold and committed after it."""
    send(console, 10)
    late = Alert.objects.order_by("decided_at", "id").first()
    assert late is not None
    Alert.objects.filter(id=late.id).update(storm=None, disposition="held", release_at=clock.now)

    assert adopt_stragglers() == [Storm.objects.get().id]

    assert dispositions() == {"member": 10}
    assert adopt_stragglers() == []


def test_a_quiet_storm_closes_and_its_resource_is_to_follow(console, clock):
    send(console, 10)
    storm = Storm.objects.get()
    assert close_due_storms(now=clock.advance(299)) == []

    assert close_due_storms(now=clock.advance(1)) == [storm.id]

    storm.refresh_from_db()
    assert (storm.state, storm.close_reason, storm.closed_at) == ("closed", "quiet", clock.now)
    assert RemediationRequest.objects.get().desired_version == 2
    assert list(StormEvent.objects.values_list("kind", flat=True)) == ["opened", "closed"]
    send(console, 1)
    assert dispositions() == {"member": 10, "held": 1}


def test_a_storm_with_new_alerts_stays_open_whatever_its_row_says(console, clock):
    send(console, 10)
    clock.advance(200)
    send(console, 1)

    # The row was not refreshed, so it still says that the last alert came 300 s ago; the store knows better.
    assert close_due_storms(now=clock.advance(100)) == []
    assert close_due_storms(now=clock.advance(199)) == []
    assert len(close_due_storms(now=clock.advance(1))) == 1


def test_a_storm_whose_alerts_all_resolved_closes(console, clock):
    alerts = send(console, 10)
    storm = Storm.objects.get()
    console.post(payload([resolved(one) for one in alerts[:9]]))
    refresh_storm(storm_id=storm.id)
    assert close_due_storms(now=clock.advance(3)) == []

    console.post(payload([resolved(alerts[9])]))
    refresh_storm(storm_id=storm.id)
    close_due_storms(now=clock.now)

    storm.refresh_from_db()
    assert (storm.close_reason, storm.firing_count, storm.resolved_count) == ("resolved", 0, 10)


def test_a_truncated_group_that_says_resolved_closes_nothing(console, clock):
    send(console, 10)
    console.post(payload([alert(status="resolved", namespace="demo")], status="resolved", truncatedAlerts=40))
    refresh_storm(storm_id=Storm.objects.get().id)

    assert close_due_storms(now=clock.advance(3)) == []


def test_closing_ends_membership_not_the_incident(console, clock):
    alerts = send(console, 10)
    storm = Storm.objects.get()
    refresh_storm(storm_id=storm.id)
    close_due_storms(now=clock.advance(300))
    storm.refresh_from_db()
    assert storm.is_settled

    console.post(payload([resolved(one) for one in alerts]))
    facts = refresh_storm(storm_id=storm.id)

    storm.refresh_from_db()
    assert (storm.firing_count, storm.resolved_count, storm.is_settled) == (0, 10, False)
    assert facts is not None
    assert facts.state == "closed"
    assert StormEvent.objects.filter(kind="settled").count() == 1


def test_a_storm_that_goes_on_past_its_maximum_is_followed_by_a_linked_one(console, clock, set_policy):
    set_policy(max_duration_seconds=400, threshold=2)
    send(console, 2)
    clock.advance(250)
    send(console, 1)
    clock.advance(150)

    send(console, 2)

    # The store closed the first before it opened the second; the row follows in the same webhook.
    first, second = Storm.objects.order_by("opened_at")
    assert (first.state, first.close_reason) == ("closed", "max_duration")
    assert (second.state, second.previous) == ("open", first)
    assert Counter(Alert.objects.values_list("storm", flat=True)) == {first.id: 3, second.id: 2}


def test_an_edited_policy_leaves_open_storms_as_they_were(console, clock, set_policy):
    send(console, 10)
    set_policy(quiet_seconds=10, threshold=3)

    assert close_due_storms(now=clock.advance(20)) == []
    assert Storm.objects.get().policy_version == 1


def test_a_store_set_back_to_an_old_copy_makes_no_second_storm(console, settings):
    """A failover to a replica that missed the last writes: the rows know an open storm, the store its window only."""
    send(console, 9)
    raw = redis.Redis.from_url(settings.REDIS_URL)
    copy = {key: raw.dump(key) for key in raw.keys("stormconsole:*")}
    send(console, 3)
    storm = Storm.objects.get()
    raw.flushdb()
    for key, value in copy.items():
        raw.restore(key, 0, value)
    raw.close()

    response = console.post(payload([alert(namespace="demo")]))

    assert [r["outcome"] for r in response.json()["results"]] == ["aggregated"]
    assert list(Storm.objects.values_list("id", flat=True)) == [storm.id]


@pytest.mark.parametrize(("hold_seconds", "stands_as"), [(10, "held"), (0, "individual")])
def test_an_alert_decided_by_a_store_that_was_set_back_goes_into_the_open_storm(
    console, valkey, clock, set_policy, hold_seconds, stands_as
):
    """Its request looked the rows up before the storm was there, and asked the store after it had forgotten it."""
    set_policy(hold_seconds=hold_seconds)
    send(console, 10)
    storm = Storm.objects.get()
    clock.advance(1)
    valkey.flushdb()
    Storm.objects.update(group_key="not there yet")
    send(console, 2)
    Storm.objects.update(group_key=storm.group_key)
    astray = Alert.objects.filter(disposition=stands_as, storm=None)
    assert astray.count() == 2
    assert adopt_stragglers() == [], "a close that is on its way from the store to the rows comes first"
    astray.update(received_at=timezone.now() - timedelta(seconds=6))

    assert adopt_stragglers() == [storm.id]
    assert release_due_alerts(now=clock.advance(10)) == []

    refresh_storm(storm_id=storm.id)
    assert Storm.objects.get().alert_count == 12
    assert RemediationRequest.objects.filter(superseded_by=None).count() == 1


def test_an_alert_held_after_the_storm_was_quiet_is_released(console, valkey, clock):
    """The store closed the storm, as it does when somebody asks; the rows say so a moment later."""
    send(console, 10)
    clock.advance(301)
    send(console, 1)

    assert len(release_due_alerts(now=clock.advance(10))) == 1
    assert Storm.objects.get().alerts.count() == 10


def test_a_store_that_remembers_a_storm_the_rows_closed_is_told(console, valkey, clock):
    send(console, 10)
    first = Storm.objects.get()
    Storm.objects.filter(id=first.id).update(state="closed", closed_at=clock.now, close_reason="quiet")
    clock.advance(5)

    response = console.post(payload([alert(namespace="demo")]))

    assert [r["outcome"] for r in response.json()["results"]] == ["held"]
    assert first.alerts.count() == 10


def test_two_open_storms_of_a_group_are_impossible(console):
    send(console, 10)
    storm = Storm.objects.get()
    storm.pk = "00000000-0000-0000-0000-000000000001"
    with pytest.raises(IntegrityError, match="one_open_storm_per_group"):
        storm.save(force_insert=True)


def test_the_sweep_does_what_is_due_and_nothing_twice(console, clock):
    send(console, 3)
    send(console, 12, namespace="other")
    clock.advance(10)

    first = sweep_once()
    second = sweep_once()

    assert (first.released, first.closed, len(first.enqueued)) == (3, 0, 4)
    assert (second.released, second.closed, second.enqueued) == (0, 0, [])


def test_a_storm_is_dirty_until_it_was_counted(console):
    alerts = send(console, 10)
    storm = Storm.objects.get()
    RemediationRequest.objects.update(sync_state="applied")
    assert dirty_storms() == [storm.id]
    refresh_storm(storm_id=storm.id)
    assert dirty_storms() == []

    console.post(payload(alerts))
    assert dirty_storms() == [], "a re-send changes nothing that the resource says"
    console.post(payload([resolved(alerts[0])]))
    assert dirty_storms() == [storm.id]


def test_a_large_storm_is_counted_less_often(console):
    send(console, 10)
    storm = Storm.objects.get()
    refresh_storm(storm_id=storm.id)
    RemediationRequest.objects.update(sync_state="applied")
    send(console, 2)

    def is_dirty(*, alerts, seconds):
        Storm.objects.update(alert_count=alerts, refreshed_at=timezone.now() - timedelta(seconds=seconds))
        return dirty_storms() == [storm.id]

    assert is_dirty(alerts=20_000, seconds=0)  # a sync rests a second all the same
    assert not is_dirty(alerts=100_000, seconds=4)
    assert is_dirty(alerts=100_000, seconds=6)
    assert not is_dirty(alerts=10_000_000, seconds=9)
    assert is_dirty(alerts=10_000_000, seconds=11)
    Storm.objects.update(refreshed_at=None)
    assert dirty_storms() == [storm.id]


@pytest.mark.parametrize("state", ["failed", "pending"])
def test_a_storm_whose_sync_does_not_come_is_counted_all_the_same(console, state):
    """The cluster is away, or the workers are: an operator sees how the storm grows."""
    send(console, 10)
    storm = Storm.objects.get()
    refresh_storm(storm_id=storm.id)
    RemediationRequest.objects.update(sync_state=state, next_attempt_at=timezone.now() + timedelta(minutes=5))
    send(console, 7)
    sweep_once()
    storm.refresh_from_db()
    assert storm.alert_count == 10  # a sync may be on its way
    Storm.objects.update(refreshed_at=timezone.now() - timedelta(seconds=3))
    sweep_once()
    storm.refresh_from_db()
    assert storm.alert_count == 17
    assert left_behind_storms() == []


def test_a_join_that_commits_after_the_count_is_not_forgotten(console):
    """The counting snapshot does not see a join whose transaction began before it and commits after it."""
    send(console, 10)
    storm = Storm.objects.get()
    RemediationRequest.objects.update(sync_state="applied")
    ready, go = threading.Event(), threading.Event()

    def join_late() -> None:
        with transaction.atomic():
            Alert.objects.filter(storm=storm)[:1].get()
            with connection.cursor() as cursor:
                cursor.execute(
                    "update storms_alert set status = 'resolved', changed_xid = pg_current_xact_id()::text::bigint"
                    " where id = (select id from storms_alert limit 1)"
                )
            ready.set()
            go.wait(10)
        connection.close()

    thread = threading.Thread(target=join_late)
    thread.start()
    assert ready.wait(10)
    refresh_storm(storm_id=storm.id)
    go.set()
    thread.join()

    assert dirty_storms() == [storm.id]
    refresh_storm(storm_id=storm.id)
    storm.refresh_from_db()
    assert storm.resolved_count == 1


def test_a_request_is_claimed_at_most_once_a_second(console):
    send(console, 10)
    storm = Storm.objects.get()

    assert requests.claim(rr_id=storm.id) is not None
    assert requests.claim(rr_id=storm.id) is None
    RemediationRequest.objects.update(last_attempt_at=timezone.now() - requests.APPLY_INTERVAL)
    assert requests.claim(rr_id=storm.id) is not None


def claimed_again(rr_id: UUID) -> RemediationRequest:
    """Claimed a second after the last claim."""
    RemediationRequest.objects.update(last_attempt_at=timezone.now() - requests.APPLY_INTERVAL)
    row = requests.claim(rr_id=rr_id)
    assert row is not None
    return row


def applied(row: RemediationRequest, digest: str) -> None:
    """The cluster took a manifest of this claim."""
    requests.record_applied(
        rr_id=row.id,
        version=row.desired_version,
        apply_count=row.apply_count,
        manifest={"metadata": {"namespace": "demo"}},
        manifest_hash=digest,
        cluster="test",
        uid="1",
        resource_version="1",
        generation=1,
    )


def test_two_syncs_that_overlap_are_followed_by_a_third(console):
    """One was slow: which of the two manifests the cluster took last, nobody can tell."""
    send(console, 10)
    storm_id = Storm.objects.get().id
    slow = claimed_again(storm_id)
    quick = claimed_again(storm_id)

    applied(quick, "newer")
    assert RemediationRequest.objects.get().sync_state == "applied"
    applied(slow, "older")

    row = RemediationRequest.objects.get()
    assert (row.sync_state, row.applied_hash) == ("pending", "")
    applied(claimed_again(storm_id), "newest")
    row.refresh_from_db()
    assert (row.sync_state, row.applied_hash) == ("applied", "newest")


def test_a_worker_that_dies_after_it_counted_leaves_a_row_that_is_due(console):
    send(console, 10)
    storm_id = Storm.objects.get().id
    applied(claimed_again(storm_id), "ten")
    send(console, 5)

    claimed_again(storm_id)
    refresh_storm(storm_id=storm_id)

    assert dirty_storms() == []
    ago = timezone.now() - requests.ENQUEUE_AGAIN
    RemediationRequest.objects.update(last_attempt_at=ago, enqueued_at=ago)
    assert requests.take_due() == [storm_id]


def test_what_the_sweep_counts_during_a_slow_sync_reaches_the_cluster(console):
    send(console, 10)
    storm_id = Storm.objects.get().id
    slow = claimed_again(storm_id)
    refresh_storm(storm_id=storm_id)
    send(console, 5)
    Storm.objects.update(refreshed_at=timezone.now() - timedelta(minutes=1))

    sweep_once()
    applied(slow, "ten of fifteen")

    assert Storm.objects.get().alert_count == 15
    assert RemediationRequest.objects.get().sync_state == "pending"


def test_a_sync_that_fails_late_is_repeated_although_another_was_taken(console, clock):
    send(console, 1)
    [alert_id] = release_due_alerts(now=clock.advance(10))
    slow, quick = claimed_again(alert_id), claimed_again(alert_id)
    applied(quick, "newer")

    requests.record_failure(rr_id=slow.id, attempts=slow.attempts, error="timed out")

    RemediationRequest.objects.update(next_attempt_at=timezone.now())
    applied(claimed_again(alert_id), "newest")
    assert RemediationRequest.objects.get().sync_state == "applied"


def test_a_message_that_got_lost_is_sent_again(console):
    send(console, 10)
    storm = Storm.objects.get()

    assert requests.take_due() == [storm.id]
    assert requests.take_due() == []
    RemediationRequest.objects.update(enqueued_at=timezone.now() - requests.ENQUEUE_AGAIN)
    assert requests.take_due() == [storm.id]


def test_a_host_whose_clock_is_behind_is_not_late_with_what_is_due(console):
    send(console, 10)
    storm = Storm.objects.get()

    with time_machine.travel(timezone.now() - timedelta(minutes=1)):
        assert requests.take_due() == [storm.id]
        requests.claim(rr_id=storm.id)
        requests.record_failure(rr_id=storm.id, attempts=1, error="503 from the API server")

    assert RemediationRequest.objects.get().next_attempt_at > timezone.now()


def test_failures_back_off_and_a_rejection_waits_for_a_change(console):
    send(console, 10)
    storm_id = Storm.objects.get().id
    requests.claim(rr_id=storm_id)

    requests.record_failure(rr_id=storm_id, attempts=3, error="503 from the API server")

    row = RemediationRequest.objects.get()
    assert (row.sync_state, row.last_error) == ("failed", "503 from the API server")
    assert 3 < (row.next_attempt_at - timezone.now()).total_seconds() <= 6
    requests.record_rejection(rr_id=storm_id, version=row.desired_version, error="spec.severity: unsupported value")
    RemediationRequest.objects.update(last_attempt_at=None)
    assert requests.claim(rr_id=storm_id) is None
    requests.mark_storms_due(storm_ids=[storm_id])
    assert requests.claim(rr_id=storm_id) is not None


def test_a_refused_mark_of_an_absorbed_request_is_sent_again_ever_later(console, set_policy):
    """Nothing of it changes any more, and until it is marked the cluster has two active resources for one storm."""
    set_policy(hold_seconds=0)
    send(console, 2)
    ids = list(RemediationRequest.objects.values_list("id", flat=True))
    RemediationRequest.objects.update(last_attempt_at=timezone.now(), sync_state="applied", applied_version=1)
    send(console, 8)
    absorbed = RemediationRequest.objects.filter(id__in=ids)
    assert absorbed.filter(superseded_by__isnull=False, sync_state="pending").count() == 2
    for row in absorbed:
        requests.record_rejection(rr_id=row.id, version=row.desired_version, error="422")

    def due(attempts: int, seconds: float) -> int:
        absorbed.update(
            sync_state="rejected", attempts=attempts, last_attempt_at=timezone.now() - timedelta(seconds=seconds)
        )
        housekeep()
        return absorbed.filter(sync_state="pending", next_attempt_at__lte=timezone.now()).count()

    assert (due(1, 8), due(1, 11)) == (0, 2)
    assert (due(4, 75), due(4, 85)) == (0, 2)
    assert (due(4000, 3500), due(4000, 3700)) == (0, 2)
    assert requests.claim(rr_id=ids[0]) is not None


def test_a_part_of_the_sweep_that_fails_keeps_no_other_from_its_work(console, clock, monkeypatch, caplog):
    send(console, 3)
    clock.advance(10)

    def fail(**_: Any) -> None:
        raise ValueError("one bad row")

    monkeypatch.setattr("storms.sweep.anything_deferred", lambda: True)
    monkeypatch.setattr("storms.sweep.decide_deferred", fail)
    assert sweep_once().released == 3
    assert "deferred alerts failed" in caplog.text


def test_with_no_worker_the_queue_does_not_grow_for_ever(console, valkey, monkeypatch):
    send(console, 10)
    RemediationRequest.objects.update(
        sync_state="pending", next_attempt_at=timezone.now() - timedelta(minutes=1), enqueued_at=None
    )
    monkeypatch.setattr("storms.queue.MOST_MESSAGES", 2)
    valkey.rpush(queue_key(), "a", "b", "c")
    assert sweep_once().enqueued == []
    valkey.delete(queue_key())
    assert sweep_once().enqueued == [Storm.objects.get().id]


def test_what_is_due_while_the_broker_is_away_is_sent_once_it_is_back(console, settings):
    """And not ten seconds later, as if its message had got lost."""
    send(console, 10)
    RemediationRequest.objects.update(next_attempt_at=timezone.now() - timedelta(minutes=1), enqueued_at=None)
    there, settings.REDIS_URL = settings.REDIS_URL, "redis://127.0.0.1:1/0"
    alive.store.cache_clear()
    assert sweep_once().enqueued == []
    settings.REDIS_URL = there
    alive.store.cache_clear()
    assert sweep_once().enqueued == [Storm.objects.get().id]


def test_any_other_refused_request_waits_for_a_change(console):
    send(console, 10)
    RemediationRequest.objects.update(
        sync_state="rejected", attempts=1, last_attempt_at=timezone.now() - timedelta(days=1)
    )
    housekeep()
    assert RemediationRequest.objects.get().sync_state == "rejected"


@pytest.mark.parametrize(("attempts", "lowest", "highest"), [(1, 1, 1.5), (4, 8, 12), (7, 60, 90)])
def test_backoff_doubles_to_a_minute_with_jitter(attempts, lowest, highest):
    waits = {requests.backoff(attempts).total_seconds() for _ in range(50)}
    assert lowest <= min(waits)
    assert max(waits) <= highest
    assert len(waits) > 10
    assert requests.backoff(attempts, retry_after=200).total_seconds() == 200
