"""The read API of the domain: storms, alerts, remediation requests. Policies are in `storms.policy_api`.

Newest first, in pages that a cursor leads through (`storms.pagination`); filters in `storms.filters`.
"""

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.serializers import BaseSerializer

from storms import filters, openapi, serializers  # noqa: F401  (openapi registers the token's scheme)
from storms.action_api import AlertActions, StormActions
from storms.desired import shown_manifest
from storms.models import Alert, RemediationRequest, Storm
from storms.observed import compare
from storms.pagination import ScanningPagination
from storms.permissions import ModelPermissions
from storms.story_api import StormStories
from storms.yaml_text import yaml_text


class ConsoleViewSet(viewsets.GenericViewSet[Any]):
    """Permissions, filters and ordering that all views of the API share."""

    permission_classes = [ModelPermissions]
    filter_backends = [filters.StrictFilterBackend, filters.StrictOrderingFilter]


class ReadOnlyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ConsoleViewSet):
    """List and retrieve."""


class StormViewSet(StormActions, StormStories, ReadOnlyViewSet):
    """Storms: bursts of alerts of one group, each with one RemediationRequest."""

    queryset = Storm.objects.select_related("remediation_request").defer("remediation_request__manifest")
    filterset_class = filters.StormFilter
    ordering = ("-opened_at",)
    ordering_fields = ("opened_at",)

    def get_queryset(self) -> QuerySet[Storm]:
        queryset: QuerySet[Storm] = super().get_queryset()
        return queryset.prefetch_related("events") if self.action == "retrieve" else queryset

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return serializers.StormDetailSerializer if self.action == "retrieve" else serializers.StormSerializer


class AlertViewSet(AlertActions, ReadOnlyViewSet):
    """Alert episodes, each with what was decided about it and why."""

    queryset = Alert.objects.select_related("remediation_request").defer("remediation_request__manifest")
    serializer_class = serializers.AlertSerializer
    filterset_class = filters.AlertFilter
    pagination_class = ScanningPagination
    ordering = ("-received_at",)
    ordering_fields = ("received_at", "starts_at")


class YamlRenderer(BaseRenderer):
    media_type = "application/yaml"
    format = "yaml"
    charset = "utf-8"

    def render(self, data: Any, media_type: str | None = None, context: Any = None) -> bytes:
        return yaml_text(data).encode()


class RemediationRequestViewSet(ReadOnlyViewSet):
    """The custom resources: what the rows desire and how far the cluster has followed."""

    queryset = RemediationRequest.objects.defer("manifest")
    serializer_class = serializers.RemediationRequestSerializer
    filterset_class = filters.RemediationRequestFilter
    ordering = ("-created_at",)
    ordering_fields = ("created_at",)

    @extend_schema(responses={(200, "application/yaml"): OpenApiTypes.STR}, filters=False)
    def manifest(self, request: Request, pk: str | None = None) -> Response:
        """The manifest as it was applied last; 404 before the first apply."""
        row = self.get_object()
        if row.manifest is None:
            raise Http404
        return Response(row.manifest, headers={"Content-Disposition": f'attachment; filename="{row.name}.yaml"'})

    @extend_schema(responses={(200, "application/yaml"): OpenApiTypes.STR}, filters=False)
    def desired(self, request: Request, pk: str | None = None) -> Response:
        """The manifest as the console would send it now, applied or not; 404 while its storm has no alert."""
        row = self.get_object()
        manifest = shown_manifest(row)
        if manifest is None:
            raise Http404
        return Response(manifest, headers={"Content-Disposition": f'attachment; filename="{row.name}-desired.yaml"'})

    @extend_schema(responses={(200, "application/yaml"): OpenApiTypes.STR}, filters=False)
    def observed(self, request: Request, pk: str | None = None) -> Response:
        """The resource as the cluster has it, as far as the watch has seen; 404 where the cluster has none."""
        row = self.get_object()
        found = compare(row).found
        if found is None:
            raise Http404
        return Response(found, headers={"Content-Disposition": f'attachment; filename="{row.name}-in-cluster.yaml"'})


router = SimpleRouter()
router.register("storms", StormViewSet)
router.register("alerts", AlertViewSet)
router.register("remediation-requests", RemediationRequestViewSet)
