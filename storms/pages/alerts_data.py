"""What the explorer's script asks for (histogram, completion), and its filter as CSV."""

import csv
import json
from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse

from storms import alert_columns
from storms.alert_filter import AlertFilter
from storms.alert_histogram import histogram
from storms.alert_scan import TooSlow, bounded, scan
from storms.hostile import csv_safe
from storms.label_completion import complete
from storms.models import Alert
from storms.pages.decorators import console_page

CSV_ROWS = 10_000
CSV_PAGE = 500
CSV_STEPS = 120
"""Bounded searches in one export: with few matches among many alerts it ends before it has all its rows."""
CSV_FIELDS = (
    *("received_at", "alertname", "severity", "status", "namespace", "resource_kind", "resource_name", "starts_at"),
    *("ends_at", "last_seen_at", "occurrences", "outcome", "disposition", "storm_id", "receiver", "policy_reason"),
    *("fingerprint", "id"),
)
MAX_TYPED = 4_000


@console_page("storms.view_alert")
def alert_histogram(request: HttpRequest) -> HttpResponse:
    """{"start": seconds, "step": seconds, "bars": {severity: [alerts, ...]}, "total", "exact"}."""
    filter_ = AlertFilter(request.GET)
    if not filter_.is_valid():
        return JsonResponse({"error": "The filter cannot be read."}, status=400)
    data = filter_.cleaned_data
    try:
        with bounded():
            found = histogram(filter_.wanted(), since=data["from"], until=data["to"] or filter_.now)
    except TooSlow:
        return JsonResponse({"error": "This would take too long: choose a shorter time."}, status=503)
    body = {"start": int(found.start.timestamp()), "step": found.step, "bars": found.bars}
    return JsonResponse(body | {"total": found.total, "exact": found.exact})


@console_page("storms.view_alert")
def alert_completion(request: HttpRequest) -> HttpResponse:
    """{"from": UTF-16 units, "items": [{"text", "insert"}, ...]} for `q`, the text before the caret."""
    text = request.GET.get("q", "")[:MAX_TYPED]
    start, items = complete(text)
    # JavaScript counts in UTF-16.
    at = len(text[:start].encode("utf-16-le", "surrogatepass")) // 2
    return JsonResponse({"from": at, "items": [{"text": shown, "insert": put} for shown, put in items]})


@console_page("storms.view_alert")
def alerts_csv(request: HttpRequest) -> HttpResponseBase:
    """The latest `CSV_ROWS` alerts that match; label columns as chosen, then every label as JSON."""
    filter_ = AlertFilter(request.GET)
    if not filter_.is_valid():
        return HttpResponse("The filter cannot be read.", status=400, content_type="text/plain")
    labels = [
        column.key for column in alert_columns.columns(request.GET.getlist("col"), request.user) if column.is_label
    ]
    return StreamingHttpResponse(
        _csv(filter_, [name for name in labels if name not in CSV_FIELDS]),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="alerts.csv"'},
    )


class _Line:
    """A file of one line: what was written last."""

    def write(self, text: str) -> str:
        return text


def _csv(filter_: AlertFilter, labels: list[str]) -> Iterator[str]:
    writer: Any = csv.writer(_Line())
    yield writer.writerow([*CSV_FIELDS, *(csv_safe(f"label_{name}") for name in labels), "labels"])
    try:
        for alert in _matches(filter_):
            fields = [getattr(alert, name) for name in CSV_FIELDS]
            texts = [field.isoformat() if hasattr(field, "isoformat") else field for field in fields]
            texts += [alert.labels.get(name, "") for name in labels]
            yield writer.writerow([csv_safe(text) for text in texts] + [json.dumps(alert.labels, ensure_ascii=False)])
    except TooSlow:
        yield writer.writerow(["ended here: it took too long"])


def _matches(filter_: AlertFilter) -> Iterator[Alert]:
    wanted, after, left = filter_.wanted(), None, CSV_ROWS
    for _ in range(CSV_STEPS):
        with bounded():
            found = scan(wanted, after=after, size=min(CSV_PAGE, left))
            rows = {row.id: row for row in Alert.objects.filter(id__in=found.ids).defer("annotations")}
        yield from (rows[id_] for id_ in found.ids if id_ in rows)
        left -= len(found.ids)
        after = found.last if found.more else found.stopped
        if after is None or not left:
            return
