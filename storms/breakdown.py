"""What the alerts of a storm have in common: their label values, and which of them are suspect."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from django.db import connection

from storms.models import LabelBaseline, Storm
from storms.services.label_baseline import ALL, MAX_VALUE_LENGTH, sample_to
from storms.suspects import Counted, Suspect, suspects

SAMPLE = 5_000
"""Alerts of a storm whose labels are read; of a larger storm these are a random part."""
MAX_VALUES = 40
"""Of each label, the most frequent: a suspect is one of them, since it has a tenth of the storm's alerts."""
MAX_LABELS = 60
FIRST = ("alertname", "severity", "namespace", "node", "cluster")
"""Labels that come first; then the others, by how many alerts have them."""

_COUNT = """
with sample as materialized (
    select labels, id <= %(baseline_to)s and received_at >= %(since)s and received_at < %(at)s as in_baseline
    from storms_alert where storm_id = %(storm)s and id <= %(to)s
), counted as (
    select l.key as name, left(l.value, %(length)s) as value, count(*) as n, count(*) filter (where in_baseline) as own
    from sample, jsonb_each_text(labels) l where l.value <> '' group by 1, 2
), ranked as (
    select name, value, n, own, row_number() over (partition by name order by n desc, value) as place,
        count(*) over (partition by name) as different, sum(n) over (partition by name)::int as total
    from counted
)
select name, value, n, own, different, total,
    (select count(*) from sample), (select count(*) filter (where in_baseline) from sample)
from ranked where place <= %(values)s order by total desc, name, place
"""

Line = tuple[str, str, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class LabelValues:
    """One label: its most frequent values, how many there are, and how many alerts have the label at all."""

    name: str
    values: list[tuple[str, int]]
    different: int
    alerts: int

    @property
    def repeats(self) -> bool:
        """Whether it says anything about more than one alert; a pod's name seldom does."""
        return self.values[0][1] > 1 or self.different == 1

    @property
    def more(self) -> int:
        return self.different - len(self.values)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Attributes:
    alerts: how many were counted; `sampled`: they are a random part of the storm's.
    elsewhere: alerts since `since` outside of the storm that it is compared with; `since` None: none was counted yet.
    """

    alerts: int
    sampled: bool
    labels: list[LabelValues]
    suspects: list[Suspect]
    elsewhere: int
    since: datetime | None
    at: datetime | None


def breakdown_of(storm: Storm) -> Breakdown:
    baseline = LabelBaseline.objects.first()
    to = sample_to(SAMPLE, storm.alert_count)
    at, since = (baseline.at, baseline.since) if baseline else (None, None)
    lines = _lines(storm.id, storm.refreshed_xmin, to, baseline.sample_to if baseline else UUID(int=0), since, at)
    alerts, own = lines[0][6:] if lines else (0, 0)
    compared, elsewhere = _elsewhere(lines, baseline, to, own) if baseline else ([], 0)
    return Breakdown(
        alerts=alerts,
        sampled=to.int < ALL,
        labels=_labels(lines),
        suspects=suspects(compared, of_storm=alerts, of_elsewhere=elsewhere, ignored=storm.group_labels),
        elsewhere=elsewhere,
        since=since,
        at=at,
    )


@lru_cache(maxsize=32)
def _lines(
    storm_id: UUID, counted: int, to: UUID, baseline_to: UUID, since: datetime | None, at: datetime | None
) -> list[Line]:
    """Remembered until the storm is counted anew (`counted` is its `refreshed_xmin`), or the baseline is."""
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT,
            {
                "storm": storm_id,
                "to": to,
                "baseline_to": baseline_to,
                "since": since,
                "at": at,
                "length": MAX_VALUE_LENGTH,
                "values": MAX_VALUES,
            },
        )
        return list(cursor.fetchall())


def _elsewhere(lines: list[Line], baseline: LabelBaseline, to: UUID, own: int) -> tuple[list[Counted], int]:
    """How often each value stands outside of the storm: the baseline's sample without the storm's part of it."""
    # Where the storm's own sample is the smaller one, only so much of its part of the baseline was seen.
    scale = baseline.sample_to.int / min(baseline.sample_to.int, to.int)
    counted = [
        Counted(name, value, n, max(round(_usual(baseline, name, value) - scale * mine), 0))
        for name, value, n, mine, *_ in lines
    ]
    return counted, max(round(baseline.sampled - scale * own), 0)


def _usual(baseline: LabelBaseline, name: str, value: str) -> int:
    return int(baseline.counts.get(name, {}).get(value, baseline.floor))


def _labels(lines: list[Line]) -> list[LabelValues]:
    found: dict[str, LabelValues] = {}
    for name, value, n, _, different, total, *_ in lines:
        found.setdefault(name, LabelValues(name, [], different, total)).values.append((value, n))
    order = {name: place for place, name in enumerate(FIRST)}
    return sorted(found.values(), key=lambda label: order.get(label.name, len(FIRST)))[:MAX_LABELS]
