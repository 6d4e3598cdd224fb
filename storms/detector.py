"""The storm decision: typed calls of the Lua scripts, on django-redis' connection.

One call per group, all groups of a webhook in one round trip. Every reply is idempotent: an episode that was decided
within `MEMORY_US` gets the same answer again, so a retried request creates nothing twice.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple
from uuid import UUID

from django_redis import get_redis_connection
from redis.exceptions import NoScriptError, RedisError

from storms.keys import group_keys, limit_key

logger = logging.getLogger(__name__)

# How long a retry may come after the first attempt and still get the same answer. Alertmanager retries within its
# flush, max(group_interval, 10 s); 15 minutes is three of its default group intervals.
MEMORY_US = 15 * 60 * 1_000_000
# After a failure the store is left alone, so that a webhook answers `deferred` at once and not after a timeout: for ten
# times as long as the failure took, a moment where the connection is refused. Between these bounds.
SHORTEST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 0.1, 1.0
WARN_SECONDS = 1.0


class StoreUnavailable(Exception):
    """The store did not answer, or could not: the alerts are recorded as deferred and decided when it is back."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a policy says about counting; times in microseconds."""

    threshold: int
    window_us: int
    hold_us: int
    quiet_us: int
    max_us: int


@dataclass(frozen=True, slots=True)
class KnownStorm:
    """The storm that the database knows as open in a group; what came after `window_from_us` belongs to it."""

    id: UUID
    opened_us: int
    quiet_us: int
    max_us: int
    alert_count: int
    window_from_us: int


@dataclass(frozen=True, slots=True)
class GroupCall:
    """New episodes of one group, with what the database knows of it.

    recent: [(episode, us)], the episodes of the window that are in no storm, needed if the store forgot the group;
    None as long as nobody asked the database: such a store then answers Cold.
    reopen_us: for how long a storm that closed by itself may be reopened, microseconds.
    counted_as: {episode: member}, episodes that share a member count once in the window.
    received_us: {episode: when it came} of episodes that came while the store was away: they count at that time.
    waiting_us: since when such episodes wait to be decided; a storm that was quiet only later is not closed for that.
    """

    group_key: str
    rule: Rule
    storm_id: UUID
    episodes: Sequence[UUID]
    known: KnownStorm | None = None
    recent: Sequence[tuple[UUID, int]] | None = None
    known_wins: bool = False
    reopen_us: int = 0
    counted_as: Mapping[UUID, UUID] = field(default_factory=dict)
    received_us: Mapping[UUID, int] = field(default_factory=dict)
    waiting_us: int | None = None

    def with_recent(self, recent: Sequence[tuple[UUID, int]]) -> "GroupCall":
        return replace(self, recent=recent)


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision on one episode: outcome, position in the window or storm, the time it counts at, storm, release."""

    outcome: str
    count: int
    decided_us: int
    storm_id: UUID | None
    release_us: int | None


@dataclass(frozen=True, slots=True)
class GroupDecision:
    """The reply for one group; `storm_id` is the storm open after the call.

    answers: in the order of the episodes; where a storm ended between two that came while the store was away, only
    those before its end.
    """

    now_us: int
    storm_id: UUID | None
    opened_us: int
    opened_by: UUID | None
    window_from_us: int
    notify: bool
    reopened_us: int | None = None
    answers: list[Answer] = field(default_factory=list)


class Cold(Enum):
    """The store knows nothing of the group: ask the database for the window and call again."""

    COLD = "cold"


class CloseVerdict(NamedTuple):
    """closed, active or other (see lua/close.lua), with a time in microseconds and a reason."""

    verdict: str
    us: int
    reason: str


class _Script:
    def __init__(self, name: str) -> None:
        self.source = files("storms").joinpath("lua", name).read_text()
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()


_DECIDE = _Script("decide.lua")
_CLOSE = _Script("close.lua")
_LIMIT = _Script("limit.lua")
_retry_store_at = 0.0
_warned_at = float("-inf")
_frozen_us: int | None = None


Reply = GroupDecision | Cold | StoreUnavailable


def decide(calls: Sequence[GroupCall], *, now_us: int | None = None) -> list[Reply]:
    """Decide all groups in one round trip; a group whose call failed is answered with the reason.

    Args:
        now_us: a clock of the caller's, for tests and replays; None is the store's clock.

    Raises: StoreUnavailable if the store could not be reached at all.
    """
    replies = _run(_DECIDE, [(group_keys(call.group_key), _decide_args(call, now_us)) for call in calls])
    return [reply if isinstance(reply, StoreUnavailable) else _read_decision(reply) for reply in replies]


def close(
    *, group_key: str, storm_id: UUID, reason: str, idle_us: int, last_us: int, now_us: int | None = None
) -> CloseVerdict:
    """Close a storm in the store unless an episode joined within `idle_us`.

    Raises: StoreUnavailable.
    """
    arguments = [_clock(now_us), str(storm_id), reason, idle_us, last_us]
    [reply] = _run(_CLOSE, [(group_keys(group_key)[:1], arguments)])
    if isinstance(reply, StoreUnavailable):
        raise reply
    verdict, us, closed_reason = (_text(item) for item in reply)
    return CloseVerdict(verdict, int(us), closed_reason)


def within_limit(*, receiver_id: int, limit: int, count: int, now_us: int | None = None) -> int:
    """0: the receiver may send `count` alerts now, and they are counted; else the microseconds it has to wait.

    Args:
        limit: alerts per minute.

    Raises: StoreUnavailable.
    """
    [reply] = _run(_LIMIT, [([limit_key(receiver_id)], [_clock(now_us), limit, count])])
    if isinstance(reply, StoreUnavailable):
        raise reply
    return int(reply)


def store_time_us() -> int:
    """The store's clock, in microseconds.

    Raises: StoreUnavailable.
    """
    if _frozen_us is not None:
        return _frozen_us
    with _unless_left_alone():
        seconds, microseconds = get_redis_connection("default").time()
    return int(seconds) * 1_000_000 + int(microseconds)


@contextmanager
def frozen(us: int) -> Iterator[None]:
    """Decide with this clock instead of the store's, in this process: for tests and replays."""
    global _frozen_us
    before, _frozen_us = _frozen_us, us
    try:
        yield
    finally:
        _frozen_us = before


