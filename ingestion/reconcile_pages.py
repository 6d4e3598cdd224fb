"""`/system/reconcile/`: whether rows, store and cluster agree, as the last runs of the reconciler found."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from ingestion.models import ReconcileRun, RunState
from ingestion.reconcile_services import request_run, unfinished_runs
from storms.pages.decorators import console_action, console_page
from storms.pages.parameters import whole_number
from storms.queue import enqueue_reconciliation

VIEW, RUN = "ingestion.view_reconcilerun", "ingestion.add_reconcilerun"
PAGE = "reconcile"
RUNS_SHOWN = 20
FINDINGS_SHOWN = 100


@console_page(VIEW)
def reconcile(request: HttpRequest) -> HttpResponse:
    """One run in full, the last that ended or `?run=<id>`, and the others in a line each."""
    ended = ReconcileRun.objects.filter(state__in=[RunState.DONE, RunState.FAILED])
    asked = whole_number(request.GET.get("run", ""))
    shown = ended.filter(id=asked).first() if asked is not None else None
    shown = shown or ended.first()
    context = {
        "run": shown,
        "findings": shown.findings[:FINDINGS_SHOWN] if shown else [],
        "more": max(shown.found - FINDINGS_SHOWN, 0) if shown else 0,
        "runs": ended.defer("findings")[:RUNS_SHOWN],
        "unfinished": unfinished_runs(),
        "minutes": settings.RECONCILE_MINUTES,
        "can_run": request.user.has_perm(RUN),
    }
    return render(request, "console/reconcile.html", context)


@console_action(RUN, PAGE)
def run(request: HttpRequest) -> HttpResponse:
    dry_run = "dry_run" in request.POST
    asked = request_run(dry_run=dry_run, actor=request.user.get_username())
    enqueue_reconciliation(asked.id)
    messages.success(request, "A worker looks at everything now: reload the page to see what it found.")
    return HttpResponseRedirect(reverse(PAGE))
