"""In and out, and a new password."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from stormconsole.accounts import provider
from storms.choices import AuditAction
from storms.services import audit


class Login(LoginView):
    template_name = "console/login.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return context | {"single_sign_on": settings.OIDC_NAME if provider.is_configured() else ""}


class Logout(LogoutView):
    next_page = "login"


@method_decorator([login_required, never_cache], name="dispatch")
class ChangePassword(PasswordChangeView):
    """Of who is logged in; not for accounts that another system vouches for."""

    template_name = "console/password.html"
    success_url = reverse_lazy("now")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated and not request.user.has_usable_password():
            raise PermissionDenied
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return response

    @transaction.atomic
    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        user = self.request.user
        assert user.is_authenticated
        audit.record(action=AuditAction.PASSWORD_CHANGED, actor=user.get_username(), target=user)
        messages.success(self.request, "Your password was changed; other browsers are logged out.")
        return response


def locked_out(request: HttpRequest, *_: Any) -> HttpResponse:
    """django-axes' answer to one login too many, whether the account exists or not."""
    context = {"minutes": settings.LOGIN_LOCKOUT_MINUTES}
    response = render(request, "console/locked_out.html", context, status=429)
    response["Retry-After"] = str(60 * settings.LOGIN_LOCKOUT_MINUTES)
    return response
