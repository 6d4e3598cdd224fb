"""API tokens: a person's key to the read API, hashed, shown once."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from stormconsole.caller import came_by
from stormconsole.tokens import hash_token, new_token
from storms.choices import AuditAction
from storms.models import ApiToken
from storms.services import audit

TOKEN_PREFIX = "scapi"  # noqa: S105  (the public part)
OVERLAP = timedelta(hours=24)
"""How long a rotated token is still taken."""
LAST_USED_RESOLUTION = timedelta(minutes=1)
"""`last_used_at` is written at most this often: a script that polls must not write a row per request."""


@transaction.atomic
def create_api_token(
    *, user: User, name: str = "api", expires_at: datetime | None = None, actor: str = ""
) -> tuple[ApiToken, str]:
    """The row and the token, which is not kept anywhere: show it now."""
    token = new_token(TOKEN_PREFIX)
    row = ApiToken.objects.create(
        user=user, name=name, token_hash=hash_token(token), created_at=timezone.now(), expires_at=expires_at
    )
    audit.record(action=AuditAction.API_TOKEN_CREATED, actor=actor, target=row, after={"user": user.get_username()})
    return row, token


@transaction.atomic
def rotate_api_token(*, token: ApiToken, overlap: timedelta = OVERLAP, actor: str = "") -> tuple[ApiToken, str]:
    """A new row and token of the same name, user and end; the old one goes on for `overlap` at most."""
    old = ApiToken.objects.select_for_update().get(pk=token.pk)
    until, end = timezone.now() + overlap, old.expires_at
    old.expires_at = min(end or until, until)
    old.save(update_fields=["expires_at"])
    made = new_token(TOKEN_PREFIX)
    row = ApiToken.objects.create(
        user=old.user, name=old.name, token_hash=hash_token(made), created_at=timezone.now(), expires_at=end
    )
    audit.record(
        action=AuditAction.API_TOKEN_ROTATED, actor=actor, target=row, after={"old_token_until": old.expires_at}
    )
    return row, made


@transaction.atomic
def revoke_api_token(*, token: ApiToken, actor: str) -> None:
    """It is refused from the next request on."""
    audit.record(action=AuditAction.API_TOKEN_REVOKED, actor=actor, target=token)
    token.delete()


class ApiTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`; any other scheme is left to the next class. The token has its user's rights."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != self.keyword.lower():
            return None
        row = ApiToken.objects.select_related("user").filter(token_hash=hash_token(token.strip())).first()
        expired = row is not None and row.expires_at is not None and row.expires_at <= timezone.now()
        if row is None or expired or not row.user.is_active:
            raise AuthenticationFailed("The API token is unknown or expired, or its user is not active.")
        self._mark_used(row)
        came_by(f"API token {row.name}")
        return row.user, row

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="stormconsole"'

    def _mark_used(self, row: ApiToken) -> None:
        now = timezone.now()
        if row.last_used_at is None or now - row.last_used_at > LAST_USED_RESOLUTION:
            ApiToken.objects.filter(pk=row.pk).update(last_used_at=now)
