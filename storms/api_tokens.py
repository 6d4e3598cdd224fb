"""API tokens: a person's key to the read API, hashed, shown once."""

from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from storms.models import ApiToken
from stormconsole.tokens import hash_token, new_token

TOKEN_PREFIX = "scapi"


def create_api_token(*, user: AbstractBaseUser, name: str = "api") -> tuple[ApiToken, str]:
    """The row and the token, which is not kept anywhere: show it now."""
    token = new_token(TOKEN_PREFIX)
    row = ApiToken.objects.create(user=user, name=name, token_hash=hash_token(token), created_at=timezone.now())
    return row, token


class ApiTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`; any other scheme is left to the next class."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, ApiToken] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != self.keyword.lower():
            return None
        row = ApiToken.objects.select_related("user").filter(token_hash=hash_token(token.strip())).first()
        if row is None or not row.user.is_active:
            raise AuthenticationFailed("The API token is unknown, or its user is not active.")
        return row.user, row

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="stormconsole"'
