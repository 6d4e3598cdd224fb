"""Single sign-on by OpenID Connect (docs/single-sign-on.md): mozilla-django-oidc, with a stricter eye on who it is.

That library looks a user up by e-mail address and takes any audience. Here the issuer and the subject say who it is
(`stormconsole.models.Identity`), and a token must be of this issuer and for this console.
"""

import logging
from collections.abc import Mapping
from typing import Any

import jwt
import requests
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.views.generic import View
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from stormconsole.accounts import provider
from stormconsole.accounts.provider import ProviderError
from stormconsole.accounts.services import AccountError, user_of_identity

logger = logging.getLogger(__name__)

AWAY = "The sign-on service does not answer: try again, or log in with a password."
NOT_ACCEPTED = "The sign-on service's answer was not accepted; the console's log says why."


class Backend(OIDCAuthenticationBackend):
    """What went wrong is left in `request.sign_on_problem`, for the login page."""

    def __init__(self) -> None:
        # Not the library's, which asks for the endpoints: every request of a session makes a backend.
        self.UserModel = User
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID
        self.OIDC_RP_CLIENT_SECRET = settings.OIDC_RP_CLIENT_SECRET
        self.OIDC_RP_SIGN_ALGO = settings.OIDC_RP_SIGN_ALGO
        self.OIDC_RP_IDP_SIGN_KEY = None

    @property
    def OIDC_OP_TOKEN_ENDPOINT(self) -> str:  # noqa: N802  (the library's name, and the two below)
        return str(provider.endpoints()["token_endpoint"])

    @property
    def OIDC_OP_USER_ENDPOINT(self) -> str:  # noqa: N802
        return str(provider.endpoints().get("userinfo_endpoint", ""))

    @property
    def OIDC_OP_JWKS_ENDPOINT(self) -> str:  # noqa: N802
        return str(provider.endpoints()["jwks_uri"])

    def authenticate(self, request: HttpRequest | None, **kwargs: Any) -> User | None:
        if request is None or not provider.is_configured():
            return None
        try:
            user: User | None = super().authenticate(request, **kwargs)
        except AccountError as error:
            problem = str(error)
        except ProviderError as error:
            logger.warning("single sign-on: %s", error)
            problem = AWAY
        except (SuspiciousOperation, jwt.PyJWTError, requests.RequestException, KeyError, ValueError) as error:
            logger.warning("single sign-on refused: %s: %s", type(error).__name__, error)
            problem = NOT_ACCEPTED
        else:
            if user is not None or "code" not in request.GET:
                return user
            problem = NOT_ACCEPTED  # the library has logged why
        request.sign_on_problem = problem  # type: ignore[attr-defined]
        return None

    def verify_token(self, token: str, **kwargs: Any) -> dict[str, Any]:
        """The claims of a well-signed token of this issuer for this console. Raises: SuspiciousOperation."""
        payload: dict[str, Any] = super().verify_token(token, **kwargs)
        audience = payload.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if payload.get("iss") != provider.endpoints()["issuer"]:
            raise SuspiciousOperation(f"the token is of another issuer, {payload.get('iss')!r}")
        if settings.OIDC_RP_CLIENT_ID not in audiences:
            raise SuspiciousOperation(f"the token is for somebody else, {audience!r}")
        if len(audiences) > 1 and payload.get("azp") != settings.OIDC_RP_CLIENT_ID:
            raise SuspiciousOperation(f"the token was issued to somebody else, {payload.get('azp')!r}")
        if not payload.get("sub") or "exp" not in payload:
            raise SuspiciousOperation("the token has no subject or never expires")
        return payload

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> User:
        claims = dict(payload)
        if self.OIDC_OP_USER_ENDPOINT:
            said = self.get_userinfo(access_token, id_token, payload)
            if said.get("sub") != payload["sub"]:
                raise SuspiciousOperation("the user's details are somebody else's")
            claims |= said
        username = str(claims.get(settings.OIDC_USERNAME_CLAIM) or "")
        if not username:
            raise AccountError(f"The sign-on service did not say your name ({settings.OIDC_USERNAME_CLAIM}).")
        return user_of_identity(
            issuer=str(payload["iss"]),
            subject=str(payload["sub"]),
            username=username,
            email=str(claims.get("email") or ""),
            roles=roles_of(claims),
        )


def roles_of(claims: Mapping[str, Any]) -> list[str]:
    """The roles that a person's groups stand for, else the default role. Raises: AccountError, there is none."""
    said = claims.get(settings.OIDC_GROUPS_CLAIM) or []
    groups = {said} if isinstance(said, str) else {str(group) for group in said}
    roles = sorted({role for group, role in settings.OIDC_ROLES if group in groups})
    if not roles and settings.OIDC_DEFAULT_ROLE:
        roles = [settings.OIDC_DEFAULT_ROLE]
    if not roles:
        raise AccountError("Your account has no role in this console: ask its administrator for a group that has one.")
    return roles


class Begin(OIDCAuthenticationRequestView):
    """Leads to the provider."""

    def __init__(self, **kwargs: Any) -> None:
        View.__init__(self, **kwargs)  # not the library's, which asks for the endpoints before it can fail well
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID

    def get(self, request: HttpRequest) -> HttpResponse:
        if not provider.is_configured():
            raise Http404
        try:
            self.OIDC_OP_AUTH_ENDPOINT = provider.endpoints()["authorization_endpoint"]
        except ProviderError as error:
            logger.warning("single sign-on: %s", error)
            messages.error(request, AWAY)
            return HttpResponseRedirect(resolve_url("login"))
        response: HttpResponse = super().get(request)
        return response


class Callback(OIDCAuthenticationCallbackView):
    """Where the provider leads back to."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not provider.is_configured():
            raise Http404
        try:
            response: HttpResponse = super().get(request)
        except SuspiciousOperation as error:  # a state that this browser did not begin with, or used before
            logger.warning("single sign-on refused: %s", error)
            return self.login_failure()
        return response

    def login_failure(self) -> HttpResponse:
        problem = getattr(self.request, "sign_on_problem", "") or "The sign-on was not completed: begin again."
        messages.error(self.request, problem)
        return HttpResponseRedirect(resolve_url("login"))
