"""JSON bodies of the API: strict, bounded, and whatever is wrong with one is a 400."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser


class TooLarge(APIException):
    status_code = 413


class JSONParser(BaseParser):
    """DRF's own answers 500 to a hundred thousand brackets, and hands on halves of surrogates and NaN."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Raises: ParseError, TooLarge."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge(f"The body is over the limit of {limit} bytes.")
        try:
            return msgspec.json.decode(body)
        except RecursionError as error:
            raise ParseError("The JSON is nested too deeply.") from error
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise ParseError(f"Not JSON in UTF-8: {error}.") from error
