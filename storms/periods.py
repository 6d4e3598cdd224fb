"""Periods of whole days, in UTC, and the period that each is compared with (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

PRESETS = (7, 30, 90)
LONGEST_DAYS = 366
DAY = timedelta(days=1)


class PeriodError(ValueError):
    """The period that was asked for is none; the message says why."""


@dataclass(frozen=True, slots=True)
class Period:
    """From the start of `first` to the end of `last`, or to `until` if that comes before: today is not over."""

    first: date
    last: date
    until: datetime

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        return midnight(self.first)

    @property
    def end(self) -> datetime:
        return min(midnight(self.last + DAY), max(self.until, self.start))

    @property
    def is_running(self) -> bool:
        return self.end < midnight(self.last + DAY)

    def before(self) -> Period:
        """As many days, right before; a day that is not over is compared with the same hours of its counterpart."""
        shift = timedelta(days=self.days)
        return Period(self.first - shift, self.last - shift, self.end - shift)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def last_days(days: int, now: datetime) -> Period:
    """The last `days` days, today among them."""
    today = now.astimezone(UTC).date()
    return Period(today - timedelta(days=days - 1), today, now)


def parse_period(parameters: Mapping[str, str], now: datetime) -> Period:
    """`days=30`, or `from=2026-11-01` and `to=2026-11-16` (both inclusive); 30 days without either.

    Raises: PeriodError.
    """
    if parameters.get("from") or parameters.get("to"):
        return _between(parameters.get("from", ""), parameters.get("to", ""), now)
    days = parameters.get("days") or "30"
    if days not in map(str, PRESETS):
        raise PeriodError(f"Choose {', '.join(map(str, PRESETS))} days, or a first and a last day.")
    return last_days(int(days), now)


def _between(first_text: str, last_text: str, now: datetime) -> Period:
    today = now.astimezone(UTC).date()
    last = parse_day(last_text) if last_text else today
    first = parse_day(first_text) if first_text else last
    if first > last:
        raise PeriodError("The first day is after the last.")
    if first > today:
        raise PeriodError("The first day is yet to come.")
    last = min(last, today)
    if (last - first).days >= LONGEST_DAYS:
        raise PeriodError(f"A period has at most {LONGEST_DAYS} days.")
    return Period(first, last, now)


def parse_day(text: str) -> date:
    """Raises: PeriodError."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise PeriodError(f"{text[:40]!r} is no day such as 2026-11-16.") from None
    # The period before it, and the week around it, must be days too.
    if not 1970 <= day.year <= 9000:
        raise PeriodError("That day is too far away.")
    return day
