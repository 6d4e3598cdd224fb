"""The admin of policies: written through services, with their versions, and who gets an alert."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from storms.admin_base import href, pretty
from storms.choices import StormState
from storms.matchers import MatcherError, parse_labels
from storms.models import Alert, PolicyVersion, StormPolicy
from storms.policies import explain
from storms.policy_evidence import evidence
from storms.policy_words import describe_changes, describe_version, explanation_document
from storms.services.policies import (
    PolicyError,
    changed_fields,
    check_policy,
    delete_policy,
    restore_policy,
    save_policy,
    version_fields,
)

LATEST_ALERTS = 20
VERSIONS_SHOWN = 50


class PolicyForm(forms.ModelForm):
    group_by = SimpleArrayField(
        forms.CharField(max_length=128),
        required=False,
        widget=UnfoldAdminTextInputWidget,
        validators=StormPolicy._meta.get_field("group_by").validators,
        help_text=StormPolicy._meta.get_field("group_by").help_text,
    )

    class Meta:
        model = StormPolicy
        fields = [
            "name",
            "enabled",
            "owner_note",
            "matchers",
            "priority",
            "group_by",
            "threshold",
            "window_seconds",
            "hold_seconds",
            "quiet_seconds",
            "max_duration_seconds",
            "reopen_seconds",
            "count_flapping_once",
        ]
        widgets = {
            "matchers": UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
            "owner_note": UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "reopen_seconds" in self.fields:  # absent for who may only look
            self.fields["reopen_seconds"].required = False

    def clean_reopen_seconds(self) -> int:
        """Empty: never."""
        return self.cleaned_data["reopen_seconds"] or 0

    def _post_clean(self) -> None:
        """After the instance has the form's values: would the change be refused?"""
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            try:
                check_policy(self.instance)
            except PolicyError as error:
                self.add_error(None, str(error))


class ExplainForm(forms.Form):
    labels = forms.CharField(
        max_length=600_000,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 8, "spellcheck": "false", "placeholder": 'namespace="payments", severity="critical"'}
        ),
        help_text='A name=value a line, {name="value", ...}, or JSON.',
    )

    def clean_labels(self) -> dict[str, str]:
        try:
            return parse_labels(self.cleaned_data["labels"])
        except MatcherError as error:
            raise forms.ValidationError(str(error)) from error


