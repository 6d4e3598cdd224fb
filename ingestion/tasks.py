"""Celery tasks of this package."""

import logging

from celery import shared_task
from django.utils import timezone

from ingestion import counting, daily, dead_letter_services, reconcile_services, retention
from ingestion.models import ReconcileRun
from storms.queue import COUNT, PRUNE, RECONCILE, REPLAY_LETTERS, enqueue_replays

logger = logging.getLogger(__name__)

BATCHES = 20
"""Of each kind and run: the worker has more urgent things to do, and the next run goes on."""


@shared_task(name=PRUNE)
def prune() -> None:
    """Delete some of what is past its retention. Two at once do no harm: the second one leaves."""
    try:
        retention.prune(now=timezone.now(), batches=BATCHES)
        retention.trim_dead_letters()
    except retention.PruningElsewhere:
        logger.info("another process is pruning")


@shared_task(name=REPLAY_LETTERS)
def replay_dead_letters() -> None:
    """Replay some of the queued letters, then ask for the next ones: other work gets its turn in between."""
    try:
        if dead_letter_services.replay_queued():
            enqueue_replays()
    except dead_letter_services.ReplayingElsewhere:
        logger.info("another process is replaying dead letters")


@shared_task(name=COUNT)
def count() -> None:
    """Bring the sums of the pages up to date. Repeating it changes nothing."""
    if counting.count_if_due():
        daily.roll_up(now=timezone.now())


@shared_task(name=RECONCILE)
def reconcile(run_id: int) -> None:
    """Do this run. A message that got lost, or came while another run was at work, is sent again by the sweep."""
    try:
        reconcile_services.execute(run_id=run_id)
    except reconcile_services.ReconcilingElsewhere:
        logger.info("another process is reconciling")
    except ReconcileRun.DoesNotExist:
        return