def _clock(now_us: int | None) -> str:
    us = _frozen_us if now_us is None else now_us
    return "" if us is None else str(us)


def _decide_args(call: GroupCall, now_us: int | None) -> list[Any]:
    rule, known = call.rule, call.known
    arguments: list[Any] = [
        _clock(now_us), rule.threshold, rule.window_us, rule.hold_us, rule.quiet_us, rule.max_us, call.reopen_us,
        str(call.storm_id), max(MEMORY_US, rule.window_us),
    ]  # fmt: skip
    arguments += (
        [str(known.id), known.opened_us, known.quiet_us, known.max_us, known.alert_count, known.window_from_us]
        if known is not None
        else ["", 0, 0, 0, 0, 0]
    )
    arguments += ["1" if call.known_wins else "0", "" if call.waiting_us is None else call.waiting_us]
    arguments += [-1 if call.recent is None else len(call.recent)]
    for episode, us in call.recent or ():
        arguments += [str(episode), us]
    return arguments + [_asked(call, episode) for episode in call.episodes]


def _asked(call: GroupCall, episode: UUID) -> str:
    member, received_us = call.counted_as.get(episode), call.received_us.get(episode)
    if received_us is not None:
        return f"{episode}/{member or ''}/{received_us}"
    return f"{episode}/{member}" if member else str(episode)


def _run(script: _Script, calls: list[tuple[Sequence[str], list[Any]]]) -> list[Any]:
    """EVALSHA for every call in one round trip; a StoreUnavailable stands in the place of a call that failed."""
    with _unless_left_alone():
        client = get_redis_connection("default")
        replies = _evalsha(client, script, calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            client.script_load(script.source)
            replies = _evalsha(client, script, calls)
    return [_failed(reply) if isinstance(reply, Exception) else reply for reply in replies]


@contextmanager
def _unless_left_alone() -> Iterator[None]:
    """Raises: StoreUnavailable, if the store failed a moment ago, or fails in the block."""
    global _retry_store_at, _warned_at
    began = time.monotonic()
    if began < _retry_store_at:
        raise StoreUnavailable("the store failed a moment ago and is left alone")
    try:
        yield
    except RedisError as error:
        now = time.monotonic()
        _retry_store_at = now + min(max(10 * (now - began), SHORTEST_BACK_OFF_SECONDS), LONGEST_BACK_OFF_SECONDS)
        if now >= _warned_at + WARN_SECONDS:
            _warned_at = now
            logger.warning("store unavailable: %s", error)
        raise StoreUnavailable(str(error)) from error


def _evalsha(client: Any, script: _Script, calls: list[tuple[Sequence[str], list[Any]]]) -> list[Any]:
    # redis-py's own Script object asks SCRIPT EXISTS before every pipeline: a second round trip.
    pipeline = client.pipeline(transaction=False)
    for keys, arguments in calls:
        pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
    return list(pipeline.execute(raise_on_error=False))


def _failed(error: Exception) -> StoreUnavailable:
    logger.error("the store refused a decision: %s", error)
    return StoreUnavailable(str(error))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _read_decision(reply: list[Any]) -> GroupDecision | Cold:
    if len(reply) == 1:
        return Cold.COLD
    now, storm, opened, opened_by, window_from, notify, reopened = (_text(item) for item in reply[:7])
    return GroupDecision(
        now_us=int(now),
        storm_id=UUID(storm) if storm else None,
        opened_us=int(opened or 0),
        opened_by=UUID(opened_by) if opened_by else None,
        window_from_us=int(window_from or 0),
        notify=notify == "1",
        reopened_us=int(reopened) if reopened else None,
        answers=[_read_answer(_text(answer)) for answer in reply[7]],
    )


def _read_answer(answer: str) -> Answer:
    outcome, count, decided_us, storm, release_us = answer.split("|")
    return Answer(
        outcome,
        int(count),
        int(decided_us),
        _read_id(storm) if storm else None,
        int(release_us) if release_us else None,
    )


@lru_cache(maxsize=256)
def _read_id(text: str) -> UUID:
    """All who join a storm are told the same id."""
    return UUID(text)
