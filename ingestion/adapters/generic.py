"""The console's own JSON, plain or in CloudEvents 1.0 (pure). docs/webhooks.md describes both for senders.

An episode is (labels, startsAt), as everywhere; or the sender names it with an `id` (or `dedupKey`), which then alone
is the identity, within the receiver. CloudEvents are read in structured, batch and binary mode (the HTTP protocol
binding, https://github.com/cloudevents/spec): the data is an alert, source and id name it where it does not itself.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import unquote

import msgspec

from ingestion.adapters.batch import Batch, Content, PayloadError, decode_body, encode, is_list, read_one_by_one, within
from ingestion.normalise import EARLIEST, BadAlert, NotAllowed, Terms, incoming_alert
from storms.incoming import IncomingAlert

CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"
MEDIA_TYPES = ("application/json", CLOUD_EVENT, CLOUD_EVENTS)

_Time = Annotated[datetime, msgspec.Meta(tz=True)] | None


class _Alert(
    msgspec.Struct,
    rename={"starts_at": "startsAt", "ends_at": "endsAt", "generator_url": "generatorURL", "dedup_key": "dedupKey"},
):
    status: Literal["firing", "resolved"] = "firing"
    id: str | int | None = None
    dedup_key: str | int | None = None
    name: str | None = None
    severity: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    summary: str | None = None
    description: str | None = None
    annotations: dict[str, str] | None = None
    starts_at: _Time = None
    ends_at: _Time = None
    generator_url: str | None = None


class _CloudEvent(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    time: _Time = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


class _Alerts(msgspec.Struct):
    """{"alerts": [...]}; or one alert, which has no such field."""

    alerts: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


class _Version(msgspec.Struct):
    specversion: msgspec.Raw = msgspec.Raw()


_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_alerts_decoder = msgspec.json.Decoder(_Alerts)
_alert_decoder = msgspec.json.Decoder(_Alert)
_event_decoder = msgspec.json.Decoder(_CloudEvent)
_version_decoder = msgspec.json.Decoder(_Version)

_HEADERS = ("specversion", "id", "source", "type", "time")
# label or annotation: the field that is its shorthand
_LABELS = {"alertname": "name", "severity": "severity", "namespace": "namespace"}
_ANNOTATIONS = {"summary": "summary", "description": "description"}


def parse(content: Content, terms: Terms) -> Batch:
    """Read a webhook's body.

    Raises: PayloadError if nothing in it can be used as an alert's place.
    """
    is_event = content.media_type != "application/json"
    if not is_event and "ce-specversion" in content.headers:
        return _parse_binary(content, terms)

    def read(raw: msgspec.Raw) -> IncomingAlert:
        # Some senders post events as plain JSON; an alert has no specversion.
        if is_event or _has_version(raw):
            return _from_event(_event_decoder.decode(raw), content, terms)
        return _from_alert(_alert_decoder.decode(raw), content, terms)

    places = list(_places(content))
    if not places:
        raise PayloadError("", "no alerts")
    return read_one_by_one(places, read)


def _places(content: Content) -> Iterator[tuple[str, msgspec.Raw]]:
    if is_list(content.body):
        items, base = decode_body(_array_decoder, content.body), ""
    elif content.media_type == CLOUD_EVENTS:
        raise PayloadError("", f"{CLOUD_EVENTS} is a list of events")
    else:
        found = decode_body(_alerts_decoder, content.body).alerts
        if found is msgspec.UNSET:
            yield "", msgspec.Raw(content.body)
            return
        items, base = found, "/alerts"
    for index, raw in enumerate(items):
        yield f"{base}/{index}", raw


def _has_version(raw: msgspec.Raw) -> bool:
    try:
        return bool(bytes(_version_decoder.decode(raw).specversion))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _parse_binary(content: Content, terms: Terms) -> Batch:
    """The attributes are headers (percent-encoded), the body is the data: one alert."""
    attributes = {name: unquote(content.headers[f"ce-{name}"]) for name in _HEADERS if f"ce-{name}" in content.headers}

    def read(raw: msgspec.Raw) -> IncomingAlert:
        try:
            event = msgspec.convert(attributes, _CloudEvent, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise BadAlert("", f"the event's headers (ce-...): {error}".replace("`", "")) from error
        event.data = raw
        return _from_event(event, content, terms, base="")

    decode_body(msgspec.json.Decoder(msgspec.Raw), content.body)
    return read_one_by_one([("", msgspec.Raw(content.body))], read)


def _from_event(event: _CloudEvent, content: Content, terms: Terms, base: str = "/data") -> IncomingAlert:
    for name in ("id", "source", "type"):
        if not getattr(event, name):
            raise BadAlert(f"/{name}" if base else "", f"empty {name}")
    if not event.specversion.startswith("1."):
        raise BadAlert("/specversion" if base else "", f"CloudEvents {event.specversion!r}; 1.0 is read")
    data = _data(event)
    with within(base):
        alert = _alert_decoder.decode(data)
        own_key = _key(alert)
        if not own_key and alert.starts_at is None and alert.status == "resolved":
            raise BadAlert("/id", "missing: a resolution names its episode, by id or by startsAt")
        identified = bool(own_key) or alert.starts_at is None
        key = encode([event.source, own_key or event.id]) if identified else ""
        if alert.name is None and "alertname" not in (alert.labels or {}):
            alert.name = event.type
        alert.starts_at = _start(alert, event.time or content.received_at)
        context = {"cloudevent_source": event.source, "cloudevent_type": event.type, "cloudevent_id": event.id}
        return _incoming(alert, key, terms, context | _shown(own_key))


def _data(event: _CloudEvent) -> bytes:
    if event.data_base64 is not None:
        try:
            return base64.b64decode(event.data_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadAlert("/data_base64", f"not base64: {error}") from error
    if not bytes(event.data):
        raise BadAlert("/data", "missing: it is the alert")
    return bytes(event.data)


def _from_alert(alert: _Alert, content: Content, terms: Terms) -> IncomingAlert:
    key = _key(alert)
    if alert.starts_at is None:
        if not key:
            raise BadAlert("/startsAt", "missing: the episode needs a startsAt, or an id of its own")
        alert.starts_at = _start(alert, content.received_at)
    return _incoming(alert, key, terms, _shown(key))


def _start(alert: _Alert, known: datetime) -> datetime:
    """Of an episode with a key this is only data; it has not begun after its end."""
    if alert.starts_at is not None:
        return alert.starts_at
    if alert.status == "resolved" and alert.ends_at is not None and EARLIEST <= alert.ends_at < known:
        return alert.ends_at
    return known


def _key(alert: _Alert) -> str:
    if alert.id is not None and alert.dedup_key is not None and alert.id != alert.dedup_key:
        raise BadAlert("/dedupKey", "differs from id: both are names of the episode, give one")
    key = alert.id if alert.id is not None else alert.dedup_key
    if key == "":
        raise BadAlert("/id", "empty")
    return "" if key is None else str(key)


def _shown(key: str) -> dict[str, str]:
    """The sender's name of the episode, as an annotation: only its hash is in the identity."""
    return {"dedup_key": key} if key else {}


def _incoming(alert: _Alert, key: str, terms: Terms, context: Mapping[str, str]) -> IncomingAlert:
    assert alert.starts_at is not None
    labels = _with_shorthands(alert, "labels", alert.labels, _LABELS)
    annotations = _with_shorthands(alert, "annotations", alert.annotations, _ANNOTATIONS)
    try:
        return incoming_alert(
            firing=alert.status == "firing",
            labels=labels,
            annotations={**context, **annotations},
            starts_at=alert.starts_at,
            ends_at=alert.ends_at,
            generator_url=alert.generator_url or "",
            key=key,
            terms=terms,
        )
    except NotAllowed as error:
        if alert.namespace:
            error.pointer = "/namespace"
        raise


def _with_shorthands(
    alert: _Alert, field: str, given: dict[str, str] | None, shorthands: Mapping[str, str]
) -> dict[str, str]:
    values = dict(given or {})
    for name, shorthand in shorthands.items():
        value = getattr(alert, shorthand)
        if value and values.setdefault(name, value) != value:
            raise BadAlert(f"/{shorthand}", f"differs from {field}.{name}: give one of the two")
    return values
