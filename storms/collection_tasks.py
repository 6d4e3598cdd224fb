"""Deleting resources that are over. `storms.services.collection` says which; the cluster has the last word."""

import logging
from datetime import datetime
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from storms.cluster import Cluster, ClusterError, get_cluster
from storms.queue import COLLECT
from storms.services import collection
from storms.services.collection import Candidate

logger = logging.getLogger(__name__)


@shared_task(name=COLLECT)
def collect_remediation_request(rr_id: str) -> None:
    """Delete the resource of this row, if it is to be deleted. Repeating it, or being killed in it, harms nothing."""
    collect(UUID(rr_id), timezone.now())


def collect(rr_id: UUID, now: datetime) -> bool:
    """Whether the resource is gone, by this call or before it."""
    candidate = collection.begin_collection(rr_id=rr_id, now=now)
    if candidate is None:
        return False
    try:
        gone = _delete(get_cluster(), candidate)
    except ClusterError as error:
        logger.warning("%s/%s not deleted: %s", candidate.namespace, candidate.name, error)
        collection.release(rr_id=rr_id, now=now, error=f"Garbage collection: {error}")
        return False
    if not gone:
        collection.release(rr_id=rr_id, now=now)
        return False
    return collection.record_collected(rr_id=rr_id)


def _delete(cluster: Cluster, candidate: Candidate) -> bool:
    """Delete exactly the resource that was looked at: False if its operator is at work again, or its storm is.

    Raises: ClusterErrors, ClusterConflict if anybody changed it after the look.
    """
    resource = cluster.get(candidate.namespace, candidate.name)
    if resource is None:
        return True
    phase = (resource.get("status") or {}).get("phase")
    if phase not in collection.DONE and not candidate.past_limit:
        # The operator's news has not reached the row yet.
        return False
    # After the look: whoever makes the row due from here on changes the resource, and the deletion is refused.
    if not collection.is_collecting(rr_id=candidate.id):
        return False
    cluster.delete(candidate.namespace, candidate.name, resource_version=resource["metadata"]["resourceVersion"])
    logger.info("%s/%s deleted (%s)", candidate.namespace, candidate.name, phase or "no phase")
    return True
