"""The course of a storm: how its alerts came and went, in steps of equal length, for its chart and its replay.

An alert came when it was first received, and went when it resolved: by its own account, but not before it came nor
after it was last received, whatever a sender's clock said.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Max, Min

from storms.choices import EventKind, Severity, StormState
from storms.models import Storm

MAX_STEPS = 480
NAMES = 8
"""Alert names that are told apart, the most frequent; the rest is one line."""
MAX_EVENTS = 500
"""Events that a course is sent with."""
DAY = 86_400
STEP_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, DAY)

Change = tuple[str | None, str, int, int, int]
"""(alert name, None for one of the rest; severity; step; how many came; how many went)."""

_CHANGES = """
with timed as (
    select alertname, severity, received_at, case when status = 'resolved'
        then least(greatest(coalesce(ends_at, last_seen_at), received_at), last_seen_at) end as gone_at
    from storms_alert where storm_id = %(storm)s
), m as materialized (
    select alertname, severity,
        greatest(floor(extract(epoch from received_at - %(start)s)::float8 / %(step)s), 0)::int as came,
        floor(extract(epoch from gone_at - %(start)s)::float8 / %(step)s)::int as went
    from timed
), top as (
    select alertname, true as shown from m group by 1 order by count(*) desc, 1 limit %(names)s
)
select case when shown then alertname end, severity, came, count(*), 0
from m left join top using (alertname) group by 1, 2, 3
union all
select case when shown then alertname end, severity, greatest(went, came), 0, count(*)
from m left join top using (alertname) where went is not null group by 1, 2, 3
"""


@dataclass(slots=True)
class Course:
    """`n` steps of `step` seconds from `start` on; every list has `n` numbers.

    Attributes:
        new: alerts that came within the step.
        firing, resolved: how many of those that came until the end of the step.
        severities: {severity: firing}.
        names: {alert name: firing}, the most frequent first; `rest` is that of all others.
    """

    start: datetime
    step: int
    n: int
    new: list[int] = field(default_factory=list)
    firing: list[int] = field(default_factory=list)
    resolved: list[int] = field(default_factory=list)
    severities: dict[str, list[int]] = field(default_factory=dict)
    names: dict[str, list[int]] = field(default_factory=dict)
    rest: list[int] = field(default_factory=list)

    def at(self, number: int) -> datetime:
        """When step `number` begins; `n` is the end."""
        return self.start + timedelta(seconds=self.step * number)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the chart's table."""

    start: datetime
    end: datetime
    new: int
    firing: int
    resolved: int


def course_of(storm: Storm, now: datetime) -> Course:
    """From the first alert to the last news: now, while it is open or some of its alerts fire."""
    start, end = _first(storm), max(_last(storm, now), storm.opened_at)
    step = step_seconds((end - start).total_seconds())
    start = _aligned(start, step)
    changes = _changes(storm.id, storm.refreshed_xmin, start, step)
    came = min((number for _, _, number, new, _ in changes if new), default=0)
    # What the window left empty before the first alert is no part of the story, but for one step to rise from.
    skipped = max(came - 1, 0)
    course = Course(start + timedelta(seconds=step * skipped), step, 0)
    course.n = max(int((end - course.start).total_seconds()) // step, 0) + 1
    _fill(course, changes, skipped)
    return course


def course_message(storm: Storm, course: Course) -> dict[str, Any]:
    """The storm's course for the chart and the replay, times in seconds since 1970.

    `names` are in the order of their size, and `rest` is [] without another.

    `events` are the latest `MAX_EVENTS`, the oldest first.
    """
    events = list(storm.events.order_by("-at", "-id")[:MAX_EVENTS])[::-1]
    return {
        "start": int(course.start.timestamp()),
        "step": course.step,
        "live": storm.state == StormState.OPEN or storm.firing_count > 0,
        "new": course.new,
        "firing": course.firing,
        "resolved": course.resolved,
        "severities": course.severities,
        "names": [{"name": name, "firing": firing} for name, firing in course.names.items()],
        "rest": course.rest,
        "events": [
            {
                "id": event.pk,
                "at": event.at.timestamp(),
                "kind": event.kind,
                "title": EventKind(event.kind).label,
                "message": event.message,
                "actor": event.actor,
            }
            for event in events
        ],
    }


def step_seconds(span: float) -> int:
    """The shortest step by which a span of so many seconds has `MAX_STEPS` at most."""
    fitting = (step for step in STEP_SECONDS if span <= step * (MAX_STEPS - 2))
    return next(fitting, DAY * -(-int(span) // (DAY * (MAX_STEPS - 2))))


def table(course: Course, rows: int = 24) -> list[Row]:
    """The course in about so many lines."""
    width = -(-course.n // rows)
    found = []
    for first in range(0, course.n, width):
        last = min(first + width, course.n)
        found.append(
            Row(
                start=course.at(first),
                end=course.at(last),
                new=sum(course.new[first:last]),
                firing=course.firing[last - 1],
                resolved=course.resolved[last - 1],
            )
        )
    return found


@lru_cache(maxsize=32)
def _changes(storm_id: UUID, counted: int, start: datetime, step: int) -> list[Change]:
    """Remembered until the storm is counted anew (`counted` is its `refreshed_xmin`): every open page asks for it."""
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES, {"storm": storm_id, "start": start, "step": step, "names": NAMES})
        return list(cursor.fetchall())


def _fill(course: Course, changes: Iterable[Change], skipped: int) -> None:
    """Changes outside of the course count at its first or last step."""
    last = course.n - 1
    new, gone = [0] * course.n, [0] * course.n
    severities = {str(severity): [0] * course.n for severity in Severity}
    names: dict[str | None, list[int]] = {}
    totals: dict[str | None, int] = {}
    for name, severity, number, came, went in changes:
        position = min(max(number - skipped, 0), last)
        new[position] += came
        gone[position] += went
        for changed in (severities[severity], names.setdefault(name, [0] * course.n)):
            changed[position] += came - went
        totals[name] = totals.get(name, 0) + came
    course.new, course.resolved = new, _running(gone)
    course.firing = [all_ - resolved for all_, resolved in zip(_running(new), course.resolved, strict=True)]
    course.severities = {severity: _running(changed) for severity, changed in severities.items()}
    known = sorted((name for name in names if name is not None), key=lambda name: (-totals[name], name))
    course.names = {name: _running(names[name]) for name in known}
    course.rest = _running(names[None]) if None in names else []


def _running(numbers: list[int]) -> list[int]:
    total, sums = 0, []
    for number in numbers:
        total += number
        sums.append(total)
    return sums


def _first(storm: Storm) -> datetime:
    """Where its window began, or the earliest window of the storms that were merged into it."""
    merged = Storm.objects.filter(merged_into=storm).aggregate(opened=Min("opened_at"), window=Min("window_from"))
    opened = merged["opened"] or storm.opened_at
    return min(storm.begins_at, opened - timedelta(seconds=storm.window_seconds), merged["window"] or opened)


def _last(storm: Storm, now: datetime) -> datetime:
    if storm.state == StormState.OPEN or storm.firing_count or storm.closed_at is None:
        return now
    settled = storm.events.filter(kind=EventKind.SETTLED).aggregate(at=Max("at"))["at"]
    return max(storm.closed_at, storm.last_alert_at, settled or storm.closed_at)


def _aligned(moment: datetime, step: int) -> datetime:
    """The last full step before it, so that lines stand at round times."""
    return datetime.fromtimestamp(moment.timestamp() // step * step, UTC)
