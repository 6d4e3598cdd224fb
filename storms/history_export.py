"""A report as a document, for JSON, and as lines of CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from storms.heatmap import DayFigures
from storms.history import Report
from storms.hostile import csv_safe
from storms.periods import Period
from storms.statistics import Intake, Summary

COLUMNS = ("section", "name", "figure", "value", "before")


def document(report: Report, days: Mapping[date, DayFigures]) -> dict[str, Any]:
    """Times are in seconds, shares from 0 to 1, absent figures null; `before` is the period before."""
    return {
        "period": _period(report.period),
        "before": _period(report.before),
        "storms": _both(_summary(report.now), _summary(report.then)),
        "intake": _both(_intake(report.intake_now), _intake(report.intake_then)),
        "policies": [
            {"name": row.name, "near_misses": row.near_misses, **_both(_summary(row.figures), _summary(row.before))}
            for row in report.policies
        ],
        "groups": [
            {
                "labels": group.labels,
                "storms": group.ranked.storms,
                "alerts": group.ranked.alerts,
                "storms_before": group.ranked.storms_before,
            }
            for group in report.groups
        ],
        "alert_names": [
            {"name": name.key, "alerts": name.alerts, "storms": name.storms, "storms_before": name.storms_before}
            for name in report.names
        ],
        "days": [
            {"day": day.isoformat(), **asdict(figures)}
            for day, figures in sorted(days.items())
            if report.period.first <= day <= report.period.last
        ],
    }


def csv_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The document in lines of `section, name, figure, value, before`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for row in _csv_rows(report):
        writer.writerow([csv_safe(cell) for cell in row])
    yield buffer.getvalue()


def _csv_rows(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name in ("from", "to", "until"):
        yield "period", "", name, report["period"][name], report["before"][name]
    for section in ("storms", "intake"):
        yield from _figures(section, "", report[section])
    for policy in report["policies"]:
        yield from _figures("policy", policy["name"], policy)
        yield "policy", policy["name"], "near_misses", policy["near_misses"], ""
    for group in report["groups"]:
        name = ", ".join(f"{label}={value}" for label, value in group["labels"].items()) or "all alerts"
        yield "group", name, "storms", group["storms"], group["storms_before"]
        yield "group", name, "alerts", group["alerts"], ""
    for name in report["alert_names"]:
        yield "alert_name", name["name"], "alerts", name["alerts"], ""
        yield "alert_name", name["name"], "storms", name["storms"], name["storms_before"]
    for day in report["days"]:
        yield from (("day", day["day"], figure, day[figure], "") for figure in ("storms", "alerts", "critical"))


def _figures(section: str, name: str, both: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for figure, value in both["now"].items():
        if not isinstance(value, dict):
            yield section, name, figure, value, both["before"][figure]


def _both(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    return {"now": now, "before": before}


def _period(period: Period) -> dict[str, Any]:
    return {
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "until": period.end.isoformat(),
        "days": period.days,
        "time_zone": "UTC",
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return asdict(summary) | {
        "acknowledged_share": summary.acknowledged_share,
        "barely_share": summary.barely_share,
    }


def _intake(intake: Intake) -> dict[str, Any]:
    return asdict(intake) | {"noise_reduction": intake.noise_reduction}
