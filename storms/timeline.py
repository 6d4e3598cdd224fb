"""A storm's timeline, read: a bounded part of it, by whom."""

from dataclasses import dataclass

from django.db.models import Q, QuerySet

from storms.models import Storm, StormEvent

SHOWN = 100

BY = {"": "Everything", "people": "People", "console": "Console"}
"""Whose events are shown: what people did and noted, what the console and the cluster did."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """`events`, the oldest first; `earlier` is the id to ask for the part before them with, None at the beginning."""

    events: list[StormEvent]
    by: str
    earlier: int | None


def timeline_of(storm: Storm, *, by: str = "", before: int | None = None) -> Timeline:
    """The latest `SHOWN` events, or the latest before the event `before`; an unknown `by` means everybody's."""
    by = by if by in BY else ""
    rows = _by(storm.events.all(), by)
    position = storm.events.filter(id=before).first() if before is not None else None
    if position is not None:
        rows = rows.filter(at__lte=position.at).filter(Q(at__lt=position.at) | Q(id__lt=position.id))
    latest = list(rows.order_by("-at", "-id")[: SHOWN + 1])
    more, events = len(latest) > SHOWN, latest[:SHOWN][::-1]
    return Timeline(events=events, by=by, earlier=events[0].id if more else None)


def _by(rows: QuerySet[StormEvent], by: str) -> QuerySet[StormEvent]:
    match by:
        case "people":
            return rows.exclude(actor="")
        case "console":
            return rows.filter(actor="")
    return rows
