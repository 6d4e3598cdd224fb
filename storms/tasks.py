"""Celery tasks: from a row to the cluster and back.

Every task may run twice or be killed anywhere: it takes ids, claims the row, and what it does is idempotent.
"""

import logging
from uuid import UUID

from celery import shared_task
from django.conf import settings

from stormconsole.logs import bound
from storms.cluster import ClusterError, ClusterUnavailable, ManifestRejected, NamespaceMissing, get_cluster
from storms.desired import desired_manifest
from storms.models import RemediationRequest
from storms.queue import SYNC
from storms.remediation import manifest_hash
from storms.services import requests

logger = logging.getLogger(__name__)


@shared_task(name=SYNC)
def sync_remediation_requests(ids: list[str]) -> None:
    """Create or patch the resources of these rows. A row that is not due, or was taken by another worker, is left.

    Not retried by Celery: a failure is written to its row with the time of its next attempt, and the sweep enqueues it
    then, so a killed worker or a flushed broker loses nothing.
    """
    for rr_id in ids:
        with bound(request_id=rr_id):
            sync(UUID(rr_id))


def sync(rr_id: UUID) -> None:
    row = requests.claim(rr_id=rr_id)
    if row is None:
        return
    manifest = desired_manifest(row)
    if manifest is None:
        requests.record_failure(rr_id=rr_id, attempts=row.attempts, error="The storm's alerts are not recorded yet.")
        return
    digest = manifest_hash(manifest)
    if digest == row.applied_hash:
        requests.record_unchanged(rr_id=rr_id, version=row.desired_version)
        return
    _apply(row, manifest, digest)


def _apply(row: RemediationRequest, manifest: dict[str, object], digest: str) -> None:
    try:
        cluster = get_cluster()
        applied = cluster.apply(manifest)
    except NamespaceMissing as error:
        _fall_back(row, error)
    except ManifestRejected as error:
        logger.error("%s rejected: %s", row, error)
        requests.record_rejection(rr_id=row.id, version=row.desired_version, error=str(error))
    except ClusterError as error:
        logger.warning("%s not applied: %s", row, error)
        retry_after = error.retry_after if isinstance(error, ClusterUnavailable) else None
        requests.record_failure(rr_id=row.id, attempts=row.attempts, error=str(error), retry_after=retry_after)
    else:
        requests.record_applied(
            rr_id=row.id,
            version=row.desired_version,
            apply_count=row.apply_count,
            manifest=manifest,
            manifest_hash=digest,
            cluster=cluster.label,
            uid=applied.uid,
            resource_version=applied.resource_version,
            generation=applied.generation,
        )


def _fall_back(row: RemediationRequest, error: NamespaceMissing) -> None:
    if row.namespace == settings.REMEDIATION_NAMESPACE:
        requests.record_failure(rr_id=row.id, attempts=row.attempts, error=str(error))
        return
    requests.move_to_namespace(rr_id=row.id, namespace=settings.REMEDIATION_NAMESPACE, origin_namespace=row.namespace)
    moved = RemediationRequest.objects.select_related("alert", "storm", "superseded_by").get(id=row.id)
    moved.attempts = row.attempts
    manifest = desired_manifest(moved)
    if manifest is not None:
        _apply(moved, manifest, manifest_hash(manifest))
