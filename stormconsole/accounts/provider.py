"""The OpenID Connect provider: its endpoints, which it publishes below the issuer's address."""

import time
from typing import Any

import requests
from django.conf import settings

KEEP_SECONDS = 3600.0
TIMEOUT_SECONDS = 5
NEEDED = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
_known: dict[str, tuple[float, dict[str, Any]]] = {}
"""For each issuer, when its document was read (monotonic), and the document."""


class ProviderError(Exception):
    """The provider does not answer, or not as one. The text is for a person who wants to log in."""


def is_configured() -> bool:
    return bool(settings.OIDC_ISSUER and settings.OIDC_RP_CLIENT_ID and settings.OIDC_RP_CLIENT_SECRET)


def endpoints() -> dict[str, Any]:
    """The provider's document (OpenID Connect Discovery 1.0), read at most once an hour. Raises: ProviderError."""
    issuer = settings.OIDC_ISSUER
    read_at, document = _known.get(issuer, (0.0, {}))
    if not document or time.monotonic() - read_at > KEEP_SECONDS:
        document = _read(issuer)
        _known[issuer] = (time.monotonic(), document)
    return document


def _read(issuer: str) -> dict[str, Any]:
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    try:
        response = requests.get(url, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        response.raise_for_status()
        document = response.json()
    except (requests.RequestException, ValueError) as error:
        raise ProviderError(f"The provider does not answer at {url}: {error}") from error
    if not isinstance(document, dict) or any(not isinstance(document.get(name), str) for name in NEEDED):
        raise ProviderError(f"{url} does not have {', '.join(NEEDED)}.")
    if document["issuer"].rstrip("/") != issuer.rstrip("/"):
        raise ProviderError(f"{url} is of another issuer, {document['issuer']}.")
    return document
