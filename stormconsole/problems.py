"""RFC 9457 problem documents: every error of the HTTP API speaks in this shape.

`{"type", "title", "status", "detail", "instance", "errors": [{"pointer", "detail"}]}` as `application/problem+json`.
"""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler

from stormconsole.refusals import CONTENT_TYPE, problem_document


class ProblemRenderer(JSONRenderer):
    """JSON under the problem media type."""

    media_type = CONTENT_TYPE
    format = "problem"


class Problem(exceptions.APIException):
    """An error with its status, its detail and, per JSON pointer, what is wrong.

    Args:
        status: the HTTP status.
        detail: what is wrong, where, what to do; one sentence or two.
        errors: [(JSON pointer, message)].
        headers: for example {"Retry-After": "5"}.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status_code = status
        self.errors = errors or []
        self.headers = headers or {}


def problem_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: its own response, in the problem shape. None: not an API error, let it rise."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    response = exception_handler(error, context)
    if response is None or not isinstance(error, exceptions.APIException):
        return response
    request = context["request"]
    if isinstance(error, Problem):
        detail, errors = str(error.detail), error.errors
        headers = error.headers
    elif isinstance(error, exceptions.ValidationError):
        detail, errors, headers = "The request is not valid.", _flatten(error.detail), {}
    else:
        detail, errors, headers = str(error.detail), [], {}
    response.data = problem_document(response.status_code, detail, request.path, errors)
    for name, value in headers.items():
        response[name] = value
    request.accepted_renderer = ProblemRenderer()
    request.accepted_media_type = CONTENT_TYPE
    response.content_type = CONTENT_TYPE
    return response


def _flatten(detail: Any, pointer: str = "") -> list[tuple[str, str]]:
    if isinstance(detail, dict):
        return [row for key, value in detail.items() for row in _flatten(value, f"{pointer}/{key}")]
    if isinstance(detail, list) and any(isinstance(item, (dict, list)) for item in detail):
        return [row for index, value in enumerate(detail) for row in _flatten(value, f"{pointer}/{index}")]
    if isinstance(detail, list):
        return [(pointer, str(item)) for item in detail]
    return [(pointer, str(detail))]
