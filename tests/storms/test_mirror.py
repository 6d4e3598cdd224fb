"""What the cluster says reaches the rows: from a real API server, whatever gets in between."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from stormconsole.alive import is_alive
from storms.choices import SyncState
from storms.cluster import Cluster, kubernetes_cluster
from storms.mirror import Mirror, drift
from storms.models import RemediationRequest, Storm, WatchState
from storms.observed import compare
from storms.services import requests as services
from storms.tasks import sync
from tests.factories import make_admin, make_alert, make_request, make_storm
from tests.harness.kube import Kube
from tests.harness.wait import wait_until
from tests.storms.facts import alert_manifest, storm_manifest

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _clean(kube: Kube, settings: Settings, valkey: Any) -> None:
    kube.delete_all()
    settings.KUBECONFIG = kube.kubeconfig


@pytest.fixture
def row(kube: Kube) -> RemediationRequest:
    """The request of an open storm with three alerts, applied."""
    return applied_storm(kube)


@pytest.fixture
def mirroring(kube: Kube) -> Iterator[Callable[..., Mirror]]:
    """`mirroring()` starts a mirror, which has then listed once; `mirroring(connect=...)` with another connection."""
    running: list[tuple[Mirror, threading.Thread]] = []

    def start(connect: Callable[[], Cluster] | None = None, *, listed: bool = True) -> Mirror:
        mirror = Mirror(connect or (lambda: kubernetes_cluster(kube.kubeconfig)))
        thread = threading.Thread(target=run_mirror, args=(mirror,))
        running.append((mirror, thread))
        thread.start()
        if listed:
            wait_until(lambda: mirror._resource_version, message="the mirror has listed")
        return mirror

    yield start
    for mirror, thread in running:
        mirror.stop()
        thread.join(5)
        assert not thread.is_alive(), "the mirror did not stop"


def run_mirror(mirror: Mirror) -> None:
    from django.db import connections

    try:
        mirror.run()
    finally:
        connections.close_all()


def applied_storm(kube: Kube, **fields: Any) -> RemediationRequest:
    namespace = kube.new_namespace()
    storm = make_storm(group_labels={"namespace": namespace}, threshold=3, **fields)
    for _ in range(3):
        make_alert(storm=storm, namespace=namespace)
    request = make_request(
        storm=storm, namespace=namespace, manifest=None, applied_version=0, sync_state="pending", cluster=""
    )
    apply_row(request)
    return request


def apply_row(request: RemediationRequest) -> None:
    """What the worker does, now."""
    RemediationRequest.objects.filter(id=request.id).update(last_attempt_at=None)
    sync(request.id)
    request.refresh_from_db()
    assert request.sync_state == SyncState.APPLIED, request.last_error


def events(request: RemediationRequest) -> list[str]:
    storm = Storm.objects.get(id=request.id)
    return [event.message for event in storm.events.exclude(kind="applied")]


def phase(request: RemediationRequest) -> str:
    request.refresh_from_db()
    return request.phase


# --- Phases


def test_it_mirrors_the_operators_phase(kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]) -> None:
    mirroring()
    kube.set_status(row.namespace, row.name, "Processing", "restarting pods")
    wait_until(lambda: events(row))
    assert (phase(row), row.phase_message) == ("Processing", "restarting pods")
    kube.set_status(row.namespace, row.name, "Completed")
    wait_until(lambda: events(row) == ["Phase: Processing (restarting pods)", "Phase: Completed"])
    assert phase(row) == "Completed"


def test_it_learns_what_happened_while_it_was_away(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    kube.set_status(row.namespace, row.name, "Failed", "no")
    mirroring()
    assert phase(row) == "Failed"


def test_it_ignores_what_the_row_knows_better(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    RemediationRequest.objects.filter(id=row.id).update(phase="Completed", resource_version=str(10**12))
    kube.set_status(row.namespace, row.name, "Processing")
    mirroring()
    assert phase(row) == "Completed"


def test_it_leaves_resources_of_somebody_else(kube: Kube, mirroring: Callable[..., Mirror]) -> None:
    kubernetes_cluster(kube.kubeconfig).apply(alert_manifest(kube.new_namespace()))
    mirroring()
    assert not RemediationRequest.objects.exists()


def test_one_resource_that_cannot_be_handled_does_not_stop_the_others(
    kube: Kube, mirroring: Callable[..., Mirror], caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = applied_storm(kube), applied_storm(kube)
    kube.edit(bad.namespace, bad.name, {"spec": {"severity": "info"}})
    RemediationRequest.objects.filter(id=bad.id).update(manifest={"no": "spec"})
    mirroring()
    kube.set_status(good.namespace, good.name, "Processing")
    wait_until(lambda: phase(good) == "Processing")
    assert f"{bad.namespace}/{bad.name} not mirrored" in caplog.text


# --- Drift and deletion


def test_it_notices_an_edit_by_hand_and_it_is_corrected(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    mirroring()
    kube.edit(row.namespace, row.name, {"spec": {"severity": "info", "storm": {"threshold": 99}}})
    wait_until(lambda: events(row))
    [message] = events(row)
    assert message.endswith("spec.severity by kubectl-edit, spec.storm.threshold by kubectl-edit")
    apply_row(row)
    held = kube.resource(row.namespace, row.name)
    assert held is not None
    assert held["spec"] == row.manifest["spec"]
    assert drift(held, row.manifest) == []


def test_the_storm_s_page_shows_an_edit_by_hand_while_it_lasts(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror], client: Client
) -> None:
    client.force_login(make_admin())
    page = f"/remediation-requests/{row.id}/"
    assert "as applied" in client.get(page).content.decode()
    mirroring()
    kube.edit(row.namespace, row.name, {"spec": {"severity": "info"}})
    wait_until(lambda: "spec.severity" in client.get(page).content.decode())
    assert compare(RemediationRequest.objects.get(id=row.id)).drifted
    # What the cluster has is kept first, its correction is asked for next.
    [event] = wait_until(lambda: list(Storm.objects.get(id=row.id).events.filter(kind="drift")))
    assert event.detail == {"changes": [{"path": "spec.severity", "applied": '"critical"', "found": '"info"'}]}
    apply_row(row)
    # Other managers still own something, so the echo of the correction is compared too, and is no difference.
    wait_until(lambda: compare(RemediationRequest.objects.get(id=row.id)).state == "applied")
    assert "spec.severity" not in client.get(page).content.decode()


def test_what_others_add_is_shown_and_is_no_drift(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    mirroring()
    kube.edit(row.namespace, row.name, {"metadata": {"labels": {"team": "theirs"}}})
    wait_until(lambda: compare(row).differences)
    assert [(one.path, one.after) for one in compare(row).differences] == [("metadata.labels.team", '"theirs"')]
    assert not compare(row).drifted
    assert events(row) == []


def test_a_deletion_of_what_is_over_is_shown(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    Storm.objects.filter(id=row.id).update(state="closed", closed_at=timezone.now(), firing_count=0)
    mirroring()
    kube.delete_all()
    wait_until(lambda: compare(row).state == "deleted")
    assert events(row) == []


def test_it_keeps_the_operator_s_conditions(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    mirroring()
    kube.set_status(row.namespace, row.name, "Processing", "restarting pods")
    wait_until(lambda: compare(row).status)
    assert compare(row).status == {"phase": "Processing", "message": "restarting pods"}
    found = compare(row).found
    assert found is not None
    assert found["status"]["phase"] == "Processing"


def test_it_takes_our_own_applies_for_no_drift(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    mirroring()
    # Applied, and the worker has not recorded it yet.
    manifest = storm_manifest(row.namespace, id=row.id)
    manifest["metadata"]["name"] = row.name
    kubernetes_cluster(kube.kubeconfig).apply(manifest)
    kube.set_status(row.namespace, row.name, "Processing")
    wait_until(lambda: events(row))
    assert events(row) == ["Phase: Processing"]


def test_it_notices_a_deletion_and_the_resource_is_made_again(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    mirroring()
    kube.delete_all()
    wait_until(lambda: events(row))
    uid = row.uid
    apply_row(row)
    held = kube.resource(row.namespace, row.name)
    assert held is not None
    assert held["metadata"]["uid"] == row.uid != uid


def test_it_notices_a_deletion_that_happened_while_it_was_away(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    kube.delete_all()
    mirroring()
    row.refresh_from_db()
    assert row.sync_state == SyncState.PENDING
    assert len(events(row)) == 1


def test_it_does_not_miss_what_is_over(kube: Kube, mirroring: Callable[..., Mirror]) -> None:
    alert = make_alert(status="resolved", namespace=kube.new_namespace())
    request = make_request(alert=alert, cluster=kube.url, uid="u", namespace=alert.namespace)
    mirroring()
    request.refresh_from_db()
    assert request.sync_state == SyncState.APPLIED


def test_drift_names_what_changed_and_who_did_it(kube: Kube) -> None:
    manifest = storm_manifest(kube.new_namespace())
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    kubernetes_cluster(kube.kubeconfig).apply(manifest)

    def found() -> list[str]:
        held = kube.resource(namespace, name)
        assert held is not None
        return drift(held, manifest)

    assert found() == []
    kube.edit(namespace, name, {"metadata": {"labels": {"team": "theirs"}, "finalizers": ["theirs.example/f"]}})
    assert found() == []
    kube.edit(namespace, name, {"metadata": {"labels": {"stormconsole.io/kind": "alert"}}}, manager="someone")
    assert found() == ["metadata.labels[stormconsole.io/kind] by someone"]
    kube.edit(namespace, name, {"metadata": {"annotations": {"stormconsole.io/console-url": None}}})
    assert found()[1:] == ["metadata.annotations[stormconsole.io/console-url] removed"]
    kube.edit(namespace, name, {"spec": {"signalLabels": {"added": "x"}}}, manager="someone")
    assert found() == ["spec.signalLabels.added by someone"]


# --- Interruptions


def test_it_lists_again_when_its_place_is_too_old(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    class Late(Mirror):
        """Comes back after a long time."""

        def _take_all(self, cluster: Cluster) -> str:
            version = super()._take_all(cluster)
            if not late:
                late.append(version)
                return "1"
            return version

    late: list[str] = []
    mirror = Late(lambda: kubernetes_cluster(kube.kubeconfig))
    thread = threading.Thread(target=run_mirror, args=(mirror,))
    thread.start()
    try:
        wait_until(lambda: "too old resource version" in caplog.text)
        kube.set_status(row.namespace, row.name, "Processing")
        wait_until(lambda: phase(row) == "Processing")
    finally:
        mirror.stop()
        thread.join(5)


def test_it_waits_for_credentials_that_cannot_be_read_yet(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror], tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    mirror = mirroring(lambda: kubernetes_cluster(str(path)), listed=False)
    kube.set_status(row.namespace, row.name, "Processing")
    path.write_text(Path(kube.kubeconfig).read_text())
    wait_until(lambda: phase(row) == "Processing")
    wait_until(lambda: mirror._resource_version, message="the mirror has listed")


def test_it_goes_on_after_the_connection_was_cut(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror], caplog: pytest.LogCaptureFixture
) -> None:
    with cuttable(kube) as (server, cut):
        token = Path(kube.kubeconfig).read_text().split("token: ")[1].split()[0]
        through = kubernetes_cluster(kube.token_kubeconfig("through-proxy", token, server))
        mirroring(lambda: through)
        wait_until(lambda: through._watching, message="the watch is open")  # type: ignore[attr-defined]
        cut()
        kube.set_status(row.namespace, row.name, "Processing")
        wait_until(lambda: phase(row) == "Processing")
    assert "watch interrupted" in caplog.text


def test_it_lists_again_after_an_outage_since_the_cluster_may_be_another(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    """Restored from a backup, or empty: its resourceVersions are below ours, and a watch from there says nothing."""

    class Ahead(Mirror):
        def _take_all(self, cluster: Cluster) -> str:
            version = super()._take_all(cluster)
            listed.append(version)
            return "999999999" if len(listed) == 1 else version

    listed: list[str] = []
    with cuttable(kube) as (server, cut):
        token = Path(kube.kubeconfig).read_text().split("token: ")[1].split()[0]
        through = kubernetes_cluster(kube.token_kubeconfig("through-proxy", token, server))
        mirror = Ahead(lambda: through)
        thread = threading.Thread(target=run_mirror, args=(mirror,))
        thread.start()
        try:
            wait_until(lambda: listed)
            cut()
            kube.set_status(row.namespace, row.name, "Processing")
            wait_until(lambda: phase(row) == "Processing", 20)
        finally:
            mirror.stop()
            thread.join(5)


def test_what_failed_during_an_outage_is_tried_as_soon_as_the_cluster_answers(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror], tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    mirroring(lambda: kubernetes_cluster(str(path)), listed=False)
    wait_until(lambda: WatchState.objects.filter(failing_since__isnull=False), message="the watch has failed")
    services.record_failure(rr_id=row.id, attempts=8, error="connection refused")
    assert not services.take_due()
    path.write_text(Path(kube.kubeconfig).read_text())
    RemediationRequest.objects.filter(id=row.id).update(last_attempt_at=None)
    wait_until(lambda: services.take_due() == [row.id])


def test_a_list_without_an_outage_leaves_what_failed_to_its_pause(
    row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    """Else what the cluster does not take for its own reason would be sent to it every few minutes."""
    services.record_failure(rr_id=row.id, attempts=8, error="a webhook denied it")
    RemediationRequest.objects.filter(id=row.id).update(last_attempt_at=None)
    mirroring()
    wait_until(lambda: WatchState.objects.filter(listed_at__isnull=False), message="the list is noted")
    assert not services.take_due()


def test_it_notices_that_what_waits_for_another_sync_is_gone(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    """Else that sync would find nothing changed, and the resource would be missed for ever."""
    RemediationRequest.objects.filter(id=row.id).update(sync_state="failed", desired_version=99)
    kube.admin.delete(kube.path(row.namespace, row.name)).raise_for_status()
    mirroring()
    wait_until(lambda: not RemediationRequest.objects.get(id=row.id).applied_hash)
    RemediationRequest.objects.filter(id=row.id).update(last_attempt_at=None)
    sync(row.id)
    assert kube.resource(row.namespace, row.name) is not None


def test_it_goes_on_after_the_database_was_away(
    kube: Kube, row: RemediationRequest, mirroring: Callable[..., Mirror]
) -> None:
    from django.db import connection

    mirroring()
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
    kube.set_status(row.namespace, row.name, "Processing")
    wait_until(lambda: phase(row) == "Processing")


# --- The command


@pytest.mark.parametrize("where", ["local", "kubernetes", "unreachable"])
def test_the_command_beats_and_stops_at_once(kube: Kube, where: str) -> None:
    kubeconfig = {
        "local": "",
        "kubernetes": kube.kubeconfig,
        # TEST-NET-1: packets to it go nowhere, so that the call hangs until its timeout.
        "unreachable": kube.token_kubeconfig("nowhere", "any", "https://192.0.2.1:6443"),
    }[where]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "watch"], env={**os.environ, "KUBECONFIG": kubeconfig}, start_new_session=True
    )
    try:
        wait_until(lambda: is_alive("watch"), 20, "the heartbeat")
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def cuttable(kube: Kube) -> Iterator[tuple[str, Callable[[], None]]]:
    """(URL of a TCP relay to the API server, a function that cuts the connections that it relays now)."""
    target = urlsplit(kube.url)
    listener = socket.create_server(("127.0.0.1", 0))
    pairs: list[tuple[socket.socket, socket.socket]] = []
    stopped = threading.Event()

    def relay(client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while not stopped.is_set():
                client, _ = listener.accept()
                server = socket.create_connection((target.hostname, target.port))
                pairs.append((client, server))
                threading.Thread(target=relay, args=(client, server), daemon=True).start()

    def cut() -> None:
        while pairs:
            for end in pairs.pop():
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", cut
    finally:
        stopped.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        cut()
        accepting.join(2)
