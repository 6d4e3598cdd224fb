"""What each adapter makes of its source's payloads (files in `tests/payloads/`), and of anything else.

`<name>.json` is a body, `<name>.expected.json` what is read from it, `<name>.request.json` the media type and headers
where they matter. Ids and fingerprints stand there too: were they to change, every firing alert would come anew.
"""

import json
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.adapters import alertmanager, generic, kubernetes_event
from ingestion.adapters.batch import Batch, Content, PayloadError
from ingestion.ingest import PARSERS
from ingestion.normalise import Terms
from tests.harness.examples import examples

PAYLOADS = Path(__file__).parent.parent / "payloads"
RECEIVED_AT = datetime(2026, 11, 16, 10, 40, 0, 5, tzinfo=UTC)
TERMS = Terms(scope="1")
FILES = sorted(path for path in PAYLOADS.glob("*/*.json") if path.name.count(".") == 1)


def content(body: Any, media_type: str = "application/json", headers: dict[str, str] | None = None) -> Content:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Content(raw, media_type, RECEIVED_AT, headers or {})


def shown(batch: Batch) -> dict[str, Any]:
    alerts = [{"index": index} | asdict(alert) for index, alert in batch.alerts]
    for alert in alerts:
        # Not the adapters': the tables decide it.
        alert.pop("severity", None)
    rejected = [{"index": item.index, "pointer": item.pointer, "error": item.error} for item in batch.rejected]
    body = {"truncatedAlerts": batch.truncated_alerts, "alerts": alerts, "rejected": rejected}
    return json.loads(msgspec.json.encode(body))


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_it_reads_a_source_s_payload(path: Path) -> None:
    request = path.with_suffix(".request.json")
    options = json.loads(request.read_text()) if request.exists() else {}
    posted = content(path.read_bytes(), options.get("mediaType", "application/json"), options.get("headers"))

    batch = PARSERS[path.parent.name](posted, TERMS)

    assert shown(batch) == json.loads(path.with_suffix(".expected.json").read_text())


def test_every_kind_has_payloads() -> None:
    assert {path.parent.name for path in FILES} == set(PARSERS)


@pytest.mark.parametrize("name", ["backoff", "scheduler"])
def test_an_event_is_the_same_episode_through_both_apis_however_often_it_repeats(name: str) -> None:
    [[_, core]], [[_, events]] = (
        kubernetes_event.parse(content((PAYLOADS / f"kubernetes-event/{api}-{name}.json").read_bytes()), TERMS).alerts
        for api in ("core", "events-v1")
    )

    assert core.id == events.id
    assert core.annotations["count"] != events.annotations["count"]


def test_an_id_is_the_identity_whatever_else_changes() -> None:
    bodies = [
        {"id": "7", "name": "a", "startsAt": "2026-11-16T10:00:00Z"},
        {"id": 7, "name": "b", "severity": "critical"},
        {"dedupKey": "7", "labels": {"x": "y"}, "status": "resolved"},
    ]

    alerts = [alert for _, alert in generic.parse(content(bodies), TERMS).alerts]

    assert len({alert.id for alert in alerts}) == len({alert.fingerprint for alert in alerts}) == 1


def test_ids_of_two_receivers_are_two_episodes() -> None:
    ids = {generic.parse(content({"id": "7", "name": "a"}), Terms(scope=scope)).alerts[0][1].id for scope in "12"}

    assert len(ids) == 2


def test_ids_of_two_cloud_event_sources_are_two_episodes() -> None:
    events = [
        {"specversion": "1.0", "id": "1", "source": source, "type": "t", "data": {"name": "a"}} for source in "ab"
    ]

    assert len({alert.id for _, alert in generic.parse(content(events, generic.CLOUD_EVENTS), TERMS).alerts}) == 2


def test_static_labels_win_and_are_part_of_the_identity() -> None:
    body = {"name": "a", "labels": {"cluster": "mine"}, "startsAt": "2026-11-16T10:00:00Z"}

    [[_, plain]] = generic.parse(content(body), TERMS).alerts
    [[_, labelled]] = generic.parse(content(body), Terms("1", {"cluster": "prod-eu"})).alerts

    assert labelled.labels == {"alertname": "a", "cluster": "prod-eu"}
    assert labelled.fingerprint != plain.fingerprint
    assert labelled.id != plain.id


