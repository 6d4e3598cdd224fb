"""`/remediation-requests/<id>/`: a RemediationRequest as applied and as the cluster has it, or as it would be sent."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from storms.choices import SyncState
from storms.desired import shown_manifest
from storms.models import RemediationRequest
from storms.observed import compare
from storms.pages.decorators import console_page
from storms.pages.parts import is_part
from storms.pages.shared import shared


@console_page("storms.view_remediationrequest")
@shared
def resource(request: HttpRequest, rr_id: UUID) -> HttpResponse:
    row = get_object_or_404(RemediationRequest.objects.select_related("storm", "alert"), id=rr_id)
    part = is_part(request)
    context = {
        "resource": row,
        "compared": compare(row),
        "desired": shown_manifest(row) if row.manifest is None or row.sync_state == SyncState.REJECTED else None,
        "part": part,
        "absorbed": row.supersedes.count(),
    }
    return render(request, "console/_compared.html" if part else "console/resource.html", context)
