"""Filters of the ledger's part of the read API."""

from typing import Any

import django_filters
from django.db.models import QuerySet

from ingestion.models import DeadLetter, Delivery
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
    received_after, received_before = after("received_at"), before("received_at")

    class Meta:
        model = DeadLetter
        fields: list[Any] = []
