"""`/history/`: storms over days and weeks, what they add up to, and all storms to browse."""

from __future__ import annotations

from typing import Any

from django.db.models import CharField, QuerySet
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone

from storms import heatmap, history
from storms.choices import CloseReason, Severity
from storms.filters import STORM_STATES, StormFilter
from storms.history_export import csv_lines, document
from storms.history_words import tiles
from storms.models import Storm
from storms.pages.decorators import console_page
from storms.pages.keyset import keyset_page
from storms.pages.parts import is_part
from storms.periods import DAY, PRESETS, Period, PeriodError, last_days, midnight, parse_day, parse_period

MEASURES = ("storms", "alerts")
FILTERS = ("policy", "severity", "state", "reason", "q")
STORMS_SHOWN = 30
STANDARD_DAYS = 30


@console_page("storms.view_storm")
def history_page(request: HttpRequest) -> HttpResponse:
    period, problem = _period(request)
    if is_part(request):
        # The list alone: what the period adds up to is three times the work.
        context = {"period": period, "policies": _policy_names(period), **_list(request, period)}
        return render(request, "console/_history_storms.html", context, status=400 if problem else 200)
    by = request.GET.get("by") if request.GET.get("by") in MEASURES else MEASURES[0]
    report, days = history.report(period), history.days(period)
    calendar = heatmap.calendar(period.first, period.last, days, by=str(by))
    context = {
        "period": period,
        "problem": problem,
        "preset": request.GET.get("days") if _is_preset(request) else "",
        "presets": PRESETS,
        "by": by,
        "report": report,
        "policies": sorted(row.name for row in report.policies if row.figures.storms),
        "tiles": tiles(report),
        "calendar": calendar,
        "days_url": _days_url(request),
        "busy_days": [cell for cell in reversed(calendar.cells) if cell.figures.storms],
        "most_alerts": max((ranked.alerts for ranked in report.names), default=0),
        "most_storms": max((group.ranked.storms for group in report.groups), default=0),
        **_list(request, period),
    }
    return render(request, "console/history.html", context, status=400 if problem else 200)


@console_page("storms.view_storm")
def history_json(request: HttpRequest) -> HttpResponse:
    period, problem = _period(request)
    if problem:
        return JsonResponse({"detail": problem}, status=400)
    response = JsonResponse(document(history.report(period), history.days(period)))
    response["Content-Disposition"] = _attachment(period, "json")
    return response


@console_page("storms.view_storm")
def history_csv(request: HttpRequest) -> HttpResponse:
    period, problem = _period(request)
    if problem:
        return HttpResponse(problem, status=400, content_type="text/plain; charset=utf-8")
    lines = csv_lines(document(history.report(period), history.days(period)))
    response = HttpResponse("".join(lines), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = _attachment(period, "csv")
    return response


def _attachment(period: Period, ending: str) -> str:
    return f'attachment; filename="storms-{period.first}-{period.last}.{ending}"'


def _days_url(request: HttpRequest) -> str:
    """The page's address up to the day that is to be put at its end."""
    query = request.GET.copy()
    for name in ("day", "cursor"):
        query.pop(name, None)
    return f"?{query.urlencode()}&day=" if query else "?day="


def _is_preset(request: HttpRequest) -> bool:
    return not (request.GET.get("from") or request.GET.get("to"))


def _period(request: HttpRequest) -> tuple[Period, str]:
    """The period that was asked for, or the standard one and what is wrong with that which was asked for."""
    now = timezone.now()
    try:
        return parse_period(request.GET, now), ""
    except PeriodError as error:
        return last_days(STANDARD_DAYS, now), str(error)


def _list(request: HttpRequest, period: Period) -> dict[str, Any]:
    """The storms of the period, or of one day, that the filter asks for."""
    storms = Storm.objects.select_related("remediation_request").defer("remediation_request__manifest")
    try:
        day = parse_day(request.GET["day"]) if request.GET.get("day") else None
    except PeriodError:
        day = None
    start, end = (midnight(day), midnight(day + DAY)) if day else (period.start, period.end)
    chosen = {name: request.GET.get(name, "").replace("\0", "") for name in FILTERS}
    filtered = _filtered(storms.filter(opened_at__gte=start, opened_at__lt=end), chosen)
    return {
        "day": day,
        "chosen": chosen,
        "is_filtered": any(chosen.values()),
        "severities": Severity.choices,
        "states": STORM_STATES,
        "reasons": CloseReason.choices,
        "page": keyset_page(request, filtered, ordering="-opened_at", size=STORMS_SHOWN),
    }


def _filtered(storms: QuerySet[Storm], chosen: dict[str, str]) -> QuerySet[Storm]:
    """A value that is none of its choices finds nothing, as it says."""
    exact = {"policy_name": chosen["policy"], "severity": chosen["severity"], "close_reason": chosen["reason"]}
    storms = storms.filter(**{field: value for field, value in exact.items() if value})
    if chosen["state"]:
        if chosen["state"] not in dict(STORM_STATES):
            return storms.none()
        storms = StormFilter().filter_state(storms, "state", [chosen["state"]])
    if chosen["q"]:
        # As JSON text, so that a label's name and its value are both found.
        storms = storms.alias(group_text=Cast("group_labels", CharField())).filter(group_text__icontains=chosen["q"])
    return storms


def _policy_names(period: Period) -> QuerySet[Storm, str]:
    storms = Storm.objects.filter(opened_at__gte=period.start, opened_at__lt=period.end)
    return storms.order_by("policy_name").values_list("policy_name", flat=True).distinct()
