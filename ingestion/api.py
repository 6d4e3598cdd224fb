"""The read API of the ledger: deliveries, silences, and the console's state in numbers."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView

import stormconsole
from ingestion import filters, serializers
from ingestion.counting import ledger
from ingestion.dead_letter_api import DeadLetterViewSet
from ingestion.models import Delivery, Silence
from ingestion.reconcile_api import ReconcileRunViewSet
from ingestion.silence_services import expire_silence
from storms.api import ReadOnlyViewSet
from storms.choices import StormState
from storms.cluster.address import cluster_label
from storms.models import Storm
from storms.permissions import ModelPermissions
from storms.totals import count_trouble


class DeliveryViewSet(ReadOnlyViewSet):
    """One webhook request each, with the outcomes of its alerts."""

    queryset = Delivery.objects.select_related("receiver")
    serializer_class = serializers.DeliverySerializer
    filterset_class = filters.DeliveryFilter
    ordering = ("-received_at",)
    ordering_fields = ("received_at",)


class MayEndSilences(ModelPermissions):
    perms_map = ModelPermissions.perms_map | {"POST": ["%(app_label)s.change_%(model_name)s"]}


class MayPreviewSilences(ModelPermissions):
    """It shows alerts."""

    perms_map = ModelPermissions.perms_map | {"POST": ["%(app_label)s.view_%(model_name)s", "storms.view_alert"]}


class SilenceViewSet(mixins.CreateModelMixin, ReadOnlyViewSet):
    """Silences and maintenance windows. They are never changed nor deleted: an unwanted one is ended."""

    queryset = Silence.objects.all()
    serializer_class = serializers.SilenceSerializer
    filterset_class = filters.SilenceFilter
    ordering = ("-created_at",)
    ordering_fields = ("created_at",)

    @extend_schema(request=None, responses=serializers.SilenceSerializer, filters=False)
    @action(detail=True, methods=["post"], permission_classes=[MayEndSilences])
    def expire(self, request: Request, pk: str | None = None) -> Response:
        """End it now; one that has ended stays as it is."""
        silence = self.get_object()
        expire_silence(silence=silence, actor=request.user.get_username())
        return Response(self.get_serializer(silence).data)

    @extend_schema(request=serializers.SilenceDraftSerializer, responses=serializers.PreviewSerializer, filters=False)
    @action(detail=False, methods=["post"], permission_classes=[MayPreviewSilences])
    def preview(self, request: Request) -> Response:
        """What such a silence would have matched in the last day; nothing is made."""
        draft = serializers.SilenceDraftSerializer(data=request.data)
        draft.is_valid(raise_exception=True)
        return Response(serializers.PreviewSerializer(draft.preview()).data)


class MayViewStorms(BasePermission):
    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.has_perm("storms.view_storm"))


class StatusView(APIView):
    """How the console stands, in numbers."""

    permission_classes = [MayViewStorms]

    @extend_schema(responses=serializers.StatusSerializer)
    def get(self, request: Request) -> Response:
        return Response(serializers.StatusSerializer(status()).data)


def status() -> dict[str, Any]:
    counted = ledger()
    return {
        "version": stormconsole.__version__,
        "cluster": cluster_label(),
        "storms_open": Storm.objects.filter(state=StormState.OPEN).count(),
        "storms_settled": Storm.objects.filter(state=StormState.CLOSED, firing_count__gt=0).count(),
        **count_trouble(),
        "unaccounted": counted.totals["unaccounted"],
        "ledger": counted.totals,
        "ledger_counted_at": counted.counted_at,
    }


router = SimpleRouter()
router.register("deliveries", DeliveryViewSet)
router.register("dead-letters", DeadLetterViewSet)
router.register("silences", SilenceViewSet)
router.register("reconcile-runs", ReconcileRunViewSet)
