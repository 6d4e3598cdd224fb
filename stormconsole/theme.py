"""Light or dark: as the system has it, unless this browser was told otherwise.

The choice is a cookie, so that the server renders it into the page: no flash, no inline script.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

COOKIE = "theme"
YEAR_SECONDS = 365 * 24 * 3600
SYSTEM = "system"
MEDIA = {SYSTEM: "screen and (prefers-color-scheme: dark)", "light": "not all", "dark": "screen"}
"""For each choice, where dark.css holds (static/console/frame.js has the same). Never on paper."""


def chosen_theme(request: HttpRequest) -> str:
    theme = request.COOKIES.get(COOKIE, SYSTEM)
    return theme if theme in MEDIA else SYSTEM


def admin_theme(request: HttpRequest) -> str | None:
    """The same choice, as unfold wants it: nothing for the system's."""
    theme = chosen_theme(request)
    return None if theme == SYSTEM else theme


@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Remember `theme` in this browser and go back to `next`."""
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
        back = reverse("now")
    theme = request.POST.get("theme", "")
    response = HttpResponseRedirect(back)
    if theme in MEDIA:
        response.set_cookie(COOKIE, theme, max_age=YEAR_SECONDS, secure=settings.HTTPS, httponly=True, samesite="Lax")
    return response
