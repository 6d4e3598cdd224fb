"""WebSockets are opened by the console's own pages only.

A browser lets any page open a WebSocket to any host, and sends the cookies along; on one machine it even counts two
ports as one site. Channels' validator compares the host's name alone, so a page of another port would be let in.
"""

from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host


class SameOriginOnly:
    """ASGI middleware for `websocket` scopes: others get a 403 in place of the handshake."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        app = self.app if is_same_origin(dict(scope["headers"])) else WebsocketDenier()
        return await app(scope, receive, send)


def is_same_origin(headers: dict[bytes, bytes]) -> bool:
    """The origin is the host that was asked, or one that forms are trusted from; the host is one of ours."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    own = parts.scheme in {"http", "https"} and parts.netloc == host
    return own or origin in {settings.PUBLIC_URL.lower(), *settings.CSRF_TRUSTED_ORIGINS}
