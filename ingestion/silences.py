"""Silences as the hot path uses them: compiled, in memory, one set for each generation of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db.models import Q
from django.utils import timezone

from ingestion.models import Silence
from ingestion.weekly import WeeklyWindow
from storms import policies
from storms.matchers import Matcher, parse_matchers
from storms.policies import PolicySet


@dataclass(frozen=True, slots=True)
class CompiledSilence:
    """A silence, ready to match; `ends_at` None: it has no end."""

    id: int
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime | None
    weekly: WeeklyWindow | None

    def in_force(self, now: datetime) -> bool:
        if now < self.starts_at or (self.ends_at is not None and now >= self.ends_at):
            return False
        return self.weekly is None or self.weekly.contains(now)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(matcher.matches(labels) for matcher in self.matchers)


@dataclass(slots=True)
class SilenceSet:
    """Every silence that has not ended, as of the configuration that `policy_set` was compiled from.

    `_latest` remembers which are in force: all alerts of a webhook are asked about at the same moment.
    """

    policy_set: PolicySet
    silences: tuple[CompiledSilence, ...]
    _latest: tuple[datetime, tuple[CompiledSilence, ...]] | None = field(default=None, init=False)

    def find(self, labels: Mapping[str, str], now: datetime) -> int | None:
        return next((silence.id for silence in self._in_force(now) if silence.matches(labels)), None)

    def _in_force(self, now: datetime) -> tuple[CompiledSilence, ...]:
        latest = self._latest
        if latest is None or latest[0] != now:
            latest = self._latest = now, tuple(silence for silence in self.silences if silence.in_force(now))
        return latest[1]


_current: SilenceSet | None = None


def find(labels: Mapping[str, str], now: datetime) -> int | None:
    """The id of the silence in force at `now` that matches these labels, the oldest of several; None: not silenced.

    It is never older than the policies of this process, which a webhook's look-up keeps up to date: no call of
    `reload` can be forgotten, and none comes between the two.
    """
    current = _current
    if current is None or current.policy_set is not policies.current():
        current = reload()
    return current.find(labels, now)


def reload() -> SilenceSet:
    """Compile what has not ended. The policies are read first: a change in between only causes one reload more."""
    global _current
    policy_set = policies.current()
    ahead = Silence.objects.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=timezone.now())).order_by("id")
    _current = SilenceSet(policy_set, tuple(compile_silence(silence) for silence in ahead))
    return _current


def compile_silence(silence: Silence) -> CompiledSilence:
    """Raises: storms.matchers.MatcherError for matchers that passed no validation."""
    return CompiledSilence(
        id=silence.pk,
        matchers=parse_matchers(silence.matchers),
        starts_at=silence.starts_at,
        ends_at=silence.ends_at,
        weekly=weekly_window(silence),
    )


def weekly_window(silence: Silence) -> WeeklyWindow | None:
    """None for a silence that holds all the time between its start and its end."""
    if not silence.weekdays or silence.window_start is None or silence.window_minutes is None:
        return None
    return WeeklyWindow(
        weekdays=frozenset(silence.weekdays),
        start=silence.window_start,
        minutes=silence.window_minutes,
        zone=ZoneInfo(silence.time_zone),
    )


def state_of(silence: Silence, now: datetime) -> str:
    """`pending` before its start, `expired` from its end on, else `active` (a weekly one also between its windows)."""
    if silence.ends_at is not None and silence.ends_at <= now:
        return "expired"
    return "pending" if silence.starts_at > now else "active"


def in_state(state: str, now: datetime) -> Q:
    """The same as a condition on rows."""
    expired = Q(ends_at__isnull=False, ends_at__lte=now)
    if state == "expired":
        return expired
    return ~expired & (Q(starts_at__gt=now) if state == "pending" else Q(starts_at__lte=now))
