"""The admin of ingestion: receivers are made here, the ledger is to be read."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from redis.exceptions import RedisError
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from ingestion.dead_letter_admin import DeadLetterAdmin, DeadLetterInline
from ingestion.models import Delivery, Receiver, ReceiverKind
from ingestion.services import (
    OPTIONS,
    OVERLAP,
    create_receiver,
    delete_receiver,
    edit_receiver,
    revoke_old_token,
    rotate_token,
)
from ingestion.silence_admin import SilenceAdmin
from ingestion.validators import validate_web_address
from stormconsole.pressure import over_limit
from storms.admin import show_token
from storms.admin_base import InConsole, ReadOnlyAdmin, href, link, one_of
from storms.templatetags.console import exact

__all__ = ["DeadLetterAdmin", "DeliveryAdmin", "ReceiverAdmin", "SilenceAdmin"]

USAGE = {
    ReceiverKind.ALERTMANAGER: """# alertmanager.yml
receivers:
  - name: stormconsole
    webhook_configs:
      - url: {url}
        send_resolved: true
        http_config:
          authorization:
            credentials: {token}""",
    ReceiverKind.KUBERNETES_EVENT: """# kubernetes-event-exporter's config.yaml
route:
  routes:
    - match:
        - type: Warning
          receiver: stormconsole
receivers:
  - name: stormconsole
    webhook:
      endpoint: {url}
      headers:
        Content-Type: application/json
        Authorization: Bearer {token}""",
    ReceiverKind.GENERIC: """curl {url} \\
  -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\
  -d '{{"id": "first-try", "name": "Hello", "severity": "info", "summary": "The first alert"}}'""",
}


class ReceiverForm(forms.ModelForm):
    """No static labels are an empty object, not null."""

    old_token_hours = forms.IntegerField(
        label="When rotated, the old token goes on for",
        initial=OVERLAP // timedelta(hours=1),
        min_value=0,
        max_value=720,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Hours, for the time until every sender has the new one. 0: it is refused at once.",
    )

    class Meta:
        model = Receiver
        fields = ("name", "kind", "enabled", *OPTIONS)
        labels = {"alertmanager_urls": "Alertmanager URLs"}
        widgets = {
            name: UnfoldAdminTextareaWidget(attrs={"rows": 3})
            for name in ("static_labels", "allowed_namespaces", "alertmanager_urls")
        }

    def clean_static_labels(self) -> dict[str, str]:
        return self.cleaned_data["static_labels"] or {}

    def clean_alertmanager_urls(self) -> list[str]:
        """As the model does, whose reason Django's form replaces by "Item 1 in the array did not validate"."""
        urls: list[str] = self.cleaned_data["alertmanager_urls"]
        for url in urls:
            validate_web_address(url)
        return urls