AT = "2026-11-16T10:00:00Z"
NOT_ALLOWED = {
    "alertmanager": (
        {"alerts": [{"status": "firing", "labels": {"a": "b"}, "startsAt": AT}]},
        "/alerts/0/labels/namespace",
    ),
    "kubernetes-event": (
        {"verb": "ADDED", "event": {"reason": "a", "involvedObject": {"namespace": "shop"}, "eventTime": AT}},
        "/event/involvedObject/namespace",
    ),
    "generic": ([{"id": "1", "name": "a", "namespace": "shop"}], "/0/namespace"),
}


@pytest.mark.parametrize("kind", NOT_ALLOWED)
def test_an_alert_of_a_namespace_that_is_not_allowed_is_set_aside(kind: str) -> None:
    body, pointer = NOT_ALLOWED[kind]

    batch = PARSERS[kind](content(body), Terms("1", {}, frozenset({"payments", "batch"})))

    [rejected] = batch.rejected
    assert rejected.pointer == pointer
    assert rejected.error.endswith("this receiver may send only for batch, payments")
    assert batch.readable


BAD_BODIES = {
    "no JSON": (b"{", ""),
    "no UTF-8": (b'["\xff', ""),
    "empty": (b"", ""),
    "deep nesting": (b"[" * 100_000, ""),
    "deep nesting in an object": (b'{"alerts":' + b"[" * 100_000, ""),
    "a number": (b"7", ""),
    "an empty list": (b" []", ""),
}
BAD_OF_KIND = {
    "alertmanager": {"no alerts": ({"alerts": []}, "/alerts"), "alerts of null": ({"alerts": None}, "/alerts")},
    "kubernetes-event": {
        "no items": ({"kind": "EventList", "items": []}, ""),
        "items of null": ({"kind": "EventList", "items": None}, ""),
        "items of a wrong type": ({"items": "many"}, "/items"),
    },
    "generic": {
        "no alerts": ({"alerts": []}, ""),
        "alerts of null": ({"alerts": None}, "/alerts"),
    },
}
CASES = [
    pytest.param(kind, body, pointer, id=f"{kind}-{name}")
    for kind in PARSERS
    for name, (body, pointer) in (BAD_BODIES | BAD_OF_KIND[kind]).items()
]


@pytest.mark.parametrize(("kind", "body", "pointer"), CASES)
def test_it_refuses_a_body_that_holds_no_alert(kind: str, body: Any, pointer: str) -> None:
    with pytest.raises(PayloadError) as refused:
        PARSERS[kind](content(body), TERMS)

    assert refused.value.pointer == pointer
    assert str(refused.value)


