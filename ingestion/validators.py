"""Field validators of this package's rows."""

import re
import zoneinfo
from typing import Any

from django.core.exceptions import ValidationError

from storms.hostile import web_link

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def validate_static_labels(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValidationError('an object is expected: {"cluster": "prod-eu"}', code="static_labels")
    for name, text in value.items():
        if not _LABEL_NAME.fullmatch(name):
            raise ValidationError(f"{name!r} is no label name (letters, digits, '_')", code="static_labels")
        if not isinstance(text, str) or not text or len(text) > 256 or "\x00" in text:
            raise ValidationError(f"{name}: a text of 1 to 256 characters is expected", code="static_labels")


def validate_web_address(value: str) -> None:
    if not web_link(value) or "?" in value or "#" in value:
        raise ValidationError(f"{value!r} is no http:// or https:// address without a user name", code="web_address")


def validate_time_zone(value: str) -> None:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValidationError(f"{value!r} is no time zone; write Europe/Berlin or UTC", code="time_zone") from error
