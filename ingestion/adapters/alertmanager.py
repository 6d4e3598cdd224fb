"""Alertmanager's webhook payload, version 4, and Grafana's, which has the same shape (pure).

Fields come and go between versions (`notification_reason` in 0.32, `routeLabels` in 0.34; Grafana adds `orgId`,
`values`, `valueString`, `silenceURL` and more), so only what is needed is read.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from ingestion.adapters.batch import (
    UNREADABLE,
    Batch,
    Content,
    PayloadError,
    decode_body,
    encode,
    read_one_by_one,
    set_aside,
)
from ingestion.normalise import BadAlert, Terms, incoming_alert
from storms.incoming import IncomingAlert


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


def parse(content: Content, terms: Terms) -> Batch:
    """Read a webhook's body.

    Raises: PayloadError if nothing in it can be used as an alert's place.
    """
    try:
        payload = _payload_decoder.decode(content.body)
    except UNREADABLE:
        return _parse_one_by_one(content.body, terms)
    if not payload.alerts:
        raise PayloadError("/alerts", "no alerts")
    alerts, rejected = [], []
    for index, item in enumerate(payload.alerts):
        try:
            alerts.append((index, _incoming(item, terms)))
        except BadAlert as error:
            base = f"/alerts/{index}"
            error.pointer = base + error.pointer
            rejected.append(set_aside(index, encode(item), error, base))
    return Batch(alerts, rejected, _bounded(payload.truncatedAlerts))


def _parse_one_by_one(body: bytes, terms: Terms) -> Batch:
    payload = decode_body(_raw_payload_decoder, body)
    if not payload.alerts:
        raise PayloadError("/alerts", "no alerts")
    return read_one_by_one(
        ((f"/alerts/{index}", raw) for index, raw in enumerate(payload.alerts)),
        lambda raw: _incoming(_alert_decoder.decode(raw), terms),
        _bounded(payload.truncatedAlerts),
    )


def _incoming(item: _Alert, terms: Terms) -> IncomingAlert:
    return incoming_alert(
        firing=item.status == "firing",
        labels=item.labels,
        annotations=item.annotations or {},
        starts_at=item.startsAt,
        ends_at=item.endsAt,
        generator_url=item.generatorURL or "",
        terms=terms,
    )


def _bounded(count: int) -> int:
    return min(max(count, 0), 2**31 - 1)
