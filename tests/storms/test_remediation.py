"""The builders: whatever an alert says, the result is a small, valid, deterministic RemediationRequest."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storms.cluster import schema
from storms.cluster.yaml_json import yaml_json
from storms.remediation import (
    MAX_BYTES,
    AffectedResource,
    RequestFacts,
    build_alert_request,
    build_storm_request,
    environment_of,
    label_value,
    manifest_hash,
    priority_of,
    request_namespace,
    rfc3339,
    storm_fingerprint,
)
from tests.harness.examples import examples
from tests.storms.facts import PUBLIC_URL, affected, alert_facts, alert_manifest, storm_facts, storm_manifest

ALERT = UUID("0b0e7c9e-6f0f-4a7e-9d2b-2a54b1f0c001")
STORM = UUID("5c1d1a52-77b8-4f8e-8a39-0d3b6a6f0002")


def test_it_builds_a_request_for_an_alert() -> None:
    request = RequestFacts(f"alert-{ALERT}", "payments")
    assert build_alert_request(alert_facts(id=ALERT), request, public_url=PUBLIC_URL) == {
        "apiVersion": "stormconsole.io/v1alpha1",
        "kind": "RemediationRequest",
        "metadata": {
            "name": f"alert-{ALERT}",
            "namespace": "payments",
            "labels": {"app.kubernetes.io/managed-by": "stormconsole", "stormconsole.io/kind": "alert"},
            "annotations": {
                "stormconsole.io/console-url": f"https://console.example/alerts/{ALERT}/",
                "stormconsole.io/alert-status": "firing",
            },
        },
        "spec": {
            "signalFingerprint": "ab" * 32,
            "signalName": "PodCrashLooping",
            "severity": "critical",
            "environment": "production",
            "priority": "P0",
            "signalType": "prometheus-alert",
            "signalSource": "alertmanager",
            "targetType": "kubernetes",
            "targetResource": {"kind": "Pod", "name": "checkout-7d4b9", "namespace": "payments"},
            "firingTime": "2026-11-24T12:00:00Z",
            "receivedTime": "2026-11-24T12:00:02Z",
            "deduplication": {
                "firstSeen": "2026-11-24T12:00:02Z",
                "lastSeen": "2026-11-24T12:01:02Z",
                "occurrenceCount": 2,
            },
            "signalLabels": {"alertname": "PodCrashLooping", "environment": "production", "namespace": "payments"},
            "signalAnnotations": {"summary": "checkout-7d4b9 restarts"},
            "isStorm": False,
        },
    }


def test_it_builds_a_request_for_a_storm() -> None:
    facts = storm_facts(
        2,
        id=STORM,
        state="closed",
        closed_at=datetime(2026, 11, 24, 12, 9, tzinfo=UTC),
        close_reason="quiet",
        firing_count=1,
        resolved_count=1,
        affected=[affected(1, firing=False), affected(2)],
    )
    manifest = build_storm_request(facts, RequestFacts(f"storm-{STORM}", "payments"), public_url=PUBLIC_URL)
    spec = manifest["spec"]
    assert manifest["metadata"]["annotations"] == {
        "stormconsole.io/console-url": f"https://console.example/storms/{STORM}/"
    }
    assert spec["signalFingerprint"] == storm_fingerprint(STORM)
    assert spec["isStorm"] is True
    assert spec["storm"] == {
        "id": str(STORM),
        "state": "closed",
        "groupLabels": {"namespace": "payments"},
        "threshold": 10,
        "windowSeconds": 60,
        "openedAt": "2026-11-24T12:00:00Z",
        "closedAt": "2026-11-24T12:09:00Z",
        "closeReason": "quiet",
        "alertCount": 2,
        "firingCount": 1,
        "resolvedCount": 1,
        "alertNames": [{"name": "PodCrashLooping", "count": 2}],
        "severityCounts": {"critical": 2},
        "affectedResources": [
            {
                "namespace": "payments",
                "kind": "Pod",
                "name": "checkout-00002",
                "alertName": "PodCrashLooping",
                "firing": True,
            },
            {
                "namespace": "payments",
                "kind": "Pod",
                "name": "checkout-00001",
                "alertName": "PodCrashLooping",
                "firing": False,
            },
        ],
        "affectedResourcesTotal": 2,
        "truncated": False,
    }
    assert schema.violations(manifest) == []


def test_it_keeps_500_affected_resources_of_2000() -> None:
    manifest = storm_manifest(count=2000)
    storm = manifest["spec"]["storm"]
    assert (storm["alertCount"], len(storm["affectedResources"])) == (2000, 500)
    assert (storm["affectedResourcesTotal"], storm["truncated"]) == (2000, True)
    assert size(manifest) < MAX_BYTES


def test_it_says_which_request_supersedes_it() -> None:
    facts = alert_facts()
    request = RequestFacts(f"alert-{facts.id}", "payments", superseded_by=f"storm-{STORM}")
    manifest = build_alert_request(facts, request, public_url=PUBLIC_URL)
    assert manifest["spec"]["supersededBy"] == f"storm-{STORM}"
    assert schema.violations(manifest) == []


def test_it_marks_a_resolved_alert() -> None:
    annotations = alert_manifest(status="resolved")["metadata"]["annotations"]
    assert annotations["stormconsole.io/alert-status"] == "resolved"


def test_it_labels_the_namespace_that_the_alert_came_from() -> None:
    facts = alert_facts()
    request = RequestFacts(f"alert-{facts.id}", "stormconsole", origin_namespace="Not A Namespace!")
    labels = build_alert_request(facts, request, public_url=PUBLIC_URL)["metadata"]["labels"]
    assert labels["stormconsole.io/origin-namespace"] == "Not-A-Namespace"


def test_it_keeps_what_operators_decide_by_when_there_are_too_many_labels() -> None:
    labels = {f"a{number:03d}": "x" for number in range(200)} | {"severity": "critical", "pod": "checkout-1"}
    manifest = alert_manifest(labels=labels)
    kept = manifest["spec"]["signalLabels"]
    assert len(kept) == 100
    assert {"severity", "pod"} <= kept.keys()
    assert manifest["metadata"]["annotations"]["stormconsole.io/truncated"] == "true"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("payments", ("payments", "")),
        ("", ("stormconsole", "")),
        ("Payments", ("stormconsole", "Payments")),
        ("a" * 63, ("a" * 63, "")),
        ("a" * 64, ("stormconsole", "a" * 64)),
        ("-a", ("stormconsole", "-a")),
        ("pay.ments", ("stormconsole", "pay.ments")),
        ("payments\n", ("stormconsole", "payments\n")),
    ],
)
def test_it_chooses_a_namespace_that_can_exist(label: str, expected: tuple[str, str]) -> None:
    assert request_namespace(label, "stormconsole") == expected


@pytest.mark.parametrize(
    ("severity", "environment", "priority"),
    [
        ("critical", "production", "P0"),
        ("critical", "prod", "P0"),
        ("critical", "staging", "P1"),
        ("warning", "production", "P2"),
        ("info", "production", "P3"),
    ],
)
def test_it_ranks_by_severity_and_environment(severity: str, environment: str, priority: str) -> None:
    assert priority_of(severity, environment) == priority


def test_it_finds_the_environment_in_either_label() -> None:
    assert environment_of({"environment": " Production "}) == "production"
    assert environment_of({"env": "staging"}) == "staging"
    assert environment_of({"env": "  "}) == "unknown"
    assert environment_of({}) == "unknown"


def test_it_takes_the_environment_of_a_storm_from_its_group() -> None:
    assert storm_manifest(labels={}, group_labels={"env": "staging"})["spec"]["environment"] == "staging"


def test_it_writes_times_in_utc() -> None:
    assert rfc3339(datetime(2026, 1, 1, 1, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))) == (
        "2025-12-31T23:30:00Z"
    )
    assert rfc3339(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "0001-01-01T00:00:00Z"


def test_its_hash_tells_what_changed() -> None:
    facts = alert_facts()
    request = RequestFacts("alert-x", "payments")
    first = build_alert_request(facts, request, public_url=PUBLIC_URL)
    again = build_alert_request(facts, request, public_url=PUBLIC_URL)
    other = build_alert_request(alert_facts(id=facts.id, occurrences=3), request, public_url=PUBLIC_URL)
    assert manifest_hash(first) == manifest_hash(again)
    assert manifest_hash(first) != manifest_hash(other)


# --- Whatever comes

text = st.text(st.characters(), max_size=400)  # all of Unicode, lone surrogates too
hostile = st.one_of(
    text,
    st.sampled_from(["\x00", "\ud800", "<&>" * 4000, "😀" * 9000, "a" * 70_000, "\x7f\x85\u2028\ufeff", "${jndi:x}"]),
)
labels = st.dictionaries(hostile, hostile, max_size=8)
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-12)), timezone(timedelta(hours=14))]))
counts = st.integers(min_value=0, max_value=2**31)


@st.composite
def hostile_alerts(draw: st.DrawFn) -> dict[str, Any]:
    return alert_manifest(
        alertname=draw(hostile),
        severity=draw(st.sampled_from(["critical", "warning", "info", "", "SEV1"])),
        alert_namespace=draw(hostile),
        resource_kind=draw(hostile),
        resource_name=draw(hostile),
        labels=draw(labels),
        annotations=draw(labels),
        source=draw(st.sampled_from(["alertmanager", "kubernetes-event", "generic", "", "é" * 80])),
        status=draw(st.sampled_from(["firing", "resolved"])),
        starts_at=draw(moments),
        occurrences=draw(counts),
    )


@st.composite
def hostile_storms(draw: st.DrawFn) -> dict[str, Any]:
    resources = st.builds(AffectedResource, hostile, hostile, hostile, hostile, st.booleans())
    repeated = draw(st.integers(1, 60))
    return storm_manifest(
        group_labels=draw(labels),
        alert_names=draw(st.lists(st.tuples(hostile, counts), max_size=20)) * 10,
        severity_counts=draw(st.dictionaries(st.sampled_from(["critical", "warning", "info", "other"]), counts)),
        affected=draw(st.lists(resources, max_size=12)) * repeated,
        affected_total=draw(counts),
        signal_name=draw(hostile),
        labels=draw(labels),
        annotations=draw(labels),
        first_seen=draw(moments),
    )


@given(st.one_of(hostile_alerts(), hostile_storms()))
@settings(deadline=None, max_examples=examples(150))
def test_it_is_valid_and_small_whatever_the_alert_says(manifest: dict[str, Any]) -> None:
    assert schema.violations(manifest) == []
    assert size(manifest) < MAX_BYTES
    yaml_json(manifest)
    json.dumps(manifest).encode()


@given(st.lists(st.builds(affected, st.integers(0, 50), firing=st.booleans()), max_size=30), st.randoms())
@settings(deadline=None)
def test_it_does_not_depend_on_the_order_of_the_rows(resources: list[AffectedResource], random: Any) -> None:
    shuffled = list(resources)
    random.shuffle(shuffled)
    facts = {"id": STORM, "affected_total": 30}
    assert storm_manifest(affected=resources, **facts) == storm_manifest(affected=shuffled, **facts)


@given(text)
def test_it_makes_a_label_value_of_anything(value: str) -> None:
    made = label_value(value)
    assert len(made) <= 63
    assert made == "" or (made[0].isalnum() and made[-1].isalnum() and made.isascii())


def size(manifest: dict[str, Any]) -> int:
    """Bytes as the Go API server writes it to etcd: UTF-8, with <, > and & escaped."""
    text = json.dumps(manifest, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + 5 * sum(text.count(character) for character in "<>&")


@pytest.mark.parametrize("manifest", [alert_manifest, storm_manifest])
def test_what_the_rules_said_goes_before_what_the_labels_say(manifest: Callable[..., dict[str, Any]]) -> None:
    spec = manifest(environment="staging", priority="P3", severity="critical")["spec"]
    assert (spec["environment"], spec["priority"]) == ("staging", "P3")
    spec = manifest(environment="", priority="", severity="critical")["spec"]
    assert (spec["environment"], spec["priority"]) == ("production", "P0")
    spec = manifest(environment=" X" * 60, priority="P9", severity="critical")["spec"]
    assert (len(spec["environment"]) <= 63, spec["priority"]) == (True, "P1")
