"""Runs of the reconciler through the API."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from ingestion import filters, reconcile_services, serializers
from ingestion.models import ReconcileRun
from storms.api import ReadOnlyViewSet
from storms.queue import enqueue_reconciliation


class ReconcileRunViewSet(ReadOnlyViewSet):
    """Comparisons of rows, store and cluster, each with what it found and what was done about it."""

    queryset = ReconcileRun.objects.all()
    serializer_class = serializers.ReconcileRunSerializer
    filterset_class = filters.ReconcileRunFilter
    lookup_value_regex = r"\d{1,18}"
    ordering = ("-requested_at",)
    ordering_fields = ("requested_at",)

    @extend_schema(responses={202: serializers.ReconcileRunSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Have a worker compare now, and repair unless the run is dry; one that you asked for and waits is returned."""
        asked = self.get_serializer(data=request.data)
        asked.is_valid(raise_exception=True)
        run = reconcile_services.request_run(
            dry_run=asked.validated_data.get("dry_run", False), actor=request.user.get_username()
        )
        enqueue_reconciliation(run.id)
        return Response(self.get_serializer(run).data, status=202)
