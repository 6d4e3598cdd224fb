"""Alertmanager's webhook payload, version 4, and Grafana's, which has the same shape (pure).

Fields come and go between versions (`notification_reason` in 0.32, `routeLabels` in 0.34), so only what is needed is
read. One bad alert does not harm the others: it is set aside with its raw text.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from ingestion.normalise import BadAlert, incoming_alert
from storms.incoming import IncomingAlert


class PayloadError(ValueError):
    """The body as a whole cannot be read: a JSON pointer and what is wrong there."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Rejected:
    """An alert that was set aside: its place, its raw JSON, a JSON pointer into the body, and the error."""

    index: int
    raw: str
    pointer: str
    error: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What a body held: the good alerts with their places, the bad ones, and how many the sender left out."""

    alerts: list[tuple[int, IncomingAlert]]
    rejected: list[Rejected]
    truncated_alerts: int

    @property
    def received(self) -> int:
        return len(self.alerts) + len(self.rejected)


class _Alert(msgspec.Struct):
    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    startsAt: Annotated[datetime, msgspec.Meta(tz=True)]  # noqa: N815 (Alertmanager's name)
    endsAt: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # noqa: N815
    annotations: dict[str, str] | None = None
    generatorURL: str | None = None  # noqa: N815


class _Payload(msgspec.Struct):
    alerts: list[_Alert]
    truncatedAlerts: int = 0  # noqa: N815


class _RawPayload(msgspec.Struct):
    alerts: list[msgspec.Raw]
    truncatedAlerts: int = 0  # noqa: N815


_payload_decoder = msgspec.json.Decoder(_Payload)
_raw_payload_decoder = msgspec.json.Decoder(_RawPayload)
_alert_decoder = msgspec.json.Decoder(_Alert)


def parse(body: bytes) -> Batch:
    """Read a webhook's body.

    Raises: PayloadError if nothing in it can be used as an alert's place.
    """
    try:
        payload = _payload_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_one_by_one(body)
    if not payload.alerts:
        raise PayloadError("/alerts", "no alerts")
    alerts, rejected = [], []
    for index, item in enumerate(payload.alerts):
        try:
            alerts.append((index, _incoming(item)))
        except BadAlert as error:
            rejected.append(Rejected(index, _raw(item), f"/alerts/{index}{error.pointer}", str(error)))
    return Batch(alerts, rejected, _bounded(payload.truncatedAlerts))


def _parse_one_by_one(body: bytes) -> Batch:
    try:
        payload = _raw_payload_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise PayloadError(*_explain(error, "")) from error
    except RecursionError as error:
        raise PayloadError("", "nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayloadError("", f"not JSON in UTF-8: {error}") from error
    if not payload.alerts:
        raise PayloadError("/alerts", "no alerts")
    alerts, rejected = [], []
    for index, raw in enumerate(payload.alerts):
        try:
            alerts.append((index, _incoming(_alert_decoder.decode(raw))))
        except BadAlert as error:
            rejected.append(Rejected(index, _text(raw), f"/alerts/{index}{error.pointer}", str(error)))
        except msgspec.ValidationError as error:
            rejected.append(Rejected(index, _text(raw), *_explain(error, f"/alerts/{index}")))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            rejected.append(Rejected(index, _text(raw), f"/alerts/{index}", f"unreadable: {error}"))
    return Batch(alerts, rejected, _bounded(payload.truncatedAlerts))


def _incoming(item: _Alert) -> IncomingAlert:
    return incoming_alert(
        firing=item.status == "firing",
        labels=item.labels,
        annotations=item.annotations or {},
        starts_at=item.startsAt,
        ends_at=item.endsAt,
        generator_url=item.generatorURL or "",
    )


def _bounded(count: int) -> int:
    return min(max(count, 0), 2**31 - 1)


def _raw(item: _Alert) -> str:
    return msgspec.json.encode(item).decode()


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode("utf-8", "backslashreplace")


def _explain(error: msgspec.ValidationError, base: str) -> tuple[str, str]:
    """msgspec's "Expected `str`, got `int` - at `$.labels[...]`" as a JSON pointer and a message."""
    message, _, path = str(error).partition(" - at `")
    path = path.rstrip("`").lstrip("$").replace("[...]", "")
    pointer = base + re.sub(r"\[(\d+)\]|\.", lambda m: f"/{m[1]}" if m[1] else "/", path)
    missing = re.search(r"missing required field `(\w+)`", message)
    return (f"{pointer}/{missing[1]}", "missing") if missing else (pointer, message.replace("`", ""))
