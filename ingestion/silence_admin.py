"""The admin of silences: made and ended here, never changed nor deleted; a preview before it is too late."""

import zoneinfo
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from ingestion.models import Silence
from ingestion.silence_services import check_silence, create_silence, expire_silence, preview_silence
from ingestion.silences import compile_silence, in_state, state_of, weekly_window
from storms.admin_base import href
from storms.models import Alert

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
STATES = ("pending", "active", "expired")
STATE_COLOURS = {"active": "warning", "pending": "info", "expired": "default"}


class SilenceForm(forms.ModelForm):
    weekdays = forms.TypedMultipleChoiceField(
        choices=list(enumerate(DAYS)),
        coerce=int,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Of a weekly maintenance window's start. None: all the time between start and end.",
    )
    time_zone = forms.ChoiceField(
        choices=[(name, name) for name in sorted(zoneinfo.available_timezones())],
        initial="UTC",
        widget=UnfoldAdminSelect2Widget,
        help_text="Of the weekly window, which keeps its wall time when the clocks change.",
    )

    class Meta:
        model = Silence
        fields = [
            "matchers",
            "starts_at",
            "ends_at",
            "weekdays",
            "window_start",
            "window_minutes",
            "time_zone",
            "comment",
        ]
        widgets = {
            "matchers": UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
            "comment": UnfoldAdminTextInputWidget,
        }

    def _post_clean(self) -> None:
        """After the instance has the form's values: is it one that may be made?"""
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            try:
                check_silence(self.instance)
            except ValidationError as error:
                self.add_error(None, error)


class DraftForm(SilenceForm):
    """A silence that may be made: without a comment yet."""

    class Meta(SilenceForm.Meta):
        fields = [name for name in SilenceForm.Meta.fields if name != "comment"]


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Silence]) -> QuerySet[Silence]:
        state = self.value()
        return queryset.filter(in_state(state, timezone.now())) if state in STATES else queryset


@admin.register(Silence)
class SilenceAdmin(ModelAdmin):
    form = SilenceForm
    list_display = (
        "shown_matchers",
        "shown_state",
        "shown_when",
        "starts_at",
        "ends_at",
        "author",
        "comment",
        "alerts",
    )
    list_filter = (StateFilter,)
    search_fields = ("matchers", "author", "comment")
    actions = ("expire",)
    actions_submit_line = ("end_now",)
    change_form_after_template = "admin/silence_preview.html"
    fieldsets = (
        ("Which alerts", {"fields": ("matchers",)}),
        ("When", {"fields": (("starts_at", "ends_at"),)}),
        ("Every week", {"fields": ("weekdays", ("window_start", "window_minutes"), "time_zone")}),
        ("Why", {"fields": ("comment",)}),
    )
    shown_fields = (
        ("matchers", "shown_state"),
        ("starts_at", "ends_at"),
        ("shown_when", "alerts"),
        ("author", "created_at"),
        "comment",
    )

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.fieldsets if obj is None else ((None, {"fields": self.shown_fields}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """What was silenced once was silenced by this: another one is made instead of a change."""
        return () if obj is None else tuple(flatten(self.shown_fields))

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is not None:
            # A field that a form declares itself stays in it, excluded or not.
            kwargs["form"] = forms.ModelForm
        return super().get_form(request, obj, change, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @display(description="Matchers", ordering="matchers")
    def shown_matchers(self, silence: Silence) -> str:
        return silence.matchers

    @display(description="State", label=STATE_COLOURS)
    def shown_state(self, silence: Silence) -> tuple[str, str]:
        now = timezone.now()
        state = state_of(silence, now)
        if state == "active" and not compile_silence(silence).in_force(now):
            return state, "active, between windows"
        return state, state

    @display(description="Holds")
    def shown_when(self, silence: Silence) -> str:
        return str(weekly_window(silence) or "all the time")

    @display(description="Alerts")
    def alerts(self, silence: Silence) -> str:
        return href(f"{reverse('admin:storms_alert_changelist')}?silence_id={silence.pk}", "Silenced by it")

    def save_model(self, request: HttpRequest, obj: Silence, form: Any, change: bool) -> None:
        if not change:
            create_silence(silence=obj, author=request.user.get_username())
        elif any(button.action_name in request.POST for button in self.get_actions_submit_line(request, obj.pk)):
            self.end_now(request, obj)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if context.get("original") is not None:
            context |= {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    @action(description="End it now", permissions=["change"])
    def end_now(self, request: HttpRequest, obj: Silence) -> None:
        self._expire(request, [obj])

    @action(description="End now", permissions=["change"])
    def expire(self, request: HttpRequest, queryset: QuerySet[Silence]) -> None:
        ended = self._expire(request, list(queryset))
        for silence in ended:
            self.log_change(request, silence, "Ended it.")

    def _expire(self, request: HttpRequest, chosen: list[Silence]) -> list[Silence]:
        ended = [row for row in chosen if expire_silence(silence=row, actor=request.user.get_username())]
        self.message_user(request, f"{len(ended)} of {len(chosen)} were ended.", messages.SUCCESS)
        return ended

    # --- preview

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.preview)
        urls: list[URLPattern] = super().get_urls()
        return [path("preview/", view, name="ingestion_silence_preview"), *urls]

    def preview(self, request: HttpRequest) -> HttpResponse:
        """A piece of the page: what the silence in the form would have matched in the last day."""
        if not (self.has_add_permission(request) and request.user.has_perm("storms.view_alert")):
            raise PermissionDenied
        form = self.get_form(request, None, form=DraftForm, fields=DraftForm.Meta.fields)(request.POST)
        context = {"form": form, "alerts_url": reverse("admin:storms_alert_changelist"), "opts": Alert._meta}
        if form.is_valid():
            context["preview"] = preview_silence(silence=form.instance)
        return TemplateResponse(request, "admin/silence_matches.html", context)
