"""The console's own pages. Each is whole without JavaScript; `static/console/` keeps it true while it is open."""

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

import stormconsole
from storms import live
from storms.cluster.address import cluster_label, is_local
from storms.models import Alert, RemediationRequest
from storms.trace import decision_trace, group_line

ALERTS_SHOWN = 50
NAMES_SHOWN = 12


def console_context(request: HttpRequest) -> dict[str, Any]:
    """What every template may use, the admin's too."""
    return {"cluster": cluster_label(), "cluster_is_local": is_local(), "console_version": stormconsole.__version__}


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
    row = get_object_or_404(live.storms_for_live().select_related("policy", "previous"), id=storm_id)
    alerts = row.alerts.defer("labels", "annotations").order_by("-received_at", "-id")[:ALERTS_SHOWN]
    resource: RemediationRequest | None = getattr(row, "remediation_request", None)
    context = {
        "storm": row,
        "live": live.storm_message(row),
        "events": row.events.all(),
        "alerts": alerts if request.user.has_perm("storms.view_alert") else [],
        "names": row.alert_names[:NAMES_SHOWN],
        "names_more": max(len(row.alert_names) - NAMES_SHOWN, 0),
        "most": max((name["count"] for name in row.alert_names), default=0),
        "resource": resource,
        "absorbed": resource.supersedes.count() if resource else 0,
        "next_storms": row.continued_by.all(),
    }
    return render(request, "console/storm.html", context)


@require_safe
@never_cache
@login_required
@permission_required("storms.view_alert", raise_exception=True)
def alert(request: HttpRequest, alert_id: UUID) -> HttpResponse:
    """Why this alert is where it is."""
    rows = Alert.objects.select_related("storm", "policy", "remediation_request")
    row = get_object_or_404(rows, id=alert_id)
    context = {
        "alert": row,
        "group": group_line(row),
        "steps": decision_trace(row),
        "resource": getattr(row, "remediation_request", None),
        "delivery_url": reverse("admin:ingestion_delivery_change", args=[row.delivery_id]),
    }
    return render(request, "console/alert.html", context)
