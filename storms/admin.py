"""The admin of the domain: what the system writes is to be read, API tokens are made here.

Policies are in `storms.policy_admin`, the rules in `storms.rules_admin`.
"""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from storms import audit_admin, policy_admin, rules_admin  # noqa: F401  (registered by being imported)
from storms.action_admin import StormBulkActions
from storms.admin_base import (
    SEVERITY_COLOURS,
    SYNC_COLOURS,
    InConsole,
    ReadOnlyAdmin,
    ReadOnlyInline,
    href,
    labels_line,
    link,
    one_of,
    plain_link,
    pretty,
)
from storms.api_tokens import create_api_token, revoke_api_token, rotate_api_token
from storms.audit_admin import AuditedAdmin
from storms.choices import AuditAction, Phase
from storms.live import storm_state
from storms.models import Alert, ApiToken, RemediationRequest, Storm, StormEvent

SOURCES = [
    ("alertmanager", "Alertmanager"),
    ("kubernetes-event", "Kubernetes events"),
    ("generic", "Generic JSON"),
    ("heartbeat", "The console's own"),
]
"""Kinds of receivers, which are `ingestion`'s, and what the console raises itself."""
DISPOSITION_COLOURS = {
    "member": "danger",
    "individual": "warning",
    "held": "info",
    "deferred": "info",
    "silenced": "default",
    "resolved_while_held": "success",
    "resolved_unseen": "success",
}
PHASE_COLOURS = {"Completed": "success", "Failed": "danger", "Cancelled": "default", "Processing": "info"}


class EventInline(ReadOnlyInline):
    model = StormEvent
    fields = ("at", "kind", "message", "actor")
    readonly_fields = fields
    verbose_name_plural = "Timeline"


@admin.register(Storm)
class StormAdmin(InConsole, StormBulkActions, ReadOnlyAdmin):
    list_display = (
        "shown_title",
        "shown_state",
        "shown_severity",
        "shown_alerts",
        "policy_name",
        "opened_at",
        "last_alert_at",
        "shown_owner",
        "shown_request",
        "page",
    )
    list_filter = ("state", "severity", "close_reason", ("acknowledged_at", admin.EmptyFieldListFilter), "policy")
    search_fields = ("group_labels", "policy_name", "group_key")
    search_help_text = "A label's name or value, or a policy's name"
    date_hierarchy = "opened_at"
    list_select_related = ("remediation_request",)
    inlines = (EventInline,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_title", "page"),
                    ("shown_state", "severity"),
                    ("opened_at", "opening_alert"),
                    ("closed_at", "close_reason"),
                    "close_comment",
                    ("previous", "request_link"),
                    ("merged_into", "reopened_at"),
                )
            },
        ),
        ("Operators", {"fields": (("acknowledged_by", "acknowledged_at"), "assignee")}),
        (
            "Alerts",
            {
                "fields": (
                    ("members", "last_alert_at"),
                    ("firing_count", "resolved_count"),
                    ("shown_names", "shown_severities"),
                    "refreshed_at",
                )
            },
        ),
        (
            "Policy it was opened under",
            {
                "fields": (
                    ("policy", "policy_version"),
                    ("threshold", "window_seconds"),
                    ("quiet_seconds", "max_duration_seconds"),
                    "shown_group",
                    "group_key",
                )
            },
        ),
    )
    readonly_fields = (
        "shown_title",
        "page",
        "shown_state",
        "opening_alert",
        "request_link",
        "members",
        "shown_names",
        "shown_severities",
        "shown_group",
    )

    def console_url(self, row: Storm) -> str:
        return reverse("storm", args=[row.pk])

    @display(description="Group")
    def shown_title(self, storm: Storm) -> str:
        return storm.group_title

    @display(description="State", ordering="state", label={"open": "danger", "settled": "warning", "closed": "default"})
    def shown_state(self, storm: Storm) -> str:
        return storm_state(storm)

    @display(description="Severity", ordering="severity", label=SEVERITY_COLOURS)
    def shown_severity(self, storm: Storm) -> tuple[str, str]:
        return storm.severity, storm.get_severity_display()

    @display(description="With", ordering="assignee")
    def shown_owner(self, storm: Storm) -> str:
        return storm.assignee or storm.acknowledged_by or "-"

    @display(description="Firing / alerts", ordering="alert_count")
    def shown_alerts(self, storm: Storm) -> str:
        return f"{storm.firing_count:,} / {storm.alert_count:,}"

    @display(description="Resource", label=SYNC_COLOURS)
    def shown_request(self, storm: Storm) -> tuple[str, Any] | None:
        request = getattr(storm, "remediation_request", None)
        return (request.sync_state, plain_link(request, request.sync_state)) if request else None

    @display(description="Resource")
    def request_link(self, storm: Storm) -> str:
        return link(getattr(storm, "remediation_request", None))

    @display(description="Page")
    def page(self, storm: Storm) -> str:
        return href(reverse("storm", args=[storm.pk]), "Open")

    @display(description="Alert that opened it")
    def opening_alert(self, storm: Storm) -> str:
        return href(reverse("admin:storms_alert_change", args=[storm.opened_by]), str(storm.opened_by))

    @display(description="Members")
    def members(self, storm: Storm) -> str:
        url = reverse("admin:storms_alert_changelist")
        return href(f"{url}?storm__id__exact={storm.pk}", f"Its {storm.alert_count:,} alerts")

    @display(description="Alert names")
    def shown_names(self, storm: Storm) -> str:
        return pretty({item["name"]: item["count"] for item in storm.alert_names})

    @display(description="Severities")
    def shown_severities(self, storm: Storm) -> str:
        return pretty(storm.severity_counts)

    @display(description="Group")
    def shown_group(self, storm: Storm) -> str:
        return pretty(storm.group_labels)


