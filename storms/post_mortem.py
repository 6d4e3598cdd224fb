"""What happened in a storm, as one document: for a post-mortem's page, as Markdown, and for machines."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, Q

from storms.breakdown import breakdown_of
from storms.choices import AlertStatus, EventKind
from storms.cluster.address import cluster_label
from storms.course import Course, course_of, table
from storms.live import storm_state
from storms.members import Search, resources_of
from storms.models import RemediationRequest, Storm, StormEvent
from storms.opening_story import opening_of

MAX_EVENTS = 1_000
RESOURCES_SHOWN = 50

Document = dict[str, Any]


def post_mortem(storm: Storm, now: datetime) -> Document:
    """Times are ISO 8601 in UTC, absent ones None; shares from 0 to 1. Texts are as they were received.

    `timeline` has the first `MAX_EVENTS` events, `resources` the first of those that the storm's page lists.
    """
    events = list(storm.events.all()[:MAX_EVENTS])
    course = course_of(storm, now)
    return {
        "generated_at": now.isoformat(),
        "storm": _storm(storm, now),
        "impact": _impact(storm, course),
        "decision": [{"at": _iso(step.at), "text": step.text} for step in opening_of(storm).steps],
        "timeline": [_event(event) for event in events],
        "notes": [_event(event) for event in events if event.kind == EventKind.NOTE],
        "course": [_line(row) for row in table(course)],
        "suspects": _suspects(storm),
        "resources": _resources(storm),
        "remediation_request": _request(getattr(storm, "remediation_request", None), events),
        "action_items": [],
    }


def _storm(storm: Storm, now: datetime) -> Document:
    return {
        "id": str(storm.id),
        "page": f"{settings.PUBLIC_URL}/storms/{storm.id}/",
        "group": storm.group_title,
        "group_labels": storm.group_labels,
        "state": storm_state(storm),
        "severity": storm.severity,
        "policy": storm.policy_name,
        "policy_version": storm.policy_version,
        "threshold": storm.threshold,
        "window_seconds": storm.window_seconds,
        "opened_at": _iso(storm.opened_at),
        "closed_at": _iso(storm.closed_at),
        "close_reason": storm.get_close_reason_display() if storm.close_reason else "",
        "close_comment": storm.close_comment,
        "lasted_seconds": int(((storm.closed_at or now) - storm.opened_at).total_seconds()),
        "acknowledged_at": _iso(storm.acknowledged_at),
        "acknowledged_by": storm.acknowledged_by,
        "acknowledged_after_seconds": int((storm.acknowledged_at - storm.opened_at).total_seconds())
        if storm.acknowledged_at
        else None,
        "assignee": storm.assignee,
    }


def _impact(storm: Storm, course: Course) -> Document:
    counts = storm.alerts.aggregate(
        alerts=Count("id"),
        firing=Count("id", filter=Q(status=AlertStatus.FIRING)),
    )
    resources = storm.alerts.order_by().values("namespace", "resource_kind", "resource_name").distinct()
    peak = max(course.firing, default=0)
    return {
        **counts,
        "resources": resources.count(),
        "resolved": counts["alerts"] - counts["firing"],
        "peak_firing": peak,
        "peak_at": _iso(course.at(course.firing.index(peak) + 1)) if peak else None,
        "severities": storm.severity_counts,
        "alert_names": storm.alert_names,
        "places": storm.places,
    }


def _event(event: StormEvent) -> Document:
    return {
        "at": _iso(event.at),
        "kind": event.kind,
        "title": event.get_kind_display(),
        "message": event.message,
        "actor": event.actor,
    }


def _line(row: Any) -> Document:
    return {
        "from": _iso(row.start),
        "to": _iso(row.end),
        "new": row.new,
        "firing": row.firing,
        "resolved": row.resolved,
    }


def _suspects(storm: Storm) -> list[Document]:
    return [
        {
            "label": suspect.counted.name,
            "value": suspect.counted.value,
            "alerts": suspect.counted.in_storm,
            "share": round(suspect.share, 6),
            "share_elsewhere": round(suspect.share_elsewhere, 6),
            "lift": round(suspect.lift, 2),
        }
        for suspect in breakdown_of(storm).suspects
    ]


def _resources(storm: Storm) -> list[Document]:
    return [
        {
            "namespace": row.namespace,
            "kind": row.kind,
            "name": row.name,
            "alerts": row.alerts,
            "firing": row.firing,
            "severity": row.severity,
        }
        for row in resources_of(storm, Search(), RESOURCES_SHOWN).rows
    ]


def _request(request: RemediationRequest | None, events: list[StormEvent]) -> Document | None:
    """The resource, and what became of it: its part of the timeline."""
    if request is None:
        return None
    told = (
        EventKind.APPLIED,
        EventKind.SYNC_FAILED,
        EventKind.PHASE_CHANGED,
        EventKind.DRIFT,
        EventKind.COLLECTED,
    )
    return {
        "name": request.name,
        "namespace": request.namespace,
        "cluster": request.cluster or cluster_label(),
        "sync_state": request.sync_state,
        "applied_at": _iso(request.applied_at),
        "apply_count": request.apply_count,
        "phase": request.phase,
        "phase_message": request.phase_message,
        "last_error": request.last_error,
        "history": [_event(event) for event in events if event.kind in told],
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
