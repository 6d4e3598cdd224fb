"""The desired RemediationRequest, built from facts (pure: dataclasses in, dict out).

Everything in an alert is hostile: texts are cut to the schema's lengths, lists and maps to its sizes, and the whole
object stays under `MAX_BYTES`. The output is deterministic, so that its hash can tell that nothing changed.

Field names follow kubernaut's RemediationRequest; the schema is `deploy/crd.yaml`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

API_VERSION = "stormconsole.io/v1alpha1"
KIND = "RemediationRequest"

CONSOLE_URL = "stormconsole.io/console-url"
ALERT_STATUS = "stormconsole.io/alert-status"
TRUNCATED = "stormconsole.io/truncated"
KIND_LABEL = "stormconsole.io/kind"
ORIGIN_NAMESPACE = "stormconsole.io/origin-namespace"
MANAGED_BY = "app.kubernetes.io/managed-by"

MAX_BYTES = 512 * 1024
"""Of the whole object in the cluster. etcd's own limit is 1.5 MiB."""
RESERVED_BYTES = 64 * 1024
"""Left to what the API server and the operator add: managedFields, status."""
LABELS_BYTES = 64 * 1024
ANNOTATIONS_BYTES = 96 * 1024
GROUP_LABELS_BYTES = 48 * 1024
ALERT_NAMES_BYTES = 32 * 1024

# The schema's sizes.
MAX_NAME = 253
MAX_KIND = 63
MAX_SHORT = 63
MAX_LABEL = 2048
MAX_ANNOTATION = 8192
MAX_ENTRIES = 100
MAX_GROUP_LABELS = 20
MAX_ALERT_NAMES = 100
MAX_AFFECTED = 500

SEVERITIES = ("critical", "warning", "info")
PRIORITIES = ("P0", "P1", "P2", "P3")
UNKNOWN = "unknown"
SIGNAL_TYPES = {"alertmanager": "prometheus-alert", "kubernetes-event": "kubernetes-event"}
PRODUCTION = frozenset({"production", "prod", "prd"})
# Kept when an alert has more labels than fit: what an operator decides by.
VITAL = frozenset(
    {"alertname", "severity", "namespace", "environment", "env", "cluster", "job", "instance", "pod", "deployment"}
    | {"node", "service", "summary", "description", "runbook_url"}
)

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UNREADABLE = re.compile("[\x00\ud800-\udfff]")
_GO_ESCAPED = re.compile("[<>&]")


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """One alert episode, as its row has it. A row from before the rules has no environment and no priority."""

    id: UUID
    fingerprint: str
    alertname: str
    severity: str
    namespace: str
    resource_kind: str
    resource_name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    source: str
    status: str
    starts_at: datetime
    received_at: datetime
    last_seen_at: datetime
    occurrences: int
    environment: str = ""
    priority: str = ""


@dataclass(frozen=True, slots=True)
class AffectedResource:
    """What one alert of a storm is about."""

    namespace: str
    kind: str
    name: str
    alertname: str
    firing: bool


@dataclass(frozen=True, slots=True)
class StormFacts:
    """One storm with what was counted over its alerts.

    `affected`: at most 500 of `affected_total`. `labels`, `annotations`: those that all its alerts share.
    `environment`: its alerts' if it is one (`common_environment`). `priority`: the highest (`highest_priority`).
    """

    id: UUID
    state: str
    group_labels: Mapping[str, str]
    threshold: int
    window_seconds: int
    opened_at: datetime
    alert_count: int
    firing_count: int
    resolved_count: int
    alert_names: Sequence[tuple[str, int]]
    severity_counts: Mapping[str, int]
    affected: Sequence[AffectedResource]
    affected_total: int
    first_seen: datetime
    last_seen: datetime
    occurrences: int
    severity: str
    signal_name: str
    source: str
    closed_at: datetime | None = None
    close_reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    environment: str = ""
    priority: str = ""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The RemediationRequest's own row. `origin_namespace`: the alert's, where the request lives elsewhere."""

    name: str
    namespace: str
    origin_namespace: str = ""
    superseded_by: str = ""


def build_alert_request(alert: AlertFacts, request: RequestFacts, *, public_url: str) -> dict[str, Any]:
    """The manifest for one alert: apiVersion, kind, metadata and spec, no status."""
    common, truncated = _signal(
        fingerprint=alert.fingerprint,
        name=alert.alertname or "alert",
        severity=alert.severity,
        source=alert.source,
        labels=alert.labels,
        annotations=alert.annotations,
        environment=alert.environment,
        priority=alert.priority,
    )
    spec = {
        **common,
        "firingTime": rfc3339(alert.starts_at),
        "receivedTime": rfc3339(alert.received_at),
        "deduplication": _deduplication(alert.received_at, alert.last_seen_at, alert.occurrences),
        "isStorm": False,
    }
    if alert.resource_kind and alert.resource_name:
        spec["targetResource"] = _target(alert.namespace, alert.resource_kind, alert.resource_name)
    annotations = {
        CONSOLE_URL: f"{public_url}/alerts/{alert.id}/",
        ALERT_STATUS: "resolved" if alert.status == "resolved" else "firing",
    }
    return _manifest(request, "alert", spec, annotations, truncated=truncated)


def build_storm_request(storm: StormFacts, request: RequestFacts, *, public_url: str) -> dict[str, Any]:
    """The manifest for one storm: apiVersion, kind, metadata and spec, no status."""
    common, signal_truncated = _signal(
        fingerprint=storm_fingerprint(storm.id),
        name=storm.signal_name or "storm",
        severity=storm.severity,
        source=storm.source,
        labels=storm.labels,
        annotations=storm.annotations,
        also=storm.group_labels,
        environment=storm.environment,
        priority=storm.priority,
    )
    section, section_truncated = _storm_section(storm)
    spec = {
        **common,
        "firingTime": rfc3339(storm.first_seen),
        "receivedTime": rfc3339(storm.first_seen),
        "deduplication": _deduplication(storm.first_seen, storm.last_seen, storm.occurrences),
        "isStorm": True,
        "storm": section,
    }
    annotations = {CONSOLE_URL: f"{public_url}/storms/{storm.id}/"}
    truncated = signal_truncated or section_truncated
    manifest = _manifest(request, "storm", spec, annotations, truncated=truncated)
    return _with_affected(manifest, storm, truncated=truncated)


def storm_fingerprint(storm_id: UUID) -> str:
    """64 hex characters that stay the same for the storm's whole life."""
    return hashlib.sha256(f"storm:{storm_id}".encode()).hexdigest()


