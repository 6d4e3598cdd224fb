"""Filters of the ledger's part of the read API."""

from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from django.utils import timezone

from ingestion.models import DeadLetter, Delivery, LetterState, Reason, ReconcileRun, Silence
from ingestion.silences import in_state
from storms.choices import Outcome
from storms.filters import after, before


class DeliveryFilter(django_filters.FilterSet):
    receiver = django_filters.CharFilter(field_name="receiver__name", help_text="The receiver's name.")
    outcome = django_filters.ChoiceFilter(
        choices=Outcome.choices, method="filter_outcome", help_text="Deliveries with at least one such alert."
    )
    received_after, received_before = after("received_at"), before("received_at")

    class Meta:
        model = Delivery
        fields = ["kind", "http_status"]

    def filter_outcome(self, queryset: QuerySet[Delivery], name: str, value: str) -> QuerySet[Delivery]:
        return queryset.filter(**{f"outcomes__{value}__gt": 0})


class DeadLetterFilter(django_filters.FilterSet):
    receiver = django_filters.CharFilter(field_name="receiver__name", help_text="The receiver's name.")
    delivery = django_filters.UUIDFilter(field_name="delivery_id", help_text="The delivery's id.")
    state = django_filters.MultipleChoiceFilter(choices=LetterState.choices, help_text="Repeat it for any of several.")
    reason = django_filters.MultipleChoiceFilter(choices=Reason.choices, help_text="Repeat it for any of several.")
    error = django_filters.CharFilter(lookup_expr="icontains", help_text="A part of the error.")
    received_after, received_before = after("received_at"), before("received_at")

    class Meta:
        model = DeadLetter
        fields: list[Any] = []


class ReconcileRunFilter(django_filters.FilterSet):
    class Meta:
        model = ReconcileRun
        fields = ["state", "dry_run", "actor"]


class SilenceFilter(django_filters.FilterSet):
    state = django_filters.MultipleChoiceFilter(
        choices=[(state, state.capitalize()) for state in ("pending", "active", "expired")],
        method="filter_state",
        help_text="Repeat it for any of several.",
    )
    created_after, created_before = after("created_at"), before("created_at")

    class Meta:
        model = Silence
        fields = ["author"]

    def filter_state(self, queryset: QuerySet[Silence], name: str, value: list[str]) -> QuerySet[Silence]:
        now, wanted = timezone.now(), Q()
        for state in value:
            wanted |= in_state(state, now)
        return queryset.filter(wanted)
