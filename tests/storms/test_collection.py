"""Garbage collection: what is over is deleted from a real API server, and nothing that is active ever is."""

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from storms.choices import SyncState
from storms.cluster import ClusterConflict, kubernetes_cluster
from storms.cluster.local import LocalCluster
from storms.collection_tasks import collect
from storms.management.commands.simulate_operator import Operator
from storms.mirror import Mirror
from storms.models import Alert, RemediationRequest, Storm, StormEvent
from storms.services import collection
from storms.services.collection import begin_collection, candidates, record_collected, release, take_collectable
from storms.services.requests import claim, mark_storms_due, mirror_deleted
from storms.tasks import sync
from tests.factories import make_alert, make_policy, make_request, make_storm
from tests.harness.kube import Kube
from tests.storms.facts import alert_manifest

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _limits(settings: Settings, valkey: Any) -> None:
    settings.COLLECT_AFTER_HOURS = 24
    settings.COLLECT_LIMIT_HOURS = 168


@pytest.fixture
def cluster(kube: Kube, settings: Settings) -> Kube:
    kube.delete_all()
    settings.KUBECONFIG = kube.kubeconfig
    return kube


def applied(request: RemediationRequest) -> RemediationRequest:
    """What the worker does, now; then as if that had been a while ago."""
    RemediationRequest.objects.filter(id=request.id).update(last_attempt_at=None)
    sync(request.id)
    RemediationRequest.objects.filter(id=request.id).update(last_attempt_at=timezone.now() - HOUR)
    request.refresh_from_db()
    assert request.sync_state == SyncState.APPLIED, request.last_error
    return request


def unapplied(namespace: str, **owner: Any) -> RemediationRequest:
    return make_request(
        namespace=namespace,
        manifest=None,
        applied_version=0,
        applied_at=None,
        sync_state="pending",
        cluster="",
        **owner,
    )


def storm_request(namespace: str, *, state: str = "closed", firing: int = 0, **fields: Any) -> RemediationRequest:
    """The applied request of a storm with three alerts, `firing` of which fire; over for a moment."""
    now = timezone.now()
    closed = {} if state == "open" else {"closed_at": now, "close_reason": "quiet"}
    labels = {"namespace": namespace, "n": str(next(numbers))}
    storm = make_storm(group_labels=labels, state=state, opened_at=now - HOUR, firing_count=firing, **closed, **fields)
    for n in range(3):
        status = "firing" if n < firing else "resolved"
        make_alert(storm=storm, namespace=namespace, received_at=now - HOUR, last_seen_at=now, status=status)
    return applied(unapplied(namespace, storm=storm))


def alert_request(namespace: str, status: str = "resolved", **fields: Any) -> RemediationRequest:
    alert = make_alert(namespace=namespace, status=status, received_at=timezone.now() - HOUR, **fields)
    Alert.objects.filter(id=alert.id).update(last_seen_at=timezone.now())
    return applied(unapplied(namespace, alert=alert))


numbers = itertools.count()


def operate(kube: Kube, steps: int = 3) -> None:
    """The simulated operator takes every request `steps` phases on (3: to its end), and the console sees it."""
    operator = Operator(kubernetes_cluster(kube.operator_kubeconfig), failures=0, delay=0)
    for _ in range(steps):
        operator.step()
    look(kube)


def look(kube: Kube) -> None:
    """What the watch does when it lists."""
    Mirror()._take_all(kubernetes_cluster(kube.kubeconfig))


def due_at(now: datetime) -> set[Any]:
    return {candidate.id for candidate in candidates(now=now)}


def in_cluster(kube: Kube, request: RemediationRequest) -> bool:
    return kube.resource(request.namespace, request.name) is not None


def in_hours(hours: float) -> datetime:
    return timezone.now() + timedelta(hours=hours)


# --- on the real API server


