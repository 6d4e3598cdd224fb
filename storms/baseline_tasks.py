"""Counting anew what is usual, in the background."""

from celery import shared_task
from django.utils import timezone

from storms.queue import MEASURE_LABELS
from storms.services.label_baseline import measure_label_baseline


@shared_task(name=MEASURE_LABELS)
def measure_labels() -> None:
    """Repeating it, or being killed in it, harms nothing: it is due until it was done."""
    measure_label_baseline(now=timezone.now())
