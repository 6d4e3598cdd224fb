"""The local cluster: the same interface, a table instead of a network."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from storms.cluster import ClusterConflict, ClusterError, ManifestRejected
from storms.cluster.local import LocalCluster
from storms.models import LocalResource
from tests.storms.facts import alert_manifest, storm_manifest


@pytest.mark.django_db
def test_it_keeps_what_is_applied() -> None:
    cluster, manifest = LocalCluster(), storm_manifest()
    applied = cluster.apply(manifest)
    held = cluster.get("payments", applied.name)
    assert held is not None
    assert held["spec"] == manifest["spec"]
    assert held["metadata"]["uid"] == applied.uid
    assert cluster.list() == ([held], applied.resource_version)
    assert (applied.phase, applied.phase_message) == ("", "")


@pytest.mark.django_db
def test_it_deletes() -> None:
    cluster = LocalCluster()
    name = cluster.apply(alert_manifest()).name
    assert cluster.delete("payments", name) is True
    assert cluster.delete("payments", name) is False
    assert cluster.get("payments", name) is None
    assert cluster.list() == ([], "0")


@pytest.mark.django_db
def test_it_never_has_a_status() -> None:
    cluster = LocalCluster()
    name = cluster.apply(alert_manifest() | {"status": {"phase": "Completed"}}).name
    held = cluster.get("payments", name)
    assert held is not None
    assert "status" not in held
    with pytest.raises(ClusterError, match="no operator"):
        cluster.patch_status("payments", name, {"phase": "Completed"})
    assert list(cluster.watch("0", 60)) == []


@pytest.mark.django_db
def test_it_takes_no_other_kind() -> None:
    with pytest.raises(ManifestRejected, match="ConfigMap"):
        LocalCluster().apply(alert_manifest() | {"apiVersion": "v1", "kind": "ConfigMap"})


@pytest.mark.django_db(transaction=True)
def test_it_makes_one_resource_of_many_applies_at_once() -> None:
    manifest = storm_manifest()

    def apply(_: int) -> str:
        try:
            return LocalCluster().apply(manifest).uid
        except ClusterConflict:
            return ""
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        uids = set(pool.map(apply, range(24))) - {""}
    assert {str(row.uid) for row in LocalResource.objects.all()} == uids