EVENT = {"reason": "BackOff", "involvedObject": {"kind": "Pod", "name": "a"}, "firstTimestamp": AT}
ALERT = {"name": "a", "startsAt": AT}
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": {"name": "a"}}
ZERO = "0001-01-01T00:00:00+05:00"
LONG = "a" * 5000
BAD_ITEMS = {
    "event without a reason": ("kubernetes-event", {**EVENT, "reason": ""}, "/reason"),
    "event about nothing": ("kubernetes-event", {**EVENT, "involvedObject": None}, "/involvedObject"),
    "event of a wrong time": ("kubernetes-event", {**EVENT, "firstTimestamp": "today"}, "/firstTimestamp"),
    "event of a time without a zone": ("kubernetes-event", {**EVENT, "eventTime": "2026-11-16T10:00:00"}, "/eventTime"),
    "event of the zero time": ("kubernetes-event", {**EVENT, "firstTimestamp": ZERO}, "/firstTimestamp"),
    "event with a NUL": ("kubernetes-event", {**EVENT, "reason": "a\x00"}, ""),
    "event with a long name": ("kubernetes-event", {**EVENT, "involvedObject": {"kind": "Pod", "name": LONG}}, ""),
    "event of a wrong count": ("kubernetes-event", {**EVENT, "count": "many"}, "/count"),
    "alert of no time and no id": ("generic", {"name": "a"}, "/startsAt"),
    "alert of nothing": ("generic", {}, "/startsAt"),
    "alert of an id alone": ("generic", {"id": "1"}, "/labels"),
    "alert of a long id": ("generic", {**ALERT, "id": "a" * 2000}, "/id"),
    "alert of two summaries": ("generic", {**ALERT, "summary": "a", "annotations": {"summary": "b"}}, "/summary"),
    "alert of a wrong label": ("generic", {**ALERT, "labels": {"a": 1}}, "/labels"),
    "alert of the zero time": ("generic", {**ALERT, "startsAt": "0001-01-01T00:00:00Z"}, "/startsAt"),
    "CloudEvent without an id": ("generic", {**CLOUD_EVENT, "id": None}, "/id"),
    "CloudEvent of a wrong time": ("generic", {**CLOUD_EVENT, "time": "today"}, "/time"),
    "CloudEvent whose data is text": ("generic", {**CLOUD_EVENT, "data": "down"}, "/data"),
    "CloudEvent whose data is bad": ("generic", {**CLOUD_EVENT, "data": {"labels": {"a": "\x00"}}}, "/data/labels/a"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "item", "pointer"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_a_bad_item_is_set_aside_and_its_neighbour_is_not(kind: str, item: Any, pointer: str) -> None:
    good = EVENT if kind == "kubernetes-event" else ALERT

    batch = PARSERS[kind](content([item, good]), TERMS)

    assert [index for index, _ in batch.alerts] == [1]
    [rejected] = batch.rejected
    assert (rejected.index, rejected.pointer, rejected.readable) == (0, f"/0{pointer}", False)
    assert json.loads(rejected.raw) == item


HEADERS = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t"}


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({name: value for name, value in HEADERS.items() if name != "ce-type"}, "missing required field type"),
        (HEADERS | {"ce-time": "now"}, "Invalid RFC3339"),
        (HEADERS | {"ce-specversion": "0.3"}, "'0.3'"),
        (HEADERS | {"ce-id": ""}, "empty id"),
    ],
)
def test_bad_headers_of_a_binary_cloud_event_are_named(headers: dict[str, str], error: str) -> None:
    [rejected] = generic.parse(content({"name": "a"}, headers=headers), TERMS).rejected

    assert rejected.pointer == ""
    assert error in rejected.error


def test_a_batch_of_cloud_events_is_a_list() -> None:
    with pytest.raises(PayloadError):
        generic.parse(content(CLOUD_EVENT, generic.CLOUD_EVENTS), TERMS)


times = st.datetimes().map(lambda at: f"{at.isoformat()}Z")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | times,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
KEYS = {
    "alertmanager": ["status", "labels", "annotations", "startsAt", "endsAt", "generatorURL"],
    "kubernetes-event": [
        "reason", "type", "metadata", "involvedObject", "regarding", "message", "source", "firstTimestamp", "eventTime",
        "series", "count", "event", "object", "items", "kind", "name", "namespace",
    ],
    "generic": [
        "id", "name", "labels", "annotations", "startsAt", "status", "severity", "alerts", "specversion", "source",
        "type", "data", "data_base64", "time",
    ],
}  # fmt: skip
LIKELY = ["firing", "resolved", "1.0", "Warning", AT, ZERO, "9999-12-31T23:59:59-12:00"]


def likely(kind: str) -> st.SearchStrategy[Any]:
    """JSON with the format's own keys, so that more than the first check is reached."""
    return st.recursive(
        st.sampled_from(LIKELY) | anything,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS[kind]), inner, max_size=8),
        max_leaves=20,
    )


JSON = "application/json"
FORMATS = [("alertmanager", JSON), ("kubernetes-event", JSON), *(("generic", name) for name in generic.MEDIA_TYPES)]


@pytest.mark.parametrize(("kind", "media_type"), FORMATS)
def test_any_json_is_read_or_refused(kind: str, media_type: str) -> None:
    @settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        likely(kind) if kind != "alertmanager" else st.fixed_dictionaries({"alerts": st.lists(likely(kind))}) | anything
    )
    def check(body: Any) -> None:
        try:
            batch = PARSERS[kind](content(body, media_type), TERMS)
        except PayloadError:
            return
        places = sorted([index for index, _ in batch.alerts] + [item.index for item in batch.rejected])
        assert places == list(range(len(places)))
        assert places
        assert all(alert.starts_at.tzinfo is UTC for _, alert in batch.alerts)

    check()


@pytest.mark.parametrize("parse", [alertmanager.parse, kubernetes_event.parse, generic.parse])
@settings(max_examples=examples(200), deadline=None)
@given(body=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(parse: Any, body: bytes) -> None:
    with suppress(PayloadError):
        parse(content(body), TERMS)
