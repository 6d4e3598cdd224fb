"""`/storms/<id>/breakdown/`: what the storm's alerts have in common."""

from dataclasses import replace
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from storms.breakdown import breakdown_of
from storms.models import Storm
from storms.pages.decorators import console_page
from storms.pages.parts import is_part
from storms.pages.shared import shared
from storms.suspects import MIN_ELSEWHERE

LABELS_OF_A_PART = 6
VALUES_OF_A_PART = 5


@console_page("storms.view_alert")
@shared
def breakdown(request: HttpRequest, storm_id: UUID) -> HttpResponse:
    """The suspects and every label; as a part of the storm's page, only the first labels whose values repeat."""
    storm = get_object_or_404(Storm, id=storm_id)
    found, part = breakdown_of(storm), is_part(request)
    telling = [label for label in found.labels if label.repeats][:LABELS_OF_A_PART]
    labels = [replace(label, values=label.values[:VALUES_OF_A_PART]) for label in telling]
    context = {
        "storm": storm,
        "breakdown": found,
        "labels": labels if part else found.labels,
        "min_elsewhere": MIN_ELSEWHERE,
        "part": part,
    }
    return render(request, "console/_breakdown.html" if part else "console/breakdown.html", context)
