"""How many alerts match over time, at a bounded cost: counted where they are few, else estimated from a sample.

Ids of alerts are hashes, so all ids up to a bound are a random sample of them, whatever else is asked of them.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection
from django.db.models import Count, FloatField, Func, IntegerField, QuerySet, Value
from django.db.models.functions import Cast, Floor

from storms.alert_scan import Wanted
from storms.choices import Severity
from storms.course import STEP_SECONDS
from storms.models import Alert
from storms.services.label_baseline import sample_to

COUNTED = 40_000
"""Alerts that are looked at one by one; of more, a sample of about half as many."""
SAMPLE = 20_000
BARS = 72
LONGEST = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Histogram:
    """`n` bars of `step` seconds from `start` on; `bars` is {severity: [alerts, ...]}.

    exact: False where the numbers are estimates.
    """

    start: datetime
    step: int
    n: int
    bars: dict[str, list[int]]
    exact: bool

    @property
    def total(self) -> int:
        return sum(sum(numbers) for numbers in self.bars.values())


def histogram(wanted: Wanted, *, since: datetime | None, until: datetime) -> Histogram:
    """Of the alerts from `since` (None: the first one) up to `until`."""
    since = max(since or _first(wanted.looked_through) or until, until - LONGEST)
    step = _step((until - since).total_seconds())
    start = datetime.fromtimestamp(since.timestamp() // step * step, UTC)
    n = max(int(-(-(until - start).total_seconds() // step)), 1)
    estimate = _planned(wanted.looked_through)
    share = 1.0 if estimate <= COUNTED else SAMPLE / estimate
    looked_at = wanted.looked_through
    if share < 1:
        looked_at = looked_at.filter(id__lte=sample_to(SAMPLE, estimate))
    bar = Floor((Epoch("received_at") - Value(start.timestamp())) / Value(float(step)))
    matches = wanted.among(looked_at).annotate(bar=Cast(bar, IntegerField())).order_by()
    counted = {
        (at, severity): number
        for at, severity, number in matches.values_list("bar", "severity").annotate(number=Count("*"))
    }
    bars = {
        severity: [round(counted.get((at, severity), 0) / share) for at in range(n)] for severity in Severity.values
    }
    return Histogram(start, step, n, bars, exact=share == 1)


class Epoch(Func):
    """Seconds since 1970 of a time."""

    template = "extract(epoch from %(expressions)s)::float8"
    output_field = FloatField()


def _first(rows: QuerySet[Alert]) -> datetime | None:
    return rows.order_by("received_at", "id").values_list("received_at", flat=True).first()


def _step(seconds: float) -> int:
    days = 86_400
    fitting = next((step for step in STEP_SECONDS if seconds / step <= BARS), None)
    return fitting or days * -int(-seconds // (BARS * days))


def _planned(rows: QuerySet[Alert]) -> int:
    """How many rows PostgreSQL expects, by its statistics: good enough to choose a sample by, and free."""
    sql, params = rows.order_by().values("id").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"explain (format json) {sql}", params)
        [plan] = cursor.fetchone()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])