def test_it_deletes_what_is_over_and_nothing_that_is_active(cluster: Kube) -> None:
    namespace = cluster.new_namespace()
    closed, merged, over = storm_request(namespace), storm_request(namespace), alert_request(namespace)
    active = [
        storm_request(namespace, state="open", firing=3),
        storm_request(namespace, state="open", firing=0),
        storm_request(namespace, firing=1),
        alert_request(namespace, status="firing"),
    ]
    operate(cluster, 1)
    RemediationRequest.objects.filter(id=merged.id).update(
        superseded_by=closed, desired_version=2, sync_state="pending"
    )
    applied(merged)
    operate(cluster)
    phases = dict(RemediationRequest.objects.values_list("id", "phase"))
    assert phases == {id_: "Cancelled" if id_ == merged.id else "Completed" for id_ in phases}

    assert due_at(in_hours(23)) == set()
    for hours in (25, 200, 20_000):
        for id_ in take_collectable(in_hours(hours)):
            collect(id_, in_hours(hours))

    for request in (closed, merged, over):
        request.refresh_from_db()
        assert not in_cluster(cluster, request)
        assert (request.sync_state, request.collected_at is not None) == ("collected", True)
    for request in active:
        assert in_cluster(cluster, request)
        assert not collect(request.id, in_hours(20_000))
        assert in_cluster(cluster, request)
    [event] = StormEvent.objects.filter(storm_id=closed.id, kind="collected")
    assert event.message == f"{closed} was deleted by garbage collection (Completed)"


@pytest.mark.parametrize("steps", [0, 1, 2], ids=["no phase", "Pending", "Processing"])
def test_an_operator_that_is_not_done_has_until_the_limit(cluster: Kube, steps: int) -> None:
    request = storm_request(cluster.new_namespace())
    operate(cluster, steps)
    assert due_at(in_hours(167)) == set()
    [candidate] = candidates(now=in_hours(169))
    assert (candidate.id, candidate.past_limit) == (request.id, True)
    assert collect(request.id, in_hours(169))
    assert not in_cluster(cluster, request)


def test_an_operator_at_work_again_is_seen_before_the_watch_says_so(cluster: Kube) -> None:
    request = alert_request(cluster.new_namespace())
    operate(cluster)
    cluster.set_status(request.namespace, request.name, "Processing", "once more")

    assert due_at(in_hours(25)) == {request.id}
    assert not collect(request.id, in_hours(25))

    request.refresh_from_db()
    assert in_cluster(cluster, request)
    assert (request.sync_state, request.collected_at) == ("applied", None)
    # It is looked at again later, and by then the watch has told.
    assert due_at(in_hours(25.5)) == set()
    look(cluster)
    assert due_at(in_hours(30)) == set()


def test_the_watch_takes_the_deletion_for_what_it_is(cluster: Kube) -> None:
    request = storm_request(cluster.new_namespace())
    operate(cluster)
    assert collect(request.id, in_hours(25))

    # The list, the event, and a late count of the storm.
    look(cluster)
    mirror_deleted(rr_id=request.id)
    Storm.objects.filter(id=request.id).update(firing_count=1)
    mirror_deleted(rr_id=request.id)
    Storm.objects.filter(id=request.id).update(firing_count=0)
    mark_storms_due(storm_ids=[request.id])
    sync(request.id)

    request.refresh_from_db()
    assert request.sync_state == "collected"
    assert not in_cluster(cluster, request)
    assert not StormEvent.objects.filter(storm_id=request.id, kind="drift").exists()


def test_whatever_marks_a_collected_request_due_does_not_make_it_again(cluster: Kube) -> None:
    request = alert_request(cluster.new_namespace())
    operate(cluster)
    assert collect(request.id, in_hours(25))
    # As a storm does that takes in the alerts of a very long window.
    RemediationRequest.objects.filter(id=request.id).update(
        sync_state="pending", desired_version=9, next_attempt_at=timezone.now()
    )

    sync(request.id)

    request.refresh_from_db()
    assert (request.sync_state, request.next_attempt_at) == ("collected", None)
    assert not in_cluster(cluster, request)


@pytest.mark.parametrize("marked", [True, False], ids=["marked due", "only enqueued"])
def test_a_storm_that_is_reopened_gets_its_resource_again(cluster: Kube, marked: bool) -> None:
    request = storm_request(cluster.new_namespace())
    operate(cluster)
    assert collect(request.id, in_hours(25))
    first_uid = request.uid

    Storm.objects.filter(id=request.id).update(state="open", closed_at=None, close_reason="")
    if marked:
        mark_storms_due(storm_ids=[request.id])
    applied(request)

    assert in_cluster(cluster, request)
    assert (request.collected_at, request.phase, request.uid != first_uid) == (None, "", True)
    assert due_at(in_hours(20_000)) == set()


