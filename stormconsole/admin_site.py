"""The admin's door: the console's own login, for who may do anything there; and what its pages may do in a browser."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from csp.constants import UNSAFE_EVAL, UNSAFE_INLINE
from csp.decorators import csp_update
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.cache import patch_cache_control
from unfold.sites import UnfoldAdminSite

from stormconsole.accounts.services import may_enter_admin

View = Callable[..., HttpResponseBase]
YEAR_SECONDS = 365 * 24 * 3600
ALPINE = {"script-src": [UNSAFE_EVAL], "style-src-attr": [UNSAFE_INLINE]}
"""What the admin's pages may beyond the console's policy: Alpine.js evaluates the expressions in unfold's templates,
and writes `style` attributes. Inline scripts and style sheets are forbidden there too."""


class ConsoleAdminSite(UnfoldAdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        return may_enter_admin(request.user)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Where the admin sends who may not enter: a login will not help who has one."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("password"))

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        allowed: View = csp_update(ALPINE)(super().admin_view(view, cacheable))
        return allowed

    def extra_urls(self) -> list[URLPattern]:
        return [path("colours.css", self.colours, name="colours")]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        # Unfold writes its colours into every page, as an inline style, which the policy forbids.
        version = sha256(self._colours(request).encode()).hexdigest()[:8]
        address = f"{reverse('admin:colours')}?{version}"
        return context | {"colors": None, "styles": [address, *context["styles"]]}

    def colours(self, request: HttpRequest) -> HttpResponse:
        """Unfold's colours as a style sheet; no secret, so without a login."""
        response = HttpResponse(self._colours(request), content_type="text/css")
        patch_cache_control(response, public=True, max_age=YEAR_SECONDS)
        return response

    def _colours(self, request: HttpRequest) -> str:
        families = self._get_colors("COLORS", request).items()
        lines = (
            f"--color-{name}-{weight}: {value};" for name, weights in families for weight, value in weights.items()
        )
        return f":root {{ --border-radius: {self._get_config('BORDER_RADIUS', request)}; {' '.join(lines)} }}\n"
