"""Cursor pagination by key: pages stay right while rows arrive, however many share a timestamp.

DRF's own cursor counts an offset among equal values and gives up after 1000; one webhook of 2000 alerts has one
`received_at`. This cursor is the last row's (value, id), so it needs no offset.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import Model, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param


class TimeCursorPagination(CursorPagination):
    """Newest first unless the request orders otherwise; `page_size` up to 500.

    A view's `ordering` and `ordering_fields` name one field each, never null and never changed, so that a row cannot
    move to another page; ties are broken by the primary key.
    """

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    ordering = "-id"

    def paginate_queryset(  # type: ignore[override]
        self, queryset: QuerySet[Any], request: Request, view: Any = None
    ) -> list[Any]:
        size = self.get_page_size(request) or self.page_size
        field = self.get_ordering(request, queryset, view)[0]
        self.field, descending = field.lstrip("-"), field.startswith("-")
        self.backwards, position = self._read_cursor(request)
        after_is_less = descending != self.backwards
        if position is not None:
            queryset = self._beyond(queryset, position, less=after_is_less)
        sign = "-" if after_is_less else ""
        rows = list(queryset.order_by(*dict.fromkeys([f"{sign}{self.field}", f"{sign}pk"]))[: size + 1])
        more, rows = len(rows) > size, rows[:size]
        if self.backwards:
            rows.reverse()
        has_next = bool(rows) and (more or self.backwards)
        has_previous = bool(rows) and (more if self.backwards else position is not None)
        url = request.build_absolute_uri()
        self.next_link = self._link(url, rows[-1], backwards=False) if has_next else None
        self.previous_link = self._link(url, rows[0], backwards=True) if has_previous else None
        return rows

    def get_next_link(self) -> str | None:
        return self.next_link

    def get_previous_link(self) -> str | None:
        return self.previous_link

    def _beyond(self, queryset: QuerySet[Any], position: tuple[str, str], *, less: bool) -> QuerySet[Any]:
        value, key = position
        strictly, or_equal = ("lt", "lte") if less else ("gt", "gte")
        try:
            # The first condition is implied; it is what an index on the field can use.
            return queryset.filter(**{f"{self.field}__{or_equal}": value}).filter(
                Q(**{f"{self.field}__{strictly}": value}) | Q(**{f"pk__{strictly}": key})
            )
        except (DjangoValidationError, ValueError, TypeError) as error:
            raise ValidationError({"cursor": ["Invalid cursor."]}) from error

    def _read_cursor(self, request: Request) -> tuple[bool, tuple[str, str] | None]:
        encoded = request.query_params.get(self.cursor_query_param)
        if not encoded:
            return False, None
        try:
            tokens = dict(parse_qsl(urlsafe_b64decode(encoded.encode()).decode(), strict_parsing=True))
            position = tokens["v"], tokens["k"]
        except (ValueError, KeyError) as error:
            raise ValidationError({"cursor": ["Invalid cursor."]}) from error
        if tokens.get("f") != self.field or "\0" in "".join(position):
            raise ValidationError({"cursor": ["The cursor belongs to another ordering."]})
        return "r" in tokens, position

    def _link(self, url: str, row: Model, *, backwards: bool) -> str:
        value = getattr(row, self.field)
        tokens = {"f": self.field, "v": value.isoformat() if hasattr(value, "isoformat") else value, "k": row.pk}
        if backwards:
            tokens["r"] = "1"
        encoded = urlsafe_b64encode(urlencode(tokens).encode()).decode()
        return replace_query_param(url, self.cursor_query_param, encoded)
