"""Facts for the builders, and manifests made of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from storms.remediation import (
    AffectedResource,
    AlertFacts,
    RequestFacts,
    StormFacts,
    build_alert_request,
    build_storm_request,
)

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PUBLIC_URL = "https://console.example"


def alert_facts(**changes: Any) -> AlertFacts:
    facts: dict[str, Any] = {
        "id": uuid4(),
        "fingerprint": "ab" * 32,
        "alertname": "PodCrashLooping",
        "severity": "critical",
        "namespace": "payments",
        "resource_kind": "Pod",
        "resource_name": "checkout-7d4b9",
        "labels": {"alertname": "PodCrashLooping", "namespace": "payments", "environment": "production"},
        "annotations": {"summary": "checkout-7d4b9 restarts"},
        "source": "alertmanager",
        "status": "firing",
        "starts_at": NOON,
        "received_at": NOON + timedelta(seconds=2),
        "last_seen_at": NOON + timedelta(seconds=62),
        "occurrences": 2,
    }
    return AlertFacts(**facts | changes)


def affected(number: int, *, firing: bool = True) -> AffectedResource:
    return AffectedResource("payments", "Pod", f"checkout-{number:05d}", "PodCrashLooping", firing)


def storm_facts(count: int = 15, **changes: Any) -> StormFacts:
    facts: dict[str, Any] = {
        "id": uuid4(),
        "state": "open",
        "group_labels": {"namespace": "payments"},
        "threshold": 10,
        "window_seconds": 60,
        "opened_at": NOON,
        "alert_count": count,
        "firing_count": count,
        "resolved_count": 0,
        "alert_names": [("PodCrashLooping", count)],
        "severity_counts": {"critical": count},
        "affected": [affected(number) for number in range(min(count, 500))],
        "affected_total": count,
        "first_seen": NOON,
        "last_seen": NOON + timedelta(seconds=30),
        "occurrences": count,
        "severity": "critical",
        "signal_name": "PodCrashLooping",
        "source": "alertmanager",
        "labels": {"namespace": "payments", "environment": "production"},
    }
    return StormFacts(**facts | changes)


def alert_manifest(namespace: str = "payments", **changes: Any) -> dict[str, Any]:
    """The request of an alert in `namespace`; `alert_namespace` is what the alert says, if something else."""
    changes["namespace"] = changes.pop("alert_namespace", namespace)
    facts = alert_facts(**changes)
    return build_alert_request(facts, RequestFacts(f"alert-{facts.id}", namespace), public_url=PUBLIC_URL)


def storm_manifest(namespace: str = "payments", count: int = 15, **changes: Any) -> dict[str, Any]:
    facts = storm_facts(count, **changes)
    return build_storm_request(facts, RequestFacts(f"storm-{facts.id}", namespace), public_url=PUBLIC_URL)
