"""`/remediation-requests/<id>/`: a RemediationRequest as applied and as the cluster has it."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from storms.models import RemediationRequest
from storms.observed import compare
from storms.pages.decorators import console_page
from storms.pages.parts import is_part


@console_page("storms.view_remediationrequest")
def resource(request: HttpRequest, rr_id: UUID) -> HttpResponse:
    row = get_object_or_404(RemediationRequest.objects.select_related("storm", "alert"), id=rr_id)
    part = is_part(request)
    context = {"resource": row, "compared": compare(row), "part": part, "absorbed": row.supersedes.count()}
    return render(request, "console/_compared.html" if part else "console/resource.html", context)
