"""What operators do on the pages: a POST, one service call, and back to a page. No JavaScript is needed."""

from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from storms.detector import StoreUnavailable
from storms.models import Alert, Storm
from storms.services import operators
from storms.services.operators import OperatorError

OPERATE, SEE = "storms.change_storm", "storms.view_storm"
"""The permission to do anything to a storm: on the pages, in the API and in the admin."""
REFUSALS = (OperatorError, StoreUnavailable)
STORE_AWAY = "The store is away, and without it nothing can be closed or merged: try again in a moment."

BACKGROUND_HEADER = "X-Console-Action"
"""Sent by static/console/act.js, which stays on its page: it wants the words, not a page to go to."""

Done = tuple[str, str]
"""What was done, in words, and the page that shows it."""


def refusal(error: Exception) -> str:
    """Why a service refused, for a person."""
    return STORE_AWAY if isinstance(error, StoreUnavailable) else str(error)


def operator_view(work: Callable[..., Done]) -> Callable[..., HttpResponse]:
    """A view below a storm's or an alert's page, for operators; a service's refusal is a message on that page.

    A script that asked (`BACKGROUND_HEADER`) gets `{"told"}`, or `{"detail"}` with 409.
    """

    @require_POST
    @never_cache
    @wraps(work)
    def view(request: HttpRequest, **ids: UUID) -> HttpResponse:
        page = request.path.removesuffix("/").rpartition("/")[0] + "/"
        # Not `login_required`: it would lead back to this address, which takes no GET.
        if not request.user.is_authenticated:
            return redirect_to_login(page)
        if not request.user.has_perm(OPERATE):
            raise PermissionDenied
        in_background = BACKGROUND_HEADER in request.headers
        try:
            told, page = work(request, **ids)
        except REFUSALS as error:
            if in_background:
                return JsonResponse({"detail": refusal(error)}, status=409)
            messages.error(request, refusal(error))
        else:
            if in_background:
                return JsonResponse({"told": told})
            messages.success(request, told)
        return HttpResponseRedirect(page)

    return view


@operator_view
def acknowledge(request: HttpRequest, storm_id: UUID) -> Done:
    """Back to the storm's page, or with `back=now` to the first one."""
    storm = get_object_or_404(Storm, id=storm_id)
    operators.acknowledge(storm_id=storm.id, actor=request.user.get_username())
    if request.POST.get("back") == "now":
        return f"Acknowledged: {storm.group_title}.", reverse("now")
    return "Acknowledged.", _page(storm)


@operator_view
def assign(request: HttpRequest, storm_id: UUID) -> Done:
    """To whom `assignee` names, or with `me=1` to the one who asks."""
    storm = get_object_or_404(Storm, id=storm_id)
    assignee = request.user.get_username() if request.POST.get("me") == "1" else _text(request, "assignee")
    operators.assign(storm_id=storm.id, assignee=assignee, actor=request.user.get_username())
    return f"Assigned to {assignee or 'nobody'}.", _page(storm)


@operator_view
def note(request: HttpRequest, storm_id: UUID) -> Done:
    storm = get_object_or_404(Storm, id=storm_id)
    operators.add_note(storm_id=storm.id, text=_text(request, "text"), actor=request.user.get_username())
    return "The note is on the timeline.", _page(storm)


@operator_view
def close(request: HttpRequest, storm_id: UUID) -> Done:
    storm = get_object_or_404(Storm, id=storm_id)
    operators.close(storm_id=storm.id, comment=_text(request, "comment"), actor=request.user.get_username())
    return "Closed.", _page(storm)


@operator_view
def merge(request: HttpRequest, storm_id: UUID) -> Done:
    """Leads to the storm that has the alerts now."""
    storm, into = get_object_or_404(Storm, id=storm_id), _chosen_storm(_text(request, "into"))
    operators.merge(storm_id=storm.id, into=into.id, actor=request.user.get_username())
    return f"{storm.group_title} was merged into this storm.", _page(into)


@operator_view
def split(request: HttpRequest, alert_id: UUID) -> Done:
    """Back to the storm's page, or with `back=alert` to the alert's."""
    alert = get_object_or_404(Alert.objects.select_related("storm"), id=alert_id)
    operators.split(alert_id=alert.id, actor=request.user.get_username())
    told = f"{alert} was split out: it gets a RemediationRequest of its own."
    if alert.storm is None or request.POST.get("back") == "alert":
        return told, reverse("alert", args=[alert.id])
    return told, _page(alert.storm)


def _page(storm: Storm) -> str:
    return reverse("storm", args=[storm.id])


def _text(request: HttpRequest, name: str) -> str:
    # PostgreSQL takes no NUL.
    return request.POST.get(name, "").replace("\x00", "").strip()


def _chosen_storm(text: str) -> Storm:
    """Raises: OperatorError."""
    try:
        return Storm.objects.get(id=UUID(text))
    except (ValueError, Storm.DoesNotExist):
        raise OperatorError("Choose the storm to merge into; the one that was asked for does not exist.") from None
