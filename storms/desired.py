"""What the cluster should hold for a RemediationRequest, from the rows as they are now."""

from typing import Any

from django.conf import settings

from storms.choices import AlertStatus, RequestKind
from storms.models import Alert, RemediationRequest
from storms.remediation import AlertFacts, RequestFacts, StormFacts, build_alert_request, build_storm_request
from storms.services.refresh import refresh_storm, storm_facts


def desired_manifest(row: RemediationRequest) -> dict[str, Any] | None:
    """What is to be applied; a storm is counted anew first. None if it has no alert yet."""
    return _manifest(row, refresh_storm(storm_id=row.id) if row.kind == RequestKind.STORM else None)


def shown_manifest(row: RemediationRequest) -> dict[str, Any] | None:
    """The same for a person to read: writes nothing."""
    return _manifest(row, storm_facts(storm_id=row.id) if row.kind == RequestKind.STORM else None)


def _manifest(row: RemediationRequest, storm: StormFacts | None) -> dict[str, Any] | None:
    request = RequestFacts(
        name=row.name,
        namespace=row.namespace,
        origin_namespace=row.origin_namespace,
        superseded_by=row.superseded_by.name if row.superseded_by is not None else "",
    )
    if row.kind == RequestKind.STORM:
        return build_storm_request(storm, request, public_url=settings.PUBLIC_URL) if storm is not None else None
    assert row.alert is not None
    return build_alert_request(_alert_facts(row.alert), request, public_url=settings.PUBLIC_URL)


def _alert_facts(alert: Alert) -> AlertFacts:
    return AlertFacts(
        id=alert.id,
        fingerprint=alert.fingerprint,
        alertname=alert.alertname,
        severity=alert.severity,
        environment=alert.environment,
        priority=alert.priority,
        namespace=alert.namespace,
        resource_kind=alert.resource_kind,
        resource_name=alert.resource_name,
        labels=alert.labels,
        annotations=alert.annotations,
        source=alert.source,
        status=AlertStatus(alert.status).value,
        starts_at=alert.starts_at,
        received_at=alert.received_at,
        last_seen_at=alert.last_seen_at,
        occurrences=alert.occurrences,
    )
