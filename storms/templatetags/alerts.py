"""Template helpers of the alert explorer and of what leads to it."""

from typing import Any

from django import template

from storms.matchers import is_label_name
from storms.pages.alerts import alerts_like, with_matcher

register = template.Library()


@register.simple_tag(takes_context=True)
def narrowed(context: dict[str, Any], name: str, value: str) -> str:
    """The explorer's own address with `name="value"` added; "" where matchers cannot name such a label."""
    return with_matcher(context["request"].GET, name, value) if is_label_name(name) else ""


@register.simple_tag
def like(name: str, value: str) -> str:
    """The explorer's address for alerts with that label; "" where matchers cannot name it."""
    return alerts_like(**{name: value}) if is_label_name(name) else ""
