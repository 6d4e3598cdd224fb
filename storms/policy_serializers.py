"""Policies as the API shows and takes them; written by `storms.services.policies`."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from storms.models import PolicyVersion, StormPolicy
from storms.policies import LOSING
from storms.policy_words import describe_version
from storms.services.policies import VERSIONED, PolicyError, save_policy


class PolicySerializer(serializers.ModelSerializer[StormPolicy]):
    """A policy. Every change raises `version`; storms keep the version they were opened under."""

    class Meta:
        model = StormPolicy
        fields = [
            "id",
            *VERSIONED,
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "version", "created_at", "updated_at"]

    def create(self, validated_data: dict[str, Any]) -> StormPolicy:
        return self._save(StormPolicy(**validated_data))

    def update(self, instance: StormPolicy, validated_data: dict[str, Any]) -> StormPolicy:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        return self._save(instance)

    def _save(self, policy: StormPolicy) -> StormPolicy:
        try:
            return save_policy(policy=policy, actor=self.context["request"].user.get_username())
        except PolicyError as error:
            raise serializers.ValidationError({"": [str(error)]}) from error


class PolicyVersionSerializer(serializers.ModelSerializer[PolicyVersion]):
    changes = serializers.DictField(
        child=serializers.ListField(), read_only=True, help_text="{field: [before, after]}; empty for the first."
    )
    words = serializers.SerializerMethodField(help_text="The changes in words, a line each.")

    class Meta:
        model = PolicyVersion
        fields = ["version", "at", "actor", "words", "changes", "fields", "restored_from"]
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_words(self, version: PolicyVersion) -> list[str]:
        return describe_version(version)


class RestoreSerializer(serializers.Serializer[Any]):
    version = serializers.IntegerField(min_value=1, help_text="Saved anew, as the next version.")


class LabelsSerializer(serializers.Serializer[Any]):
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True, trim_whitespace=False))


class PolicyNameSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    version = serializers.IntegerField()
    priority = serializers.IntegerField()
    matchers = serializers.ListField(child=serializers.CharField())


class LoserSerializer(serializers.Serializer[Any]):
    policy = PolicyNameSerializer()
    why = serializers.ChoiceField(choices=LOSING)
    text = serializers.CharField(help_text="The same in words.")
    matcher = serializers.CharField(allow_null=True, help_text="The first that failed.")
    actual = serializers.CharField(allow_null=True, help_text="The label's value; null: the alert does not have it.")


class ExplanationSerializer(serializers.Serializer[Any]):
    """Which policy gets an alert with these labels, and why not the others."""

    labels = serializers.DictField(child=serializers.CharField())
    policy = PolicyNameSerializer()
    reason = serializers.CharField()
    group = serializers.DictField(child=serializers.CharField(), help_text="The labels of its group.")
    group_key = serializers.CharField()
    severity = serializers.CharField()
    environment = serializers.CharField()
    priority = serializers.CharField()
    others = LoserSerializer(many=True, help_text="In the order in which they are tried.")
