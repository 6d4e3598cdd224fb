"""The reconciler against real servers: each disagreement is made by hand, found, and repaired or listed."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from ingestion import reconcile_services
from ingestion.models import Delivery, ReconcileRun
from ingestion.reconcile_services import ReconcilingElsewhere, execute, request_run
from ingestion.tasks import reconcile as reconcile_task
from storms import detector, store_states
from storms.keys import group_keys
from storms.models import Alert, AuditEntry, LocalResource, RemediationRequest, Storm, StormEvent
from storms.tasks import sync
from tests.factories import make_alert, make_delivery, make_held_alert, make_request
from tests.harness.http import alert, payload
from tests.harness.kube import Kube
from tests.storms.facts import alert_manifest

THRESHOLD = 3


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile_services, "CONFIRM_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """RemediationRequests that the workers were asked to sync; the workers are in tests/acceptance."""
    ids: list[UUID] = []
    monkeypatch.setattr("storms.services.reconciling.enqueue_sync", ids.extend)
    return ids


@pytest.fixture
def storm(console: Any, set_policy: Callable[..., None]) -> Storm:
    """An open storm of three alerts, applied five minutes ago; everything agrees."""
    set_policy(threshold=THRESHOLD)
    return open_storm(console)


def open_storm(console: Any, namespace: str = "demo") -> Storm:
    console.post(payload([alert(namespace=namespace) for _ in range(THRESHOLD)]))
    storm = Storm.objects.get(group_labels__namespace=namespace)
    sync(storm.id)
    settle()
    return Storm.objects.get(id=storm.id)


def settle() -> None:
    """Nothing is on its way any more."""
    ago = timezone.now() - timedelta(minutes=5)
    RemediationRequest.objects.update(last_attempt_at=ago)
    RemediationRequest.objects.filter(applied_at__isnull=False).update(applied_at=ago)


def recorded(make: Callable[..., Alert] = make_alert) -> Alert:
    """An alert of two minutes ago, with the delivery that brought it."""
    at = timezone.now() - timedelta(minutes=2)
    delivery = make_delivery(received_at=at, received=1, outcomes={"individual": 1})
    return make(received_at=at, last_seen_at=at, delivery_id=delivery.id)


def run(*, dry_run: bool = False) -> ReconcileRun:
    return execute(run_id=request_run(dry_run=dry_run).id)


def kinds(run: ReconcileRun) -> dict[str, str]:
    assert (run.state, run.skipped, run.error) == ("done", {}, "")
    return {row["kind"]: row["result"] for row in run.findings}


def snapshot() -> list[Any]:
    """Everything that a repair could touch."""
    models = (Storm, Alert, RemediationRequest, StormEvent, Delivery, LocalResource)
    return [list(model.objects.order_by("pk").values()) for model in models]


def keys(valkey: redis.Redis) -> dict[str, Any]:
    return {key: valkey.hgetall(key) for key in valkey.keys("stormconsole:{*}:state")}


def assert_repaired(kind: str, valkey: redis.Redis) -> ReconcileRun:
    """A dry run finds it and changes nothing, a run repairs it, and then there is nothing to find."""
    before = snapshot(), keys(valkey)
    assert kinds(run(dry_run=True)) == {kind: "would be repaired"}
    assert (snapshot(), keys(valkey)) == before
    done = run()
    assert kinds(done) == {kind: "repaired"}
    assert (done.found, done.repaired) == (1, 1)
    return done


def assert_agrees() -> None:
    settle()
    assert kinds(run()) == {}


def assert_listed(kind: str) -> dict[str, Any]:
    """It is found and left alone."""
    before = snapshot()
    done = run()
    assert kinds(done) == {kind: "listed"}
    assert snapshot() == before
    assert done.findings[0]["advice"]
    return done.findings[0]


# --- nothing


def test_it_finds_nothing_where_everything_agrees(storm, console):
    console.post(payload([alert(namespace="other")]))

    done = run()

    assert kinds(done) == {}
    assert done.checked == {
        "deliveries": 2,
        "alerts in the ledger": 4,
        "waiting alerts": 1,
        "open storms": 1,
        "groups of the store": 1,
        "storms counted": 1,
        "requests not applied": 0,
        "resources in the cluster": 1,
    }
    assert done.finished_at >= done.started_at


def test_what_is_on_its_way_is_no_finding(console, set_policy):
    """Opened a moment ago, not applied yet, an alert just held, another just failed."""
    set_policy(threshold=THRESHOLD)
    console.post(payload([alert(namespace="demo") for _ in range(THRESHOLD)]))
    console.post(payload([alert(namespace="other")]))
    soon = timezone.now() + timedelta(seconds=2)
    make_request(alert=recorded(), sync_state="failed", attempts=1, next_attempt_at=soon, cluster="other")

    assert kinds(run()) == {}


# --- rows and the store


def test_a_storm_that_the_store_forgot_is_given_back_to_it(storm, console, valkey):
    valkey.flushdb()

    assert_repaired("store_forgot", valkey)

    assert store_states.states([storm.group_key])[storm.group_key].open == str(storm.id)
    answer = console.post(payload([alert(namespace="demo")])).json()["results"][0]
    assert (answer["outcome"], answer["storm"]) == ("aggregated", str(storm.id))


def test_a_storm_of_another_id_in_the_store_gives_way(storm, valkey):
    valkey.hset(group_keys(storm.group_key).state, "open", str(uuid4()))

    assert_repaired("store_other", valkey)

    assert store_states.states([storm.group_key])[storm.group_key].open == str(storm.id)
    assert_agrees()


def test_a_row_follows_a_storm_that_the_store_closed(storm, valkey):
    """A sweep that died between the two."""
    detector.close(group_key=storm.group_key, storm_id=storm.id, reason="quiet", idle_us=0, last_us=0)

    assert_repaired("row_behind", valkey)

    storm.refresh_from_db()
    assert (storm.state, storm.close_reason) == ("closed", "quiet")


def test_a_storm_that_the_rows_closed_closes_in_the_store(storm, valkey):
    Storm.objects.update(state="closed", closed_at=timezone.now(), close_reason="operator")

    assert_repaired("store_stale", valkey)

    assert store_states.open_groups() == {}


def test_a_storm_that_no_row_knows_is_listed(storm, valkey):
    valkey.hset(group_keys("f" * 64).state, mapping={"open": str(uuid4()), "last_us": "1"})
    before = keys(valkey)

    assert_listed("store_ahead")

    assert keys(valkey) == before


def test_a_disagreement_with_the_store_is_believed_at_the_second_look(storm, valkey, monkeypatch):
    """Between the two looks the webhook that made it was recorded."""
    key = group_keys(storm.group_key).state
    valkey.hset(key, "open", str(uuid4()))
    monkeypatch.setattr(reconcile_services.time, "sleep", lambda _: valkey.hset(key, "open", str(storm.id)))

    assert kinds(run()) == {}


def test_a_store_that_is_away_is_skipped_and_the_rest_is_done(storm, monkeypatch):
    LocalResource.objects.all().delete()

    def away(*_: Any) -> None:
        raise redis.ConnectionError("nobody answers")

    monkeypatch.setattr("storms.store_states.get_redis_connection", away)

    done = run()

    assert (done.state, done.skipped) == (
        "done",
        {"open storms": "nobody answers", "groups of the store": "nobody answers"},
    )
    assert [row["kind"] for row in done.findings] == ["resource_missing"]


# --- rows alone


def test_alerts_held_for_too_long_are_released(console, valkey, asked):
    held = recorded(make_held_alert)

    assert_repaired("held_late", valkey)

    assert asked == [held.id]
    assert RemediationRequest.objects.get().alert_id == held.id


def test_alerts_that_nobody_decides_are_decided(console, valkey, monkeypatch):
    monkeypatch.setattr("storms.detector._retry_store_at", float("inf"))
    console.post(payload([alert(namespace="demo")]))
    monkeypatch.setattr("storms.detector._retry_store_at", 0.0)
    Alert.objects.update(received_at=timezone.now() - timedelta(minutes=2))

    assert_repaired("deferred_late", valkey)

    assert Alert.objects.get().disposition == "held"


def test_counts_that_are_wrong_are_counted_anew(storm, valkey):
    Storm.objects.update(alert_count=99, firing_count=98)

    assert_repaired("counts_differ", valkey)

    storm.refresh_from_db()
    assert (storm.alert_count, storm.firing_count) == (THRESHOLD, THRESHOLD)
    assert RemediationRequest.objects.get().sync_state == "pending"


def test_a_request_that_nobody_syncs_is_enqueued(storm, valkey, asked):
    RemediationRequest.objects.update(
        sync_state="pending", desired_version=9, next_attempt_at=timezone.now() - timedelta(minutes=2)
    )

    assert_repaired("request_stuck", valkey)

    assert asked == [storm.id]
    assert_agrees_after_sync(storm)


def test_a_request_without_a_time_is_due_again(storm, valkey, asked):
    RemediationRequest.objects.update(sync_state="failed", next_attempt_at=None)

    assert_repaired("request_stuck", valkey)

    assert asked == [storm.id]
    assert_agrees_after_sync(storm)


def assert_agrees_after_sync(storm: Storm) -> None:
    sync(storm.id)
    assert RemediationRequest.objects.get().sync_state == "applied"
    assert_agrees()


def test_a_storm_without_a_request_gets_one(storm, valkey, asked):
    RemediationRequest.objects.all().delete()
    LocalResource.objects.all().delete()
    Storm.objects.update(opened_at=timezone.now() - timedelta(minutes=2))

    assert_repaired("request_missing", valkey)

    assert asked == [storm.id]
    assert RemediationRequest.objects.get().name == f"storm-{storm.id}"


def test_an_alert_without_a_request_gets_one(console, valkey, asked):
    row = recorded()

    assert_repaired("request_missing", valkey)

    assert asked == [row.id]
    assert RemediationRequest.objects.get().alert_id == row.id


def test_a_request_that_fails_again_and_again_is_listed(storm):
    RemediationRequest.objects.update(
        sync_state="failed", attempts=8, last_error="Forbidden", next_attempt_at=timezone.now() + timedelta(minutes=5)
    )
    assert "Forbidden" in assert_listed("request_failing")["detail"]


def test_a_request_that_the_cluster_refuses_is_listed(storm):
    RemediationRequest.objects.update(sync_state="rejected", last_error="spec.severity: not one of")
    assert "spec.severity" in assert_listed("request_rejected")["detail"]


# --- the ledger


def test_a_delivery_that_does_not_add_up_is_listed(console):
    console.post(payload([alert(namespace="demo")]))
    Delivery.objects.update(received=2, outcomes={"held": 1})
    found = {row["kind"]: row for row in run().findings}
    assert found["delivery_unbalanced"]["detail"] == "2 alerts came, 1 have an outcome"
    assert "1 alerts are not accounted for" in found["ledger_unaccounted"]["detail"]


def test_acknowledged_alerts_without_a_row_are_listed_with_their_delivery(console):
    console.post(payload([alert(namespace="demo")]))
    console.post(payload([alert(namespace="demo") for _ in range(2)]))
    lost = Alert.objects.latest("received_at")
    lost.delete()

    done = run()

    assert kinds(done) == {"ledger_unaccounted": "listed", "alerts_missing": "listed"}
    assert done.findings[1]["target"] == f"delivery {lost.delivery_id}"
    assert done.findings[1]["detail"] == "It was answered for 2 new alerts, and 1 rows name it"


# --- the local cluster


def test_a_resource_that_is_gone_is_made_again(storm, valkey):
    LocalResource.objects.all().delete()

    assert_repaired("resource_missing", valkey)

    sync(storm.id)
    assert LocalResource.objects.count() == 1
    assert_agrees()


def test_a_resource_that_is_over_is_not_missed(storm):
    Storm.objects.update(state="closed", closed_at=timezone.now(), close_reason="operator", firing_count=0)
    Alert.objects.update(status="resolved", ends_at=timezone.now())
    detector.close(group_key=storm.group_key, storm_id=storm.id, reason="operator", idle_us=0, last_us=0)
    LocalResource.objects.all().delete()

    assert kinds(run()) == {}


# --- a real API server


@pytest.fixture
def kube_storm(kube: Kube, settings: Settings, console: Any, set_policy: Callable[..., None]) -> RemediationRequest:
    """The request of an open storm in a real cluster."""
    kube.delete_all()
    settings.KUBECONFIG = kube.kubeconfig
    set_policy(threshold=THRESHOLD)
    storm = open_storm(console, kube.new_namespace())
    row = RemediationRequest.objects.get(id=storm.id)
    assert row.sync_state == "applied", row.last_error
    assert kinds(run()) == {}
    return row


def resource_of(kube: Kube, row: RemediationRequest) -> dict[str, Any]:
    resource = kube.resource(row.namespace, row.name)
    assert resource is not None
    return resource


def test_a_resource_that_was_deleted_in_the_cluster_is_made_again(kube, kube_storm, valkey):
    kube.admin.delete(kube.path(kube_storm.namespace, kube_storm.name)).raise_for_status()

    assert_repaired("resource_missing", valkey)

    assert kube.resource(kube_storm.namespace, kube_storm.name) is None
    sync(kube_storm.id)
    assert resource_of(kube, kube_storm)["spec"] == kube_storm.manifest["spec"]
    assert_agrees()


def test_a_resource_that_was_edited_in_the_cluster_is_corrected(kube, kube_storm, valkey):
    kube.edit(kube_storm.namespace, kube_storm.name, {"spec": {"severity": "info"}})

    done = assert_repaired("resource_differs", valkey)

    assert "spec.severity" in done.findings[0]["detail"]
    sync(kube_storm.id)
    assert resource_of(kube, kube_storm)["spec"]["severity"] == "critical"
    assert_agrees()


def test_a_phase_that_the_watch_missed_is_taken_over(kube, kube_storm, valkey):
    kube.set_status(kube_storm.namespace, kube_storm.name, "Processing", "restarting pods")

    assert_repaired("status_missed", valkey)

    kube_storm.refresh_from_db()
    assert (kube_storm.phase, kube_storm.phase_message) == ("Processing", "restarting pods")
    assert_agrees()


def test_a_resource_that_no_row_knows_is_listed_and_left(kube, kube_storm, settings):
    stranger = alert_manifest(kube_storm.namespace)
    from storms.cluster import get_cluster

    get_cluster().apply(stranger)
    unlabelled = alert_manifest(kube_storm.namespace)
    unlabelled["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "somebody-else"}
    get_cluster().apply(unlabelled)

    found = assert_listed("resource_extra")

    name = stranger["metadata"]["name"]
    assert found["target"] == f"{kube_storm.namespace}/{name}"
    assert f"kubectl delete rr -n {kube_storm.namespace} {name}" in found["advice"]
    assert kube.resource(kube_storm.namespace, name) is not None


def test_the_cluster_is_read_page_by_page_and_not_row_by_row(kube, kube_storm, console, monkeypatch):
    monkeypatch.setattr("storms.cluster.remote.PAGE_SIZE", 2)
    for _ in range(4):
        open_storm(console, kube.new_namespace())
    calls: list[str] = []
    from storms.cluster.connection import Connection

    request = Connection.request

    def counted(self: Any, method: str, path: str, **options: Any) -> Any:
        calls.append(f"{method} {path.rpartition('/')[2]}")
        return request(self, method, path, **options)

    monkeypatch.setattr(Connection, "request", counted)

    done = run()

    assert (kinds(done), done.checked["resources in the cluster"]) == ({}, 5)
    assert calls == ["GET remediationrequests"] * 3


def test_a_cluster_that_is_away_is_skipped_and_the_rest_is_done(kube_storm, settings, tmp_path):
    settings.KUBECONFIG = str(tmp_path / "nothing")
    Storm.objects.update(alert_count=99)

    done = run()

    assert list(done.skipped) == ["resources in the cluster"]
    assert [(row["kind"], row["result"]) for row in done.findings] == [("counts_differ", "repaired")]


# --- runs


def test_the_command_tells_and_exits_by_what_is_left(storm, valkey):
    def reconcile(*options: str) -> str:
        out = io.StringIO()
        call_command("reconcile", *options, stdout=out)
        return out.getvalue()

    assert "0 found, 0 repaired" in reconcile()
    Storm.objects.update(alert_count=99)
    with pytest.raises(CommandError, match="not everything"):
        reconcile("--dry-run")
    assert Storm.objects.get().alert_count == 99
    told = json.loads(reconcile("--json"))
    assert (told["found"], told["repaired"], told["counts"]) == (1, 1, {"counts_differ": 1})
    assert told["findings"][0]["target"] == f"storm {storm.id}"


def test_one_run_at_a_time(storm):
    queued = request_run(dry_run=False)
    with reconcile_services._alone():
        # The lock belongs to a session: another connection finds it taken.
        connection.close_if_unusable_or_obsolete()
        from django.db import connections

        other = connections.create_connection("default")
        try:
            with other.cursor() as cursor:
                cursor.execute("select pg_try_advisory_lock(%s)", [reconcile_services.LOCK])
                assert cursor.fetchone() == (False,)
        finally:
            other.close()
    queued.refresh_from_db()
    assert queued.state == "queued"


def test_a_task_that_finds_another_at_work_leaves_its_run_queued(storm, monkeypatch):
    queued = request_run(dry_run=False)

    def elsewhere() -> Any:
        raise ReconcilingElsewhere

    monkeypatch.setattr(reconcile_services, "_alone", elsewhere)
    reconcile_task(queued.id)

    queued.refresh_from_db()
    assert queued.state == "queued"
    assert list(reconcile_services.unfinished_runs()) == [queued]


def test_a_message_that_comes_twice_reconciles_once(storm):
    done = run()
    reconcile_task(done.id)
    again = ReconcileRun.objects.get()
    assert (again.state, again.finished_at) == ("done", done.finished_at)
    reconcile_task(done.id + 1)


def test_an_interrupted_run_is_told_from_a_running_one(storm):
    dead = ReconcileRun.objects.create(state="running", started_at=timezone.now())
    run()
    dead.refresh_from_db()
    assert (dead.state, dead.error) == ("failed", "It was interrupted.")


def test_a_bug_in_one_part_fails_the_run_and_says_so(storm, monkeypatch):
    def broken() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("storms.services.reconciling.check_counts", broken)
    done = run()
    assert (done.state, done.error) == ("failed", "ValueError: a bug")
    assert "deliveries" in done.checked


def test_the_last_runs_are_kept(storm, monkeypatch):
    monkeypatch.setattr(reconcile_services, "KEPT_RUNS", 2)
    ids = [run().id for _ in range(3)]
    assert list(ReconcileRun.objects.order_by("id").values_list("id", flat=True)) == ids[1:]


def test_findings_are_bounded_and_counted(storm, monkeypatch):
    monkeypatch.setattr(reconcile_services, "KEPT_FINDINGS", 1)
    for _ in range(3):
        make_request(alert=recorded(), sync_state="rejected", cluster="other")
    done = run()
    assert (done.counts["request_rejected"], len(done.findings)) == (3, 1)


def test_a_person_who_asks_is_in_the_audit_and_asks_once(storm):
    first = request_run(dry_run=True, actor="ada")
    assert request_run(dry_run=True, actor="ada") == first
    assert request_run(dry_run=False, actor="ada") != first
    entries = AuditEntry.objects.filter(action="reconcile.requested").order_by("at")
    assert [(entry.actor, entry.after) for entry in entries] == [
        ("ada", {"dry_run": True}),
        ("ada", {"dry_run": False}),
    ]
