"""What pages of other packages show of the receivers."""

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from ingestion.models import Delivery, Receiver

register = template.Library()

SHOWN = 12


@register.simple_tag
def receivers_heard() -> list[dict[str, Any]]:
    """The enabled receivers: name, kind, minutes (of the dead man's switch, or None), heard (the last accepted
    delivery, or None) and is_silent. Two index probes each."""
    accepted = Delivery.objects.filter(receiver=OuterRef("pk"), http_status__lt=300).order_by("-received_at")
    rows = Receiver.objects.filter(enabled=True).annotate(heard=Subquery(accepted.values("received_at")[:1]))
    now = timezone.now()
    return [
        {
            "name": row.name,
            "kind": row.get_kind_display(),
            "minutes": row.heartbeat_minutes,
            "heard": row.heard,
            "is_silent": _is_silent(row.heard or row.created_at, row.heartbeat_minutes, now),
        }
        for row in rows.order_by("name")[:SHOWN]
    ]


def _is_silent(last: datetime, minutes: int | None, now: datetime) -> bool:
    return minutes is not None and last + timedelta(minutes=minutes) <= now
