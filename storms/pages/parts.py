"""Parts of pages: the same address answers a script with the part alone, and everybody else with a page around it."""

from django.http import HttpRequest

VERSION_HEADER = "X-Console-Version"
"""Sent by static/console/storm.js and what belongs to it: the version of the storm that the page has heard of. In the
answer, its own."""

HELD_HEADER = "X-Console-Held"
"""The version of what the answer is to replace."""


def is_part(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true" or VERSION_HEADER in request.headers
