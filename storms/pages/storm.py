"""`/storms/<id>/`: one storm."""

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from storms import live
from storms.actions import OPERATE
from storms.choices import StormState
from storms.course import course_message, course_of, table
from storms.models import Alert, RemediationRequest, Storm
from storms.opening_story import opening_of
from storms.pages.decorators import console_page
from storms.pages.members import alerts_context
from storms.pages.parameters import whole_number
from storms.pages.parts import is_part
from storms.pages.shared import shared
from storms.services import operators
from storms.timeline import BY, timeline_of

SPLIT_SHOWN = 50
CHOICES_SHOWN = 200
"""Most storms to merge into, most people to assign to."""


@console_page("storms.view_storm")
@shared
def storm(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    row = get_object_or_404(live.storms_for_live().select_related("policy", "previous", "merged_into"), id=storm_id)
    sees_alerts = request.user.has_perm("storms.view_alert")
    resource: RemediationRequest | None = getattr(row, "remediation_request", None)
    course = course_of(row, timezone.now())
    context = {
        "storm": row,
        "live": live.storm_message(row),
        "course": table(course),
        "course_data": course_message(row, course),
        "timeline": timeline_of(row, by=request.GET.get("by", ""), before=whole_number(request.GET.get("before", ""))),
        "timeline_by": BY,
        "split_alerts": _latest(row.split_alerts.all(), SPLIT_SHOWN) if sees_alerts else [],
        "resource": resource,
        "absorbed": resource.supersedes.count() if resource else 0,
        "next_storms": row.continued_by.all(),
        "merged_storms": row.merged.order_by("closed_at"),
    }
    if sees_alerts:
        context |= alerts_context(request, row, part=True) | {"opening": opening_of(row)}
    if request.user.has_perm(OPERATE):
        context |= _choices(row)
    return render(request, "console/_storm_parts.html" if is_part(request) else "console/storm.html", context)


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
