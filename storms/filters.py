"""Filters of the read API. An unknown parameter is refused: a typing error must not answer with everything."""

from datetime import datetime
from typing import Any

import django_filters
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import Q, QuerySet
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.filters import OrderingFilter
from rest_framework.request import Request

from storms.choices import (
    AlertStatus,
    Disposition,
    Outcome,
    Phase,
    Priority,
    RequestKind,
    Severity,
    StormState,
    SyncState,
)
from storms.matchers import Matcher, MatcherError, parse_matchers
from storms.models import Alert, RemediationRequest, Storm, StormPolicy
from storms.moments import in_utc

COMMON_PARAMETERS = {"cursor", "page_size", "ordering", "format"}
LABEL_HELP = "`name=value`; repeat it for several, all must match. An empty value also finds a missing label."
STORM_STATES = [("open", "Open"), ("settled", "Closed, some alerts still fire"), ("closed", "Closed, none fires")]


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter's backend, which also refuses unknown parameters and NUL, which PostgreSQL cannot store."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        filterset_class = self.get_filterset_class(view, queryset)
        known = COMMON_PARAMETERS | set(filterset_class.base_filters if filterset_class else ())
        errors = {name: ["There is no such parameter."] for name in request.query_params if name not in known}
        errors |= {n: ["NUL is not allowed."] for n, values in request.query_params.lists() if "\0" in "".join(values)}
        if errors:
            raise ValidationError(errors)
        return super().filter_queryset(request, queryset, view)


class StrictOrderingFilter(OrderingFilter):
    """One field of the view's `ordering_fields`, `-` for descending; anything else is refused."""

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        asked = request.query_params.get(self.ordering_param, "").strip()
        if not asked:
            return self.get_default_ordering(view)
        allowed = list(view.ordering_fields)
        if asked.removeprefix("-") not in allowed:
            raise ValidationError(
                {self.ordering_param: [f"Order by one of: {', '.join(allowed)}; '-' for descending."]}
            )
        return [asked]

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        """The pagination sorts, with its tie-breaker; it asks `get_ordering`."""
        return queryset


class LabelFilter(django_filters.Filter):
    """`name=value` pairs, contained in a JSON object of labels."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, help_text=LABEL_HELP, **kwargs)

    def filter(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        pairs = self.parent.data.getlist(self.name) if self.parent and self.parent.data else []
        for pair in pairs:
            name, separator, wanted = pair.partition("=")
            if not separator or not name:
                raise ValidationError({self.name: [f"{pair!r} is not name=value."]})
            condition = Q(**{f"{self.field_name}__contains": {name: wanted}})
            if not wanted:
                condition |= ~Q(**{f"{self.field_name}__has_key": name})
            queryset = queryset.filter(condition)
        return queryset

    @property
    def name(self) -> str:
        return next(name for name, candidate in self.parent.filters.items() if candidate is self)


class _MomentField(IsoDateTimeField):
    def to_python(self, value: Any) -> datetime | None:
        moment = super().to_python(value)
        try:
            return moment and in_utc(moment)
        except ValueError as error:
            raise DjangoValidationError(self.error_messages["invalid"], code="invalid") from error


class MomentFilter(django_filters.IsoDateTimeFilter):
    field_class = _MomentField


def after(field: str) -> MomentFilter:
    return MomentFilter(field_name=field, lookup_expr="gte", help_text="ISO 8601, inclusive.")


def before(field: str) -> MomentFilter:
    return MomentFilter(field_name=field, lookup_expr="lt", help_text="ISO 8601, exclusive.")


def any_of(field: str, choices: Any) -> django_filters.MultipleChoiceFilter:
    listed = getattr(choices, "choices", choices)
    return django_filters.MultipleChoiceFilter(
        field_name=field, choices=listed, help_text="Repeat it for any of several."
    )


class StormFilter(django_filters.FilterSet):
    state = django_filters.MultipleChoiceFilter(
        choices=STORM_STATES, method="filter_state", help_text="Repeat it for any of several."
    )
    severity = any_of("severity", Severity)
    policy = django_filters.CharFilter(field_name="policy_name", help_text="The policy's name.")
    namespace = django_filters.CharFilter(field_name="group_labels__namespace", help_text="Of the group.")
    label = LabelFilter(field_name="group_labels")
    opened_after, opened_before = after("opened_at"), before("opened_at")
    closed_after, closed_before = after("closed_at"), before("closed_at")
    last_alert_after, last_alert_before = after("last_alert_at"), before("last_alert_at")

    class Meta:
        model = Storm
        fields = ["group_key", "close_reason"]

    def filter_state(self, queryset: QuerySet[Storm], name: str, value: list[str]) -> QuerySet[Storm]:
        conditions = {
            "open": Q(state=StormState.OPEN),
            "settled": Q(state=StormState.CLOSED, firing_count__gt=0),
            "closed": Q(state=StormState.CLOSED, firing_count=0),
        }
        wanted = Q()
        for state in value:
            wanted |= conditions[state]
        return queryset.filter(wanted)


class AlertFilter(django_filters.FilterSet):
    status = any_of("status", AlertStatus)
    severity = any_of("severity", Severity)
    outcome = any_of("outcome", Outcome)
    disposition = any_of("disposition", Disposition)
    priority = any_of("priority", Priority)
    storm = django_filters.UUIDFilter(field_name="storm_id", help_text="The storm's id.")
    delivery = django_filters.UUIDFilter(field_name="delivery_id", help_text="The delivery that brought it first.")
    policy = django_filters.NumberFilter(field_name="policy_id", help_text="The policy's id.")
    silence = django_filters.NumberFilter(field_name="silence_id", help_text="The id of the silence that matched.")
    label = LabelFilter(field_name="labels")
    matchers = django_filters.CharFilter(
        method="filter_matchers",
        help_text='Alertmanager\'s syntax: `{namespace="payments", pod=~"api-.*"}`. A page looks at a bounded number '
        "of alerts: it may be short, even empty, and `next` goes on; the last page has none.",
    )
    received_after, received_before = after("received_at"), before("received_at")
    starts_after, starts_before = after("starts_at"), before("starts_at")

    class Meta:
        model = Alert
        fields = ["namespace", "alertname", "environment", "flapping", "receiver", "source", "fingerprint", "group_key"]

    def filter_matchers(self, queryset: QuerySet[Alert], name: str, value: str) -> QuerySet[Alert]:
        """Only checked here: the pagination (`ScanningPagination`) looks for them."""
        matchers_of(value)
        return queryset


def matchers_of(text: str) -> tuple[Matcher, ...]:
    """Raises: ValidationError of the parameter `matchers`."""
    try:
        return parse_matchers(text)
    except MatcherError as error:
        raise ValidationError({"matchers": [str(error)]}) from error


class RemediationRequestFilter(django_filters.FilterSet):
    kind = any_of("kind", RequestKind)
    sync_state = any_of("sync_state", SyncState)
    phase = any_of("phase", Phase)
    superseded = django_filters.BooleanFilter(
        field_name="superseded_by", lookup_expr="isnull", exclude=True, help_text="true: absorbed ones; false: active."
    )
    storm = django_filters.UUIDFilter(field_name="storm_id", help_text="The storm's id.")
    created_after, created_before = after("created_at"), before("created_at")

    class Meta:
        model = RemediationRequest
        fields = ["namespace", "name"]


class PolicyFilter(django_filters.FilterSet):
    class Meta:
        model = StormPolicy
        fields = ["name", "enabled"]
