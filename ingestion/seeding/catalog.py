"""What synthetic alerts are about: places (a namespace in a cluster), receivers, the alerts of each scenario (pure).

Everything is made up. Addresses are of the ranges reserved for documentation.
"""

from collections.abc import Iterator
from typing import NamedTuple

BACKGROUND, NODE_DOWN, BAD_RELEASE, ZONE_NETWORK, DATABASE = range(5)
"""Scenarios: what goes on all the time, and what a storm can come from."""

NODES = 24
"""Per cluster."""
CLUSTERS = {"prod-eu-1": "eu", "prod-us-1": "us", "prod-us-2": "us", "staging-eu-1": "eu"}
TEAMS = {
    "payments": ("payments", "checkout", "ledger", "billing", "fraud"),
    "catalog": ("catalog", "search", "recommendations", "pricing", "media"),
    "identity": ("identity", "sessions", "accounts", "consent"),
    "logistics": ("orders", "shipping", "warehouse", "returns", "tracking"),
    "data": ("ingest", "warehouse-etl", "streams", "reports", "features"),
    "edge": ("edge-proxy", "cdn", "dns", "waf"),
    "platform": ("monitoring", "logging", "kube-system", "cert-manager", "storage", "ci"),
}
SERVICES = ("api", "worker", "frontend", "cache", "scheduler", "gateway", "consumer", "db")


class Place(NamedTuple):
    """A namespace, and who owns it."""

    namespace: str
    cluster: str
    region: str
    team: str


class Definition(NamedTuple):
    """An alert as its rule defines it; `weight` among those of its scenario, `kind` is the resource it is about."""

    scenario: int
    alertname: str
    kind: str
    severity: str
    weight: int
    source: str = "alertmanager"


class Sender(NamedTuple):
    """A receiver that synthetic alerts came through. Alerts of `source` in `region` are its."""

    name: str
    source: str
    region: str
    address: str


class Policy(NamedTuple):
    """A policy beside the default one."""

    name: str
    matchers: str
    group_by: tuple[str, ...]
    threshold: int
    window_seconds: int
    hold_seconds: int


def places() -> list[Place]:
    """Every namespace is in one cluster, so that it is one group; production is first, where most happens."""
    return [
        Place(f"{name}{suffix}", cluster, region, team)
        for cluster, suffix in zip(CLUSTERS, ("", "-us", "-canary", "-staging"), strict=True)
        for region in [CLUSTERS[cluster]]
        for team, names in TEAMS.items()
        for name in names
    ]


SENDERS = [
    Sender("synthetic-alertmanager-eu", "alertmanager", "eu", "192.0.2.10"),
    Sender("synthetic-alertmanager-us", "alertmanager", "us", "198.51.100.10"),
    Sender("synthetic-events-eu", "kubernetes-event", "eu", "192.0.2.20"),
    Sender("synthetic-events-us", "kubernetes-event", "us", "198.51.100.20"),
    Sender("synthetic-probes-eu", "generic", "eu", "192.0.2.30"),
    Sender("synthetic-probes-us", "generic", "us", "198.51.100.30"),
]
POLICIES = [
    Policy("synthetic-data", 'team="data"', ("namespace",), 20, 120, 30),
    Policy("synthetic-edge", 'team="edge"', ("cluster", "namespace"), 10, 60, 0),
]
SILENCED = "InfoInhibitor"
DEFINITIONS = [
    Definition(BACKGROUND, "CPUThrottlingHigh", "Pod", "info", 30),
    Definition(BACKGROUND, "KubePodCrashLooping", "Pod", "warning", 18),
    Definition(BACKGROUND, "HighLatency", "Service", "warning", 12),
    Definition(BACKGROUND, "BackOff", "Pod", "warning", 9, "kubernetes-event"),
    Definition(BACKGROUND, SILENCED, "Pod", "none", 7),
    Definition(BACKGROUND, "KubeHpaMaxedOut", "Deployment", "warning", 6),
    Definition(BACKGROUND, "FailedScheduling", "Pod", "warning", 4, "kubernetes-event"),
    Definition(BACKGROUND, "ProbeFailed", "Service", "critical", 4, "generic"),
    Definition(BACKGROUND, "KubePersistentVolumeFillingUp", "PersistentVolumeClaim", "warning", 3),
    Definition(BACKGROUND, "CertificateExpiresSoon", "Service", "info", 2),
    Definition(BACKGROUND, "NodeClockSkewDetected", "Node", "warning", 2),
    Definition(BACKGROUND, "TargetDown", "Service", "critical", 2),
    Definition(BACKGROUND, "KubeJobFailed", "Pod", "warning", 1),
    Definition(NODE_DOWN, "KubePodNotReady", "Pod", "warning", 50),
    Definition(NODE_DOWN, "KubeDeploymentReplicasMismatch", "Deployment", "warning", 15),
    Definition(NODE_DOWN, "TargetDown", "Service", "critical", 15),
    Definition(NODE_DOWN, "NodeNotReady", "Node", "critical", 10),
    Definition(NODE_DOWN, "NodeNetworkReceiveErrs", "Node", "warning", 10),
    Definition(BAD_RELEASE, "KubePodCrashLooping", "Pod", "warning", 45),
    Definition(BAD_RELEASE, "HighErrorRate", "Service", "critical", 25),
    Definition(BAD_RELEASE, "KubeDeploymentRolloutStuck", "Deployment", "warning", 15),
    Definition(BAD_RELEASE, "SLOErrorBudgetBurn", "Service", "critical", 15),
    Definition(ZONE_NETWORK, "HighLatency", "Service", "warning", 45),
    Definition(ZONE_NETWORK, "TargetDown", "Service", "critical", 25),
    Definition(ZONE_NETWORK, "DNSErrorsHigh", "Pod", "critical", 20),
    Definition(ZONE_NETWORK, "ProbeFailed", "Service", "critical", 10, "generic"),
    Definition(DATABASE, "ConnectionPoolExhausted", "Pod", "critical", 45),
    Definition(DATABASE, "HighLatency", "Service", "warning", 30),
    Definition(DATABASE, "QueueBacklogGrowing", "Deployment", "warning", 15),
    Definition(DATABASE, "ReplicationLag", "Pod", "critical", 10),
]


def shares() -> Iterator[tuple[Definition, float, float]]:
    """Each definition with the part of [0, 1) that is its, within its scenario."""
    for scenario in range(BACKGROUND, DATABASE + 1):
        own = [definition for definition in DEFINITIONS if definition.scenario == scenario]
        total = sum(definition.weight for definition in own)
        before = 0
        for definition in own:
            yield definition, before / total, (before + definition.weight) / total
            before += definition.weight
