"""Dead letters in the admin: to be searched and read, replayed or discarded many at once."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from ingestion import dead_letter_services as services
from ingestion.models import DeadLetter
from storms.admin_base import ReadOnlyAdmin, ReadOnlyInline, link, pretty
from storms.queue import enqueue_replays


class DiscardForm(forms.Form):
    comment = forms.CharField(
        label="Why are they given up?",
        max_length=services.MAX_COMMENT,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It stays with each letter.",
    )


class DeadLetterInline(ReadOnlyInline):
    model = DeadLetter
    fields = ("index", "pointer", "error", "raw")
    readonly_fields = fields
    per_page = 20


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = (
        "received_at",
        "shown_receiver",
        "shown_state",
        "reason",
        "pointer",
        "error",
        "attempts",
        "shown_delivery",
    )
    list_filter = ("received_at", "state", "reason", "receiver")
    search_fields = ("error", "pointer", "raw")
    list_select_related = ("receiver", "delivery")
    actions: Any = ("replay", "discard_with_a_reason")
    # The paginator does not count, so "select all" would not know what it selects.
    list_disable_select_all = True
    fieldsets = (
        (None, {"fields": (("received_at", "shown_receiver"), ("shown_delivery", "index"))}),
        ("What is wrong", {"fields": ("reason", "pointer", "error", "truncated", "shown_raw")}),
        (
            "What became of it",
            {"fields": (("state", "attempts", "queued_at"), ("handled_at", "handled_by"), "comment", "outcome")},
        ),
        ("The replay", {"fields": ("replayed_as", "alert_id")}),
    )
    readonly_fields = ("shown_receiver", "shown_delivery", "shown_raw")

    @display(description="Receiver")
    def shown_receiver(self, letter: DeadLetter) -> str:
        return link(letter.receiver)

    @display(description="Delivery")
    def shown_delivery(self, letter: DeadLetter) -> str:
        return link(letter.delivery)

    @display(
        description="State",
        ordering="state",
        label={"waiting": "warning", "replayed": "success", "discarded": "default"},
    )
    def shown_state(self, letter: DeadLetter) -> tuple[str, str]:
        return letter.state, letter.get_state_display()

    @display(description="As received")
    def shown_raw(self, letter: DeadLetter) -> str:
        try:
            return pretty(json.loads(letter.raw))
        except (ValueError, RecursionError):
            return letter.raw

    def has_handle_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        return request.user.has_perm("ingestion.change_deadletter")

    @action(description="Replay", permissions=["handle"])
    def replay(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        queued = services.queue_replays(letters=queryset.order_by(), actor=request.user.get_username())
        enqueue_replays()
        level = messages.SUCCESS if queued else messages.WARNING
        self.message_user(request, f"{queued} are being replayed: reload to see what became of them.", level)

    @action(description="Discard with a reason", permissions=["handle"])
    def discard_with_a_reason(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        """Asks for the reason on a page of its own, which comes back here."""
        form = DiscardForm(request.POST if "apply" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, queryset, form)
        discarded = services.discard_all(
            letters=queryset.order_by(), comment=form.cleaned_data["comment"], actor=request.user.get_username()
        )
        level = messages.SUCCESS if discarded else messages.WARNING
        self.message_user(request, f"{discarded} discarded.", level)
        return None

    def _ask(self, request: HttpRequest, queryset: QuerySet[DeadLetter], form: DiscardForm) -> HttpResponse | None:
        letters = list(services.waiting(queryset)[: self.list_per_page])
        if not letters:
            self.message_user(request, "None of them waits.", messages.WARNING)
            return None
        context = self.admin_site.each_context(request) | {
            "opts": self.opts,
            "title": f"Discard {len(letters)} dead letter{'' if len(letters) == 1 else 's'}?",
            "letters": letters,
            "form": form,
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/discard_letters.html", context)
