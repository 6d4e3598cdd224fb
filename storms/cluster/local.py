"""The local cluster: what keeps RemediationRequests when no Kubernetes is configured.

The same interface and the same validation, in a table. There is no operator, so no status ever comes back.
"""

import uuid
from collections.abc import Iterator
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from storms.cluster import crd, schema
from storms.cluster.base import LOCAL, Applied, Resource, Resources
from storms.cluster.errors import ClusterConflict, ClusterError, ClusterUnavailable, ManifestRejected
from storms.models import LocalResource


class LocalCluster:
    """See `Cluster`."""

    label = LOCAL

    def apply(self, manifest: Resource) -> Applied:
        """Raises ManifestRejected with what the CRD's schema has against it."""
        metadata = manifest["metadata"]
        try:
            with transaction.atomic():
                return self._apply_locked(manifest, metadata["namespace"], metadata["name"])
        except IntegrityError as error:
            raise ClusterConflict(f"{metadata['namespace']}/{metadata['name']} was created meanwhile") from error
        except OperationalError as error:
            raise ClusterUnavailable(f"the local cluster's table cannot be written: {error}") from error

    def get(self, namespace: str, name: str) -> Resource | None:
        row = LocalResource.objects.filter(namespace=namespace, name=name).first()
        return _as_resource(row) if row else None

    def delete(self, namespace: str, name: str, *, resource_version: str = "") -> bool:
        rows = LocalResource.objects.filter(namespace=namespace, name=name)
        known = {"resource_version": int(resource_version)} if resource_version else {}
        deleted, _ = rows.filter(**known).delete()
        if not deleted and rows.exists():
            raise ClusterConflict(f"{namespace}/{name} was changed meanwhile")
        return deleted > 0

    def list(self) -> tuple[Resources, str]:
        rows = LocalResource.objects.all()
        return [_as_resource(row) for row in rows], str(max((row.resource_version for row in rows), default=0))

    def pages(self) -> Iterator[tuple[Resources, str]]:
        yield self.list()

    def watch(self, resource_version: str, timeout_seconds: int) -> Iterator[tuple[str, Resource]]:
        """Ends at once: only the console writes here, and it needs no news of its own writes."""
        return iter(())

    def stop_watch(self) -> None:
        """Nothing runs."""

    def patch_status(self, namespace: str, name: str, status: Resource) -> None:
        raise ClusterError(
            "the local cluster takes no status: there is no operator; configure a cluster with KUBECONFIG",
            "NotSupported",
        )

    def _apply_locked(self, manifest: Resource, namespace: str, name: str) -> Applied:
        row = LocalResource.objects.select_for_update().filter(namespace=namespace, name=name).first()
        body = _body(manifest)
        found = schema.violations(body, row.body if row else None)
        if found:
            raise ManifestRejected(f"{crd.KIND} {namespace}/{name} is invalid: {'; '.join(found[:5])}")
        if row is None:
            row = LocalResource.objects.create(
                namespace=namespace, name=name, uid=uuid.uuid4(), resource_version=_next_version(), body=body
            )
        elif row.body != body:
            # As in Kubernetes: the generation counts changes of the spec, the resourceVersion counts all.
            row.generation += row.body["spec"] != body["spec"]
            row.resource_version = _next_version()
            row.body = body
            row.updated_at = timezone.now()
            row.save(update_fields=["generation", "resource_version", "body", "updated_at"])
        return Applied.from_resource(_as_resource(row))


def _body(manifest: Resource) -> Resource:
    body = {key: value for key, value in manifest.items() if key != "status"}
    if body.get("apiVersion") != crd.API_VERSION or body.get("kind") != crd.KIND:
        raise ManifestRejected(f"not a {crd.API_VERSION} {crd.KIND}: {body.get('apiVersion')} {body.get('kind')}")
    return body


def _as_resource(row: LocalResource) -> Resource:
    added: dict[str, Any] = {
        "uid": str(row.uid),
        "resourceVersion": str(row.resource_version),
        "generation": row.generation,
        "creationTimestamp": row.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    body: Resource = row.body
    return {**body, "metadata": {**body["metadata"], **added}}


def _next_version() -> int:
    """Rising over the whole table, as etcd's revision does: the table's own sequence, which no two writers share."""
    with connection.cursor() as cursor:
        cursor.execute("select nextval(pg_get_serial_sequence(%s, 'id'))", [LocalResource._meta.db_table])
        (value,) = cursor.fetchone()
    return int(value)
