"""Dead letters through the API: to be read, replayed and discarded, one at a time or all of a filter."""

from collections.abc import Iterator
from contextlib import contextmanager

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from ingestion import dead_letter_services as services
from ingestion import filters, serializers
from ingestion.dead_letter_services import LetterError, StillInvalid
from ingestion.models import DeadLetter
from stormconsole.problems import Problem
from storms.action_api import NothingSerializer
from storms.api import ReadOnlyViewSet
from storms.permissions import ModelPermissions
from storms.queue import enqueue_replays

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_HANDLED = {
    (409, "application/problem+json"): OpenApiResponse(
        response=_PROBLEM, description="It cannot be done as things stand; `detail` says why."
    )
}
_INVALID = {
    (422, "application/problem+json"): OpenApiResponse(
        response=_PROBLEM, description="It still cannot be taken in; `errors` says where and why. It waits on."
    )
}


class MayHandleLetters(ModelPermissions):
    perms_map = ModelPermissions.perms_map | {
        "POST": ["%(app_label)s.change_%(model_name)s", "%(app_label)s.view_%(model_name)s"]
    }


@contextmanager
def problems() -> Iterator[None]:
    """A service's refusal as a problem document: 422 if the alert is still none, else 409."""
    try:
        yield
    except StillInvalid as error:
        raise Problem(422, str(error), errors=[(error.pointer, error.error)]) from error
    except LetterError as error:
        raise Problem(409, str(error)) from error


class DeadLetterViewSet(ReadOnlyViewSet):
    """Alerts that were set aside, each with its error and what became of it."""

    queryset = DeadLetter.objects.select_related("receiver")
    serializer_class = serializers.DeadLetterSerializer
    filterset_class = filters.DeadLetterFilter
    permission_classes = [MayHandleLetters]
    lookup_value_regex = r"\d{1,18}"
    ordering = ("-received_at",)
    ordering_fields = ("received_at",)

    @extend_schema(
        request=NothingSerializer,
        responses={200: serializers.DeadLetterSerializer, **_HANDLED, **_INVALID},
        filters=False,
    )
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str | None = None) -> Response:
        """Take the alert in, under its receiver's terms as they are now."""
        letter = self.get_object()
        with problems():
            letter = services.replay(letter_id=letter.id, actor=request.user.get_username())
        return Response(self.get_serializer(letter).data)

    @extend_schema(
        request=serializers.DiscardSerializer,
        responses={200: serializers.DeadLetterSerializer, **_HANDLED},
        filters=False,
    )
    @action(detail=True, methods=["post"])
    def discard(self, request: Request, pk: str | None = None) -> Response:
        """Give it up, with a reason."""
        letter, comment = self.get_object(), self._comment(request)
        with problems():
            letter = services.discard(letter_id=letter.id, comment=comment, actor=request.user.get_username())
        return Response(self.get_serializer(letter).data)

    @extend_schema(
        operation_id="dead_letters_replay_all",
        request=NothingSerializer,
        responses={202: serializers.QueuedSerializer},
    )
    @action(detail=False, methods=["post"], url_path="replay")
    def replay_all(self, request: Request) -> Response:
        """Have a worker replay every waiting letter that the filters choose; without one, all of them."""
        letters = self.filter_queryset(DeadLetter.objects.all())
        queued = services.queue_replays(letters=letters, actor=request.user.get_username())
        enqueue_replays()
        return Response({"queued": queued}, status=202)

    @extend_schema(
        operation_id="dead_letters_discard_all",
        request=serializers.DiscardSerializer,
        responses={200: serializers.DiscardedSerializer},
    )
    @action(detail=False, methods=["post"], url_path="discard")
    def discard_all(self, request: Request) -> Response:
        """Give up every waiting letter that the filters choose; without one, all of them."""
        letters, comment = self.filter_queryset(DeadLetter.objects.all()), self._comment(request)
        with problems():
            discarded = services.discard_all(letters=letters, comment=comment, actor=request.user.get_username())
        return Response({"discarded": discarded})

    def _comment(self, request: Request) -> str:
        body = serializers.DiscardSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return str(body.validated_data["comment"])
