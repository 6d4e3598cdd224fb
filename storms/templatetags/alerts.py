"""Template helpers of the alert explorer and of what leads to it."""

from typing import Any
from uuid import UUID

from django import template

from storms.choices import Disposition
from storms.matchers import is_label_name
from storms.pages.alerts import alerts_like, alerts_with, with_matcher
from storms.periods import DAY, Period
from storms.services.label_baseline import MAX_VALUE_LENGTH

register = template.Library()


@register.simple_tag(takes_context=True)
def narrowed(context: dict[str, Any], name: str, value: str) -> str:
    """The explorer's own address with `name="value"` added; "" where matchers cannot name such a label."""
    return with_matcher(context["request"].GET, name, value) if is_label_name(name) else ""


@register.simple_tag
def like(name: str, value: str) -> str:
    """The explorer's address for alerts with that label; "" where matchers cannot name it."""
    return alerts_like(**{name: value}) if is_label_name(name) else ""


@register.simple_tag
def like_in_storm(storm_id: UUID, name: str, value: str) -> str:
    """The explorer's address for the storm's alerts with that label; "" for a value that was cut: none has it."""
    return alerts_with(name, value, storm=str(storm_id), range="all") if len(value) < MAX_VALUE_LENGTH else ""


@register.simple_tag
def named_in_period(alertname: str, period: Period) -> str:
    """The explorer's address for the alerts of that name that storms took in during the period."""
    bounds = {"from": f"{period.first}T00:00", "to": f"{period.last + DAY}T00:00", "range": "between"}
    return alerts_with("alertname", alertname, disposition=Disposition.MEMBER.value, **bounds)
