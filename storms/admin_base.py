"""What the admin's classes share: rows that only the system writes, links between them, readable JSON."""

import json
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action
from unfold.paginator import InfinitePaginator

SEVERITY_COLOURS = {"critical": "danger", "warning": "warning", "info": "info"}
SYNC_COLOURS = {
    "applied": "success",
    "pending": "info",
    "failed": "danger",
    "rejected": "danger",
    "skipped": "default",
    "collected": "default",
}


class SystemWritten:
    """Rows that only the services write: to be read here, whatever the user's rights."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def one_of(field: str, choices: Sequence[tuple[str, str]]) -> type[admin.SimpleListFilter]:
    """A list filter by the values that a field can have. Django's own asks the table which values it has: all rows."""

    class OneOf(admin.SimpleListFilter):
        title = field.replace("_", " ")
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return list(choices)

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            chosen = self.value()
            return queryset.filter(**{field: chosen}) if chosen in dict(choices) else queryset

    return OneOf


class ReadOnlyAdmin(SystemWritten, ModelAdmin):
    """A list that never counts its rows, there may be millions, and a page of read-only fields.

    No `date_hierarchy` where there may be many: it asks for every month or day that has a row, which reads them all.
    A date in `list_filter` asks for nothing.
    """

    actions: Any = None
    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 25
    list_fullwidth = True


class InConsole:
    """Mixed into an admin whose rows have a page in the console: a button on the change page leads there."""

    actions_detail = ("view_in_console",)
    model: type[Model]

    def console_url(self, row: Any) -> str:
        raise NotImplementedError

    @action(description="View in the console", url_path="in-console", permissions=["view"], icon="open_in_new")
    def view_in_console(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        return HttpResponseRedirect(self.console_url(get_object_or_404(self.model._default_manager, pk=object_id)))


class ReadOnlyInline(SystemWritten, TabularInline):
    extra = 0
    hide_title = True
    show_change_link = False


def link(row: Model | None, text: Any = None) -> SafeString | str:
    """A link to the row's page in the admin; `-` for None."""
    return href(admin_url(row), str(text or row)) if row is not None else "-"


def plain_link(row: Model, text: str) -> SafeString:
    """A link in the colour of what is around it, as in a label."""
    return format_html('<a href="{}">{}</a>', admin_url(row), text)


def admin_url(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def href(url: str, text: str) -> SafeString:
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)


def pretty(value: Any) -> SafeString | str:
    """JSON with its structure in sight; `-` for nothing."""
    if value in (None, "", {}, []):
        return "-"
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html('<pre class="whitespace-pre-wrap break-all font-mono text-xs">{}</pre>', text)


def labels_line(labels: dict[str, str]) -> str:
    """`namespace=payments, cluster=a`; `all alerts` for the empty group."""
    return ", ".join(f"{name}={value or '(none)'}" for name, value in labels.items()) or "all alerts"
