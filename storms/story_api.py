"""What a storm's page tells, for machines: its course over time, and its post-mortem."""

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from storms.course import course_message, course_of
from storms.models import Storm
from storms.post_mortem import post_mortem


class MayViewStormsAndAlerts(BasePermission):
    """It tells of both."""

    def has_permission(self, request: Request, view: object) -> bool:
        return bool(request.user and request.user.has_perms(("storms.view_storm", "storms.view_alert")))


class StormStories(GenericViewSet[Storm]):
    """Part of the storms' view set."""

    @extend_schema(responses=OpenApiTypes.OBJECT, filters=False)
    @action(detail=True)
    def course(self, request: Request, pk: str | None = None) -> Response:
        """How its alerts came and went, in at most 480 steps, with the timeline's events: docs/api.md."""
        storm = self.get_object()
        return Response(course_message(storm, course_of(storm, timezone.now())))

    @extend_schema(responses=OpenApiTypes.OBJECT, filters=False)
    @action(detail=True, url_path="post-mortem", permission_classes=[MayViewStormsAndAlerts])
    def post_mortem(self, request: Request, pk: str | None = None) -> Response:
        """Its impact, timeline, suspects, resources and the resource's history in one document: docs/api.md."""
        return Response(post_mortem(self.get_object(), timezone.now()))
