"""Putting work on Celery's queue, by name: the web process imports neither the tasks nor what they need."""

import logging
from collections.abc import Sequence
from uuid import UUID

from celery.exceptions import OperationalError as BrokerError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from stormconsole.celery import app

logger = logging.getLogger(__name__)

SYNC = "storms.sync_remediation_requests"
COLLECT = "storms.collect_remediation_request"
PRUNE = "ingestion.prune"
CHUNK = 8


def enqueue_sync(ids: Sequence[UUID]) -> None:
    """Ask the workers to bring these RemediationRequests to the cluster.

    Never raises for the broker's sake: the rows say what is to do, and the sweep enqueues what did not get through.
    """
    for start in range(0, len(ids), CHUNK):
        chunk = [str(id_) for id_ in ids[start : start + CHUNK]]
        try:
            app.send_task(SYNC, args=[chunk], retry=False)
        except (OperationalError, BrokerError, RedisError, OSError) as error:
            logger.warning("broker unavailable, the sweep will enqueue %d requests: %s", len(ids) - start, error)
            return


def enqueue_collection(ids: Sequence[UUID]) -> None:
    """Ask the workers to delete the resources of these rows. Never raises for the broker's sake: they are due again."""
    for id_ in ids:
        try:
            app.send_task(COLLECT, args=[str(id_)], retry=False)
        except (OperationalError, BrokerError, RedisError, OSError) as error:
            logger.warning("broker unavailable, garbage collection waits: %s", error)
            return


def enqueue_pruning() -> None:
    """Ask the workers to delete some of what is past its retention. Never raises for the broker's sake."""
    try:
        app.send_task(PRUNE, retry=False)
    except (OperationalError, BrokerError, RedisError, OSError) as error:
        logger.warning("broker unavailable, retention waits: %s", error)
