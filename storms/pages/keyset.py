"""Pages of a long list by key instead of by offset: the API's cursor, for the console's own pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from storms.pagination import TimeCursorPagination


@dataclass(frozen=True, slots=True)
class KeysetPage:
    """Rows, and the addresses (path and query) of the pages before and after; "" where there is none."""

    rows: Sequence[Any]
    previous_url: str = ""
    next_url: str = ""


def keyset_page(request: HttpRequest, rows: QuerySet[Any], *, ordering: str, size: int = 50) -> KeysetPage:
    """The page that the request's `cursor` asks for, the first without one, or with one that is none.

    Args:
        ordering: a field that is never null nor changed, `-` for descending; ties are broken by the primary key.
    """
    paginator = TimeCursorPagination()
    paginator.page_size, paginator.max_page_size, paginator.ordering = size, size, ordering
    try:
        found = paginator.paginate_queryset(rows, Request(request))
    except ValidationError:
        return KeysetPage(list(rows.order_by(ordering, f"{'-' if ordering.startswith('-') else ''}pk")[:size]))
    return KeysetPage(found, _local(paginator.previous_link), _local(paginator.next_link))


def _local(url: str | None) -> str:
    parts = urlsplit(url or "")
    return f"{parts.path}?{parts.query}" if url else ""
