"""Every address of the console that may be a page, gathered from the URL configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from django.urls import URLPattern, URLResolver, get_resolver

NO_PAGES = ("api/v1/", "api/schema/", "healthz", "readyz", "metrics")
"""Below these there is nothing for a browser's window."""
ADMIN_PARTS = re.compile(r"jsi18n|autocomplete|view_on_site|password_change|logout|login|^admin:search|colours")
"""Of the admin: what is no page, or only leads to one."""
ONCE = re.compile(r"_(history|delete)$")
"""Kinds of admin page that are the same for every model: one of each is enough."""
ONCE_FOR = "admin:storms_stormpolicy"


class Address(NamedTuple):
    """`name` as for `reverse`; `parameters` are what it takes."""

    name: str
    route: str
    parameters: tuple[str, ...]


def addresses() -> list[Address]:
    return list(_walk(get_resolver().url_patterns, "", ""))


def _walk(patterns: list[URLPattern | URLResolver], prefix: str, namespace: str) -> Iterator[Address]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if route.startswith(NO_PAGES):
            continue
        if isinstance(pattern, URLResolver):
            inner = f"{pattern.namespace}:" if pattern.namespace else namespace
            yield from _walk(pattern.url_patterns, route, inner)
        elif pattern.name:
            address = Address(namespace + pattern.name, route, tuple(pattern.pattern.converters))
            if _is_wanted(address):
                yield address


def _is_wanted(address: Address) -> bool:
    if not address.name.startswith("admin:"):
        return True
    if ADMIN_PARTS.search(address.name):
        return False
    return not ONCE.search(address.name) or address.name.startswith(ONCE_FOR)