@admin.register(Alert)
class AlertAdmin(InConsole, ReadOnlyAdmin):
    list_display = (
        "shown_name",
        "namespace",
        "shown_severity",
        "shown_status",
        "shown_outcome",
        "shown_disposition",
        "received_at",
        "occurrences",
        "shown_storm",
        "shown_request",
        "page",
    )
    list_filter = ("received_at", "status", "severity", "outcome", "disposition", "flapping", one_of("source", SOURCES))
    search_fields = ("alertname", "namespace", "resource_name", "=fingerprint")
    search_help_text = "A part of the alert's name, namespace or resource, or its whole fingerprint"
    list_select_related = ("storm", "remediation_request")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_name", "page"),
                    ("severity", "status"),
                    ("environment", "priority"),
                    ("namespace", "shown_resource"),
                    ("starts_at", "ends_at"),
                    ("received_at", "last_seen_at"),
                    ("occurrences", "resolutions"),
                    "flapping",
                    ("receiver", "shown_delivery"),
                )
            },
        ),
        (
            "Decision",
            {
                "fields": (
                    ("outcome", "disposition"),
                    ("policy", "policy_version"),
                    ("policy_reason", "explained"),
                    "shown_group",
                    ("count", "threshold"),
                    ("decided_at", "release_at"),
                    ("shown_storm", "shown_request"),
                    ("split_from", "silence_id"),
                )
            },
        ),
        ("Content", {"fields": ("shown_labels", "shown_annotations", "generator_url", "fingerprint")}),
    )
    readonly_fields = (
        "shown_name",
        "page",
        "shown_resource",
        "shown_delivery",
        "explained",
        "shown_group",
        "shown_storm",
        "shown_request",
        "shown_labels",
        "shown_annotations",
    )

    def console_url(self, row: Alert) -> str:
        return reverse("alert", args=[row.pk])

    @display(description="Alert", ordering="alertname")
    def shown_name(self, alert: Alert) -> str:
        return alert.alertname or "(no name)"

    @display(description="Severity", ordering="severity", label=SEVERITY_COLOURS)
    def shown_severity(self, alert: Alert) -> tuple[str, str]:
        return alert.severity, alert.get_severity_display()

    @display(description="Status", ordering="status", label={"firing": "danger", "resolved": "success"})
    def shown_status(self, alert: Alert) -> str:
        return alert.status

    @display(description="Answered", ordering="outcome", label=True)
    def shown_outcome(self, alert: Alert) -> str:
        return alert.get_outcome_display()

    @display(description="Stands as", ordering="disposition", label=DISPOSITION_COLOURS)
    def shown_disposition(self, alert: Alert) -> tuple[str, str]:
        return alert.disposition, alert.disposition.replace("_", " ")

    @display(description="Storm")
    def shown_storm(self, alert: Alert) -> str:
        return link(alert.storm, alert.storm.group_title) if alert.storm else "-"

    @display(description="RemediationRequest")
    def shown_request(self, alert: Alert) -> str:
        request = getattr(alert, "remediation_request", None)
        return link(request, request.sync_state) if request else "-"

    @display(description="Page")
    def page(self, alert: Alert) -> str:
        return href(reverse("alert", args=[alert.pk]), "Why")

    @display(description="Why this policy")
    def explained(self, alert: Alert) -> str:
        url = reverse("admin:storms_stormpolicy_explain")
        return href(f"{url}?alert={alert.pk}", "And why not the others")

    @display(description="Resource")
    def shown_resource(self, alert: Alert) -> str:
        return f"{alert.resource_kind}/{alert.resource_name}"

    @display(description="First delivery")
    def shown_delivery(self, alert: Alert) -> str:
        return href(reverse("admin:ingestion_delivery_change", args=[alert.delivery_id]), str(alert.delivery_id))

    @display(description="Group")
    def shown_group(self, alert: Alert) -> str:
        return labels_line(alert.group_labels)

    @display(description="Labels")
    def shown_labels(self, alert: Alert) -> str:
        return pretty(alert.labels)

    @display(description="Annotations")
    def shown_annotations(self, alert: Alert) -> str:
        return pretty(alert.annotations)


