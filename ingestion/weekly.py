"""Weekly maintenance windows in their own time zone (pure).

A window is what the clock on the wall says: from `start` on each of its weekdays, `minutes` of wall time long. So
"22:00 to 06:00" ends at 06:00 also in the night in which the clocks change, and lasts an hour less or more then.
A start that the clocks leave out comes as much later as they are put forward, like RFC 5545 has it (section 3.3.5), and
the window keeps its length; of a time that comes twice the first one starts a window and the second one ends it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_A_DAY = 24 * 60
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """weekdays: of the starts, 0 is Monday."""

    weekdays: frozenset[int]
    start: time
    minutes: int
    zone: ZoneInfo

    def contains(self, moment: datetime) -> bool:
        return any(begin <= moment < end for begin, end in self._around(moment))

    def next_start(self, moment: datetime) -> datetime:
        """The first start after `moment`, in UTC."""
        today = moment.astimezone(self.zone).date()
        days = (today + DAY * ahead for ahead in range(-1, 9))
        return next(begin for day in days if self._starts_on(day) and (begin := self._interval(day)[0]) > moment)

    def __str__(self) -> str:
        """`Sat, Sun 22:00-06:00 Europe/Berlin`; a whole number of days behind it where it lasts longer than one."""
        days, rest = divmod(self.minutes, MINUTES_A_DAY)
        end = (datetime.combine(date.min, self.start) + timedelta(minutes=self.minutes)).time()
        names = ", ".join(WEEKDAYS[day] for day in sorted(self.weekdays))
        longer = f" (+{days} d)" if days and (days > 1 or rest) else ""
        return f"{names} {self.start:%H:%M}-{end:%H:%M}{longer} {self.zone.key}"

    def _around(self, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The windows that may contain `moment`: started on its day or so many days before as one lasts."""
        today = moment.astimezone(self.zone).date()
        for back in range(self.minutes // MINUTES_A_DAY + 2):
            day = today - DAY * back
            if self._starts_on(day):
                yield self._interval(day)

    def _starts_on(self, day: date) -> bool:
        return day.weekday() in self.weekdays

    def _interval(self, day: date) -> tuple[datetime, datetime]:
        begin = datetime.combine(day, self.start, self.zone).astimezone(UTC)
        wall_end = begin.astimezone(self.zone).replace(tzinfo=None, fold=0) + timedelta(minutes=self.minutes)
        return begin, max(wall_end.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
