"""`/storms/<id>/course.json`: what the storm page's chart and replay are drawn from."""

from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone

from storms.course import course_message
from storms.models import Storm
from storms.pages.decorators import console_page


@console_page("storms.view_storm")
def course(request: HttpRequest, storm_id: UUID) -> JsonResponse:
    return JsonResponse(course_message(get_object_or_404(Storm, id=storm_id), timezone.now()))