def request_namespace(namespace_label: str, fallback: str) -> tuple[str, str]:
    """(namespace, origin): the alert's own where it can be one, else the fallback and what the alert said."""
    if _NAMESPACE.fullmatch(namespace_label):
        return namespace_label, ""
    return fallback, namespace_label


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """64 hex characters, the same for equal manifests."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def environment_of(labels: Mapping[str, str]) -> str:
    """From the label `environment` or `env`, else `unknown`."""
    return stated_environment(labels) or UNKNOWN


def stated_environment(labels: Mapping[str, str]) -> str:
    """The label `environment`, else `env`; "" where the alert does not say."""
    return clean_environment(labels.get("environment") or "") or clean_environment(labels.get("env") or "")


def clean_environment(text: str) -> str:
    """An environment's name as all of the console compares it: lower case, at most 63 characters."""
    return clean(text, MAX_SHORT).strip().lower()[:MAX_SHORT]


def common_environment(environments: Iterable[str]) -> str:
    """The environment of a storm whose alerts have these: theirs if they agree, else "" (unknown)."""
    distinct = set(environments) - {""}
    return distinct.pop() if len(distinct) == 1 else ""


def highest_priority(priorities: Iterable[str]) -> str:
    """The most urgent of these, "" if there is none."""
    return min((priority for priority in priorities if priority), default="")


def priority_of(severity: str, environment: str) -> str:
    """P0 (critical in production) to P3 (info)."""
    if severity == "critical":
        return "P0" if environment in PRODUCTION else "P1"
    return "P2" if severity == "warning" else "P3"


