"""The read API of the ledger: deliveries, dead letters, and the console's state in numbers."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView

import stormconsole
from ingestion import filters, serializers
from ingestion.ledger import totals
from ingestion.models import DeadLetter, Delivery
from storms.api import ReadOnlyViewSet
from storms.choices import StormState
from storms.cluster.address import cluster_label
from storms.live import count_totals
from storms.models import Storm


class DeliveryViewSet(ReadOnlyViewSet):
    """One webhook request each, with the outcomes of its alerts."""

    queryset = Delivery.objects.select_related("receiver")
    serializer_class = serializers.DeliverySerializer
    filterset_class = filters.DeliveryFilter
    ordering = ("-received_at",)
    ordering_fields = ("received_at",)


class DeadLetterViewSet(ReadOnlyViewSet):
    """Alerts that were set aside, each with its error."""

    queryset = DeadLetter.objects.select_related("receiver")
    serializer_class = serializers.DeadLetterSerializer
    filterset_class = filters.DeadLetterFilter
    ordering = ("-received_at",)
    ordering_fields = ("received_at",)


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
    ledger = totals()
    return {
        "version": stormconsole.__version__,
        "cluster": cluster_label(),
        "storms_open": Storm.objects.filter(state=StormState.OPEN).count(),
        "storms_settled": Storm.objects.filter(state=StormState.CLOSED, firing_count__gt=0).count(),
        **count_totals(),
        "unaccounted": ledger["unaccounted"],
        "ledger": ledger,
    }


router = SimpleRouter()
router.register("deliveries", DeliveryViewSet)
router.register("dead-letters", DeadLetterViewSet)