class SupersededFilter(admin.SimpleListFilter):
    title = "superseded"
    parameter_name = "superseded"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Active"), ("yes", "Absorbed by a storm")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in ("yes", "no"):
            return queryset.filter(superseded_by__isnull=self.value() == "no")
        return queryset


@admin.register(RemediationRequest)
class RemediationRequestAdmin(InConsole, ReadOnlyAdmin):
    list_display = (
        "short_name",
        "namespace",
        "shown_sync",
        "shown_phase",
        "shown_version",
        "attempts",
        "next_attempt_at",
        "superseded",
        "created_at",
        "manifest_link",
    )
    list_filter = ("created_at", "kind", "sync_state", one_of("phase", Phase.choices), SupersededFilter)
    search_fields = ("name", "namespace", "last_error")
    search_help_text = "A part of the name, the namespace or the error"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    ("namespace", "origin_namespace"),
                    ("owner", "page"),
                    ("superseded", "created_at"),
                )
            },
        ),
        (
            "Cluster",
            {
                "fields": (
                    ("cluster", "sync_state"),
                    ("phase", "phase_at"),
                    "phase_message",
                    ("shown_version", "attempts"),
                    ("last_attempt_at", "next_attempt_at"),
                    "last_error",
                    ("applied_at", "apply_count"),
                    ("resource_version", "generation"),
                    "uid",
                )
            },
        ),
        ("Manifest as applied last", {"fields": ("manifest_link", "shown_manifest")}),
    )
    readonly_fields = ("owner", "page", "superseded", "shown_version", "manifest_link", "shown_manifest")

    def get_queryset(self, request: HttpRequest) -> QuerySet[RemediationRequest]:
        """The list leaves out the manifest, up to half a megabyte a row; `applied_at` says whether there is one."""
        queryset: QuerySet[RemediationRequest] = super().get_queryset(request)
        return queryset.defer("manifest", "superseded_by__manifest").select_related("superseded_by", "storm", "alert")

    def console_url(self, row: RemediationRequest) -> str:
        return reverse("storm", args=[row.storm_id]) if row.storm_id else reverse("alert", args=[row.alert_id])

    @display(description="Name", ordering="name")
    def short_name(self, request: RemediationRequest) -> str:
        """The kind and the first eight characters of the id: enough to tell rows apart; the search takes them too."""
        return f"{request.name[:14]}…"

    @display(description="Sync", ordering="sync_state", label=SYNC_COLOURS)
    def shown_sync(self, request: RemediationRequest) -> str:
        return request.sync_state

    @display(description="Phase", ordering="phase", label=PHASE_COLOURS)
    def shown_phase(self, request: RemediationRequest) -> str:
        return request.phase

    @display(description="Applied / desired")
    def shown_version(self, request: RemediationRequest) -> str:
        return f"{request.applied_version} / {request.desired_version}"

    @display(description="Superseded by")
    def superseded(self, request: RemediationRequest) -> str:
        return link(request.superseded_by, f"{request.superseded_by.name[:14]}…") if request.superseded_by else "-"

    @display(description="Made for")
    def owner(self, request: RemediationRequest) -> str:
        return link(request.storm or request.alert)

    @display(description="Page")
    def page(self, request: RemediationRequest) -> str:
        return href(reverse(str(request.kind), args=[request.pk]), f"The {request.kind}'s page")

    @display(description="YAML")
    def manifest_link(self, request: RemediationRequest) -> str:
        if request.applied_at is None:
            return "-"
        return href(reverse("remediationrequest-manifest", args=[request.pk]), "Download YAML")

    @display(description="Manifest")
    def shown_manifest(self, request: RemediationRequest) -> str:
        return pretty(request.manifest)


