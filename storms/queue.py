"""Putting work on Celery's queue, by name: the web process imports neither the tasks nor what they need."""

import logging
from collections.abc import Sequence
from uuid import UUID

from celery.exceptions import OperationalError as BrokerError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from stormconsole import alive
from stormconsole.celery import app
from stormconsole.facts import queue_key

logger = logging.getLogger(__name__)

SYNC = "storms.sync_remediation_requests"
COLLECT = "storms.collect_remediation_request"
PRUNE = "ingestion.prune"
MEASURE_LABELS = "storms.measure_labels"
RECONCILE = "ingestion.reconcile"
REPLAY_LETTERS = "ingestion.replay_dead_letters"
COUNT = "ingestion.count"
CHUNK = 8
MOST_MESSAGES = 10_000


def enqueue_sync(ids: Sequence[UUID]) -> None:
    """Ask the workers to bring these RemediationRequests to the cluster, a few in a message."""
    _send(SYNC, [[[str(id_) for id_ in ids[start : start + CHUNK]]] for start in range(0, len(ids), CHUNK)])


def enqueue_collection(ids: Sequence[UUID]) -> None:
    """Ask the workers to delete the resources of these rows, one in a message."""
    _send(COLLECT, [[str(id_)] for id_ in ids])


def enqueue_pruning() -> None:
    """Ask the workers to delete some of what is past its retention."""
    _send(PRUNE, [[]])


def enqueue_counting() -> None:
    """Ask the workers to bring the sums up to date that pages show instead of adding up a million rows."""
    _send(COUNT, [[]])


def enqueue_replays() -> None:
    """Ask the workers to replay the dead letters that are queued."""
    _send(REPLAY_LETTERS, [[]])


def enqueue_label_baseline() -> None:
    """Ask the workers to count anew how frequent label values are."""
    _send(MEASURE_LABELS, [[]])


def enqueue_reconciliation(run_id: int) -> None:
    """Ask a worker to do this run."""
    _send(RECONCILE, [[run_id]])


def queue_takes_more() -> bool:
    """False while the broker is away, or so many messages wait that no worker can be at work.

    More would be lost, or only fill the store; the rows say it all.
    """
    try:
        return alive.store().llen(queue_key()) <= MOST_MESSAGES
    except RedisError:
        return False


def _send(task: str, messages: Sequence[list[object]]) -> None:
    """Each message is the task's positional arguments.

    Never raises for the broker's sake: the rows say what is to do, and the sweep sends again what did not get through.
    """
    for sent, arguments in enumerate(messages):
        try:
            app.send_task(task, args=arguments, retry=False)
        except (OperationalError, BrokerError, RedisError, OSError) as error:
            logger.warning("broker unavailable, the sweep sends %d of %s: %s", len(messages) - sent, task, error)
            return
