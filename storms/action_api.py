"""What operators do, through the API: POST with a JSON body; the answer is the storm or the alert as it is then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from stormconsole.problems import Problem
from storms.actions import OPERATE, REFUSALS, SEE, refusal
from storms.detector import StoreUnavailable
from storms.models import Alert, Storm
from storms.serializers import AlertSerializer, StormDetailSerializer
from storms.services import operators

RETRY_AFTER_SECONDS = 2


class MayOperate(BasePermission):
    """*Change storm* and *view storm*, which the answer shows, whatever is done to a storm or its alerts."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.user and request.user.is_authenticated and request.user.has_perms([OPERATE, SEE]))


class NothingSerializer(serializers.Serializer[Any]):
    """An empty body, or `{}`."""


class AssignSerializer(serializers.Serializer[Any]):
    assignee = serializers.CharField(max_length=150, allow_blank=True, help_text="A person's name; empty: nobody.")


class NoteSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=operators.MAX_TEXT)


class CloseSerializer(serializers.Serializer[Any]):
    comment = serializers.CharField(max_length=operators.MAX_TEXT, help_text="Why; it stands in the resource too.")


class MergeSerializer(serializers.Serializer[Any]):
    into = serializers.PrimaryKeyRelatedField(
        queryset=Storm.objects.all(), pk_field=serializers.UUIDField(), help_text="An open storm of the same policy."
    )


def operation(body: type[serializers.Serializer[Any]], answer: Any) -> Callable[[Any], Any]:
    """An action of a view set that takes `body` and is refused in problem documents."""

    def decorate(method: Any) -> Any:
        responses = {
            200: answer,
            (409, "application/problem+json"): _problem("It cannot be done as things stand; `detail` says why."),
            (503, "application/problem+json"): _problem("The store is away: try again after `Retry-After` seconds."),
        }
        documented = extend_schema(request=body, responses=responses, filters=False)(method)
        return action(detail=True, methods=["post"], permission_classes=[MayOperate], serializer_class=body)(documented)

    return decorate


def _problem(description: str) -> OpenApiResponse:
    return OpenApiResponse(response={"$ref": "#/components/schemas/Problem"}, description=description)


@contextmanager
def problems() -> Iterator[None]:
    """A service's refusal as a problem document: 409, or 503 while the store is away."""
    try:
        yield
    except REFUSALS as error:
        if isinstance(error, StoreUnavailable):
            raise Problem(503, refusal(error), headers={"Retry-After": str(RETRY_AFTER_SECONDS)}) from error
        raise Problem(409, refusal(error)) from error


class Actions(GenericViewSet[Any]):
    """What both view sets need."""

    @property
    def actor(self) -> str:
        return str(self.request.user.get_username())

    def body(self, kind: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """Raises: ValidationError."""
        data = kind(data=self.request.data)
        data.is_valid(raise_exception=True)
        return cast("dict[str, Any]", data.validated_data)


class StormActions(Actions):
    """Actions of the storms' view set."""

    @operation(NothingSerializer, StormDetailSerializer)
    def acknowledge(self, request: Request, pk: str | None = None) -> Response:
        """Say that somebody looks after it. The first one stays; repeating it changes nothing."""
        storm = self.get_object()
        operators.acknowledge(storm_id=storm.id, actor=self.actor)
        return self._answer(storm.id)

    @operation(AssignSerializer, StormDetailSerializer)
    def assign(self, request: Request, pk: str | None = None) -> Response:
        """Say who has it."""
        storm, body = self.get_object(), self.body(AssignSerializer)
        operators.assign(storm_id=storm.id, assignee=body["assignee"], actor=self.actor)
        return self._answer(storm.id)

    @operation(NoteSerializer, StormDetailSerializer)
    def note(self, request: Request, pk: str | None = None) -> Response:
        """Write a note into the timeline."""
        storm, body = self.get_object(), self.body(NoteSerializer)
        with problems():
            operators.add_note(storm_id=storm.id, text=body["text"], actor=self.actor)
        return self._answer(storm.id)

    @operation(CloseSerializer, StormDetailSerializer)
    def close(self, request: Request, pk: str | None = None) -> Response:
        """Close an open storm with a reason; a new burst of its group is a new storm."""
        storm, body = self.get_object(), self.body(CloseSerializer)
        with problems():
            operators.close(storm_id=storm.id, comment=body["comment"], actor=self.actor)
        return self._answer(storm.id)

    @operation(MergeSerializer, StormDetailSerializer)
    def merge(self, request: Request, pk: str | None = None) -> Response:
        """Move all alerts into another open storm of the same policy; answers with that one. This one closes."""
        storm, body = self.get_object(), self.body(MergeSerializer)
        with problems():
            operators.merge(storm_id=storm.id, into=body["into"].id, actor=self.actor)
        return self._answer(body["into"].id)

    def _answer(self, storm_id: UUID) -> Response:
        rows = Storm.objects.select_related("remediation_request").defer("remediation_request__manifest")
        row = rows.prefetch_related("events").get(id=storm_id)
        return Response(StormDetailSerializer(row, context=self.get_serializer_context()).data)


class AlertActions(Actions):
    """Actions of the alerts' view set."""

    @operation(NothingSerializer, AlertSerializer)
    def split(self, request: Request, pk: str | None = None) -> Response:
        """Take an alert out of its storm and give it a RemediationRequest of its own."""
        alert = self.get_object()
        with problems():
            operators.split(alert_id=alert.id, actor=self.actor)
        rows = Alert.objects.select_related("remediation_request").defer("remediation_request__manifest")
        return Response(AlertSerializer(rows.get(id=alert.id), context=self.get_serializer_context()).data)
