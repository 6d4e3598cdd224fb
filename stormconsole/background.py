"""Requests of scripts that stay on their page, htmx's and others': what they get where a person would be led elsewhere.

A script follows a redirect without seeing it, and would put a whole login page into a part of its own.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import add_never_cache_headers
from django.views.csrf import csrf_failure as csrf_page

CURRENT_URL = "HX-Current-URL"
"""The page that asks; htmx sends it, and static/console/requests.js."""
TOO_OLD = "This page is from before you logged in anew, or the browser keeps no cookies. Reload it, then try again."


def in_background(request: HttpRequest) -> bool:
    return CURRENT_URL in request.headers


class BackgroundMiddleware:
    """To who is logged out: 401, and in `HX-Redirect` the login that leads back to the page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # Led to the login, or 403: with the session the cookie that a form is checked by may be gone.
        if in_background(request) and response.status_code in (302, 403) and not request.user.is_authenticated:
            response = HttpResponse(status=401, headers={"HX-Redirect": redirect_to_login(_page(request)).url})
            add_never_cache_headers(response)
        return response


def _page(request: HttpRequest) -> str:
    """Path and query: the login leads nowhere else."""
    try:
        page = urlsplit(request.headers[CURRENT_URL])
    except ValueError:
        return "/"
    return f"{page.path or '/'}?{page.query}" if page.query else page.path or "/"


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's page, or `{"detail"}` for a script."""
    if in_background(request):
        return JsonResponse({"detail": TOO_OLD}, status=403)
    return csrf_page(request, reason=reason)
