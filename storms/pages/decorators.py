"""What all pages have in common."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

View = Callable[..., HttpResponseBase]


def console_page(permission: str) -> Callable[[View], View]:
    """A page to read: GET and HEAD only, never cached; a login leads to it, and who lacks the permission gets a 403."""

    def decorate(view: View) -> View:
        guarded = login_required(permission_required(permission, raise_exception=True)(view))
        page: Any = require_safe(never_cache(guarded))
        page.console_permission = permission
        return page

    return decorate


def console_action(permission: str, page: str) -> Callable[[View], View]:
    """A change that a form of the page of this name posts: POST only; a login leads back to the page, not here."""

    def decorate(view: View) -> View:
        @require_POST
        @never_cache
        @wraps(view)
        def guarded(request: HttpRequest, **ids: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(reverse(page))
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, **ids)

        return guarded

    return decorate


def permission_of(page: Any) -> str:
    """The permission that a view made with `console_page` asks for; the navigation shows a page to who has it."""
    return str(page.console_permission)
