"""Celery tasks of this package."""

import logging

from celery import shared_task
from django.utils import timezone

from ingestion import retention
from storms.queue import PRUNE

logger = logging.getLogger(__name__)

BATCHES = 20
"""Of each kind and run: the worker has more urgent things to do, and the next run goes on."""


@shared_task(name=PRUNE)
def prune() -> None:
    """Delete some of what is past its retention. Two at once do no harm: the second one leaves."""
    try:
        retention.prune(now=timezone.now(), batches=BATCHES)
    except retention.PruningElsewhere:
        logger.info("another process is pruning")
