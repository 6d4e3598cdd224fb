"""The cluster's API: RemediationRequests in Kubernetes, or in the local cluster when none is configured.

The only package that imports `kubernetes`, and only once `get_cluster` is called with a cluster configured: the web
process asks for `cluster_label` and never pays for the import.
"""

from storms.cluster.address import cluster_label, is_local
from storms.cluster.base import FIELD_MANAGER, LOCAL, Applied, Cluster, Resource
from storms.cluster.errors import (
    ClusterConflict,
    ClusterError,
    ClusterForbidden,
    ClusterUnavailable,
    CrdMissing,
    ManifestRejected,
    NamespaceMissing,
    ResourceExpired,
)
from storms.cluster.factory import get_cluster, kubernetes_cluster

__all__ = [
    "FIELD_MANAGER",
    "LOCAL",
    "Applied",
    "Cluster",
    "ClusterConflict",
    "ClusterError",
    "ClusterForbidden",
    "ClusterUnavailable",
    "CrdMissing",
    "ManifestRejected",
    "NamespaceMissing",
    "Resource",
    "ResourceExpired",
    "cluster_label",
    "get_cluster",
    "is_local",
    "kubernetes_cluster",
]
