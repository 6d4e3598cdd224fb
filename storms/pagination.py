"""Cursor pagination by key: pages stay right while rows arrive, however many share a timestamp.

DRF's own cursor counts an offset among equal values and gives up after 1000; one webhook of 2000 alerts has one
`received_at`. This cursor is the last row's (value, id), so it needs no offset.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import DateTimeField, Model, Q, QuerySet
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from storms.alert_scan import Found, Order, Position, TooSlow, Wanted, bounded, scan
from storms.filters import matchers_of
from storms.moments import in_utc


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
        value: Any
        value, key = position
        strictly, or_equal = ("lt", "lte") if less else ("gt", "gte")
        try:
            if isinstance(queryset.model._meta.get_field(self.field), DateTimeField):
                value = in_utc(datetime.fromisoformat(value))
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
        return self._link_to(url, getattr(row, self.field), row.pk, backwards=backwards)

    def _link_to(self, url: str, value: Any, key: Any, *, backwards: bool) -> str:
        tokens = {"f": self.field, "v": value.isoformat() if hasattr(value, "isoformat") else value, "k": key}
        if backwards:
            tokens["r"] = "1"
        encoded = urlsafe_b64encode(urlencode(tokens).encode()).decode()
        return replace_query_param(url, self.cursor_query_param, encoded)


class ScanningPagination(TimeCursorPagination):
    """With `matchers` a page looks at a bounded number of alerts (`storms.alert_scan`) and its cursor says how far it
    came: a page may be short, or empty, and yet have a `next`."""

    def paginate_queryset(  # type: ignore[override]
        self, queryset: QuerySet[Any], request: Request, view: Any = None
    ) -> list[Any]:
        matchers = matchers_of(request.query_params.get("matchers", ""))
        if not matchers:
            return super().paginate_queryset(queryset, request, view)
        size = self.get_page_size(request) or self.page_size
        field = self.get_ordering(request, queryset, view)[0]
        self.field = field.lstrip("-")
        backwards, cursor = self._read_cursor(request)
        order = Order(self.field, descending=field.startswith("-") != backwards)
        found = self._scan(Wanted(queryset, Q(), matchers), cursor, size, order)
        by_id = {row.pk: row for row in queryset.filter(pk__in=found.ids)}
        further = found.last if found.more else found.stopped
        came_from = Position(*self._parsed(cursor)) if cursor else None
        if found.ids and came_from:
            came_from = Position(getattr(by_id[found.ids[0]], self.field), found.ids[0])
        links = [
            self._link_to(request.build_absolute_uri(), place.value, place.id, backwards=back) if place else None
            for place, back in ((further, backwards), (came_from, not backwards))
        ]
        self.next_link, self.previous_link = reversed(links) if backwards else links
        rows = [by_id[id_] for id_ in found.ids if id_ in by_id]
        return rows[::-1] if backwards else rows

    def _scan(self, wanted: Wanted, cursor: tuple[str, str] | None, size: int, order: Order) -> Found:
        try:
            with bounded():
                return scan(wanted, after=Position(*self._parsed(cursor)) if cursor else None, size=size, order=order)
        except TooSlow as error:
            raise ServiceUnavailable from error

    def _parsed(self, cursor: tuple[str, str]) -> tuple[datetime, UUID]:
        try:
            return in_utc(datetime.fromisoformat(cursor[0])), UUID(cursor[1])
        except ValueError as error:
            raise ValidationError({"cursor": ["Invalid cursor."]}) from error


class ServiceUnavailable(APIException):
    status_code = 503
    default_detail = "This takes too long: ask for a shorter time (received_after, received_before)."
    default_code = "too_slow"
