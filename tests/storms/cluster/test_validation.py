"""The local cluster's validation and the API server's give the same verdict on the same manifest."""

from collections.abc import Callable
from typing import Any

import pytest

from storms.cluster import Cluster, ManifestRejected, NamespaceMissing
from tests.harness.kube import Kube
from tests.storms.facts import alert_manifest, storm_manifest

pytestmark = pytest.mark.django_db

Change = Callable[[dict[str, Any]], Any]


def put(path: str, value: Any) -> Change:
    """Sets one field of the spec."""

    def change(spec: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            spec = spec[parent]
        spec[last] = value

    return change


def drop(field: str) -> Change:
    return lambda spec: spec.pop(field)


BAD = {
    "bad severity": put("severity", "catastrophic"),
    "no severity": drop("severity"),
    "no fingerprint": drop("signalFingerprint"),
    "short fingerprint": put("signalFingerprint", "ab"),
    "upper-case fingerprint": put("signalFingerprint", "AB" * 32),
    "fingerprint and a newline": put("signalFingerprint", "ab" * 32 + "\n"),
    "no name": put("signalName", ""),
    "long name": put("signalName", "x" * 254),
    "bad priority": put("priority", "P9"),
    "bad target": put("targetType", "mainframe"),
    "not a time": put("firingTime", "yesterday"),
    "a time without a zone": put("firingTime", "2026-11-24T12:00:00"),
    "an impossible time": put("firingTime", "2026-02-30T12:00:00Z"),
    "a count of text": put("deduplication.occurrenceCount", "2"),
    "a negative count": put("deduplication.occurrenceCount", -1),
    "no last seen": put("deduplication", {"firstSeen": "2026-11-24T12:00:00Z", "occurrenceCount": 1}),
    "a label that is a number": put("signalLabels", {"a": 1}),
    "a long label": put("signalLabels", {"a": "x" * 2049}),
    "101 labels": put("signalLabels", {f"a{n}": "" for n in range(101)}),
    "a flag of text": put("isStorm", "true"),
    "an unknown field": put("fromTheFuture", 1),
    "an unknown field in a storm": put("storm.fromTheFuture", 1),
    "a bad storm state": put("storm.state", "raging"),
    "a bad close reason": put("storm.closeReason", "bored"),
    "a storm id that is no UUID": put("storm.id", "storm-1"),
    "a threshold of 0": put("storm.threshold", 0),
    "501 affected resources": put(
        "storm.affectedResources", [{"kind": "Pod", "name": "p", "alertName": "a", "firing": True}] * 501
    ),
    "an affected resource without a name": put(
        "storm.affectedResources", [{"kind": "Pod", "alertName": "a", "firing": True}]
    ),
}
GOOD = {
    "as built": lambda spec: None,
    "a name of 253 characters outside the basic plane": put("signalName", "😀" * 253),
    "a time with a fraction and an offset": put("firingTime", "2026-11-24T12:00:00.123456+01:00"),
    "500 affected resources": put(
        "storm.affectedResources", [{"kind": "Pod", "name": "p", "alertName": "a", "firing": True}] * 500
    ),
    "no storm": lambda spec: (spec.pop("storm"), spec.update(isStorm=False)),
    "an unknown severity count is left out": put("storm.severityCounts", {}),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_both_clusters_reject(any_cluster: Cluster, kube: Kube, change: Change) -> None:
    manifest = storm_manifest(kube.new_namespace())
    change(manifest["spec"])
    with pytest.raises(ManifestRejected):
        any_cluster.apply(manifest)


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_both_clusters_accept(any_cluster: Cluster, kube: Kube, change: Change) -> None:
    manifest = storm_manifest(kube.new_namespace())
    change(manifest["spec"])
    assert any_cluster.apply(manifest).generation == 1


def test_both_clusters_keep_the_fingerprint(any_cluster: Cluster, kube: Kube) -> None:
    manifest = storm_manifest(kube.new_namespace())
    any_cluster.apply(manifest)
    manifest["spec"]["signalFingerprint"] = "cd" * 32
    with pytest.raises(ManifestRejected, match="signalFingerprint is immutable"):
        any_cluster.apply(manifest)


def test_both_clusters_count_generations_the_same_way(any_cluster: Cluster, kube: Kube) -> None:
    manifest = alert_manifest(kube.new_namespace())
    first = any_cluster.apply(manifest)
    assert any_cluster.apply(manifest) == first
    manifest["metadata"]["annotations"]["stormconsole.io/alert-status"] = "resolved"
    second = any_cluster.apply(manifest)
    assert (second.uid, second.generation) == (first.uid, 1)
    assert int(second.resource_version) > int(first.resource_version)
    manifest["spec"]["deduplication"]["occurrenceCount"] += 1
    third = any_cluster.apply(manifest)
    assert third.generation == 2
    assert int(third.resource_version) > int(second.resource_version)


def test_only_the_real_cluster_asks_for_the_namespace(any_cluster: Cluster) -> None:
    manifest = alert_manifest("not-there")
    if any_cluster.label == "local":
        assert any_cluster.apply(manifest).namespace == "not-there"
    else:
        with pytest.raises(NamespaceMissing):
            any_cluster.apply(manifest)
