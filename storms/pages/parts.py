"""Parts of pages: the same address answers htmx with the part alone, and everybody else with a page around it."""

from django.http import HttpRequest


def is_part(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"
