"""Saved filters and columns of the explorer: a POST, one service call, and back to the explorer."""

from collections.abc import Callable
from functools import wraps

from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from storms import alert_columns
from storms.alert_filter import AlertFilter
from storms.models import SavedFilter
from storms.services import saved_filters
from storms.services.saved_filters import FilterError

Work = Callable[..., str]
"""Does it, and says in words what was done."""


def explorer_view(work: Work) -> Callable[..., HttpResponse]:
    """For whoever may see alerts; leads back to the filter in `query`, with what was done or why not."""

    @require_POST
    @never_cache
    @wraps(work)
    def view(request: HttpRequest, **ids: int) -> HttpResponse:
        query = QueryDict(request.POST.get("query", "")).urlencode()
        page = reverse("alerts") + (f"?{query}" if query else "")
        user = request.user
        if not isinstance(user, User):
            return redirect_to_login(page)
        if not user.has_perm("storms.view_alert"):
            raise PermissionDenied
        try:
            messages.success(request, work(request, user, query, **ids))
        except FilterError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(page)

    return view


@explorer_view
def save(request: HttpRequest, user: User, query: str) -> str:
    if not AlertFilter(QueryDict(query)).is_valid():
        raise FilterError("This filter cannot be read, so it was not saved.")
    saved = saved_filters.save_filter(owner=user, name=_name(request), query=query, shared="shared" in request.POST)
    return f"Saved as “{saved}”."


@explorer_view
def edit(request: HttpRequest, user: User, query: str, filter_id: int) -> str:
    saved = _visible(user, filter_id)
    saved_filters.edit_filter(saved=saved, actor=user, name=_name(request), shared="shared" in request.POST)
    return f"“{saved}” was changed."


@explorer_view
def delete(request: HttpRequest, user: User, query: str, filter_id: int) -> str:
    saved = _visible(user, filter_id)
    saved_filters.delete_filter(saved=saved, actor=user)
    return f"“{saved}” was deleted."


@explorer_view
def columns(request: HttpRequest, user: User, query: str) -> str:
    """Those that this address shows: without any of its own, the person's or the usual ones."""
    shown = alert_columns.columns(QueryDict(query).getlist("col"), user)
    saved_filters.keep_columns(user=user, columns=[column.key for column in shown])
    return "These columns are yours from now on."


def _visible(user: User, filter_id: int) -> SavedFilter:
    """Somebody else's own filter is not there, for all that one can tell."""
    return get_object_or_404(SavedFilter.objects.select_related("owner"), Q(owner=user) | Q(shared=True), id=filter_id)


def _name(request: HttpRequest) -> str:
    # PostgreSQL takes no NUL.
    return request.POST.get("name", "").replace("\x00", "").strip()
