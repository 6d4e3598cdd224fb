"""Policies over HTTP: written, their versions, and who gets an alert."""

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter

from storms import filters, policy_serializers
from storms.api import ReadOnlyViewSet
from storms.matchers import MatcherError, label_pairs
from storms.models import PolicyVersion, StormPolicy
from storms.permissions import ModelPermissions
from storms.policies import explain
from storms.policy_words import explanation_document
from storms.services.policies import PolicyError, delete_policy, restore_policy


class MayRestore(ModelPermissions):
    perms_map = ModelPermissions.perms_map | {"POST": ["%(app_label)s.change_%(model_name)s"]}


class MayAsk(ModelPermissions):
    """A question may be too long for an address; asking by POST changes nothing."""

    perms_map = ModelPermissions.perms_map | {"POST": ["%(app_label)s.view_%(model_name)s"]}


class PolicyViewSet(mixins.CreateModelMixin, mixins.UpdateModelMixin, mixins.DestroyModelMixin, ReadOnlyViewSet):
    """What counts as a storm, for which alerts. A change holds from the next alert on."""

    queryset = StormPolicy.objects.all()
    serializer_class = policy_serializers.PolicySerializer
    filterset_class = filters.PolicyFilter
    ordering = ("name",)
    ordering_fields = ("name",)

    def perform_destroy(self, instance: StormPolicy) -> None:
        try:
            delete_policy(policy=instance, actor=self.request.user.get_username())
        except PolicyError as error:
            raise ValidationError({"": [str(error)]}) from error

    @extend_schema(responses=policy_serializers.PolicyVersionSerializer(many=True), filters=False)
    @action(detail=True, filter_backends=[], ordering="-version", ordering_fields=())
    def versions(self, request: Request, pk: str | None = None) -> Response:
        """What the policy was, from when, by whom; the newest first."""
        page = self.paginate_queryset(PolicyVersion.objects.filter(policy=self.get_object()))
        return self.get_paginated_response(policy_serializers.PolicyVersionSerializer(page, many=True).data)

    @extend_schema(
        request=policy_serializers.RestoreSerializer, responses=policy_serializers.PolicySerializer, filters=False
    )
    @action(detail=True, methods=["post"], permission_classes=[MayRestore])
    def restore(self, request: Request, pk: str | None = None) -> Response:
        """Save the policy as it was in a version, as a new one. It holds from the next alert on."""
        asked = policy_serializers.RestoreSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        version = asked.validated_data["version"]
        try:
            policy = restore_policy(policy=self.get_object(), version=version, actor=request.user.get_username())
        except PolicyError as error:
            raise ValidationError({"version": [str(error)]}) from error
        return Response(self.get_serializer(policy).data)

    @extend_schema(
        methods=["get"],
        parameters=[OpenApiParameter("label", str, many=True, description="`name=value`; repeat it for every label.")],
        responses=policy_serializers.ExplanationSerializer,
        filters=False,
    )
    @extend_schema(
        methods=["post"],
        request=policy_serializers.LabelsSerializer,
        responses=policy_serializers.ExplanationSerializer,
        filters=False,
    )
    @action(detail=False, methods=["get", "post"], permission_classes=[MayAsk], pagination_class=None)
    def explain(self, request: Request) -> Response:
        """Which policy gets an alert with these labels, and why not the others."""
        labels = _posted_labels(request) if request.method == "POST" else _asked_labels(request)
        return Response(explanation_document(explain(labels)))


def _posted_labels(request: Request) -> dict[str, str]:
    asked = policy_serializers.LabelsSerializer(data=request.data)
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data["labels"])


def _asked_labels(request: Request) -> dict[str, str]:
    unknown = set(request.query_params) - {"label", "format"}
    if unknown:
        raise ValidationError({name: ["There is no such parameter."] for name in sorted(unknown)})
    try:
        return label_pairs(request.query_params.getlist("label"))
    except MatcherError as error:
        raise ValidationError({"label": [str(error)]}) from error


router = SimpleRouter()
router.register("policies", PolicyViewSet)
