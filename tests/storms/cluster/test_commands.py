"""`install_crd` and `simulate_operator`, as commands."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from storms.cluster import Cluster, CrdMissing
from tests.harness.kube import Kube
from tests.storms.facts import alert_facts, alert_manifest, storm_manifest


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue().strip()


def test_it_checks_with_the_consoles_own_account(kube: Kube, settings: Settings) -> None:
    settings.KUBECONFIG = kube.kubeconfig
    assert run("install_crd", "--check", "--kubeconfig", kube.kubeconfig) == f"{kube.url} serves RemediationRequests."


def test_it_installs_what_is_missing(kube: Kube, cluster: Cluster) -> None:
    with kube.without_crd():
        with pytest.raises(CommandError, match=r"kubectl apply --server-side -f deploy/crd\.yaml"):
            run("install_crd", "--check", "--kubeconfig", kube.kubeconfig)
        with pytest.raises(CrdMissing):
            cluster.list()
        assert run("install_crd", "--kubeconfig", kube.crd_kubeconfig).endswith("serves RemediationRequests.")
        # A repeat is an update.
        assert run("install_crd", "--kubeconfig", kube.crd_kubeconfig).endswith("serves RemediationRequests.")


def test_it_needs_an_administrator(kube: Kube) -> None:
    with pytest.raises(CommandError, match="403"):
        run("install_crd", "--kubeconfig", kube.kubeconfig)


def test_it_has_nothing_to_install_in_the_local_cluster() -> None:
    assert "local cluster" in run("install_crd")
    assert "local cluster" in run("install_crd", "--check")


def test_it_names_a_cluster_that_it_cannot_reach(kube: Kube) -> None:
    elsewhere = kube.token_kubeconfig("elsewhere", "any", "https://127.0.0.1:9")
    with pytest.raises(CommandError, match=r"127\.0\.0\.1:9 not reached"):
        run("install_crd", "--check", "--kubeconfig", elsewhere)


def phases(kube: Kube, namespace: str) -> dict[str, str]:
    return {r["metadata"]["name"]: r.get("status", {}).get("phase", "") for r in kube.resources(namespace)}


def test_the_operator_takes_every_request_to_its_end(cluster: Cluster, kube: Kube, namespace: str) -> None:
    names = {cluster.apply(manifest(namespace)).name for manifest in (alert_manifest, storm_manifest)}
    run("simulate_operator", "--once", "--failures", "0", "--kubeconfig", kube.operator_kubeconfig)
    assert phases(kube, namespace) == dict.fromkeys(names, "Completed")
    [first, _] = kube.resources(namespace)
    assert first["status"]["observedGeneration"] == 1
    assert first["status"]["conditions"][0]["type"] == "Ready"


def test_the_operator_fails_as_often_as_told(cluster: Cluster, kube: Kube, namespace: str) -> None:
    name = cluster.apply(alert_manifest(namespace)).name
    run("simulate_operator", "--once", "--failures", "1", "--kubeconfig", kube.operator_kubeconfig)
    assert phases(kube, namespace) == {name: "Failed"}


def test_the_operator_leaves_what_is_superseded(cluster: Cluster, kube: Kube, namespace: str) -> None:
    started, untouched = alert_manifest(namespace, id=alert_facts().id), alert_manifest(namespace)
    kube_name = cluster.apply(started).name
    kube.set_status(namespace, kube_name, "Processing")
    for manifest in (started, untouched):
        manifest["spec"]["supersededBy"] = "storm-x"
        cluster.apply(manifest)
    run("simulate_operator", "--once", "--kubeconfig", kube.operator_kubeconfig)
    assert phases(kube, namespace) == {kube_name: "Cancelled", untouched["metadata"]["name"]: ""}


def test_the_operator_needs_a_cluster() -> None:
    with pytest.raises(CommandError, match="local cluster"):
        run("simulate_operator", "--once")
