"""The console's own pages."""

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse


def console_context(request: HttpRequest) -> dict[str, Any]:
    """What every template may use."""
    return {}


@login_required
def now(request: HttpRequest) -> HttpResponse:
    return HttpResponse("stormconsole")


@login_required
def storm(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    return HttpResponse("storm")


@login_required
def alert(request: HttpRequest, alert_id: UUID) -> HttpResponse:
    return HttpResponse("alert")
