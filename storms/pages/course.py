"""`/storms/<id>/course.json`: what the storm page's chart and replay are drawn from."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone

from storms.choices import EventKind
from storms.course import Course, course_of
from storms.models import Storm, StormEvent
from storms.pages.decorators import console_page

MAX_EVENTS = 500
"""The latest events of a storm that are marked in its chart."""


@console_page("storms.view_storm")
def course(request: HttpRequest, storm_id: UUID) -> JsonResponse:
    """{"start": seconds, "step": seconds, "live", "new": [...], ..., "events": [...]}: see `course_message`."""
    storm = get_object_or_404(Storm, id=storm_id)
    events = storm.events.order_by("-at", "-id")[:MAX_EVENTS]
    return JsonResponse(course_message(storm, course_of(storm, timezone.now()), list(events)[::-1]))


def course_message(storm: Storm, course: Course, events: list[StormEvent]) -> dict[str, Any]:
    """Times in seconds since 1970; `names` in the order of their size, `rest` is [] where no other name is."""
    return {
        "start": int(course.start.timestamp()),
        "step": course.step,
        "live": storm.state == "open" or storm.firing_count > 0,
        "new": course.new,
        "firing": course.firing,
        "resolved": course.resolved,
        "severities": course.severities,
        "names": [{"name": name, "firing": firing} for name, firing in course.names.items()],
        "rest": course.rest,
        "events": [
            {
                "id": event.pk,
                "at": event.at.timestamp(),
                "kind": event.kind,
                "title": EventKind(event.kind).label,
                "message": event.message,
                "actor": event.actor,
            }
            for event in events
        ],
    }
