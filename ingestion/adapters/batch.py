"""What the adapters share (pure): a webhook's content, the batch read from it, and what becomes of bad items.

One bad alert does not harm the others: it is set aside with its raw text, its place and what is wrong with it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from ingestion.normalise import BadAlert, NotAllowed
from storms.incoming import IncomingAlert

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Unreadable(BadAlert):
    """It is not JSON, or not of an alert's shape."""

    reason = "unreadable"


class PayloadError(ValueError):
    """The body as a whole cannot be read: a JSON pointer and what is wrong there."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Content:
    """What was posted: the body, its media type without parameters, the headers that a format needs (lower case)."""

    body: bytes
    media_type: str
    received_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An alert that was set aside: its place, its raw JSON, a JSON pointer into the body, and the error.

    base: where the item itself is in the body, the beginning of `pointer`; reason: see `BadAlert`.
    """

    index: int
    raw: str
    pointer: str
    error: str
    base: str
    reason: str

    @property
    def readable(self) -> bool:
        """It is an alert, the receiver may only not send it."""
        return self.reason == NotAllowed.reason


@dataclass(frozen=True, slots=True)
class Batch:
    """What a body held: the good alerts with their places, the bad ones, and how many the sender left out."""

    alerts: list[tuple[int, IncomingAlert]]
    rejected: list[Rejected]
    truncated_alerts: int = 0

    @property
    def readable(self) -> bool:
        """Something in it is an alert."""
        return bool(self.alerts) or any(item.readable for item in self.rejected)


def decode_body(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """Raises: PayloadError."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise PayloadError(*explain(error)) from error
    except RecursionError as error:
        raise PayloadError("", "nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayloadError("", f"not JSON in UTF-8: {error}") from error


def read_one_by_one(
    items: Iterable[tuple[str, msgspec.Raw]], read: Callable[[msgspec.Raw], IncomingAlert], truncated_alerts: int = 0
) -> Batch:
    """Read each item by itself.

    Args:
        items: (JSON pointer to the item, its JSON text), in the order of the body.
        read: may raise BadAlert or an error of msgspec.
    """
    alerts, rejected = [], []
    for index, (base, raw) in enumerate(items):
        try:
            with within(base):
                alerts.append((index, read(raw)))
        except BadAlert as error:
            rejected.append(set_aside(index, text(raw), error, base))
    return Batch(alerts, rejected, truncated_alerts)


@contextmanager
def within(base: str) -> Iterator[None]:
    """What is wrong in here is wrong at or below the JSON pointer `base`.

    Raises: BadAlert.
    """
    try:
        yield
    except BadAlert as error:
        error.pointer = base + error.pointer
        raise
    except msgspec.ValidationError as error:
        pointer, message = explain(error)
        raise Unreadable(base + pointer, message) from error
    except UNREADABLE as error:
        raise Unreadable(base, f"unreadable: {error}") from error


def set_aside(index: int, raw: str, error: BadAlert, base: str) -> Rejected:
    return Rejected(index, raw, error.pointer, str(error), base, error.reason)


def text(raw: msgspec.Raw) -> str:
    """JSON as it came; what PostgreSQL cannot hold is written in ASCII."""
    return bytes(raw).decode("utf-8", "backslashreplace").replace("\x00", "\\0")


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """msgspec's "Expected `str`, got `int` - at `$.labels[...]`" as a JSON pointer and a message."""
    message, _, path = str(error).partition(" - at `")
    path = path.rstrip("`").lstrip("$").replace("[...]", "")
    pointer = re.sub(r"\[(\d+)\]|\.", lambda m: f"/{m[1]}" if m[1] else "/", path)
    missing = re.search(r"missing required field `(\w+)`", message)
    return (f"{pointer}/{missing[1]}", "missing") if missing else (pointer, message.replace("`", ""))


def is_list(body: bytes) -> bool:
    return body.lstrip(b" \t\r\n")[:1] == b"["


def encode(item: Any) -> str:
    return msgspec.json.encode(item).decode()
