"""What operators do to many storms at once, in the admin; everything else about a storm is to be read there."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from storms.actions import OPERATE, REFUSALS, refusal
from storms.choices import StormState
from storms.detector import StoreUnavailable
from storms.models import Storm
from storms.services import operators

AT_ONCE = 200
"""Most storms in one go: each is a few statements, and its pages are told."""


class CloseForm(forms.Form):
    comment = forms.CharField(
        label="Why are they over?",
        max_length=operators.MAX_TEXT,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It stands on each storm's timeline and in its resource.",
    )


class StormBulkActions:
    """Mixed into the storms' admin."""

    actions: ClassVar[Any] = ("acknowledge", "assign_to_me", "close_with_a_reason")
    # The paginator does not count, so "select all" would not know what it selects.
    list_disable_select_all = True
    admin_site: Any
    opts: Any
    message_user: Callable[..., None]

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(OPERATE)

    @action(description="Acknowledge", permissions=["operate"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Storm]) -> None:
        work = partial(operators.acknowledge, actor=request.user.get_username())
        self._each(request, queryset, "acknowledged", work)

    @action(description="Assign to me", permissions=["operate"])
    def assign_to_me(self, request: HttpRequest, queryset: QuerySet[Storm]) -> None:
        actor = request.user.get_username()
        self._each(request, queryset, f"assigned to {actor}", partial(operators.assign, assignee=actor, actor=actor))

    @action(description="Close with a reason", permissions=["operate"])
    def close_with_a_reason(self, request: HttpRequest, queryset: QuerySet[Storm]) -> HttpResponse | None:
        """Asks for the reason on a page of its own, which comes back here."""
        form = CloseForm(request.POST if "apply" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, queryset, form)
        comment, actor = form.cleaned_data["comment"], request.user.get_username()
        self._each(request, queryset, "closed", partial(operators.close, comment=comment, actor=actor))
        return None

    def _ask(self, request: HttpRequest, queryset: QuerySet[Storm], form: CloseForm) -> HttpResponse | None:
        storms = list(queryset.filter(state=StormState.OPEN)[:AT_ONCE])
        if not storms:
            self.message_user(request, "None of them is open.", messages.WARNING)
            return None
        context = self.admin_site.each_context(request) | {
            "opts": self.opts,
            "title": f"Close {len(storms)} storm{'' if len(storms) == 1 else 's'}?",
            "storms": storms,
            "form": form,
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/close_storms.html", context)

    def _each(self, request: HttpRequest, queryset: QuerySet[Storm], done_word: str, work: Callable[..., None]) -> None:
        """One that is refused does not stop the others; a store that is away does."""
        storms = list(queryset[: AT_ONCE + 1])
        if len(storms) > AT_ONCE:
            self.message_user(request, f"Choose at most {AT_ONCE} storms at once.", messages.ERROR)
            return
        done = 0
        for storm in storms:
            try:
                work(storm_id=storm.id)
                done += 1
            except REFUSALS as error:
                self.message_user(request, f"{storm.group_title}: {refusal(error)}", messages.ERROR)
                if isinstance(error, StoreUnavailable):
                    break
        level = messages.SUCCESS if done else messages.WARNING
        self.message_user(request, f"{done} of {len(storms)} were {done_word}.", level)