def rfc3339(moment: datetime) -> str:
    """Whole seconds in UTC, which is all that Kubernetes' own times keep; a naive time counts as UTC."""
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:  # year 1 or 9999 with an offset
            moment = moment.replace(tzinfo=UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def clean(text: object, limit: int) -> str:
    """At most `limit` characters that JSON can carry; what was cut ends with an ellipsis."""
    readable = _UNREADABLE.sub("\ufffd", str(text)[: limit + 1])
    return readable if len(readable) <= limit else readable[: limit - 1] + "…"


def label_value(text: str) -> str:
    """`text` as the value of a Kubernetes label, "" when nothing of it can be one."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:MAX_SHORT].strip("-_.")


def json_bytes(value: Any) -> int:
    """At most this many bytes is `value` as JSON, whoever writes it: Go escapes <, > and &, Python all non-ASCII."""
    text = json.dumps(value, separators=(",", ":"))
    return len(text) + 5 * len(_GO_ESCAPED.findall(text))


def _signal(
    *,
    fingerprint: str,
    name: str,
    severity: str,
    source: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    environment: str,
    priority: str,
    also: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], bool]:
    """What alerts and storms have in common. `also`: more labels to tell the environment by."""
    severity = severity if severity in SEVERITIES else "warning"
    environment = clean_environment(environment) or environment_of({**(also or {}), **labels})
    signal_labels, cut_labels = _fit_map(labels, MAX_LABEL, MAX_ENTRIES, LABELS_BYTES)
    signal_annotations, cut_annotations = _fit_map(annotations, MAX_ANNOTATION, MAX_ENTRIES, ANNOTATIONS_BYTES)
    signal = {
        "signalFingerprint": fingerprint,
        "signalName": clean(name, MAX_NAME),
        "severity": severity,
        "environment": environment,
        "priority": priority if priority in PRIORITIES else priority_of(severity, environment),
        "signalType": SIGNAL_TYPES.get(source, "alert"),
        "signalSource": clean(source, MAX_SHORT) or UNKNOWN,
        "targetType": "kubernetes",
        "signalLabels": signal_labels,
        "signalAnnotations": signal_annotations,
    }
    return signal, cut_labels or cut_annotations


def _storm_section(storm: StormFacts) -> tuple[dict[str, Any], bool]:
    """(`spec.storm` with no affected resource yet, whether something was cut)."""
    group_labels, cut_group = _fit_map(storm.group_labels, MAX_LABEL, MAX_GROUP_LABELS, GROUP_LABELS_BYTES)
    alert_names, cut_names = _alert_names(storm.alert_names)
    section: dict[str, Any] = {
        "id": str(storm.id),
        "state": storm.state,
        "groupLabels": group_labels,
        "threshold": storm.threshold,
        "windowSeconds": storm.window_seconds,
        "openedAt": rfc3339(storm.opened_at),
        "alertCount": storm.alert_count,
        "firingCount": storm.firing_count,
        "resolvedCount": storm.resolved_count,
        "alertNames": alert_names,
        "severityCounts": {s: storm.severity_counts[s] for s in SEVERITIES if s in storm.severity_counts},
        "affectedResources": [],
        "affectedResourcesTotal": max(storm.affected_total, len(storm.affected)),
        "truncated": False,
    }
    if storm.closed_at is not None:
        section["closedAt"] = rfc3339(storm.closed_at)
    if storm.close_reason:
        section["closeReason"] = storm.close_reason
    return section, cut_group or cut_names


def _with_affected(manifest: dict[str, Any], storm: StormFacts, *, truncated: bool) -> dict[str, Any]:
    """Put in as many affected resources as fit: those that fire first."""
    section = manifest["spec"]["storm"]
    room = MAX_BYTES - RESERVED_BYTES - json_bytes(manifest)
    ordered = sorted(storm.affected, key=lambda a: (not a.firing, a.namespace, a.kind, a.name, a.alertname))
    fitting = _fitting((_affected(resource) for resource in ordered[:MAX_AFFECTED]), room)
    section["affectedResources"] = fitting
    section["truncated"] = truncated or len(fitting) < section["affectedResourcesTotal"]
    return manifest


def _manifest(
    request: RequestFacts, kind: str, spec: dict[str, Any], annotations: dict[str, str], *, truncated: bool
) -> dict[str, Any]:
    labels = {MANAGED_BY: "stormconsole", KIND_LABEL: kind}
    origin = label_value(request.origin_namespace)
    if origin:
        labels[ORIGIN_NAMESPACE] = origin
    if truncated:
        annotations = {**annotations, TRUNCATED: "true"}
    if request.superseded_by:
        spec = {**spec, "supersededBy": request.superseded_by}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": request.name,
            "namespace": request.namespace,
            "labels": labels,
            "annotations": {name: clean(value, MAX_LABEL) for name, value in annotations.items()},
        },
        "spec": spec,
    }


def _target(namespace: str, kind: str, name: str) -> dict[str, str]:
    target = {"kind": clean(kind, MAX_KIND), "name": clean(name, MAX_NAME)}
    if namespace:
        target["namespace"] = clean(namespace, MAX_NAME)
    return target


def _affected(resource: AffectedResource) -> dict[str, Any]:
    target: dict[str, Any] = _target(resource.namespace, resource.kind, resource.name)
    return {**target, "alertName": clean(resource.alertname, MAX_NAME), "firing": resource.firing}


def _deduplication(first_seen: datetime, last_seen: datetime, occurrences: int) -> dict[str, Any]:
    return {
        "firstSeen": rfc3339(first_seen),
        "lastSeen": rfc3339(last_seen),
        "occurrenceCount": max(occurrences, 0),
    }


def _alert_names(alert_names: Iterable[tuple[str, int]]) -> tuple[list[dict[str, Any]], bool]:
    """The most frequent first."""
    ordered = sorted(alert_names, key=lambda pair: (-pair[1], pair[0]))
    entries = ({"name": clean(name, MAX_NAME), "count": count} for name, count in ordered[:MAX_ALERT_NAMES])
    fitting = _fitting(entries, ALERT_NAMES_BYTES)
    return fitting, len(fitting) < len(ordered)


def _fit_map(source: Mapping[str, str], max_value: int, max_entries: int, budget: int) -> tuple[dict[str, str], bool]:
    """(entries sorted by name, whether something was cut or left out). What operators decide by is kept first."""
    kept: dict[str, str] = {}
    truncated = False
    for name in sorted(source, key=lambda name: (name not in VITAL, name)):
        key, value = clean(name, MAX_NAME), clean(source[name], max_value)
        size = json_bytes({key: value})
        if len(kept) == max_entries or size > budget:
            truncated = True
            continue
        kept[key] = value
        budget -= size
        truncated = truncated or len(str(source[name])) > max_value or len(str(name)) > MAX_NAME
    return dict(sorted(kept.items())), truncated


def _fitting(entries: Iterable[dict[str, Any]], budget: int) -> list[dict[str, Any]]:
    """The first entries that together stay within `budget` bytes."""
    kept: list[dict[str, Any]] = []
    for entry in entries:
        budget -= json_bytes(entry) + 1
        if budget < 0:
            break
        kept.append(entry)
    return kept
