"""`/storms/<id>/course.json`: the data of the storm page's chart and replay, which go on while nothing else changes."""

from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone

from storms.course import course_message, course_of
from storms.models import Storm
from storms.pages.decorators import console_page
from storms.pages.shared import shared


@console_page("storms.view_storm")
@shared
def course(request: HttpRequest, storm_id: UUID) -> JsonResponse:
    row = get_object_or_404(Storm, id=storm_id)
    return JsonResponse(course_message(row, course_of(row, timezone.now())))
