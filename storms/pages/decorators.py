"""What all pages have in common."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

View = Callable[..., HttpResponse]


def console_page(permission: str) -> Callable[[View], View]:
    """A page to read: GET and HEAD only, never cached; a login leads to it, and who lacks the permission gets a 403."""

    def decorate(view: View) -> View:
        guarded = login_required(permission_required(permission, raise_exception=True)(view))
        page: Any = require_safe(never_cache(guarded))
        page.console_permission = permission
        return page

    return decorate


def permission_of(page: Any) -> str:
    """The permission that a view made with `console_page` asks for; the navigation shows a page to who has it."""
    return str(page.console_permission)
