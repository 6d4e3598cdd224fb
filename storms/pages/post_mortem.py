"""`/storms/<id>/post-mortem/`, the same as Markdown and JSON, and the storm's alerts as CSV."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from storms import post_mortem as documents
from storms.alerts_csv import csv_pieces
from storms.models import Storm
from storms.pages.decorators import console_page
from storms.pages.members import search_of
from storms.post_mortem_text import markdown

STORMS = Storm.objects.select_related("remediation_request").defer("remediation_request__manifest")


@console_page("storms.view_alert")
def post_mortem(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    storm = get_object_or_404(STORMS, id=storm_id)
    return render(request, "console/post_mortem.html", {"storm": storm, "report": _document(storm)})


@console_page("storms.view_alert")
def as_markdown(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    text = markdown(_document(get_object_or_404(STORMS, id=storm_id)))
    return HttpResponse(text, content_type="text/markdown; charset=utf-8", headers=_file(storm_id, "md"))


@console_page("storms.view_alert")
def as_json(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    document = _document(get_object_or_404(STORMS, id=storm_id))
    return JsonResponse(document, json_dumps_params={"indent": 2}, headers=_file(storm_id, "json"))


@console_page("storms.view_alert")
def alerts_csv(request: HttpRequest, storm_id: UUID) -> StreamingHttpResponse:
    """All alerts, or those of a search as on the alerts' page (`q`, `status`)."""
    storm = get_object_or_404(Storm, id=storm_id)
    headers = {"Content-Disposition": f'attachment; filename="storm-{storm_id}-alerts.csv"'}
    pieces = csv_pieces(storm, search_of(request))
    return StreamingHttpResponse(pieces, content_type="text/csv; charset=utf-8", headers=headers)


def _document(storm: Storm) -> documents.Document:
    return documents.post_mortem(storm, timezone.now())


def _file(storm_id: UUID, ending: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="storm-{storm_id}-post-mortem.{ending}"'}