@admin.register(StormEvent)
class StormEventAdmin(ReadOnlyAdmin):
    list_display = ("at", "kind", "message", "shown_storm", "actor")
    list_filter = ("at", "kind")
    search_fields = ("message", "actor")
    ordering = ("-at", "-id")
    list_select_related = ("storm",)
    fields = ("at", "kind", "message", "shown_storm", "actor", "shown_detail")
    readonly_fields = ("shown_storm", "shown_detail")

    @display(description="Storm")
    def shown_storm(self, event: StormEvent) -> str:
        return link(event.storm, event.storm.group_title)

    @display(description="Detail")
    def shown_detail(self, event: StormEvent) -> str:
        return pretty(event.detail)


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Made here and shown once; whose, `_people` says."""

    list_display = ("name", "user", "created_at", "last_used_at", "expires_at")
    search_fields = ("name", "user__username")
    list_select_related = ("user",)
    readonly_fields = ("created_at", "last_used_at")
    actions = ("rotate",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        queryset: QuerySet[ApiToken] = super().get_queryset(request)
        return queryset.filter(user__in=_people(request))

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        shown = ("created_at", "last_used_at") if obj is not None else ()
        chosen = ("user",) if obj is not None or _has_a_choice(request) else ()
        return ("name", *chosen, "expires_at", *shown)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_foreignkey(db_field, request, **kwargs | {"queryset": _people(request)})

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        owner = obj.user if _has_a_choice(request) else cast("User", request.user)
        row, token = create_api_token(
            user=owner, name=obj.name, expires_at=obj.expires_at, actor=request.user.get_username()
        )
        obj.pk, obj.user = row.pk, row.user
        request.new_token = token  # type: ignore[attr-defined]

    def delete_model(self, request: HttpRequest, obj: ApiToken) -> None:
        revoke_api_token(token=obj, actor=request.user.get_username())

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            revoke_api_token(token=token, actor=request.user.get_username())

    @action(description="Rotate; the old one goes on for a day", permissions=["add"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> HttpResponse | None:
        if queryset.count() != 1:
            self.message_user(request, "Choose one token: the new one is shown once.", messages.ERROR)
            return None
        row, token = rotate_api_token(token=queryset.get(), actor=request.user.get_username())
        return self._show(request, row, token)

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: Any = None) -> HttpResponse:
        return self._show(request, obj, request.new_token)  # type: ignore[attr-defined]

    def _show(self, request: HttpRequest, row: ApiToken, token: str) -> HttpResponse:
        return show_token(
            self,
            request,
            title=f"API token “{row.name}” of {row.user}",
            token=token,
            usage=f'curl -H "Authorization: Bearer $TOKEN" {request.build_absolute_uri("/api/v1/storms/")}',
        )


def _people(request: HttpRequest) -> QuerySet[User]:
    """Whose tokens this person makes, sees and deletes: a token may do what its user may."""
    users = User.objects.all()
    if not request.user.is_authenticated:
        return users.none()
    if request.user.is_superuser:
        return users
    if _has_a_choice(request):
        return users.filter(is_superuser=False)
    return users.filter(pk=request.user.pk)


def _has_a_choice(request: HttpRequest) -> bool:
    """Who may edit users may make tokens of others; the rest make their own."""
    return request.user.has_perm("auth.change_user")


def show_token(model_admin: Any, request: HttpRequest, *, title: str, token: str, usage: str) -> HttpResponse:
    """The only time that a token is shown: in the answer itself (never cached, as all of the admin), in no session."""
    context = model_admin.admin_site.each_context(request) | {
        "opts": model_admin.opts,
        "title": title,
        "token": token,
        "usage": usage,
        "back": reverse(f"admin:{model_admin.opts.app_label}_{model_admin.opts.model_name}_changelist"),
    }
    return TemplateResponse(request, "admin/token_shown.html", context)


admin.site.unregister(User)
admin.site.unregister(Group)


ACCESS = (AuditAction.ACCESS_CREATED, AuditAction.ACCESS_EDITED, AuditAction.ACCESS_DELETED)


@admin.register(User)
class UserAdmin(AuditedAdmin, BaseUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    audit_actions = ACCESS

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(super().has_change_permission(request, obj)) and self._is_within_reach(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(super().has_delete_permission(request, obj)) and self._is_within_reach(request, obj)

    def _is_within_reach(self, request: HttpRequest, obj: Model | None) -> bool:
        """A superuser is edited by superusers: a password set by somebody else would hand over all there is."""
        return bool(request.user.is_superuser) or not (isinstance(obj, User) and obj.is_superuser)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else (*fields, "is_superuser", "user_permissions")

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with transaction.atomic():
            response: HttpResponse = super().user_change_password(request, id, form_url)
            if response.status_code == 302:
                self._record(request, AuditAction.PASSWORD_CHANGED, User.objects.get(pk=id))
        return response

    def record_deletion(self, request: HttpRequest, row: Any) -> None:
        """With the API tokens, which would go with their person without a word."""
        for token in ApiToken.objects.filter(user=row):
            revoke_api_token(token=token, actor=request.user.get_username())
        super().record_deletion(request, row)


@admin.register(Group)
class GroupAdmin(AuditedAdmin, BaseGroupAdmin, ModelAdmin):
    audit_actions = ACCESS