@admin.register(Receiver)
class ReceiverAdmin(InConsole, ModelAdmin):
    """A new receiver's token, and a rotated one, is shown once, in the answer to the form."""

    form = ReceiverForm
    list_display = (
        "name",
        "kind",
        "shown_enabled",
        "heard_at",
        "shown_heartbeat",
        "shown_limit",
        "shown_old_token",
        "created_at",
    )
    list_filter = ("kind", "enabled")
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "kind", "enabled", "created_at")}),
        ("What it sends", {"fields": ("static_labels", "allowed_namespaces")}),
        ("When it falls silent", {"fields": ("heartbeat_minutes", "heard_at")}),
        ("When it sends too much", {"fields": (("alerts_per_minute", "shown_over_limit"),)}),
        ("What its Alertmanager holds", {"fields": ("alertmanager_urls", "alertmanager_receiver")}),
    )
    token_fieldset = ("Token", {"fields": (("token_rotated_at", "shown_old_token"), "old_token_hours")})
    actions = ("rotate", "refuse_old_token")
    actions_submit_line = ("save_and_rotate", "save_and_refuse_old_token")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **options: Any) -> HttpResponse:
        """Without a button that nobody makes receivers with: all others fit beside each other then."""
        response: HttpResponse = super().render_change_form(
            request, context | {"show_save_and_add_another": False}, **options
        )
        return response

    def console_url(self, row: Receiver) -> str:
        """Its deliveries, beside its last word."""
        return f"{reverse('system')}?{urlencode({'receiver': row.name})}#deliveries"

    @display(description="Enabled", ordering="enabled", label={"on": "success", "off": "default"})
    def shown_enabled(self, receiver: Receiver) -> str:
        return "on" if receiver.enabled else "off"

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """The kind is what the token opens: another kind is another receiver."""
        always = ("created_at", "heard_at", "shown_over_limit", "token_rotated_at", "shown_old_token")
        return ("kind", *always) if obj else always

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return (*self.fieldsets, self.token_fieldset) if obj else self.fieldsets

    def get_queryset(self, request: HttpRequest) -> QuerySet[Receiver]:
        accepted = Delivery.objects.filter(
            receiver=OuterRef("pk"), http_status__lt=300, kind__in=ReceiverKind.values
        ).order_by("-received_at")
        with_old = Delivery.objects.filter(receiver=OuterRef("pk"), old_token=True).order_by("-received_at")
        receivers: QuerySet[Receiver] = super().get_queryset(request)
        return receivers.annotate(
            heard=Subquery(accepted.values("received_at")[:1]), old_heard=Subquery(with_old.values("received_at")[:1])
        )

    @display(description="Last accepted", ordering="heard")
    def heard_at(self, receiver: Receiver) -> Any:
        return getattr(receiver, "heard", None)

    @display(description="Heartbeat", ordering="heartbeat_minutes")
    def shown_heartbeat(self, receiver: Receiver) -> str:
        return f"{receiver.heartbeat_minutes} min" if receiver.heartbeat_minutes else "-"

    @display(description="Limit", ordering="alerts_per_minute")
    def shown_limit(self, receiver: Receiver) -> str:
        return f"{receiver.alerts_per_minute}/min" if receiver.alerts_per_minute else "-"

    @display(description="Refused as over it")
    def shown_over_limit(self, receiver: Receiver) -> str:
        if receiver.pk is None:
            return "-"
        try:
            return f"{over_limit([receiver.pk])[receiver.pk]} webhooks"
        except RedisError:
            return "unknown, the store is away"

    @display(description="Old token")
    def shown_old_token(self, receiver: Receiver) -> str:
        """Until when it goes on, and whether anybody still uses it."""
        until = receiver.previous_token_until
        if until is None:
            return "-"
        heard = getattr(receiver, "old_heard", None)
        used = f"used last {exact(heard)}" if heard and heard > receiver.token_rotated_at else "not used since"
        return f"{'goes on until' if until > timezone.now() else 'refused since'} {exact(until)}, {used}"

    def save_model(self, request: HttpRequest, obj: Receiver, form: Any, change: bool) -> None:
        options = {field: getattr(obj, field) for field in ("enabled", *OPTIONS)}
        if change:
            edit_receiver(receiver=obj, actor=request.user.get_username(), name=obj.name, **options)
            hours = form.cleaned_data.get("old_token_hours")
            request.overlap = OVERLAP if hours is None else timedelta(hours=hours)  # type: ignore[attr-defined]
            self._run_submit_actions(request, obj)
            return
        receiver, token = create_receiver(name=obj.name, kind=obj.kind, actor=request.user.get_username(), **options)
        obj.pk = receiver.pk
        request.new_token = token  # type: ignore[attr-defined]

    def delete_model(self, request: HttpRequest, obj: Receiver) -> None:
        delete_receiver(receiver=obj, actor=request.user.get_username())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Receiver]) -> None:
        for receiver in queryset:
            delete_receiver(receiver=receiver, actor=request.user.get_username())

    def _run_submit_actions(self, request: HttpRequest, obj: Receiver) -> None:
        for button in self.get_actions_submit_line(request, obj.pk):
            if button.action_name in request.POST:
                button.method(request, obj)

    @action(description="Save and rotate the token", permissions=["change"])
    def save_and_rotate(self, request: HttpRequest, obj: Receiver) -> None:
        overlap: timedelta = request.overlap  # type: ignore[attr-defined]
        token = rotate_token(receiver=obj, overlap=overlap, actor=request.user.get_username())
        request.new_token = token  # type: ignore[attr-defined]

    @action(description="Save and refuse the old token now", permissions=["change"])
    def save_and_refuse_old_token(self, request: HttpRequest, obj: Receiver) -> None:
        self._refuse_old_tokens(request, [obj])

    @action(description="Refuse the old token now", permissions=["change"])
    def refuse_old_token(self, request: HttpRequest, queryset: QuerySet[Receiver]) -> None:
        self._refuse_old_tokens(request, list(queryset))

    def _refuse_old_tokens(self, request: HttpRequest, receivers: list[Receiver]) -> None:
        actor = request.user.get_username()
        revoked = [receiver for receiver in receivers if revoke_old_token(receiver=receiver, actor=actor)]
        level = messages.SUCCESS if revoked else messages.WARNING
        self.message_user(request, f"{len(revoked)} of {len(receivers)} had an old token, now refused.", level)

    @action(description="Rotate the token; the old one goes on for a day", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[Receiver]) -> HttpResponse | None:
        if queryset.count() != 1:
            self.message_user(request, "Choose one receiver: its new token is shown once.", messages.ERROR)
            return None
        receiver = queryset.get()
        token = rotate_token(receiver=receiver, actor=request.user.get_username())
        self.log_change(request, receiver, "Rotated the token.")
        return self._show(request, receiver, token)

    def response_add(self, request: HttpRequest, obj: Receiver, post_url_continue: Any = None) -> HttpResponse:
        return self._show(request, obj, request.new_token)  # type: ignore[attr-defined]

    def response_change(self, request: HttpRequest, obj: Receiver) -> HttpResponse:
        token = getattr(request, "new_token", None)
        if token is None:
            response: HttpResponse = super().response_change(request, obj)
            return response
        return self._show(request, obj, token)

    def _show(self, request: HttpRequest, receiver: Receiver, token: str) -> HttpResponse:
        url = request.build_absolute_uri(f"/api/v1/webhooks/{receiver.kind}")
        usage = USAGE[ReceiverKind(receiver.kind)].format(url=url, token=token)
        return show_token(self, request, title=f"Token of receiver “{receiver.name}”", token=token, usage=usage)


