"""The calendar heat map's geometry: weeks are columns, days are rows, Monday on top (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from storms.statistics import percentile

WEEKS = 26
MOST_WEEKS = 54
LEVELS = 4
FULL = 0.95
"""The share of days that are paler than full colour: one giant day does not make all others pale."""
STEP, SIZE = 20, 17
"""From one cell to the next, and a cell's side, in units of the drawing."""
LEFT, TOP = 34, 20
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DayFigures:
    storms: int = 0
    alerts: int = 0
    critical: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One day. level: 0 for nothing, 1 to 4; is_inside: it is a day of the chosen period."""

    day: date
    x: int
    y: int
    figures: DayFigures
    level: int
    is_inside: bool

    @property
    def iso(self) -> str:
        return self.day.isoformat()

    @property
    def title(self) -> str:
        """`Mon 16 Nov 2026`."""
        return f"{self.day:%a} {self.day.day} {self.day:%b %Y}"

    @property
    def words(self) -> str:
        """`Mon 16 Nov 2026: 3 storms, 1,200 alerts, 2 critical`."""
        storms, alerts, critical = self.figures.storms, self.figures.alerts, self.figures.critical
        if not storms:
            return f"{self.title}: no storm"
        counted = f"{storms:,} storm{'s' * (storms != 1)}, {alerts:,} alert{'s' * (alerts != 1)}"
        return f"{self.title}: {counted}" + (f", {critical:,} critical" if critical else "")


@dataclass(frozen=True, slots=True)
class Calendar:
    cells: list[Cell]
    months: list[tuple[int, str]]
    width: int
    height: int
    most: int


def span(first: date, last: date) -> tuple[date, date]:
    """The days to draw around a period: whole weeks, half a year at least, a year at most, ending with the period."""
    end = last
    monday = end - timedelta(days=end.weekday())
    weeks = (monday - (first - timedelta(days=first.weekday()))).days // 7 + 1
    return monday - WEEK * (min(max(weeks, WEEKS), MOST_WEEKS) - 1), end


def calendar(first: date, last: date, days: Mapping[date, DayFigures], *, by: str) -> Calendar:
    """The cells of `span(first, last)`.

    Args:
        days: what was opened on each day; a day without storms may be missing.
        by: "storms" or "alerts".
    """
    start, end = span(first, last)
    count = (end - start).days + 1
    shown = [start + timedelta(days=offset) for offset in range(count)]
    values = [getattr(days[day], by) for day in shown if day in days]
    scale = percentile([value for value in values if value], FULL) or 0.0
    cells = [_cell(day, start, days.get(day, DayFigures()), by, scale, first <= day <= last) for day in shown]
    weeks = math.ceil(count / 7)
    return Calendar(cells, _months(start, weeks), LEFT + weeks * STEP, TOP + 7 * STEP, max(values, default=0))


def level(value: int, full: float) -> int:
    """0 for nothing, 1 to 4 in equal steps up to `full`, from where on it is 4."""
    return min(math.ceil(LEVELS * value / full), LEVELS) if value > 0 and full > 0 else 0


def _cell(day: date, start: date, figures: DayFigures, by: str, scale: float, is_inside: bool) -> Cell:
    week, weekday = divmod((day - start).days, 7)
    return Cell(day, LEFT + week * STEP, TOP + weekday * STEP, figures, level(getattr(figures, by), scale), is_inside)


def _months(start: date, weeks: int) -> list[tuple[int, str]]:
    """(x, name) above the first week that begins in a month; not so close to the next that they touch."""
    found: list[tuple[int, str]] = []
    previous = 0
    for week in range(weeks):
        monday = start + WEEK * week
        if monday.month != previous:
            found.append((LEFT + week * STEP, f"{monday:%b}"))
            previous = monday.month
    if len(found) > 1 and found[1][0] - found[0][0] < 2 * STEP:
        found.pop(0)
    return found
