"""The storm decision in plain Python: what lua/decide.lua and lua/close.lua promise, without keys, TTLs or bytes.

Times are microseconds; a group's time never goes back (by less than five minutes).
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
    window_from_us: int


@dataclass
class ModelGroup:
    """One group under one rule.

    rows: {episode: (when it counts, its storm or '')}, all that were ever decided, as the database has them.
    """

    threshold: int
    window_us: int
    hold_us: int
    quiet_us: int
    max_us: int
    storm: ModelStorm | None = None
    closed: tuple[str, int, str] | None = None
    rows: dict[str, tuple[int, str]] = field(default_factory=dict)
    answers: dict[str, Decided] = field(default_factory=dict)
    seen_us: int = 0

    def decide(
        self,
        now: int,
        episodes: list[str],
        proposed: str,
        *,
        received_us: dict[str, int] | None = None,
        waiting_us: int | None = None,
    ) -> list[Decided]:
        """The answers, up to where a storm that was joined in this call ends by itself."""
        now = self.seen_us = max(now, self.seen_us)
        answers: list[Decided] = []
        for episode in episodes:
            us = min((received_us or {}).get(episode, now), now)
            ends_us, reason = self._ending(waiting_us)
            if self.storm is not None and ends_us <= us:
                if any(answer.storm for answer in answers):
                    break
                self.storm, self.closed = None, (self.storm.id, ends_us, reason)
            answers.append(self._decide(now, us, episode, proposed))
        self._adopt()
        return answers

    def recent(self, before_us: int) -> list[tuple[str, int]]:
        """What the database tells the script for a decision about the past."""
        alone = [(name, us) for name, (us, storm) in self.rows.items() if not storm and us > before_us - self.window_us]
        if self.storm is None or all(us > self.storm.window_from_us for us in (before_us, *(us for _, us in alone))):
            return alone
        members = sorted((us, name) for name, (us, storm) in self.rows.items() if storm == self.storm.id)
        return alone + [(name, us) for us, name in members[: self.threshold]]

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

    def _adopt(self) -> None:
        if self.storm is None:
            return
        for episode, (us, storm) in self.rows.items():
            if not storm and self.storm.window_from_us < us <= self.storm.opened_us:
                self.rows[episode] = (us, self.storm.id)

    def _ending(self, waiting_us: int | None) -> tuple[int, str]:
        if self.storm is None:
            return 0, ""
        quiet_end, max_end = self.storm.last_us + self.quiet_us, self.storm.opened_us + self.max_us
        spared = waiting_us is not None and waiting_us < quiet_end
        return (quiet_end, "quiet") if quiet_end <= max_end and not spared else (max_end, "max_duration")

    def _decide(self, now: int, us: int, episode: str, proposed: str) -> Decided:
        remembered = self.answers.get(episode)
        open_id = self.storm.id if self.storm else ""
        if remembered is not None and remembered.storm in ("", open_id):
            return remembered
        answer = self.answers[episode] = self._count(now, us, episode, proposed)
        # At once, so that the next of the batch finds it.
        self.rows[episode] = (us, answer.storm)
        return answer

    def _count(self, now: int, us: int, episode: str, proposed: str) -> Decided:
        if self.storm is not None and (us == now or us > self.storm.window_from_us):
            self.storm.count += 1
            self.storm.last_us = max(us, self.storm.last_us)
            if us < now:
                self._look_back(us, episode)
            return Decided("aggregated", self.storm.count, us, self.storm.id, None)
        count, since = self._fullest_window(us, episode)
        if count < self.threshold:
            if self.hold_us == 0:
                return Decided("individual", count, us, "", None)
            return Decided("held", count, us, "", now + self.hold_us)
        if self.storm is not None:
            self.storm.count += 1
            self._begin_earlier(since, episode)
            return Decided("aggregated", self.storm.count, us, self.storm.id, None)
        self.storm = ModelStorm(proposed, since + self.window_us, since + self.window_us, count, since)
        return Decided("storm_opened", count, us, proposed, None)

    def _look_back(self, us: int, episode: str) -> None:
        """One of the past that joins may be the one with which those right before the storm's window are enough."""
        assert self.storm is not None
        begins = self.storm.window_from_us
        if any(us - self.window_us < at <= begins for at in self._alone(episode)):
            count, since = self._fullest_window(us, episode)
            if count >= self.threshold and since < begins:
                self._begin_earlier(since, episode)

    def _begin_earlier(self, since: int, episode: str) -> None:
        assert self.storm is not None
        self.storm.count += sum(since < at <= self.storm.window_from_us for at in self._alone(episode))
        self.storm.window_from_us = since

    def _alone(self, episode: str) -> list[int]:
        return [at for name, (at, storm) in self.rows.items() if not storm and name != episode]

    def _fullest_window(self, us: int, episode: str) -> tuple[int, int]:
        """Of all windows with `us` in them the first that reaches the threshold, else the fullest.

        Where too few are near, the one that ends with `us` is as good.
        """
        open_id = self.storm.id if self.storm else ""
        times = [at for name, (at, storm) in self.rows.items() if storm in ("", open_id) and name != episode] + [us]
        if sum(abs(at - us) < self.window_us for at in times) < self.threshold:
            return sum(us - self.window_us < at <= us for at in times), us - self.window_us
        ends = [us, *sorted(at for at in times if us < at < us + self.window_us)]
        counts = [(sum(end - self.window_us < at <= end for at in times), end - self.window_us) for end in ends]
        enough = [pair for pair in counts if pair[0] >= self.threshold]
        return enough[0] if enough else max(counts, key=lambda pair: pair[0])