class StatusFilter(admin.SimpleListFilter):
    """By the first digit of what was answered."""

    title = "status"
    parameter_name = "answered"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("2", "Accepted (2xx)"), ("4", "Refused (4xx)"), ("5", "Failed (5xx)")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        first = {"2": 200, "4": 400, "5": 500}.get(self.value() or "")
        return queryset.filter(http_status__range=(first, first + 99)) if first else queryset


@admin.register(Delivery)
class DeliveryAdmin(InConsole, ReadOnlyAdmin):
    list_display = (
        "received_at",
        "shown_receiver",
        "shown_status",
        "received",
        "shown_outcomes",
        "shown_unaccounted",
        "truncated_alerts",
        "body_bytes",
        "remote_addr",
        "error",
    )
    list_filter = ("received_at", StatusFilter, one_of("kind", ReceiverKind.choices), "receiver")
    search_fields = ("error", "receiver__name")
    list_select_related = ("receiver",)
    inlines = (DeadLetterInline,)
    fieldsets = (
        (None, {"fields": ("id", ("received_at", "remote_addr"), ("shown_receiver", "kind"))}),
        ("Answer", {"fields": (("http_status", "body_bytes"), "error")}),
        ("Alerts", {"fields": (("received", "unaccounted"), ("shown_outcomes", "truncated_alerts"), "alerts")}),
    )
    readonly_fields = ("shown_receiver", "unaccounted", "shown_outcomes", "alerts")

    def console_url(self, row: Delivery) -> str:
        return reverse("delivery", args=[row.pk])

    @display(description="Receiver")
    def shown_receiver(self, delivery: Delivery) -> str:
        return link(delivery.receiver)

    @display(description="Status", ordering="http_status", label={"2": "success", "4": "warning", "5": "danger"})
    def shown_status(self, delivery: Delivery) -> tuple[str, str]:
        return str(delivery.http_status)[0], str(delivery.http_status)

    @display(description="Outcomes")
    def shown_outcomes(self, delivery: Delivery) -> str:
        return ", ".join(f"{count} {outcome}" for outcome, count in delivery.outcomes.items()) or "-"

    @display(description="Unaccounted", label={"0": "success", "1": "danger"})
    def shown_unaccounted(self, delivery: Delivery) -> tuple[str, str]:
        return str(int(delivery.unaccounted != 0)), str(delivery.unaccounted)

    @display(description="Alerts that it brought first")
    def alerts(self, delivery: Delivery) -> str:
        return href(f"{reverse('admin:storms_alert_changelist')}?delivery_id={delivery.pk}", "In the list of alerts")
