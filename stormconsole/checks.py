"""System checks with ids: what `manage.py check` says about a configuration that would disappoint."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from stormconsole.accounts.roles import ROLES


@register(Tags.security)
def public_url_is_a_web_address(**_: Any) -> list[CheckMessage]:
    if settings.PUBLIC_URL.startswith(("http://", "https://")):
        return []
    return [
        Error(
            f"PUBLIC_URL is {settings.PUBLIC_URL!r}, not a web address.",
            hint="Resources link back to the console with it: set it to http(s)://host[:port].",
            id="stormconsole.E001",
        )
    ]


@register(Tags.security)
def single_sign_on_is_whole(**_: Any) -> list[CheckMessage]:
    """All of it, or none of it."""
    given = {
        "OIDC_ISSUER": settings.OIDC_ISSUER,
        "OIDC_CLIENT_ID": settings.OIDC_RP_CLIENT_ID,
        "OIDC_CLIENT_SECRET": settings.OIDC_RP_CLIENT_SECRET,
    }
    missing = [name for name, value in given.items() if not value]
    if len(missing) == len(given):
        return []
    if missing:
        hint = "Single sign-on needs all three; without any of them there is none."
        return [
            Error(
                f"Single sign-on is configured by half: {', '.join(missing)} not set.",
                hint=hint,
                id="stormconsole.E002",
            )
        ]
    return [*_issuer_is_safe(), *_roles_exist()]


def _issuer_is_safe() -> list[CheckMessage]:
    parts = urlsplit(settings.OIDC_ISSUER)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}):
        return []
    hint = "Who can change what the issuer answers can log in as anybody: only https:// will do."
    return [Error(f"OIDC_ISSUER is {settings.OIDC_ISSUER!r}.", hint=hint, id="stormconsole.E003")]


def _roles_exist() -> list[CheckMessage]:
    named = [role for _, role in settings.OIDC_ROLES]
    unknown = sorted({role for role in [*named, settings.OIDC_DEFAULT_ROLE] if role and role not in ROLES})
    if unknown:
        hint = f"Roles are {', '.join(ROLES)}; OIDC_ROLES is GROUP=ROLE, separated by commas."
        return [Error(f"There is no role {', '.join(unknown)}.", hint=hint, id="stormconsole.E004")]
    if not named and not settings.OIDC_DEFAULT_ROLE:
        hint = "Set OIDC_ROLES to GROUP=ROLE,..., or OIDC_DEFAULT_ROLE to viewer."
        return [Warning("Nobody gets a role by single sign-on, so nobody gets in.", hint=hint, id="stormconsole.W001")]
    return []
