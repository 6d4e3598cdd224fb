"""System checks with ids: what `manage.py check` says about a configuration that would disappoint."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register


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