@pytest.mark.parametrize("when", ["before the look", "after the look"])
def test_a_storm_that_is_reopened_in_the_middle_keeps_its_resource(
    cluster: Kube, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another process can come in between, it does what a webhook and a worker do."""
    request = storm_request(cluster.new_namespace())
    operate(cluster)

    def reopen() -> None:
        Storm.objects.filter(id=request.id).update(state="open", closed_at=None, close_reason="")
        mark_storms_due(storm_ids=[request.id])
        applied(request)

    checks = {"before the look": "begin_collection", "after the look": "is_collecting"}
    original: Callable[..., Any] = getattr(collection, checks[when])

    def then_reopen(**arguments: Any) -> Any:
        answer = original(**arguments)
        reopen()
        return answer

    monkeypatch.setattr(collection, checks[when], then_reopen)

    assert not collect(request.id, in_hours(25))
    request.refresh_from_db()
    assert in_cluster(cluster, request)
    assert (request.sync_state, request.collected_at) == ("applied", None)


def test_a_deletion_that_was_interrupted_is_finished(cluster: Kube) -> None:
    request = alert_request(cluster.new_namespace())
    operate(cluster)
    # Killed after taking the row, and killed after the deletion.
    assert begin_collection(rr_id=request.id, now=in_hours(25))
    assert take_collectable(in_hours(25)) == [request.id]
    kubernetes_cluster(cluster.kubeconfig).delete(request.namespace, request.name)
    assert collect(request.id, in_hours(25))
    request.refresh_from_db()
    assert request.collected_at


def test_a_missing_right_is_said_and_tried_again_later(cluster: Kube, settings: Settings) -> None:
    request = alert_request(cluster.new_namespace())
    operate(cluster)
    settings.KUBECONFIG = cluster.operator_kubeconfig
    assert not collect(request.id, in_hours(25))
    request.refresh_from_db()
    assert request.sync_state == "applied"
    assert "check the account against deploy/rbac.yaml" in request.last_error
    settings.KUBECONFIG = cluster.kubeconfig
    assert due_at(in_hours(25.9)) == set()
    assert collect(request.id, in_hours(26.1))
    request.refresh_from_db()
    assert request.last_error == ""


def test_what_was_changed_after_the_look_is_not_deleted(cluster: Kube) -> None:
    client = kubernetes_cluster(cluster.kubeconfig)
    namespace = cluster.new_namespace()
    seen = client.apply(alert_manifest(namespace))
    cluster.set_status(namespace, seen.name, "Processing")
    with pytest.raises(ClusterConflict):
        client.delete(namespace, seen.name, resource_version=seen.resource_version)
    held = cluster.resource(namespace, seen.name)
    assert held is not None
    assert client.delete(namespace, seen.name, resource_version=held["metadata"]["resourceVersion"])


def test_the_command_says_what_it_does(cluster: Kube, capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    request = alert_request(cluster.new_namespace())
    kept = alert_request(cluster.new_namespace(), status="firing")
    operate(cluster)
    RemediationRequest.objects.update(phase_at=timezone.now() - 25 * HOUR)
    Alert.objects.update(last_seen_at=timezone.now() - 25 * HOUR)

    call_command("collect", "--dry-run")
    said = capsys.readouterr().out
    assert f"would delete  {request}  over since" in said
    assert "Completed, operator is done\n1 would be deleted." in said
    assert in_cluster(cluster, request)

    call_command("collect")
    assert "1 of 1 were deleted." in capsys.readouterr().out
    assert not in_cluster(cluster, request)
    assert in_cluster(cluster, kept)
    call_command("collect")
    assert capsys.readouterr().out == "0 of 0 were deleted.\n"


# --- in the local cluster: no status ever comes, so only the limit counts


def test_the_local_cluster_is_cleared_at_the_limit() -> None:
    request = alert_request("payments")
    assert due_at(in_hours(167)) == set()
    assert collect(request.id, in_hours(169))
    assert LocalCluster().get(request.namespace, request.name) is None


def test_the_local_cluster_refuses_a_stale_deletion_too() -> None:
    applied = LocalCluster().apply(alert_manifest())
    with pytest.raises(ClusterConflict):
        LocalCluster().delete("payments", applied.name, resource_version=str(int(applied.resource_version) - 1))
    assert LocalCluster().delete("payments", applied.name, resource_version=applied.resource_version)
    assert not LocalCluster().delete("payments", applied.name, resource_version=applied.resource_version)


# --- which rows


def done_request(**fields: Any) -> RemediationRequest:
    """Of a resolved alert; its operator was done two days ago."""
    ago = timezone.now() - 48 * HOUR
    alert = make_alert(status="resolved", received_at=ago, last_seen_at=ago)
    return make_request(alert=alert, **{"phase": "Completed", "phase_at": ago} | fields)


def test_a_limit_can_be_switched_off(settings: Settings) -> None:
    request = done_request()
    now = timezone.now()
    assert due_at(now) == {request.id}
    settings.COLLECT_AFTER_HOURS = 0
    assert due_at(now) == set()
    assert due_at(now + 168 * HOUR) == {request.id}
    settings.COLLECT_LIMIT_HOURS = 0
    assert due_at(now + 20_000 * HOUR) == set()
    assert take_collectable(now + 20_000 * HOUR) == []
    assert begin_collection(rr_id=request.id, now=now) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"sync_state": "pending"},
        {"sync_state": "failed"},
        {"sync_state": "skipped", "applied_at": None},
        {"sync_state": "collected", "collected_at": timedelta()},
        {"cluster": "https://another.example"},
        {"phase": "Processing"},
        {"phase": ""},
        {"phase_at": 23 * HOUR},
        {"last_attempt_at": timedelta()},
    ],
    ids=lambda fields: next(iter(fields)) + " " + str(next(iter(fields.values())))[:10],
)
def test_what_is_not_to_be_deleted_yet(fields: dict[str, Any]) -> None:
    """A duration stands for the time that long ago."""
    now = timezone.now()
    done_request(**{name: now - value if isinstance(value, timedelta) else value for name, value in fields.items()})
    assert due_at(timezone.now()) == set()


def test_a_rejected_change_keeps_nothing_alive() -> None:
    request = done_request(sync_state="rejected", desired_version=2, rejected_version=2)
    assert due_at(timezone.now()) == {request.id}
    assert begin_collection(rr_id=request.id, now=timezone.now())
    release(rr_id=request.id, now=timezone.now())
    request.refresh_from_db()
    assert request.sync_state == "rejected"


def test_a_storm_that_may_be_reopened_is_not_over() -> None:
    ago = timezone.now() - 25 * HOUR
    policy = make_policy(reopen_seconds=26 * 3600)
    storm = make_storm(policy=policy, state="closed", closed_at=ago, opened_at=ago, firing_count=0)
    request = make_request(storm=storm, phase="Completed", phase_at=ago)
    assert due_at(timezone.now()) == set()
    assert due_at(timezone.now() + 2 * HOUR) == {request.id}


def test_the_hours_count_from_the_last_news_of_a_member() -> None:
    ago = timezone.now() - 48 * HOUR
    storm = make_storm(state="closed", closed_at=ago, opened_at=ago, firing_count=0)
    make_alert(storm=storm, status="resolved", received_at=ago, last_seen_at=ago + 30 * HOUR)
    request = make_request(storm=storm, phase="Completed", phase_at=ago)
    assert due_at(timezone.now()) == set()
    assert due_at(timezone.now() + 7 * HOUR) == {request.id}


def test_a_row_is_taken_once_until_its_message_may_be_lost() -> None:
    request = done_request()
    now = timezone.now()
    assert take_collectable(now) == [request.id]
    assert take_collectable(now) == []
    assert take_collectable(now + timedelta(minutes=11)) == [request.id]
    assert take_collectable(now + timedelta(hours=1), limit=0) == []


def test_a_taken_row_is_not_applied() -> None:
    request = done_request(desired_version=2, applied_version=1, sync_state="rejected", rejected_version=2)
    assert begin_collection(rr_id=request.id, now=timezone.now())
    assert claim(rr_id=request.id) is None
    assert record_collected(rr_id=request.id)
    assert not record_collected(rr_id=request.id)
    assert claim(rr_id=request.id) is None
