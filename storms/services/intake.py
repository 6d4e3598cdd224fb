"""From incoming alerts to recorded decisions: look up, decide, record.

One look-up in PostgreSQL, one round trip to the store for all groups (one more pair only for groups that the store
does not know), one multi-row insert with its commit. No ORM object is made per alert. If anything fails after the
decision, the same request sent again gets the same answers, because the store remembers them.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid4

from django.db import OperationalError, transaction
from psycopg.errors import DeadlockDetected

from storms import detector, policies
from storms.choices import Outcome
from storms.clock import to_datetime
from storms.detector import Cold, GroupCall, GroupDecision, StoreUnavailable
from storms.incoming import IncomingAlert
from storms.services.batch import (
    Episode,
    Origin,
    Result,
    correct_repeated,
    counted_as,
    is_open_question,
    plan,
    results_of_batch,
    row_of,
)
from storms.services.closing import close_what_the_store_closed
from storms.services.lookup import Seen, look_up, recent_episodes
from storms.services.opening import Opening, StormConflict, adopt_window, ensure_storm, insert_alert_requests
from storms.services.recording import record_alerts

logger = logging.getLogger(__name__)

# A repeat is due to an edited policy, to a storm that the rows and the store see differently, or to a deadlock.
MAX_ROUNDS = 6


class Companion(Protocol):
    """What the caller commits together with the alerts: its own rows for the same webhook."""

    @property
    def in_transaction(self) -> bool:
        """`finish` has something to write, so the statement is not to be a transaction of its own."""

    def statement(self, outcomes: Counter[str]) -> tuple[str, dict[str, Any]]:
        """Common table expressions, each followed by a comma, and their parameters."""

    def finish(self, outcomes: Counter[str]) -> None:
        """Called after the statement in the same transaction."""

    def correct(self, outcomes: Counter[str]) -> None:
        """The outcomes turned out otherwise: called after the statement, rarely."""


@dataclass(slots=True)
class Intake:
    """results in the order of the batch; requests: ids of RemediationRequests worth a sync now."""

    results: list[Result]
    requests: list[UUID]


def take_in(*, alerts: Sequence[tuple[int, IncomingAlert]], origin: Origin, companion: Companion) -> Intake:
    """Decide and record a batch.

    Args:
        alerts: (place in the payload, alert).

    Raises: django.db.Error if PostgreSQL fails; nothing is recorded then.
    """
    overruled: set[str] = set()
    for _ in range(MAX_ROUNDS):
        policy_set = policies.current()
        episodes = plan(alerts, policy_set, origin)
        seen = look_up(
            ids=episodes,
            groups={episode.group_key for episode in episodes.values()},
            fingerprints={episode.alert.fingerprint for episode in episodes.values() if episode.firing},
        )
        if seen.generation != policy_set.generation:
            policies.reload()
            origin.still_valid()
            continue
        decisions = _decide(episodes, seen, overruled)
        try:
            return _record(episodes, seen, decisions, origin, companion)
        except StormConflict as conflict:
            logger.warning("%s", conflict)
            if settle(conflict):
                overruled.add(conflict.group_key)
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
            logger.warning("deadlock, recording again")
    return _record(plan(alerts, policies.current(), origin), seen, {}, origin, companion)


def _decide(episodes: dict[UUID, Episode], seen: Seen, overruled: set[str]) -> dict[str, GroupDecision]:
    """Ask the store about every new firing episode; groups that it could not decide are absent from the reply."""
    groups: dict[str, list[Episode]] = {}
    for id_, episode in episodes.items():
        episode.flapping = episode.alert.fingerprint in seen.flapping
        if episode.firing and episode.silence_id is None and is_open_question(id_, seen):
            groups.setdefault(episode.group_key, []).append(episode)
    calls = [
        GroupCall(
            group_key=key,
            rule=members[0].policy.rule,
            storm_id=uuid4(),
            episodes=[episode.alert.id for episode in members],
            known=seen.storms.get(key),
            known_wins=key in overruled,
            reopen_us=members[0].policy.reopen_us,
            counted_as=counted_as((e.alert.id, e.alert.fingerprint, e.flapping, e.policy) for e in members),
            waiting_us=seen.waiting_us.get(key),
        )
        for key, members in groups.items()
    ]
    decisions = ask_store(calls)
    for key, decision in decisions.items():
        for episode, answer in zip(groups[key], decision.answers, strict=True):
            episode.answer = answer
    return decisions


def ask_store(calls: list[GroupCall]) -> dict[str, GroupDecision]:
    """The decisions by group; a group that the store could not decide is absent.

    A group that the store does not know is asked for in the database and decided in a second round trip.
    """
    try:
        replies = detector.decide(calls) if calls else []
        # One that was told of its window and is cold all the same waits for rows that are on their way.
        cold = {
            place: call
            for place, (call, reply) in enumerate(zip(calls, replies, strict=True))
            if isinstance(reply, Cold) and call.recent is None
        }
        if cold:
            recent = recent_episodes((call.group_key, call.rule.window_us, None) for call in cold.values())
            warmed = detector.decide([call.with_recent(recent[call.group_key]) for call in cold.values()])
            for place, reply in zip(cold, warmed, strict=True):
                replies[place] = reply
    except StoreUnavailable:
        return {}
    return {
        call.group_key: reply for call, reply in zip(calls, replies, strict=True) if isinstance(reply, GroupDecision)
    }


def settle(conflict: StormConflict) -> bool:
    """Make the rows and the store agree: True if the open row stands and the store must be told so.

    Either the store closed the open row's storm already and the row follows, or the store was set back.
    """
    try:
        if conflict.open_storm is not None:
            return not close_what_the_store_closed(storm_id=conflict.open_storm)
        # The store holds a storm that the rows know as closed: it closes there too.
        detector.close(
            group_key=conflict.group_key, storm_id=conflict.decided_storm, reason="stale", idle_us=0, last_us=0
        )
    except StoreUnavailable:
        logger.warning("store unavailable while settling: %s", conflict)
    return False


def _record(
    episodes: dict[UUID, Episode],
    seen: Seen,
    decisions: dict[str, GroupDecision],
    origin: Origin,
    companion: Companion,
) -> Intake:
    results = results_of_batch(episodes, seen)
    outcomes = Counter(result.outcome for result in results)
    rows = [row_of(episode, origin) for episode in episodes.values()]
    openings = _openings(episodes, seen, decisions)
    individual = [
        (episode.alert.id, episode.alert.namespace)
        for episode in episodes.values()
        if episode.answer is not None and episode.answer.outcome == Outcome.INDIVIDUAL
    ]
    requests = [decision.storm_id for decision in decisions.values() if decision.notify and decision.storm_id]
    if not openings and not individual and not companion.in_transaction:
        # The usual case: one statement, which is its own transaction.
        repeated = record_alerts(rows, companion.statement(outcomes))
    else:
        with transaction.atomic():
            for opening in openings:
                ensure_storm(opening)
            repeated = record_alerts(rows, companion.statement(outcomes))
            requests += insert_alert_requests(individual)
            for opening in openings:
                assert opening.decision.storm_id is not None
                requests += adopt_window(storm_id=opening.decision.storm_id)
            companion.finish(outcomes)
    new = {row.id for row in rows} - seen.episodes.keys()
    if repeated & new:
        correct_repeated(results, repeated & new, episodes)
        companion.correct(Counter(result.outcome for result in results))
    return Intake(results, list(dict.fromkeys(requests)))


def _openings(episodes: dict[UUID, Episode], seen: Seen, decisions: dict[str, GroupDecision]) -> list[Opening]:
    """The storms that alerts of this batch are in and that the rows may not have yet, in the order of their groups."""
    openings = {}
    for episode in episodes.values():
        answer, decision = episode.answer, decisions.get(episode.group_key)
        if answer is None or answer.storm_id is None or decision is None:
            continue
        known = seen.storms.get(episode.group_key)
        if known is None or known.id != answer.storm_id:
            openings[episode.group_key] = Opening(
                group_key=episode.group_key,
                group_labels=episode.group_labels,
                policy=episode.policy,
                decision=decision,
                joined_at=to_datetime(answer.decided_us),
            )
    return [openings[key] for key in sorted(openings)]
