"""Alerts that match, in pages, at a cost that does not grow with the table.

Most conditions on labels have no index: one for any label would cost every webhook. So a page looks at a bounded number
of alerts, the newest first, and says where it stopped; the next page goes on there. Conditions that do have an index
(a storm, firing ones, a namespace, an alert name) decide which alerts are looked at, one of them at a time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import BooleanField, Q, QuerySet, TextField
from django.db.models.expressions import RawSQL
from psycopg.errors import QueryCanceled

from storms.matcher_sql import Condition, condition, one_of, value_sql
from storms.matchers import Matcher
from storms.models import Alert

TIMEOUT = "2s"
ALL = (1 << 128) - 1
LOOKED_AT = 10_000
"""Alerts that one page looks at, at most: some 50 ms."""
LOOKED_AT_BY_RE2 = 3_000
"""The same where RE2 has to decide: all their values are read first."""


class TooSlow(Exception):
    """PostgreSQL did not answer in the time that a page gives it."""


@contextmanager
def bounded() -> Iterator[None]:
    """Queries in it are ended after `TIMEOUT`, and planned for what is mostly in memory. Raises: TooSlow."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"set local statement_timeout = '{TIMEOUT}'; set local random_page_cost = 1.1")
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow from error
        raise


@dataclass(frozen=True, slots=True)
class Position:
    """An alert's place in the order: the value of the field that orders, then the id."""

    value: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Found:
    """A page of ids in their order.

    stopped: where the search stopped although the page was not full and there was more to look at; None otherwise.
    more: whether another match follows.
    """

    ids: list[UUID]
    more: bool
    stopped: Position | None
    last: Position | None


@dataclass(frozen=True, slots=True)
class Order:
    """By which field, and whether from its highest value down."""

    field: str = "received_at"
    descending: bool = True

    def names(self) -> list[str]:
        sign = "-" if self.descending else ""
        return [f"{sign}{self.field}", f"{sign}id"]

    def beyond(self, rows: QuerySet[Alert], position: Position) -> QuerySet[Alert]:
        """What comes after the position. The first condition is implied; it is what the index can use."""
        strictly, or_equal = ("lt", "lte") if self.descending else ("gt", "gte")
        return rows.filter(**{f"{self.field}__{or_equal}": position.value}).filter(
            Q(**{f"{self.field}__{strictly}": position.value}) | Q(**{f"id__{strictly}": position.id})
        )

    def until(self, rows: QuerySet[Alert], value: datetime) -> QuerySet[Alert]:
        """What comes up to the value, all that have it included."""
        return rows.filter(**{f"{self.field}__{'gte' if self.descending else 'lte'}": value})

    def end_of(self, value: datetime) -> Position:
        """Behind all that have the value."""
        return Position(value, UUID(int=0 if self.descending else ALL))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for.

    looked_through: the alerts among which to look; its conditions have an index.
    conditions, matchers: what must hold of each.
    """

    looked_through: QuerySet[Alert]
    conditions: Q
    matchers: Sequence[Matcher] = ()

    def among(self, looked_at: QuerySet[Alert]) -> QuerySet[Alert]:
        """Those for which it holds, of a bounded part of `looked_through`."""
        found = looked_at.filter(self.conditions)
        for matcher in self.matchers:
            known = condition(matcher) or _by_values(matcher, looked_at)
            found = found.filter(RawSQL(known.sql, known.params, output_field=BooleanField()))  # noqa: S611
        return found


def _by_values(matcher: Matcher, looked_at: QuerySet[Alert]) -> Condition:
    """RE2 decides about the values that there are; which alerts have one that it accepts, PostgreSQL can tell.

    A value that comes up after they were read is not accepted: its alert was not there yet.
    """
    value = RawSQL(value_sql(matcher.name), (), output_field=TextField())  # noqa: S611
    values = looked_at.order_by().annotate(value=value).values_list("value", flat=True).distinct()
    return one_of(matcher.name, [found for found in values if matcher.matches({matcher.name: found})])


def scan(wanted: Wanted, *, after: Position | None, size: int, order: Order = Order()) -> Found:
    """At most `size` matches after a position, from looking at `LOOKED_AT` alerts, or fewer (`LOOKED_AT_BY_RE2`)."""
    rows = order.beyond(wanted.looked_through, after) if after else wanted.looked_through
    stopped = None
    if wanted.conditions or wanted.matchers:
        # The index alone answers this.
        ordered = rows.order_by(*order.names()[:1]).values_list(order.field, flat=True)
        number = LOOKED_AT if all(condition(matcher) for matcher in wanted.matchers) else LOOKED_AT_BY_RE2
        end = ordered[number - 1 : number].first()
        if end is not None:
            rows, stopped = order.until(rows, end), order.end_of(end)
    matches = wanted.among(rows).order_by(*order.names()).values_list(order.field, "id")[: size + 1]
    found = [Position(*row) for row in matches]
    more, found = len(found) > size, found[:size]
    return Found(
        ids=[position.id for position in found],
        more=more,
        stopped=None if more else stopped,
        last=found[-1] if found else None,
    )
