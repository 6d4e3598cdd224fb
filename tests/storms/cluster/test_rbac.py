"""`deploy/` gives the console what it needs and not more: asked of the API server with the accounts themselves."""

import httpx
import pytest

from storms.cluster import Cluster, ClusterForbidden, kubernetes_cluster
from tests.harness.kube import RESOURCES, Kube
from tests.storms.facts import alert_manifest

OURS = "stormconsole.io"
MAY = {"get", "list", "watch", "create", "patch", "delete"}
VERBS = [*sorted(MAY), "update", "deletecollection"]


def may(kube: Kube, kubeconfig: str, verb: str, resource: str, group: str = "", subresource: str = "") -> bool:
    """What the API server's authorizer says to the account itself."""
    with kube.client(kubeconfig) as client:
        answer = client.post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            json={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {
                    "resourceAttributes": {
                        "namespace": "default",
                        "verb": verb,
                        "group": group,
                        "resource": resource,
                        "subresource": subresource,
                    }
                },
            },
        )
    answer.raise_for_status()
    return bool(answer.json()["status"]["allowed"])


@pytest.mark.parametrize("verb", VERBS)
def test_the_console_has_only_the_verbs_it_uses(kube: Kube, verb: str) -> None:
    assert may(kube, kube.kubeconfig, verb, "remediationrequests", OURS) is (verb in MAY)
    assert may(kube, kube.kubeconfig, verb, "remediationrequests", OURS, "status") is False


@pytest.mark.parametrize(
    ("group", "resource"),
    [
        ("", "secrets"),
        ("", "configmaps"),
        ("", "pods"),
        ("", "namespaces"),
        ("", "events"),
        ("apps", "deployments"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    ],
)
def test_the_console_sees_nothing_else(kube: Kube, group: str, resource: str) -> None:
    assert [verb for verb in VERBS if may(kube, kube.kubeconfig, verb, resource, group)] == []


def test_the_console_cannot_write_status(cluster: Cluster, namespace: str) -> None:
    name = cluster.apply(alert_manifest(namespace)).name
    with pytest.raises(ClusterForbidden, match="remediationrequests/status"):
        cluster.patch_status(namespace, name, {"phase": "Completed"})


def test_a_status_in_the_consoles_manifest_is_ignored(cluster: Cluster, kube: Kube, namespace: str) -> None:
    manifest = alert_manifest(namespace) | {"status": {"phase": "Completed"}}
    name = cluster.apply(manifest).name
    held = kube.resource(namespace, name)
    assert held is not None
    assert "status" not in held


def test_the_console_deletes_one_resource_and_no_collection(cluster: Cluster, kube: Kube, namespace: str) -> None:
    name = cluster.apply(alert_manifest(namespace)).name
    with kube.client(kube.kubeconfig) as client:
        refused = client.delete(f"{RESOURCES}/namespaces/{namespace}/remediationrequests")
    assert refused.status_code == httpx.codes.FORBIDDEN
    assert cluster.delete(namespace, name)
    assert kube.resource(namespace, name) is None


def test_the_console_cannot_read_secrets(kube: Kube) -> None:
    with kube.client(kube.kubeconfig) as client:
        assert client.get("/api/v1/secrets").status_code == httpx.codes.FORBIDDEN


def test_the_operator_writes_status_and_not_spec(cluster: Cluster, kube: Kube, namespace: str) -> None:
    name = cluster.apply(alert_manifest(namespace)).name
    operator = kubernetes_cluster(kube.operator_kubeconfig)
    operator.patch_status(namespace, name, {"phase": "Processing", "message": "on it"})
    held = cluster.get(namespace, name)
    assert held is not None
    assert held["status"] == {"phase": "Processing", "message": "on it"}
    with pytest.raises(ClusterForbidden):
        operator.apply(alert_manifest(namespace))
