"""The state of the watch process, left in a row a few times a minute, so that pages can tell."""

from datetime import datetime
from typing import Any

from django.db.models.functions import Coalesce
from django.utils import timezone

from storms.models import WatchState
from storms.services import requests

ROW = 1
MAX_ERROR = 500


def note_listed(*, cluster: str) -> None:
    """Everything the cluster has was compared with the rows. After a failure: what else failed is tried again, too."""
    if WatchState.objects.filter(id=ROW, failing_since__isnull=False).exists():
        # Before the failure is forgotten: a watch that dies in between comes here again.
        requests.make_failures_due()
    now = timezone.now()
    _write(cluster=cluster, listed_at=now, heard_at=now, failing_since=None)


def note_heard(*, event_at: datetime | None) -> None:
    """The watch is alive. event_at: of the last event since the last note, None without one."""
    fields: dict[str, Any] = {"heard_at": timezone.now(), "failing_since": None}
    _write(**fields | ({"event_at": event_at} if event_at else {}))


def note_failure(*, error: str) -> None:
    """It was interrupted; `failing_since` stays at the first failure in a row."""
    now = timezone.now()
    _write(failing_since=Coalesce("failing_since", now), failed_at=now, error=error[:MAX_ERROR])


def _write(**fields: Any) -> None:
    if not WatchState.objects.filter(id=ROW).update(**fields):
        WatchState.objects.get_or_create(id=ROW)
        WatchState.objects.filter(id=ROW).update(**fields)