@admin.register(StormPolicy)
class StormPolicyAdmin(ModelAdmin):
    """Saved through `storms.services.policies`, which keeps every version; a change holds from the next alert on."""

    form = PolicyForm
    list_display = (
        "name",
        "shown_enabled",
        "shown_matchers",
        "shown_group_by",
        "threshold",
        "shown_window",
        "shown_hold",
        "shown_quiet",
        "priority",
        "open_storms",
    )
    list_filter = ("enabled",)
    search_fields = ("name", "matchers", "owner_note")
    readonly_fields = ("version", "created_at", "updated_at")
    actions = ("enable", "disable")
    actions_list = ("explain",)
    actions_detail = ("in_history",)
    change_form_outer_after_template = "admin/policy_evidence.html"
    warn_unsaved_form = True
    fieldsets = (
        (None, {"fields": ("name", "enabled", "owner_note")}),
        ("Which alerts", {"fields": ("matchers", "priority")}),
        (
            "What is a storm",
            {"fields": ("group_by", ("threshold", "window_seconds"), "hold_seconds", "count_flapping_once")},
        ),
        ("When it ends", {"fields": (("quiet_seconds", "max_duration_seconds"), "reopen_seconds")}),
        ("History", {"fields": (("version", "created_at", "updated_at"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[StormPolicy]:
        opened = Count("storms", filter=Q(storms__state=StormState.OPEN))
        queryset: QuerySet[StormPolicy] = super().get_queryset(request)
        return queryset.annotate(open_storm_count=opened)

    @display(description="Enabled", ordering="enabled", label={"on": "success", "off": "default"})
    def shown_enabled(self, policy: StormPolicy) -> str:
        return "on" if policy.enabled else "off"

    @display(description="Matchers")
    def shown_matchers(self, policy: StormPolicy) -> str:
        return policy.matchers or "every alert"

    @display(description="Group by")
    def shown_group_by(self, policy: StormPolicy) -> str:
        return ", ".join(policy.group_by) or "(one group)"

    @display(description="Window", ordering="window_seconds")
    def shown_window(self, policy: StormPolicy) -> str:
        return _seconds(policy.window_seconds)

    @display(description="Hold", ordering="hold_seconds")
    def shown_hold(self, policy: StormPolicy) -> str:
        return _seconds(policy.hold_seconds) if policy.hold_seconds else "at once"

    @display(description="Quiet", ordering="quiet_seconds")
    def shown_quiet(self, policy: StormPolicy) -> str:
        return _seconds(policy.quiet_seconds)

    @display(description="Open", ordering="open_storm_count")
    def open_storms(self, policy: StormPolicy) -> str:
        count: int = policy.open_storm_count  # type: ignore[attr-defined]
        if not count:
            return "0"
        url = reverse("admin:storms_storm_changelist")
        return href(f"{url}?policy__id__exact={policy.pk}&state__exact=open", str(count))

    @action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[StormPolicy]) -> None:
        self._set_enabled(request, queryset, True)

    @action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[StormPolicy]) -> None:
        self._set_enabled(request, queryset, False)

    def _set_enabled(self, request: HttpRequest, queryset: QuerySet[StormPolicy], enabled: bool) -> None:
        changed = list(queryset.filter(enabled=not enabled))
        for policy in changed:
            policy.enabled = enabled
            save_policy(policy=policy, actor=request.user.get_username())
        word = "enabled" if enabled else "disabled"
        self.message_user(request, f"{len(changed)} of {queryset.count()} were {word}.", messages.SUCCESS)

    def save_model(self, request: HttpRequest, obj: StormPolicy, form: Any, change: bool) -> None:
        save_policy(policy=obj, actor=request.user.get_username())

    def delete_model(self, request: HttpRequest, obj: StormPolicy) -> None:
        delete_policy(policy=obj, actor=request.user.get_username())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[StormPolicy]) -> None:
        for policy in queryset:
            delete_policy(policy=policy, actor=request.user.get_username())

    # A refusal rolls back the whole request: actions log what they are about to do before they do it.
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return self._unless_refused(
            request, lambda: super(StormPolicyAdmin, self).changelist_view(request, extra_context)
        )

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._unless_refused(
            request, lambda: super(StormPolicyAdmin, self).changeform_view(request, *args, **kwargs)
        )

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._unless_refused(
            request, lambda: super(StormPolicyAdmin, self).delete_view(request, *args, **kwargs)
        )

    def _unless_refused(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        try:
            with transaction.atomic():
                return view()
        except PolicyError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:storms_stormpolicy_changelist"))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """With what its past says about its threshold, for who may see storms."""
        policy = self.get_object(request, unquote(object_id))
        if policy is not None and request.user.has_perm("storms.view_storm"):
            extra_context = (extra_context or {}) | {"evidence": evidence(policy, timezone.now())}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    @action(description="Its storms in History", url_path="in-history", permissions=["view"], icon="calendar_month")
    def in_history(self, request: HttpRequest, object_id: int) -> HttpResponse:
        policy = get_object_or_404(StormPolicy, pk=object_id)
        return HttpResponseRedirect(f"{reverse('history')}?{urlencode({'days': 30, 'policy': policy.name})}#storms")

    # --- who gets an alert

    @action(description="Who gets an alert?", url_path="explain", permissions=["view"], icon="question_mark")
    def explain(self, request: HttpRequest) -> HttpResponse:
        """Labels (pasted, or a recent alert's) in, the policy and the reasons out."""
        sees_alerts = request.user.has_perm("storms.view_alert")
        form = ExplainForm(request.GET if "labels" in request.GET else None)
        labels, alert, problem = None, None, ""
        if "alert" in request.GET:
            alert = _alert(request.GET["alert"]) if sees_alerts else None
            labels, problem = (alert.labels, "") if alert is not None else (None, "There is no such alert.")
        elif form.is_valid():
            labels = form.cleaned_data["labels"]
        context = self.admin_site.each_context(request) | {
            "opts": self.opts,
            "title": "Which policy gets this alert?",
            "form": form if labels is None or alert is None else ExplainForm({"labels": labels_text(labels)}),
            "problem": problem,
            "alert": alert,
            "latest": Alert.objects.defer("annotations")[:LATEST_ALERTS] if sees_alerts else [],
            "explanation": explanation_document(explain(labels)) if labels is not None else None,
        }
        return TemplateResponse(request, "admin/policy_explain.html", context)

    # --- versions

    def get_urls(self) -> list[URLPattern]:
        restore = path(
            "<int:object_id>/versions/<int:version>/restore/",
            self.admin_site.admin_view(require_POST(self.restore_view)),
            name="storms_stormpolicy_restore",
        )
        return [restore, *super().get_urls()]

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Every version with what it changed, and the way back to it."""
        policy = self.get_object(request, unquote(object_id))
        if policy is None:
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return redirect
        if not self.has_view_or_change_permission(request, policy):
            raise PermissionDenied
        page = Paginator(policy.versions.all(), VERSIONS_SHOWN).get_page(request.GET.get("p"))
        now = version_fields(policy)
        context = self.admin_site.each_context(request) | {
            "opts": self.opts,
            "title": f"Versions of “{policy}”",
            "policy": policy,
            "page": page,
            "versions": [_shown_version(version, policy, now) for version in page],
            "may_restore": self.has_change_permission(request, policy),
        }
        return TemplateResponse(request, "admin/policy_versions.html", context)

    def restore_view(self, request: HttpRequest, object_id: int, version: int) -> HttpResponse:
        policy = get_object_or_404(StormPolicy, pk=object_id)
        if not self.has_change_permission(request, policy):
            raise PermissionDenied
        try:
            restored = restore_policy(policy=policy, version=version, actor=request.user.get_username())
        except PolicyError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.log_change(request, restored, f"Restored version {version} as version {restored.version}.")
            text = f"Version {version} is restored, as version {restored.version}; it holds from the next alert on."
            self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:storms_stormpolicy_history", args=[object_id]))


def _shown_version(version: PolicyVersion, policy: StormPolicy, now: dict[str, Any]) -> dict[str, Any]:
    """`against_now`: what restoring it would change."""
    then = {name: value for name, value in version.fields.items() if name in now}
    return {
        "version": version,
        "words": describe_version(version),
        "is_current": version.version == policy.version,
        "against_now": describe_changes(changed_fields({name: now[name] for name in then}, then)),
        "fields": pretty(version.fields),
    }


def _alert(text: str) -> Alert | None:
    try:
        return Alert.objects.select_related("policy").filter(pk=UUID(text)).first()
    except ValueError:
        return None


def labels_text(labels: dict[str, str]) -> str:
    """As `parse_labels` reads them back, whatever is in them."""
    return json.dumps(labels, ensure_ascii=False, indent=1)


def _seconds(number: int) -> str:
    """In a narrow column, on one line."""
    return f"{number}\N{NO-BREAK SPACE}s"
