"""The cluster that the settings name. Imports are inside the functions to keep `kubernetes` out of the web process."""

import threading
from functools import lru_cache

from django.conf import settings

from storms.cluster.address import cluster_label, is_local
from storms.cluster.base import Cluster

_lock = threading.Lock()


def get_cluster() -> Cluster:
    """The same object for the whole process; threads may share it.

    Raises ClusterUnavailable when the configured credentials cannot be read, at every call until they can: a
    configured cluster is never silently replaced by the local one.
    """
    with _lock:
        return _connect(settings.KUBECONFIG, settings.KUBERNETES_IN_CLUSTER, settings.KUBERNETES_TIMEOUT_SECONDS)


def kubernetes_cluster(kubeconfig: str, *, timeout_seconds: float = 10) -> Cluster:
    """A real cluster through the current context of a kubeconfig, "" for the pod's own service account."""
    from storms.cluster.connection import connect
    from storms.cluster.remote import KubernetesCluster

    return KubernetesCluster(connect(kubeconfig, timeout_seconds=timeout_seconds))


@lru_cache(maxsize=4)
def _connect(kubeconfig: str, in_cluster: bool, timeout_seconds: float) -> Cluster:
    if is_local():
        from storms.cluster.local import LocalCluster

        return LocalCluster()
    cluster = kubernetes_cluster(kubeconfig, timeout_seconds=timeout_seconds)
    cluster.label = cluster_label()
    return cluster
