"""Every verb and every error, against a real API server with the console's own limited account."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from storms.cluster import (
    Applied,
    Cluster,
    ClusterConflict,
    ClusterError,
    ClusterForbidden,
    ClusterUnavailable,
    CrdMissing,
    ManifestRejected,
    NamespaceMissing,
    ResourceExpired,
    kubernetes_cluster,
)
from storms.cluster.connection import error_of_status
from storms.remediation import manifest_hash
from tests.harness.kube import Kube
from tests.harness.served import served
from tests.harness.wait import wait_until
from tests.storms.facts import alert_manifest, storm_manifest


def test_it_creates_a_resource(cluster: Cluster, kube: Kube, namespace: str) -> None:
    manifest = alert_manifest(namespace)
    applied = cluster.apply(manifest)
    held = kube.resource(namespace, applied.name)
    assert held is not None
    assert applied == Applied(
        name=manifest["metadata"]["name"],
        namespace=namespace,
        uid=held["metadata"]["uid"],
        resource_version=held["metadata"]["resourceVersion"],
        generation=1,
        phase="",
        phase_message="",
    )
    assert held["spec"] == manifest["spec"]
    assert held["metadata"]["managedFields"][0]["manager"] == "stormconsole"


def test_it_changes_nothing_when_repeated(cluster: Cluster, namespace: str) -> None:
    manifest = storm_manifest(namespace)
    assert cluster.apply(manifest) == cluster.apply(manifest)


def test_it_makes_one_resource_of_many_applies_at_once(cluster: Cluster, kube: Kube, namespace: str) -> None:
    manifest = storm_manifest(namespace)

    def apply(_: int) -> str:
        with contextlib.suppress(ClusterConflict):
            return cluster.apply(manifest).uid
        return ""

    with ThreadPoolExecutor(16) as pool:
        uids = set(pool.map(apply, range(32))) - {""}
    [held] = kube.resources(namespace)
    assert uids == {held["metadata"]["uid"]}


def test_it_updates_a_resource_and_returns_the_operators_phase(cluster: Cluster, kube: Kube, namespace: str) -> None:
    manifest = storm_manifest(namespace)
    name = cluster.apply(manifest).name
    kube.set_status(namespace, name, "Processing", "on it")
    manifest["spec"]["storm"]["alertCount"] = 16
    applied = cluster.apply(manifest)
    assert (applied.generation, applied.phase, applied.phase_message) == (2, "Processing", "on it")


def test_it_takes_back_what_somebody_edited(cluster: Cluster, kube: Kube, namespace: str) -> None:
    manifest = storm_manifest(namespace)
    name = cluster.apply(manifest).name
    kube.edit(
        namespace,
        name,
        {
            "metadata": {"labels": {"stormconsole.io/kind": "alert", "team": "a"}},
            "spec": {"severity": "info", "supersededBy": "me", "storm": {"groupLabels": {"added": "by hand"}}},
        },
    )
    cluster.apply(manifest)
    held = kube.resource(namespace, name)
    assert held is not None
    assert held["spec"] == manifest["spec"]
    # A label of somebody else's is theirs.
    assert held["metadata"]["labels"] == manifest["metadata"]["labels"] | {"team": "a"}


def test_it_keeps_every_character(cluster: Cluster, kube: Kube, namespace: str) -> None:
    text = "é😀 \x01\x7f\x85\u2028\ufeff\uffff <&> \\ud83d \"'\n\t: - {}"
    manifest = alert_manifest(namespace, labels={text: text}, annotations={"summary": text})
    held = kube.resource(namespace, cluster.apply(manifest).name)
    assert held is not None
    assert held["spec"]["signalLabels"] == {text: text}
    assert held["spec"]["signalAnnotations"] == {"summary": text}


def test_it_applies_the_largest_storm(cluster: Cluster, kube: Kube, namespace: str) -> None:
    wide = {f"label{number}": "<😀>" * 600 for number in range(100)}
    manifest = storm_manifest(namespace, 2000, labels=wide, annotations=wide, group_labels=wide)
    name = cluster.apply(manifest).name
    answer = kube.admin.get(kube.path(namespace, name))
    assert len(answer.content) < 512 * 1024
    assert answer.json()["spec"]["storm"]["truncated"] is True


def test_it_gets_a_resource(cluster: Cluster, namespace: str) -> None:
    manifest = alert_manifest(namespace)
    name = cluster.apply(manifest).name
    held = cluster.get(namespace, name)
    assert held is not None
    assert manifest_hash(held["spec"]) == manifest_hash(manifest["spec"])
    assert cluster.get(namespace, "alert-none") is None
    assert cluster.get("no-such-namespace", name) is None


def test_it_deletes_a_resource(kube: Kube, cluster: Cluster, namespace: str) -> None:
    name = cluster.apply(alert_manifest(namespace)).name
    administrator = kubernetes_cluster(kube.admin_kubeconfig)
    assert administrator.delete(namespace, name) is True
    assert administrator.delete(namespace, name) is False
    assert kube.resources(namespace) == []


def test_it_lists_all_namespaces_page_by_page(cluster: Cluster, kube: Kube) -> None:
    names = {cluster.apply(alert_manifest(kube.new_namespace())).name}
    namespace = kube.new_namespace()
    names |= {cluster.apply(alert_manifest(namespace)).name for _ in range(101)}
    pages = [*cluster.pages()]
    resources, resource_version = cluster.list()
    assert len(pages) > 1
    assert {version for _, version in pages} == {resource_version}
    assert names <= {resource["metadata"]["name"] for resource in resources}


def test_it_watches_what_happens(cluster: Cluster, kube: Kube, namespace: str) -> None:
    _, resource_version = cluster.list()
    manifest = alert_manifest(namespace)
    name = cluster.apply(manifest).name
    kube.set_status(namespace, name, "Completed", "done")
    kube.delete_all()
    seen = [
        (kind, (resource.get("status") or {}).get("phase"))
        for kind, resource in cluster.watch(resource_version, 2)
        if resource["metadata"].get("name") == name
    ]
    assert seen == [("ADDED", None), ("MODIFIED", "Completed"), ("DELETED", "Completed")]


def test_it_ends_a_running_watch_at_once(cluster: Cluster) -> None:
    _, resource_version = cluster.list()
    ended = threading.Event()

    def watch() -> None:
        for _ in cluster.watch(resource_version, 60):
            pass
        ended.set()

    watching = threading.Thread(target=watch)
    watching.start()
    wait_until(lambda: cluster._watching, message="the watch is open")  # type: ignore[attr-defined]
    cluster.stop_watch()
    assert ended.wait(2)
    watching.join()
    assert list(cluster.watch(resource_version, 60)) == []


def test_it_says_when_a_resource_version_is_too_old(cluster: Cluster) -> None:
    with pytest.raises(ResourceExpired, match="too old resource version"):
        list(cluster.watch("1", 5))


# --- Errors, each by its name


def test_a_missing_namespace(cluster: Cluster) -> None:
    with pytest.raises(NamespaceMissing, match=r'https://.* 404 .*namespaces "not-there" not found'):
        cluster.apply(alert_manifest("not-there"))


def test_a_namespace_that_is_being_deleted(cluster: Cluster, kube: Kube, namespace: str) -> None:
    kube.admin.delete(f"/api/v1/namespaces/{namespace}").raise_for_status()
    with pytest.raises(NamespaceMissing) as caught:
        wait_until(lambda: cluster.apply(alert_manifest(namespace)) is None, 10)
    assert caught.value.reason == "NamespaceTerminating"


def test_a_manifest_with_a_bad_severity(cluster: Cluster, namespace: str) -> None:
    manifest = alert_manifest(namespace)
    manifest["spec"]["severity"] = "catastrophic"
    with pytest.raises(ManifestRejected, match=r"spec\.severity: Unsupported value"):
        cluster.apply(manifest)


def test_a_changed_fingerprint(cluster: Cluster, namespace: str) -> None:
    manifest = alert_manifest(namespace)
    cluster.apply(manifest)
    manifest["spec"]["signalFingerprint"] = "cd" * 32
    with pytest.raises(ManifestRejected, match="signalFingerprint is immutable"):
        cluster.apply(manifest)


def test_a_field_that_the_crd_does_not_know(cluster: Cluster, namespace: str) -> None:
    manifest = alert_manifest(namespace)
    manifest["spec"]["fromTheFuture"] = 1
    with pytest.raises(ManifestRejected, match="install_crd") as caught:
        cluster.apply(manifest)
    assert caught.value.reason == "SchemaMismatch"


def test_a_cluster_without_the_crd(cluster: Cluster, kube: Kube, namespace: str) -> None:
    with kube.without_crd():
        for call in (lambda: cluster.apply(alert_manifest(namespace)), cluster.list, lambda: cluster.get("x", "y")):
            with pytest.raises(CrdMissing, match="install_crd"):
                call()
    assert cluster.apply(alert_manifest(namespace)).generation == 1


def test_an_account_without_rights(kube: Kube, namespace: str) -> None:
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": namespace}})
    nobody = kubernetes_cluster(kube.account_kubeconfig("nobody", namespace))
    for call in (lambda: nobody.apply(alert_manifest(namespace)), nobody.list, lambda: nobody.get(namespace, "x")):
        with pytest.raises(ClusterForbidden, match=r"deploy/rbac\.yaml"):
            call()


def test_a_token_that_is_not_accepted(kube: Kube, namespace: str) -> None:
    stranger = kubernetes_cluster(kube.token_kubeconfig("stranger", "not.a.token"))
    with pytest.raises(ClusterForbidden) as caught:
        stranger.apply(alert_manifest(namespace))
    assert caught.value.reason == "Unauthorized"
    assert "not.a.token" not in str(caught.value)


def test_it_reads_the_credentials_again_when_they_are_not_accepted(kube: Kube, namespace: str) -> None:
    path = Path(kube.token_kubeconfig("rotated", "an.old.token"))
    rotated = kubernetes_cluster(str(path))
    path.write_text(Path(kube.kubeconfig).read_text())
    assert rotated.apply(alert_manifest(namespace)).generation == 1


def test_an_address_where_nobody_listens(kube: Kube) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = kubernetes_cluster(server_kubeconfig(kube, f"https://127.0.0.1:{unused.getsockname()[1]}"))
        for call in (lambda: gone.apply(alert_manifest()), gone.list, lambda: list(gone.watch("1", 1))):
            with pytest.raises(ClusterUnavailable, match="not reached") as caught:
                call()
            assert caught.value.retryable
            assert caught.value.reason == "Unreachable"


def test_a_server_that_never_answers(kube: Kube) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = kubernetes_cluster(
            server_kubeconfig(kube, f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout_seconds=0.2
        )
        with pytest.raises(ClusterUnavailable) as caught:
            slow.apply(alert_manifest())
    assert caught.value.reason == "Timeout"


def test_a_server_that_somebody_else_certified(kube: Kube, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(kube.kubeconfig).read_text())
    del config["clusters"][0]["cluster"]["certificate-authority"]
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ClusterUnavailable, match="certificate"):
        kubernetes_cluster(str(path)).list()


def test_a_kubeconfig_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("{}")
    for path in (tmp_path / "missing", broken):
        with pytest.raises(ClusterUnavailable, match="KUBECONFIG"):
            kubernetes_cluster(str(path))


@pytest.mark.parametrize(
    ("code", "headers", "body", "expected", "retry_after"),
    [
        (429, {"Retry-After": "7"}, b'{"kind": "Status", "message": "too many"}', ClusterUnavailable, 7.0),
        (503, {}, b"service unavailable", ClusterUnavailable, None),
        (500, {}, b'{"kind": "Status", "message": "etcdserver: request timed out"}', ClusterUnavailable, None),
        (504, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"", ClusterUnavailable, None),
        (200, {}, b"<html>a proxy's login page</html>", ClusterUnavailable, None),
        (200, {}, b"[]", ClusterUnavailable, None),
        (413, {}, b'{"kind": "Status", "message": "too large"}', ManifestRejected, None),
        (409, {}, b'{"kind": "Status", "reason": "Conflict", "message": "modified"}', ClusterConflict, None),
        (418, {}, b"teapot", ClusterError, None),
    ],
)
def test_an_answer_of_another_kind(
    kube: Kube,
    code: int,
    headers: dict[str, str],
    body: bytes,
    expected: type[ClusterError],
    retry_after: float | None,
) -> None:
    with answering(code, headers, body) as url:
        broken = kubernetes_cluster(server_kubeconfig(kube, url))
        with pytest.raises(ClusterError) as caught:
            broken.apply(alert_manifest())
    assert type(caught.value) is expected
    assert url in str(caught.value)
    assert getattr(caught.value, "retry_after", None) == retry_after


def test_a_connection_that_breaks_in_the_middle_of_a_watch(kube: Kube) -> None:
    line = b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "5"}}}\n{"type": "ADD'
    chunk = b"%x\r\n%b\r\n" % (len(line), line)
    with answering(200, {"Transfer-Encoding": "chunked"}, chunk) as url:
        watch = kubernetes_cluster(server_kubeconfig(kube, url)).watch("1", 5)
        assert next(watch)[0] == "BOOKMARK"
        with pytest.raises(ClusterUnavailable):
            next(watch)


@pytest.mark.parametrize(("reason", "expected"), [("AlreadyExists", ClusterConflict), ("Conflict", ClusterConflict)])
def test_both_kinds_of_409_keep_their_reason(reason: str, expected: type[ClusterError]) -> None:
    error = error_of_status(409, {"kind": "Status", "reason": reason}, "PATCH x", "https://api")
    assert (type(error), error.reason) == (expected, reason)


def server_kubeconfig(kube: Kube, server: str) -> str:
    """The administrator's CA, some token, another server."""
    return kube.token_kubeconfig("elsewhere", "any.token", server)


@contextlib.contextmanager
def answering(code: int, headers: dict[str, str], body: bytes) -> Iterator[str]:
    """A server that gives this answer to everything, then closes; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(code)
            if "Transfer-Encoding" not in headers:
                self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        do_GET = do_PATCH = handle_any  # noqa: N815 - http.server's names

        def log_message(self, *args: Any) -> None:
            """Not in the tests' output."""

    with served(Handler) as port:
        yield f"http://127.0.0.1:{port}"
