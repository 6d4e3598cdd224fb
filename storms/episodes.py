"""The other episodes of an alert: when it fired before and since, as a strip and as a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from storms.models import Alert

MAX_EPISODES = 200
"""The latest ones; an alert that flaps has thousands."""
LISTED = 8
SPAN = timedelta(days=30)
WIDTH = 1000
LEAST = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """An episode in the strip, in units of which the strip has `WIDTH`."""

    x: int
    width: int
    is_this: bool


@dataclass(frozen=True, slots=True)
class Episodes:
    """since: where the strip begins; more: whether there are others than `others` shows (the latest first)."""

    since: datetime
    marks: list[Mark]
    others: list[Alert]
    more: bool
    total: int
    is_all: bool


def episodes_of(alert: Alert, now: datetime) -> Episodes:
    """Those of the same labels, of all time for the list, of the last 30 days for the strip."""
    fields = ("id", "starts_at", "ends_at", "status", "received_at", "last_seen_at", "disposition", "storm_id")
    rows = Alert.objects.filter(fingerprint=alert.fingerprint).order_by("-starts_at").only(*fields)
    found = list(rows[: MAX_EPISODES + 1])
    is_all, found = len(found) <= MAX_EPISODES, found[:MAX_EPISODES]
    since = now - SPAN
    others = [row for row in found if row.id != alert.id]
    return Episodes(
        since=since,
        marks=_marks(found, alert, since, now),
        others=others[:LISTED],
        more=len(others) > LISTED or not is_all,
        total=len(found),
        is_all=is_all,
    )


def _marks(rows: Sequence[Alert], this: Alert, since: datetime, now: datetime) -> list[Mark]:
    """Whatever a sender's clock said, an episode ends after it began and not in the future."""

    def place(moment: datetime) -> int:
        return round(WIDTH * min(max((moment - since) / SPAN, 0), 1))

    marks = []
    for row in rows:
        end = now if row.status == "firing" else min(max(row.ends_at or row.last_seen_at, row.starts_at), now)
        if end >= since:
            x = min(place(row.starts_at), WIDTH - LEAST)
            marks.append(Mark(x, max(place(end) - x, LEAST), row.id == this.id))
    return marks[::-1]
