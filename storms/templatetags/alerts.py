"""Template helpers of the alert explorer and of what leads to it."""

from typing import Any

from django import template

from storms.pages.alerts import alerts_like, with_matcher

register = template.Library()


@register.simple_tag(takes_context=True)
def narrowed(context: dict[str, Any], name: str, value: str) -> str:
    """The explorer's own address with `name="value"` added."""
    return with_matcher(context["request"].GET, name, value)


@register.simple_tag
def like(name: str, value: str) -> str:
    """The explorer's address for alerts with that label."""
    return alerts_like(**{name: value})
