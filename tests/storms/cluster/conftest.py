"""Clusters to test against: the real one through the console's own account, and the local one."""

from collections.abc import Iterator

import pytest

from storms.cluster import Cluster
from storms.cluster.factory import kubernetes_cluster
from storms.cluster.local import LocalCluster
from tests.harness.kube import Kube


@pytest.fixture
def cluster(kube: Kube) -> Cluster:
    """The real cluster, as the console sees it."""
    return kubernetes_cluster(kube.kubeconfig, timeout_seconds=10)


@pytest.fixture
def namespace(kube: Kube) -> str:
    return kube.new_namespace()


@pytest.fixture(params=["kubernetes", "local"])
def any_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Each of both in turn: what they must agree on."""
    if request.param == "local":
        request.getfixturevalue("db")
        yield LocalCluster()
    else:
        yield request.getfixturevalue("cluster")
