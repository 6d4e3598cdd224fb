"""The ledger as the read API shows it."""

from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ingestion.dead_letter_services import MAX_COMMENT
from ingestion.models import DeadLetter, Delivery, ReconcileRun, Silence
from ingestion.silence_services import Preview, create_silence, preview_silence
from ingestion.silences import compile_silence, state_of, weekly_window
from storms.models import Alert


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
        fields = [
            "id",
            "delivery",
            "receiver",
            "received_at",
            "index",
            "pointer",
            "reason",
            "error",
            "raw",
            "truncated",
            "state",
            "attempts",
            "queued_at",
            "handled_at",
            "handled_by",
            "comment",
            "outcome",
            "replayed_as",
            "alert_id",
        ]
        read_only_fields = fields


class DiscardSerializer(serializers.Serializer[Any]):
    comment = serializers.CharField(max_length=MAX_COMMENT, help_text="Why; it stays with the letter.")


class QueuedSerializer(serializers.Serializer[Any]):
    queued = serializers.IntegerField(help_text="Letters that a worker is going to replay.")


class DiscardedSerializer(serializers.Serializer[Any]):
    discarded = serializers.IntegerField()


class FindingSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="See docs/reconcile.md.")
    target = serializers.CharField()
    detail = serializers.CharField()
    result = serializers.CharField(help_text="repaired, would be repaired, gone, listed, or why it was not repaired.")
    advice = serializers.CharField(help_text="What a person can do, where the console does nothing.")


class ReconcileRunSerializer(serializers.ModelSerializer[ReconcileRun]):
    """One comparison of rows, store and cluster."""

    checked = serializers.DictField(child=serializers.IntegerField(), read_only=True)
    skipped = serializers.DictField(child=serializers.CharField(), read_only=True)
    counts = serializers.DictField(child=serializers.IntegerField(), read_only=True)
    findings = FindingSerializer(many=True, read_only=True)

    class Meta:
        model = ReconcileRun
        fields = [
            "id",
            "state",
            "dry_run",
            "actor",
            "requested_at",
            "started_at",
            "finished_at",
            "checked",
            "skipped",
            "found",
            "repaired",
            "counts",
            "findings",
            "error",
        ]
        read_only_fields = [name for name in fields if name != "dry_run"]


class SilenceSerializer(serializers.ModelSerializer[Silence]):
    """Alerts that match are recorded and not counted. It is never changed: end it and make another one."""

    state = serializers.SerializerMethodField(help_text="A weekly silence is active between its windows too.")
    in_force = serializers.SerializerMethodField(help_text="Whether it silences at this moment.")
    window = serializers.SerializerMethodField(help_text="The weekly window in a line, empty if there is none.")

    class Meta:
        model = Silence
        fields = [
            "id",
            "state",
            "in_force",
            "matchers",
            "starts_at",
            "ends_at",
            "weekdays",
            "window_start",
            "window_minutes",
            "time_zone",
            "window",
            "author",
            "comment",
            "created_at",
        ]
        read_only_fields = ["id", "author", "created_at"]

    @extend_schema_field(serializers.ChoiceField(choices=["pending", "active", "expired"]))
    def get_state(self, silence: Silence) -> str:
        return state_of(silence, timezone.now())

    def get_in_force(self, silence: Silence) -> bool:
        return compile_silence(silence).in_force(timezone.now())

    def get_window(self, silence: Silence) -> str:
        window = weekly_window(silence)
        return str(window) if window else ""

    def create(self, validated_data: dict[str, Any]) -> Silence:
        author = self.context["request"].user.get_username()
        try:
            return create_silence(silence=Silence(**validated_data), author=author)
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from error


class SilenceDraftSerializer(SilenceSerializer):
    """A silence that may be made: without a comment yet."""

    class Meta(SilenceSerializer.Meta):
        fields = ["matchers", "starts_at", "ends_at", "weekdays", "window_start", "window_minutes", "time_zone"]
        read_only_fields: list[str] = []

    state = in_force = window = None  # type: ignore[assignment]

    def preview(self) -> Preview:
        try:
            return preview_silence(silence=Silence(**self.validated_data))
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from error


class MatchedAlertSerializer(serializers.ModelSerializer[Alert]):
    class Meta:
        model = Alert
        fields = ["id", "alertname", "namespace", "severity", "status", "labels", "received_at", "storm"]
        read_only_fields = fields


class PreviewSerializer(serializers.Serializer[Preview]):
    """What a silence would have matched in the last day."""

    since = serializers.DateTimeField()
    matched = serializers.IntegerField(help_text="Alerts that its matchers match.")
    in_window = serializers.IntegerField(
        allow_null=True, help_text="Those of them that came within the weekly window; null without one."
    )
    complete = serializers.BooleanField(help_text="False: there were more alerts than a preview reads.")
    alerts = MatchedAlertSerializer(many=True, help_text="The latest of the matched ones.")


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
    ledger_counted_at = serializers.DateTimeField(
        help_text="When they were added up: now, or where that takes long, up to a minute or so ago."
    )

    @extend_schema_field(serializers.DictField())
    def get_ledger(self, status: dict[str, Any]) -> dict[str, Any]:
        return dict(status["ledger"])
