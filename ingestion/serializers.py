"""The ledger as the read API shows it."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ingestion.models import DeadLetter, Delivery


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """`unaccounted` is the number of alerts without an outcome: 0, or something is wrong."""

    receiver = serializers.CharField(
        source="receiver.name", default=None, read_only=True, allow_null=True, help_text="Its name."
    )
    outcomes = serializers.DictField(child=serializers.IntegerField(), read_only=True)
    unaccounted = serializers.IntegerField(read_only=True)

    class Meta:
        model = Delivery
        fields = [
            "id",
            "receiver",
            "kind",
            "received_at",
            "remote_addr",
            "http_status",
            "body_bytes",
            "received",
            "outcomes",
            "unaccounted",
            "truncated_alerts",
            "error",
        ]
        read_only_fields = fields


class DeadLetterSerializer(serializers.ModelSerializer[DeadLetter]):
    receiver = serializers.CharField(
        source="receiver.name", default=None, read_only=True, allow_null=True, help_text="Its name."
    )

    class Meta:
        model = DeadLetter
        fields = ["id", "delivery", "receiver", "received_at", "index", "pointer", "error", "raw"]
        read_only_fields = fields


class StatusSerializer(serializers.Serializer[Any]):
    """How the console stands, in numbers."""

    version = serializers.CharField()
    cluster = serializers.CharField(help_text="`local`, or the API server's address.")
    storms_open = serializers.IntegerField()
    storms_settled = serializers.IntegerField(help_text="Closed, but some of their alerts still fire.")
    held = serializers.IntegerField(help_text="Alerts that wait for a storm or their release.")
    deferred = serializers.IntegerField(help_text="Alerts that wait for the store.")
    failed_syncs = serializers.IntegerField(help_text="RemediationRequests that the cluster did not take.")
    unaccounted = serializers.IntegerField(help_text="Alerts received without an outcome: 0, or something is wrong.")
    ledger = serializers.SerializerMethodField(help_text="Totals of all deliveries.")

    @extend_schema_field(serializers.DictField())
    def get_ledger(self, status: dict[str, Any]) -> dict[str, Any]:
        return dict(status["ledger"])
