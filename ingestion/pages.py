"""`/system/`: is the console itself well, and is everything accounted for?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from redis.exceptions import RedisError

from ingestion import counting, system
from ingestion.models import DeadLetter, Delivery, Receiver
from ingestion.templatetags.receivers import receivers_heard
from stormconsole import facts
from stormconsole.facts import StoreFacts
from storms.actions import OPERATE
from storms.cluster.address import is_local
from storms.models import RemediationRequest
from storms.pages.decorators import console_action, console_page
from storms.pages.keyset import keyset_page
from storms.pages.parts import is_part
from storms.queue import enqueue_sync
from storms.services import requests
from storms.totals import count_trouble

VIEW = "ingestion.view_delivery"
PAGE = "system"
DELIVERIES_SHOWN = 25
ALERTS_SHOWN = 100
LETTERS_SHOWN = 20
ANSWERS = (("accepted", "Accepted"), ("refused", "Refused"), ("rejected", "With alerts set aside"))


@console_page(VIEW)
def system_page(request: HttpRequest) -> HttpResponse:
    """The whole page; for htmx the part that changes by itself."""
    template = "console/_system.html" if is_part(request) else "console/system.html"
    return render(request, template, _health(request) | _deliveries(request))


@console_page("storms.view_storm")
def heard(request: HttpRequest) -> HttpResponse:
    """The part of the first page that says when each receiver was heard last."""
    return render(request, "console/_heard.html", {"heard": receivers_heard()})


@dataclass(frozen=True, slots=True)
class Component:
    """state: ok, dead, or unknown (the store, where they beat, does not answer)."""

    name: str
    state: str
    beats: list[facts.Beat]


def _health(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    store, problem = _store()
    return {
        "now": now,
        "ledger": counting.ledger(),
        "waits": count_trouble(),
        "store": store,
        "store_problem": problem,
        "components": [_component(name, store) for name in facts.COMPONENTS],
        "database": facts.database_facts(),
        "missing_migrations": facts.missing_migrations(),
        "versions": facts.versions(),
        "warnings": facts.configuration_warnings(),
        "receivers": system.receivers(now),
        "rate_minutes": system.RATE_MINUTES,
        "backlog": system.backlog(),
        "failures": system.sync_failures() if request.user.has_perm("storms.view_remediationrequest") else [],
        "watch": None if is_local() else system.watch(now),
        "letters": system.waiting_letters() if request.user.has_perm("ingestion.view_deadletter") else [],
        "can_operate": request.user.has_perm(OPERATE),
    }


def _store() -> tuple[StoreFacts | None, str]:
    """What the store says of itself, or why it does not."""
    try:
        return facts.store_facts(), ""
    except RedisError as error:
        return None, str(error) or type(error).__name__


def _component(name: str, store: StoreFacts | None) -> Component:
    if store is None:
        return Component(name, "unknown", [])
    beats = [beat for beat in store.beats[name] if beat.is_alive]
    return Component(name, "ok" if beats else "dead", beats or store.beats[name][:1])


def _deliveries(request: HttpRequest) -> dict[str, Any]:
    receiver, answer = (request.GET.get(name, "").replace("\0", "") for name in ("receiver", "answer"))
    rows = system.deliveries(receiver=receiver, answer=answer)
    names = Receiver.objects.order_by("name").values_list("name", flat=True)
    return {
        "chosen_receiver": receiver,
        "chosen_answer": answer,
        "answers": ANSWERS,
        "receiver_names": names[: system.RECEIVERS_SHOWN],
        "page": keyset_page(request, rows, ordering="-received_at", size=DELIVERIES_SHOWN),
    }


@console_page(VIEW)
def delivery_page(request: HttpRequest, delivery_id: UUID) -> HttpResponse:
    """What one webhook brought, and what became of it."""
    delivery = get_object_or_404(Delivery.objects.select_related("receiver"), id=delivery_id)
    letters = DeadLetter.objects.filter(delivery=delivery).order_by("index")
    context = {
        "delivery": delivery,
        "alerts": system.alerts_of(delivery, ALERTS_SHOWN) if request.user.has_perm("storms.view_alert") else [],
        "letters": letters[:LETTERS_SHOWN] if request.user.has_perm("ingestion.view_deadletter") else [],
    }
    return render(request, "console/delivery.html", context)


@console_action(OPERATE, PAGE)
def count_now(request: HttpRequest) -> HttpResponse:
    counted = counting.count_now(actor=request.user.get_username())
    if counted.totals["unaccounted"]:
        messages.error(request, f"Counted: {counted.totals['unaccounted']:,} alerts are not accounted for.")
    else:
        messages.success(request, f"Counted in {counted.took_ms:,} ms: everything is accounted for.")
    return HttpResponseRedirect(reverse(PAGE))


@console_action(OPERATE, PAGE)
def retry_sync(request: HttpRequest, request_id: UUID) -> HttpResponse:
    row = get_object_or_404(RemediationRequest.objects.only("id", "namespace", "name"), id=request_id)
    if requests.retry_now(rr_id=row.id, actor=request.user.get_username()):
        enqueue_sync([row.id])
        messages.success(request, f"{row} is tried again now.")
    else:
        messages.warning(request, f"{row} does not fail any more.")
    return HttpResponseRedirect(reverse(PAGE) + "#failures")
