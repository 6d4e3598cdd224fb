"""The audit in the admin: to be read; and the mixin by which the admin's own forms write it."""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms.models import model_to_dict
from django.http import HttpRequest
from unfold.decorators import display

from storms.admin_base import ReadOnlyAdmin, pretty
from storms.choices import AuditAction
from storms.models import AuditEntry
from storms.services import audit

SECRET_FIELDS = {"password", "token_hash"}


class AuditedAdmin:
    """Mixed into an admin whose rows have no service of their own: rules, users, groups.

    `audit_actions`: what it is called when one is created, edited, deleted.
    """

    audit_actions: tuple[AuditAction, AuditAction, AuditAction]
    model: Any

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        stored = self.model._default_manager.filter(pk=obj.pk).first() if change else None
        request.audited_before = _snapshot(stored)  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)  # type: ignore[misc]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """After it the row is whole: who is in which group is saved here."""
        super().save_related(request, form, formsets, change)  # type: ignore[misc]
        before, row = request.audited_before, form.instance  # type: ignore[attr-defined]
        differences = audit.changed(before, _snapshot(self.model._default_manager.get(pk=row.pk)))
        if differences["after"] or not change:
            created, edited, _ = self.audit_actions
            self._record(request, edited if change else created, row, **differences)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        self.record_deletion(request, obj)
        super().delete_model(request, obj)  # type: ignore[misc]

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            self.record_deletion(request, row)
        super().delete_queryset(request, queryset)  # type: ignore[misc]

    def record_deletion(self, request: HttpRequest, row: Any) -> None:
        """Before it is gone."""
        self._record(request, self.audit_actions[2], row, before=_snapshot(row))

    def _record(self, request: HttpRequest, action: AuditAction, row: Model, **fields: Any) -> None:
        audit.record(action=action, actor=request.user.get_username(), target=row, **fields)


def _snapshot(row: Model | None) -> dict[str, Any]:
    """The row's fields as texts and numbers, what it is linked to by name; without secrets."""
    if row is None:
        return {}
    fields = model_to_dict(row)
    return {
        name: sorted(str(item) for item in value) if isinstance(value, list) and _is_linked(row, name) else value
        for name, value in fields.items()
        if name not in SECRET_FIELDS
    }


def _is_linked(row: Model, name: str) -> bool:
    return bool(row._meta.get_field(name).many_to_many)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "shown_actor", "shown_action", "target_type", "target_name", "remote_addr", "via", "detail")
    list_filter = ("target_type",)
    search_fields = ("actor", "action", "target_name", "target_id", "detail")
    search_help_text = "A person, an action, or what was acted on."
    date_hierarchy = "at"
    fieldsets = (
        (None, {"fields": (("at", "shown_action"), ("shown_actor", "via", "remote_addr"))}),
        ("On what", {"fields": (("target_type", "target_name", "target_id"), "detail")}),
        ("Change", {"fields": ("shown_before", "shown_after")}),
    )
    readonly_fields = ("shown_actor", "shown_action", "shown_before", "shown_after")

    @display(description="Who", ordering="actor")
    def shown_actor(self, entry: AuditEntry) -> str:
        if entry.action == AuditAction.LOGIN_FAILED:
            return entry.actor or "nobody, by single sign-on"
        return entry.actor or "stormconsole"

    @display(description="What", ordering="action")
    def shown_action(self, entry: AuditEntry) -> str:
        return str(AuditAction(entry.action).label) if entry.action in AuditAction.values else entry.action

    @display(description="Before")
    def shown_before(self, entry: AuditEntry) -> str:
        return pretty(entry.before)

    @display(description="After")
    def shown_after(self, entry: AuditEntry) -> str:
        return pretty(entry.after)
