"""Rows as the read API shows them. Policies, which it also writes, are in `storms.policy_serializers`."""

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from storms.cluster.address import cluster_label
from storms.filters import STORM_STATES
from storms.live import storm_state
from storms.models import Alert, RemediationRequest, Storm, StormEvent


class RequestSummarySerializer(serializers.ModelSerializer[RemediationRequest]):
    """A RemediationRequest in another row's document."""

    cluster = serializers.SerializerMethodField(help_text="`local`, or the API server's address.")

    class Meta:
        model = RemediationRequest
        fields = ["id", "namespace", "name", "sync_state", "phase", "last_error", "superseded_by", "cluster"]
        read_only_fields = fields

    def get_cluster(self, request: RemediationRequest) -> str:
        return request.cluster or cluster_label()


class WithRequest(serializers.ModelSerializer[Any]):
    """A row that may have a RemediationRequest (the reverse of a one-to-one, absent at first)."""

    remediation_request = serializers.SerializerMethodField()
    page = serializers.SerializerMethodField(help_text="The console's page about it.")

    @extend_schema_field(RequestSummarySerializer(allow_null=True))
    def get_remediation_request(self, row: Alert | Storm) -> dict[str, Any] | None:
        request = getattr(row, "remediation_request", None)
        return RequestSummarySerializer(request).data if request else None

    def get_page(self, row: Alert | Storm) -> str:
        return reverse(row._meta.model_name or "", args=[row.pk])


class AlertNameSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    count = serializers.IntegerField()


class StormSerializer(WithRequest):
    group = serializers.CharField(source="group_title", read_only=True, help_text="The group in a line.")
    state = serializers.SerializerMethodField(
        help_text="`open`; `settled`: closed, but some alerts still fire; `closed`: closed and none fires."
    )
    alert_names = AlertNameSerializer(many=True, read_only=True, help_text="Most frequent first.")

    class Meta:
        model = Storm
        fields = [
            "id",
            "group",
            "group_labels",
            "group_key",
            "state",
            "severity",
            "severity_counts",
            "alert_count",
            "firing_count",
            "resolved_count",
            "alert_names",
            "policy",
            "policy_name",
            "policy_version",
            "threshold",
            "window_seconds",
            "quiet_seconds",
            "max_duration_seconds",
            "opened_at",
            "opened_by",
            "window_from",
            "last_alert_at",
            "closed_at",
            "close_reason",
            "close_comment",
            "previous",
            "merged_into",
            "reopened_at",
            "acknowledged_at",
            "acknowledged_by",
            "assignee",
            "refreshed_at",
            "remediation_request",
            "page",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=STORM_STATES))
    def get_state(self, storm: Storm) -> str:
        return storm_state(storm)


class StormEventSerializer(serializers.ModelSerializer[StormEvent]):
    class Meta:
        model = StormEvent
        fields = ["at", "kind", "message", "detail", "actor"]
        read_only_fields = fields


class StormDetailSerializer(StormSerializer):
    events = StormEventSerializer(many=True, read_only=True, help_text="The timeline, oldest first.")

    class Meta(StormSerializer.Meta):
        fields = [*StormSerializer.Meta.fields, "events"]
        read_only_fields = fields


class AlertSerializer(WithRequest):
    class Meta:
        model = Alert
        fields = [
            "id",
            "fingerprint",
            "status",
            "outcome",
            "disposition",
            "alertname",
            "namespace",
            "severity",
            "environment",
            "priority",
            "flapping",
            "resource_kind",
            "resource_name",
            "labels",
            "annotations",
            "generator_url",
            "starts_at",
            "ends_at",
            "received_at",
            "last_seen_at",
            "occurrences",
            "resolutions",
            "receiver",
            "source",
            "delivery_id",
            "policy",
            "policy_version",
            "policy_reason",
            "group_key",
            "group_labels",
            "decided_at",
            "count",
            "threshold",
            "release_at",
            "silence_id",
            "storm",
            "split_from",
            "remediation_request",
            "page",
        ]
        read_only_fields = fields


class RemediationRequestSerializer(serializers.ModelSerializer[RemediationRequest]):
    """`desired_version` rises with every change of the rows, `applied_version` follows it."""

    cluster = serializers.SerializerMethodField(help_text="`local`, or the API server's address.")

    class Meta:
        model = RemediationRequest
        fields = [
            "id",
            "kind",
            "alert",
            "storm",
            "namespace",
            "name",
            "origin_namespace",
            "superseded_by",
            "created_at",
            "cluster",
            "sync_state",
            "desired_version",
            "applied_version",
            "applied_at",
            "apply_count",
            "attempts",
            "last_attempt_at",
            "next_attempt_at",
            "last_error",
            "uid",
            "resource_version",
            "generation",
            "phase",
            "phase_message",
            "phase_at",
        ]
        read_only_fields = fields

    def get_cluster(self, request: RemediationRequest) -> str:
        return request.cluster or cluster_label()
