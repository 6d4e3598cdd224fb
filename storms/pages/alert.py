"""`/alerts/<id>/`: one alert."""

from uuid import UUID

from django.apps import apps
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone

from storms.actions import OPERATE
from storms.choices import Disposition
from storms.episodes import episodes_of
from storms.models import Alert
from storms.pages.decorators import console_page
from storms.trace import decision_trace, group_line


@console_page("storms.view_alert")
def alert(request: HttpRequest, alert_id: UUID) -> HttpResponse:
    """Why this alert is where it is."""
    rows = Alert.objects.select_related("storm", "policy", "remediation_request", "split_from")
    row = get_object_or_404(rows, id=alert_id)
    context = {
        "alert": row,
        "group": group_line(row),
        "steps": decision_trace(row),
        "episodes": episodes_of(row, timezone.now()),
        "resource": getattr(row, "remediation_request", None),
        "can_split": row.disposition == Disposition.MEMBER and request.user.has_perm(OPERATE) and _has_company(row),
        "delivery_url": _delivery_url(request, row),
    }
    return render(request, "console/alert.html", context)


def _delivery_url(request: HttpRequest, row: Alert) -> str:
    """ "" where the person may not see it, or retention deleted it. `storms` does not import `ingestion`: by name."""
    if not request.user.has_perm("ingestion.view_delivery"):
        return ""
    is_there = apps.get_model("ingestion", "Delivery").objects.filter(id=row.delivery_id).exists()
    return reverse("delivery", args=[row.delivery_id]) if is_there else ""


def _has_company(row: Alert) -> bool:
    return Alert.objects.filter(storm=row.storm_id).exclude(id=row.id).exists()
