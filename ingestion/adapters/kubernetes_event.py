"""Kubernetes events (pure): core/v1 and events.k8s.io/v1, one, a list, or as the exporters wrap them.

Both APIs show the same objects under different names (the API server converts them: `involvedObject` and `regarding`,
`message` and `note`, `firstTimestamp` and `deprecatedFirstTimestamp`), so an event that comes in both ways is one
alert. The newer recorder, which the scheduler uses, leaves the old times null and fills in `eventTime` and `series`.

An event says that something happened, never that it is over: every alert made here fires. A repeated event raises its
count and keeps its first time, so it is one episode: the object's uid, the reason and the first time make its identity.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec

from ingestion.adapters.batch import Batch, Content, PayloadError, decode_body, is_list, read_one_by_one
from ingestion.normalise import EARLIEST, RESOURCE_LABELS, BadAlert, NotAllowed, Terms, incoming_alert
from storms.incoming import IncomingAlert

_Time: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)] | None
_Text: TypeAlias = str | None
_CONTAINER_PATHS = ("spec.containers{", "spec.initContainers{", "spec.ephemeralContainers{")


class _Reference(msgspec.Struct, rename="camel"):
    kind: _Text = None
    namespace: _Text = None
    name: _Text = None
    uid: _Text = None
    field_path: _Text = None


class _Source(msgspec.Struct):
    component: _Text = None
    host: _Text = None


class _Series(msgspec.Struct, rename="camel"):
    count: int | None = None
    last_observed_time: _Time = None


class _Metadata(msgspec.Struct, rename="camel"):
    creation_timestamp: _Time = None


class _Event(msgspec.Struct, rename="camel"):
    """Both APIs' fields; `clusterName` is kubernetes-event-exporter's."""

    reason: str
    metadata: _Metadata | None = None
    type: _Text = None
    action: _Text = None
    involved_object: _Reference | None = None
    regarding: _Reference | None = None
    message: _Text = None
    note: _Text = None
    source: _Source | None = None
    deprecated_source: _Source | None = None
    reporting_component: _Text = None
    reporting_controller: _Text = None
    reporting_instance: _Text = None
    event_time: _Time = None
    first_timestamp: _Time = None
    deprecated_first_timestamp: _Time = None
    last_timestamp: _Time = None
    deprecated_last_timestamp: _Time = None
    count: int | None = None
    deprecated_count: int | None = None
    series: _Series | None = None
    cluster_name: _Text = None


class _List(msgspec.Struct):
    """An EventList; or one event, which has no items."""

    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


class _Wrapper(msgspec.Struct):
    """eventrouter's {verb, event, old_event} and the watch API's {type, object}."""

    event: msgspec.Raw = msgspec.Raw()
    object: msgspec.Raw = msgspec.Raw()


_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_list_decoder = msgspec.json.Decoder(_List)
_wrapper_decoder = msgspec.json.Decoder(_Wrapper)
_event_decoder = msgspec.json.Decoder(_Event)


def parse(content: Content, terms: Terms) -> Batch:
    """Read a webhook's body.

    Raises: PayloadError if nothing in it can be used as an event's place.
    """
    places = list(_places(content.body))
    if not places:
        raise PayloadError("", "no events")
    return read_one_by_one(places, lambda raw: _incoming(_event_decoder.decode(raw), terms))


def _places(body: bytes) -> Iterator[tuple[str, msgspec.Raw]]:
    if is_list(body):
        items, base = decode_body(_array_decoder, body), ""
    else:
        found = decode_body(_list_decoder, body).items
        if found is msgspec.UNSET:
            yield _unwrap("", msgspec.Raw(body))
            return
        items, base = found or [], "/items"
    for index, raw in enumerate(items):
        yield _unwrap(f"{base}/{index}", raw)


def _unwrap(base: str, raw: msgspec.Raw) -> tuple[str, msgspec.Raw]:
    try:
        wrapper = _wrapper_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return base, raw  # Whoever reads it as an event says what is wrong.
    for name, inner in (("event", wrapper.event), ("object", wrapper.object)):
        if bytes(inner):
            return f"{base}/{name}", inner
    return base, raw


def _incoming(event: _Event, terms: Terms) -> IncomingAlert:
    about = event.involved_object or event.regarding
    if about is None:
        raise BadAlert("/involvedObject", "missing (`regarding` in events.k8s.io/v1)")
    if not event.reason:
        raise BadAlert("/reason", "empty")
    started = _first_time(event)
    try:
        return incoming_alert(
            firing=True,
            labels=_labels(event, about),
            annotations=_annotations(event),
            starts_at=started,
            ends_at=None,
            generator_url="",
            resource=(about.kind, about.name) if about.kind and about.name else None,
            terms=terms,
        )
    except NotAllowed as error:
        raise NotAllowed("/involvedObject/namespace" if event.involved_object else "/regarding/namespace", str(error))
    except BadAlert as error:
        # The pointer leads into the alert that was made of the event, not into the event.
        raise BadAlert("", f"{error.pointer.lstrip('/')}: {error}".removeprefix(": ")) from error


def _labels(event: _Event, about: _Reference) -> dict[str, str]:
    """The labels that an alert on the same object would have, as kube-state-metrics names them."""
    source = event.source or event.deprecated_source or _Source()
    kind, name = about.kind or "", about.name or ""
    labels = {
        "alertname": event.reason,
        "severity": "info" if event.type == "Normal" else "warning",
        "event_type": event.type or "Warning",
        "reporting_component": event.reporting_component or event.reporting_controller or source.component or "",
        "namespace": about.namespace or (name if kind == "Namespace" else ""),
        "cluster": event.cluster_name or "",
        "node": source.host or "",
        "container": _container(about.field_path or ""),
        "uid": about.uid or "",
    }
    if kind in RESOURCE_LABELS:
        labels[RESOURCE_LABELS[kind]] = name
    else:
        labels |= {"kind": kind, "name": name}
    return {label: value for label, value in labels.items() if value}


def _container(field_path: str) -> str:
    """`web` of `spec.containers{web}`."""
    return field_path.partition("{")[2].rstrip("}") if field_path.startswith(_CONTAINER_PATHS) else ""


def _annotations(event: _Event) -> dict[str, str]:
    series = event.series or _Series()
    last = series.last_observed_time or event.last_timestamp or event.deprecated_last_timestamp
    count = series.count or event.count or event.deprecated_count
    annotations = {
        "summary": event.message or event.note or "",
        "count": str(count) if count else "",
        "last_seen": last.isoformat().replace("+00:00", "Z") if last else "",
        "action": event.action or "",
        "reporting_instance": event.reporting_instance or "",
    }
    return {name: value for name, value in annotations.items() if value}


def _first_time(event: _Event) -> datetime:
    """The first time of the series. Go's zero time stands for none."""
    created = event.metadata.creation_timestamp if event.metadata else None
    for time in (event.first_timestamp, event.deprecated_first_timestamp, event.event_time, created):
        if time is not None and time >= EARLIEST:
            return time
    raise BadAlert("/firstTimestamp", "no time: firstTimestamp, eventTime and metadata.creationTimestamp are all empty")
