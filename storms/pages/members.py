"""`/storms/<id>/alerts/` and `/storms/<id>/resources/`: all that is in a storm, to search and to page through."""

from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from storms import members
from storms.actions import OPERATE
from storms.members import STATUSES, Affected, Page, Search
from storms.models import Storm
from storms.pages.decorators import console_page
from storms.pages.parts import is_part
from storms.pages.shared import shared

PAGE_SIZE = 50
PART_SIZE = 15
MAX_TEXT = 200
RESOURCE = ("namespace", "kind", "name")
"""Parameters that name one resource, all of them together."""


@console_page("storms.view_alert")
@shared
def alerts(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    storm = get_object_or_404(Storm, id=storm_id)
    context = alerts_context(request, storm, part=is_part(request))
    return _answer(request, "alerts", context)


@console_page("storms.view_alert")
@shared
def resources(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    storm = get_object_or_404(Storm, id=storm_id)
    search, part = search_of(request), is_part(request)
    page = members.resources_of(storm, search, PART_SIZE if part else PAGE_SIZE)
    return _answer(request, "resources", _context(request, storm, search, page, part=part))


def alerts_context(request: HttpRequest, storm: Storm, *, part: bool) -> dict[str, Any]:
    """What `_storm_alerts.html` is rendered with, on a page of its own or as a `part` of the storm's."""
    search = search_of(request)
    page = members.alerts_of(storm, search, PART_SIZE if part else PAGE_SIZE)
    context = _context(request, storm, search, page, part=part)
    has_company = len(page.rows) > 1 or (context["is_searched"] and storm.alert_count > 1)
    return context | {"can_split": has_company and request.user.has_perm(OPERATE)}


def search_of(request: HttpRequest) -> Search:
    # PostgreSQL takes no NUL.
    asked = {name: str(value).replace("\x00", "") for name, value in request.GET.items()}
    status = asked.get("status", "")
    return Search(
        text=asked.get("q", "").strip()[:MAX_TEXT],
        status=status if status in STATUSES else "",
        after=asked.get("after", ""),
        resource=Affected(**{name: asked[name] for name in RESOURCE}) if asked.keys() >= set(RESOURCE) else None,
    )


def _context(request: HttpRequest, storm: Storm, search: Search, page: Page[Any], *, part: bool) -> dict[str, Any]:
    looked_for = {name: value for name, value in (("q", search.text), ("status", search.status)) if value}
    resource = asdict(search.resource) if search.resource else {}
    looked_for |= resource
    return {
        "storm": storm,
        "search": search,
        "resource_fields": resource,
        "statuses": STATUSES,
        "page": page,
        "part": part,
        "next": "?" + urlencode({**looked_for, "after": page.after}) if page.after else "",
        "first": "?" + urlencode(looked_for) if search.after else "",
        "here": "?" + urlencode({**looked_for, **({"after": search.after} if search.after else {})}),
        "is_searched": bool(looked_for or search.after),
    }


def _answer(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    template = f"console/_storm_{name}_found.html" if context["part"] else f"console/storm_{name}.html"
    return render(request, template, context)
