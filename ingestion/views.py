"""The webhooks: authenticate, stamp, read, call one service, answer."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion import bodies, refusals
from ingestion.adapters import generic
from ingestion.adapters.batch import Content
from ingestion.authentication import ReceiverAuthentication
from ingestion.ingest import AllRejected, ingest
from ingestion.ledger import Receipt, record_refusal
from ingestion.metrics import time_webhook
from ingestion.receivers import KnownReceiver
from stormconsole.caller import caller
from stormconsole.logs import bound
from stormconsole.problems import Problem

RETRY_AFTER_SECONDS = "5"


class FastJSONRenderer(BaseRenderer):
    """msgspec's JSON: a batch of answers is rendered in a tenth of the time."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return msgspec.json.encode(data)


class AlwaysJSON(BaseContentNegotiation):
    """A machine gets JSON whatever its Accept header says; it must never be refused a 2xx for that."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return next(iter(renderers)), "application/json"


class WebhookView(APIView):
    """`POST /api/v1/webhooks/<kind>`: a row in the ledger, whatever its answer (but see `refusals`)."""

    authentication_classes = [ReceiverAuthentication]
    permission_classes = [AllowAny]
    renderer_classes = [FastJSONRenderer]
    parser_classes: list[type[BaseParser]] = []
    content_negotiation_class = AlwaysJSON
    http_method_names = ["post", "options"]
    kind = ""
    media_types: tuple[str, ...] = ("application/json",)
    schema = None

    delivery_id: UUID
    receipt: Receipt
    body_bytes = 0

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        stop = time_webhook(self.kind)
        self.delivery_id = uuid4()
        with bound(delivery_id=self.delivery_id):
            response = super().dispatch(request, *args, **kwargs)
        stop(response.status_code)
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # First of all: this is the time that counts for the alerts.
        self.receipt = Receipt(self.delivery_id, self.kind, datetime.now(UTC), caller().address)
        # Spares every webhook a `select 1`: a dead connection shows in the look-up, which is repeated on a new one.
        connection.health_check_done = True  # type: ignore[attr-defined]
        super().initial(request, *args, **kwargs)

    def post(self, request: Request) -> Response:
        receiver = request.user
        assert isinstance(receiver, KnownReceiver)
        if receiver.old_until is not None:
            self.receipt = replace(self.receipt, old_token=True)
        if receiver.kind != self.kind:
            raise Problem(403, f"This token is of a receiver of kind {receiver.kind}; this webhook is for {self.kind}.")
        content = self._read(request)
        try:
            ingested = ingest(content=content, receiver=receiver, receipt=self.receipt)
        except (DatabaseError, InterfaceError):
            if connection.connection is not None and not connection.connection.closed:
                raise
            # The connection died while it was idle. Nothing was recorded, and decisions are idempotent.
            connection.close()
            ingested = ingest(content=content, receiver=receiver, receipt=self.receipt)
        return Response(ingested.body, status=ingested.status)

    def _read(self, request: Request) -> Content:
        """What was posted.

        Raises: Problem 400, 413, 415.
        """
        media_type = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if media_type not in self.media_types:
            raise Problem(415, f"Content-Type is {media_type or 'missing'}; send {' or '.join(self.media_types)}.")
        body = self._inflate(self._read_body(request), request.META.get("HTTP_CONTENT_ENCODING", ""))
        return Content(body, media_type, self.receipt.received_at, self.read_headers(request))

    def read_headers(self, request: Request) -> dict[str, str]:
        """The headers that belong to the format, lower case."""
        return {}

    def _read_body(self, request: Request) -> bytes:
        """The body, bounded before it is read.

        Raises: Problem 413.
        """
        limit = settings.MAX_BODY_BYTES
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        if length > limit:
            raise Problem(413, f"The body has {length} bytes; the limit is {limit} (MAX_BODY_BYTES).")
        # Without a length (chunked) Django's own stream is empty: read the server's, one byte past the limit at most.
        stream = request._request if length else request.META["wsgi.input"]
        body: bytes = stream.read(length or limit + 1)
        self.body_bytes = len(body)
        if len(body) > limit:
            raise Problem(413, f"The body is over the limit of {limit} bytes (MAX_BODY_BYTES).")
        return body

    def _inflate(self, body: bytes, encoding: str) -> bytes:
        """Raises: Problem 400, 413, 415."""
        limit = settings.MAX_BODY_BYTES
        try:
            return bodies.decode(body, encoding, limit=limit)
        except bodies.TooLarge:
            raise Problem(413, f"The body inflates to more than {limit} bytes (MAX_BODY_BYTES).") from None
        except bodies.BodyError as error:
            raise Problem(400, f"The body cannot be read: {error}.") from error
        except bodies.UnknownEncoding as error:
            taken = ", ".join(bodies.ENCODINGS)
            # RFC 9110, 12.5.3: what a 415 about an encoding says.
            headers = {"Accept-Encoding": taken}
            raise Problem(
                415,
                f"Content-Encoding {str(error)[:100]!r} is not taken; send one of {taken}, or none.",
                headers=headers,
            ) from error

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, (DatabaseError, InterfaceError)):
            connection.close()
            error = Problem(
                503,
                "PostgreSQL is unreachable, so nothing was taken in: send it again.",
                headers={"Retry-After": RETRY_AFTER_SECONDS},
            )
        response = super().handle_exception(error)
        if response.status_code != 503:
            self._record_refusal(error, response)
        return response

    def _record_refusal(self, error: Exception, response: Response) -> None:
        user = getattr(self.request, "_user", None)
        receiver_id = user.id if isinstance(user, KnownReceiver) else None
        rejected = error.rejected if isinstance(error, AllRejected) else 0
        if not rejected and not refusals.may_be_recorded(receiver_id):
            return
        try:
            record_refusal(
                receipt=self.receipt,
                receiver_id=receiver_id,
                http_status=response.status_code,
                body_bytes=self.body_bytes,
                error=str(error),
                rejected=rejected,
            )
        except (DatabaseError, InterfaceError):
            connection.close()


class AlertmanagerWebhook(WebhookView):
    """Alertmanager's webhook, and Grafana's."""

    kind = "alertmanager"


class KubernetesEventWebhook(WebhookView):
    """Kubernetes events, as exporters post them."""

    kind = "kubernetes-event"


class GenericWebhook(WebhookView):
    """The console's own JSON, and CloudEvents."""

    kind = "generic"
    media_types = generic.MEDIA_TYPES

    def read_headers(self, request: Request) -> dict[str, str]:
        """A CloudEvent's attributes in binary mode: `ce-...`."""
        prefix = "HTTP_CE_"
        return {
            "ce-" + name.removeprefix(prefix).lower(): value
            for name, value in request.META.items()
            if name.startswith(prefix)
        }
