"""The storm decision in plain Python: what lua/decide.lua and lua/close.lua promise, without keys, TTLs or bytes.

Times are microseconds; a group's time never goes back (by less than five minutes). `decide` returns (outcome, count,
storm) per episode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Decided(NamedTuple):
    outcome: str
    count: int
    decided_us: int
    storm: str
    release_us: int | None


@dataclass
class ModelStorm:
    id: str
    opened_us: int
    last_us: int
    count: int


@dataclass
class ModelGroup:
    """One group under one rule."""

    threshold: int
    window_us: int
    hold_us: int
    quiet_us: int
    max_us: int
    storm: ModelStorm | None = None
    closed: tuple[str, int, str] | None = None
    window: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Decided] = field(default_factory=dict)
    seen_us: int = 0

    def decide(self, now: int, episodes: list[str], proposed: str) -> list[Decided]:
        now = self.seen_us = max(now, self.seen_us)
        self._expire(now)
        self.window = {episode: at for episode, at in self.window.items() if at > now - self.window_us}
        return [self._decide(now, episode, proposed) for episode in episodes]

    def close(self, now: int, storm: str, reason: str, idle_us: int) -> str:
        if self.closed is not None and self.closed[0] == storm:
            return "closed"
        if self.storm is None or self.storm.id != storm:
            return "other"
        now = max(now, self.seen_us)
        if now - self.storm.last_us < idle_us:
            return "active"
        self.seen_us = now
        self.storm, self.closed = None, (storm, now, reason)
        return "closed"

    def _expire(self, now: int) -> None:
        if self.storm is None:
            return
        quiet_end, max_end = self.storm.last_us + self.quiet_us, self.storm.opened_us + self.max_us
        if min(quiet_end, max_end) <= now:
            reason = "quiet" if quiet_end <= max_end else "max_duration"
            self.closed = (self.storm.id, min(quiet_end, max_end), reason)
            self.storm = None

    def _decide(self, now: int, episode: str, proposed: str) -> Decided:
        remembered = self.answers.get(episode)
        open_id = self.storm.id if self.storm else ""
        if remembered is not None and remembered.storm in ("", open_id):
            return remembered
        answer = self.answers[episode] = self._count(now, episode, proposed)
        return answer

    def _count(self, now: int, episode: str, proposed: str) -> Decided:
        if self.storm is not None:
            self.storm.count += 1
            self.storm.last_us = now
            return Decided("aggregated", self.storm.count, now, self.storm.id, None)
        self.window[episode] = now
        count = len(self.window)
        if count >= self.threshold:
            self.storm = ModelStorm(proposed, now, now, count)
            self.window = {}
            return Decided("storm_opened", count, now, proposed, None)
        if self.hold_us == 0:
            return Decided("individual", count, now, "", None)
        return Decided("held", count, now, "", now + self.hold_us)
