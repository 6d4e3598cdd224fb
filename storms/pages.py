"""The console's own pages. Each is whole without JavaScript; `static/console/` keeps it true while it is open."""

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required, permission_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

import stormconsole
from storms import live
from storms.actions import OPERATE
from storms.choices import Disposition, StormState
from storms.cluster.address import cluster_label, is_local
from storms.models import Alert, RemediationRequest, Storm
from storms.services import operators
from storms.trace import decision_trace, group_line

ALERTS_SHOWN = 50
NAMES_SHOWN = 12
SPLIT_SHOWN = 50
CHOICES_SHOWN = 200
"""Most storms to merge into, most people to assign to."""
BACKGROUND_HEADER = "X-Console-Refresh"
"""Sent by static/console/storm.js, which takes parts of a page it fetches: a message shown there would be lost."""


def console_context(request: HttpRequest) -> dict[str, Any]:
    """What every template may use, the admin's too."""
    return {
        "cluster": cluster_label(),
        "cluster_is_local": is_local(),
        "console_version": stormconsole.__version__,
        "is_background": BACKGROUND_HEADER in request.headers,
    }


@require_safe
@never_cache
@login_required
@permission_required("storms.view_storm", raise_exception=True)
def now(request: HttpRequest) -> HttpResponse:
    """What is going on: open storms, settled ones, the last that ended."""
    storms = live.storm_messages(live.storms_in_sight())
    ended = live.storm_messages(live.storms_ended_last())
    context = {
        "sections": [
            _section("open", "Open storms", [storm for storm in storms if storm["state"] == "open"]),
            _section("settled", "Settled: closed, still firing", [s for s in storms if s["state"] == live.SETTLED]),
            _section("closed", "Ended last", ended),
        ],
        "firing": sum(storm["firing_count"] for storm in storms),
        "totals": live.totals(),
        "blank": BLANK,
        "anything_received": bool(storms or ended) or Alert.objects.exists(),
        "webhook_url": request.build_absolute_uri("/api/v1/webhooks/alertmanager"),
        "ended_limit": live.ENDED_SHOWN,
    }
    return render(request, "console/now.html", context)


def _section(state: str, title: str, storms: list[dict[str, Any]]) -> dict[str, Any]:
    return {"state": state, "title": title, "storms": storms}


BLANK: dict[str, Any] = {
    "id": "",
    "url": "",
    "group_labels": {},
    "state": "open",
    "severity": "info",
    "alert_count": 0,
    "firing_count": 0,
    "acknowledged_by": "",
    "assignee": "",
    "opened_at": None,
    "last_alert_at": None,
    "closed_at": None,
    "remediation_request": None,
}
"""What the row's template is rendered with; the page's script fills in a storm."""


@require_safe
@never_cache
@login_required
@permission_required("storms.view_storm", raise_exception=True)
def storm(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    row = get_object_or_404(live.storms_for_live().select_related("policy", "previous", "merged_into"), id=storm_id)
    sees_alerts = request.user.has_perm("storms.view_alert")
    resource: RemediationRequest | None = getattr(row, "remediation_request", None)
    context = {
        "storm": row,
        "live": live.storm_message(row),
        "events": row.events.all(),
        "alerts": _latest(row.alerts.all(), ALERTS_SHOWN) if sees_alerts else [],
        "split_alerts": _latest(row.split_alerts.all(), SPLIT_SHOWN) if sees_alerts else [],
        "names": row.alert_names[:NAMES_SHOWN],
        "names_more": max(len(row.alert_names) - NAMES_SHOWN, 0),
        "most": max((name["count"] for name in row.alert_names), default=0),
        "resource": resource,
        "absorbed": resource.supersedes.count() if resource else 0,
        "next_storms": row.continued_by.all(),
        "merged_storms": row.merged.order_by("closed_at"),
    }
    if request.user.has_perm(OPERATE):
        context |= _choices(row)
    return render(request, "console/storm.html", context)


def _latest(alerts: QuerySet[Alert], number: int) -> list[Alert]:
    return list(alerts.defer("labels", "annotations").order_by("-received_at", "-id")[:number])


def _choices(row: Storm) -> dict[str, Any]:
    """What an operator may do here: the storms to merge into, the people to assign to."""
    others = Storm.objects.filter(state=StormState.OPEN, policy=row.policy_id).exclude(id=row.id)
    mergeable = row.state == StormState.OPEN and row.policy_id is not None
    people = get_user_model().objects.filter(is_active=True).order_by("username")
    return {
        "can_operate": True,
        "merge_targets": others.order_by("-opened_at", "-id")[:CHOICES_SHOWN] if mergeable else [],
        "people": people.values_list("username", flat=True)[:CHOICES_SHOWN],
        "max_text": operators.MAX_TEXT,
    }


@require_safe
@never_cache
@login_required
@permission_required("storms.view_alert", raise_exception=True)
def alert(request: HttpRequest, alert_id: UUID) -> HttpResponse:
    """Why this alert is where it is."""
    rows = Alert.objects.select_related("storm", "policy", "remediation_request", "split_from")
    row = get_object_or_404(rows, id=alert_id)
    context = {
        "alert": row,
        "group": group_line(row),
        "steps": decision_trace(row),
        "resource": getattr(row, "remediation_request", None),
        "can_split": row.disposition == Disposition.MEMBER and request.user.has_perm(OPERATE) and _has_company(row),
        "delivery_url": reverse("admin:ingestion_delivery_change", args=[row.delivery_id]),
    }
    return render(request, "console/alert.html", context)


def _has_company(row: Alert) -> bool:
    return Alert.objects.filter(storm=row.storm_id).exclude(id=row.id).exists()
