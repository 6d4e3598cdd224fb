"""What the property tests and the fuzzer share: hostile payloads, and what every adapter promises about any of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from ingestion.adapters import generic
from ingestion.adapters.batch import Content, PayloadError
from ingestion.ingest import PARSERS
from ingestion.normalise import EARLIEST, LATEST, MAX_COLUMN, MAX_KIND, Terms

RECEIVED_AT = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
TERMS = (Terms(), Terms("7", {"cluster": "prod"}, frozenset({"payments", "demo"})))
MEDIA_TYPES = {kind: generic.MEDIA_TYPES if kind == "generic" else ("application/json",) for kind in PARSERS}


def check(kind: str, content: Content, terms: Terms) -> None:
    """Read a body: it is refused as a whole, or each item is an alert that can be stored or a rejection."""
    try:
        batch = PARSERS[kind](content, terms)
    except PayloadError as error:
        _storable(str(error), error.pointer)
        return
    places = [index for index, _ in batch.alerts] + [item.index for item in batch.rejected]
    assert sorted(places) == list(range(len(places))), "an item was lost or counted twice"
    assert places
    assert 0 <= batch.truncated_alerts < 2**31
    for _, alert in batch.alerts:
        assert len(alert.fingerprint) == 64
        assert EARLIEST <= alert.starts_at <= LATEST
        assert alert.ends_at is None or alert.starts_at <= alert.ends_at <= LATEST
        assert max(len(alert.alertname), len(alert.namespace), len(alert.resource_name)) <= MAX_COLUMN
        assert len(alert.resource_kind) <= MAX_KIND
        assert terms.static_labels.items() <= alert.labels.items()
        assert not terms.allowed_namespaces or alert.labels["namespace"] in terms.allowed_namespaces
        _storable(alert.alertname, alert.namespace, alert.resource_kind, alert.resource_name, alert.generator_url)
        _storable(*alert.labels, *alert.labels.values(), *alert.annotations, *alert.annotations.values())
    for item in batch.rejected:
        assert item.error
        assert item.pointer == "" or item.pointer.startswith("/")
        _storable(item.raw, item.pointer, item.error)


def _storable(*texts: str) -> None:
    """PostgreSQL takes UTF-8 without NUL, and so does the answer."""
    for text in texts:
        assert "\x00" not in text
        msgspec.json.encode(text)


# --- payloads that look like alerts, with something wrong somewhere

WORDS = st.sampled_from(
    ["firing", "resolved", "demo", "payments", "critical", "Pod", "1.0", "Warning", "Normal", "ADDED"]
)
TEXTS = st.one_of(
    WORDS, st.text(max_size=20), st.sampled_from(["", "\x00", "\ud800", "\u202e", "x" * 5000, "%00", "%ED%A0%80"])
)
TIMES = st.sampled_from(
    [
        "2026-11-25T10:00:00Z", "2026-11-25T12:00:00.123456789+02:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
        "1969-12-31T23:59:59Z", "2026-11-25T10:00:00", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-23:59", None, "", 0,
    ]
)  # fmt: skip
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([10**30, -(10**300), 2**63, 1e308, True, None]))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(TEXTS, NUMBERS, TIMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
LABELS = st.dictionaries(
    st.sampled_from(["alertname", "namespace", "severity", "pod", "node", "instance"]) | TEXTS, TEXTS, max_size=5
)


def _shaped(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of the fields; now and then a field is something else."""
    return st.fixed_dictionaries(
        {}, optional={name: st.one_of(good, good, good, JSON) for name, good in fields.items()}
    )


ALERT = _shaped(
    {
        "status": WORDS, "labels": LABELS, "annotations": LABELS, "startsAt": TIMES, "endsAt": TIMES,
        "generatorURL": TEXTS, "id": TEXTS | NUMBERS, "dedupKey": TEXTS | NUMBERS, "name": TEXTS, "severity": TEXTS,
        "namespace": TEXTS, "summary": TEXTS, "description": TEXTS,
    }
)  # fmt: skip
OBJECT = _shaped(
    {"kind": TEXTS, "namespace": TEXTS, "name": TEXTS, "uid": TEXTS, "apiVersion": TEXTS, "fieldPath": TEXTS}
)
EVENT = _shaped(
    {
        "metadata": OBJECT, "involvedObject": OBJECT, "regarding": OBJECT, "reason": TEXTS, "message": TEXTS,
        "note": TEXTS, "type": WORDS, "count": NUMBERS, "firstTimestamp": TIMES, "lastTimestamp": TIMES,
        "eventTime": TIMES, "series": _shaped({"count": NUMBERS, "lastObservedTime": TIMES}), "source": OBJECT,
    }
)  # fmt: skip
CLOUD_EVENT = _shaped(
    {
        "specversion": st.just("1.0") | TEXTS, "id": TEXTS, "source": TEXTS, "type": TEXTS, "time": TIMES,
        "data": ALERT, "data_base64": TEXTS,
    }
)  # fmt: skip
ITEMS = {
    "alertmanager": ALERT,
    "generic": ALERT | CLOUD_EVENT,
    "kubernetes-event": EVENT | _shaped({"verb": WORDS, "event": EVENT, "old_event": EVENT}),
}


def bodies(kind: str) -> st.SearchStrategy[bytes]:
    item = ITEMS[kind] | JSON
    many = st.lists(item, max_size=3)
    whole = st.one_of(
        _shaped({"alerts": many, "truncatedAlerts": NUMBERS, "items": many, "kind": TEXTS}), item, many, JSON
    )
    return st.one_of(
        whole.map(_encode), whole.map(_encode), st.tuples(whole.map(_encode), MUTATIONS).map(_mutated), st.binary()
    )


MUTATIONS = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=3)


def _mutated(given: tuple[bytes, list[tuple[int, bytes]]]) -> bytes:
    body, changes = given
    for place, piece in changes:
        body = body[:place] + piece + body[place + len(piece) :]
    return body


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode()


HEADERS = st.dictionaries(
    st.sampled_from(["specversion", "id", "source", "type", "time"]).map("ce-{}".format), TEXTS, max_size=5
)


def contents(kind: str) -> st.SearchStrategy[Content]:
    headers = HEADERS if kind == "generic" else st.just({})
    return st.builds(Content, bodies(kind), st.sampled_from(MEDIA_TYPES[kind]), st.just(RECEIVED_AT), headers)
