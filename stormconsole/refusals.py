"""RFC 9457 problem documents (pure): for the API, and for what is refused before Django sees it."""

import json
from http import HTTPStatus
from typing import Any

CONTENT_TYPE = "application/problem+json"


def problem_document(
    status: int, detail: str, instance: str, errors: list[tuple[str, str]] | None = None
) -> dict[str, Any]:
    """`{"type", "title", "status", "detail", "instance", "errors": [{"pointer", "detail"}]}`; no errors, no member."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    if errors:
        document["errors"] = [{"pointer": pointer, "detail": message} for pointer, message in errors]
    return document


def refusal(
    status: int, detail: str, instance: str = "/", *, headers: list[tuple[bytes, bytes]] | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of such an answer, as ASGI takes them."""
    body = json.dumps(problem_document(status, detail, instance)).encode()
    standard = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    return status, [*standard, *(headers or [])], body
