"""From incoming alerts to recorded decisions: look up, decide, record.

One look-up in PostgreSQL, one round trip to the store for all groups (one more pair only for groups that the store
does not know), one multi-row insert with its commit. No ORM object is made per alert. If anything fails after the
decision, the same request sent again gets the same answers, because the store remembers them.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

from django.db import OperationalError, transaction
from psycopg.errors import DeadlockDetected

from storms import detector, policies, rules
from storms.choices import AlertStatus, Disposition, Outcome
from storms.clock import to_datetime
from storms.detector import Answer, Cold, GroupCall, GroupDecision, StoreUnavailable
from storms.incoming import IncomingAlert
from storms.policies import CompiledPolicy, PolicySet
from storms.rules import Classified
from storms.services.closing import close_what_the_store_closed
from storms.services.lookup import Seen, look_up, recent_episodes
from storms.services.opening import Opening, StormConflict, adopt_window, ensure_storm, insert_alert_requests
from storms.services.recording import Row, record_alerts

logger = logging.getLogger(__name__)

# A repeat is due to an edited policy, to a storm that the rows and the store see differently, or to a deadlock.
MAX_ROUNDS = 6


class Companion(Protocol):
    """What the caller commits together with the alerts: its own rows for the same webhook."""

    def statement(self, outcomes: Counter[str]) -> tuple[str, dict[str, Any]]:
        """Common table expressions, each followed by a comma, and their parameters."""

    def correct(self, outcomes: Counter[str]) -> None:
        """The outcomes turned out otherwise: called after the statement, rarely."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a batch comes from.

    still_valid: called when the configuration changed since the sender was authenticated; it raises if the sender
    would be refused now.
    silence_of: the id of the silence that matches these labels now, None where there is none.
    """

    receiver: str
    kind: str
    delivery_id: UUID
    received_at: datetime
    still_valid: Callable[[], None]
    silence_of: Callable[[Mapping[str, str]], int | None] = lambda _labels: None


@dataclass(slots=True)
class Result:
    """The answer for one alert of the batch; None where a field does not apply."""

    index: int
    fingerprint: str
    outcome: str
    group: dict[str, str]
    count: int | None = None
    threshold: int | None = None
    storm: UUID | None = None
    remediation_request: str | None = None
    release_at: datetime | None = None


@dataclass(slots=True)
class Intake:
    """results in the order of the batch; requests: ids of RemediationRequests worth a sync now."""

    results: list[Result]
    requests: list[UUID]


@dataclass(slots=True)
class _Episode:
    """All copies of one episode in a batch."""

    alert: IncomingAlert
    policy: CompiledPolicy
    group_labels: dict[str, str]
    group_key: str
    classified: Classified
    firing: list[int] = field(default_factory=list)
    resolved: list[IncomingAlert] = field(default_factory=list)
    resolved_at: list[int] = field(default_factory=list)
    silence_id: int | None = None
    flapping: bool = False
    answer: Answer | None = None


def take_in(*, alerts: Sequence[tuple[int, IncomingAlert]], origin: Origin, companion: Companion) -> Intake:
    """Decide and record a batch.

    Args:
        alerts: (place in the payload, alert).

    Raises: django.db.Error if PostgreSQL fails; nothing is recorded then.
    """
    overruled: set[str] = set()
    for _ in range(MAX_ROUNDS):
        policy_set = policies.current()
        episodes = _plan(alerts, policy_set, origin)
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
    return _record(_plan(alerts, policies.current(), origin), seen, {}, origin, companion)


def _plan(alerts: Sequence[tuple[int, IncomingAlert]], policy_set: PolicySet, origin: Origin) -> dict[UUID, _Episode]:
    """The batch by episode, in order, each with its policy and group."""
    episodes: dict[UUID, _Episode] = {}
    rule_set = rules.current()
    keys: dict[tuple[int, tuple[str, ...]], str] = {}
    for index, alert in alerts:
        episode = episodes.get(alert.id)
        if episode is None:
            policy = policy_set.choose(alert.labels)
            labels = policy.group(alert.labels)
            place = (policy.id, tuple(labels.values()))
            if place not in keys:
                keys[place] = policies.group_key(policy.id, labels)
            episode = episodes[alert.id] = _Episode(alert, policy, labels, keys[place], rule_set.classify(alert.labels))
            episode.silence_id = origin.silence_of(alert.labels)
        if alert.firing:
            episode.firing.append(index)
        else:
            episode.resolved.append(alert)
            episode.resolved_at.append(index)
    return episodes


def _decide(episodes: dict[UUID, _Episode], seen: Seen, overruled: set[str]) -> dict[str, GroupDecision]:
    """Ask the store about every new firing episode; groups that it could not decide are absent from the reply."""
    groups: dict[str, list[_Episode]] = {}
    for id_, episode in episodes.items():
        episode.flapping = episode.alert.fingerprint in seen.flapping
        if episode.firing and episode.silence_id is None and _is_open_question(id_, seen):
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
            counted_as=_counted_as(members),
        )
        for key, members in groups.items()
    ]
    decisions = ask_store(calls)
    for key, decision in decisions.items():
        for episode, answer in zip(groups[key], decision.answers, strict=True):
            episode.answer = answer
    return decisions


def _is_open_question(id_: UUID, seen: Seen) -> bool:
    """A new episode, or one that was silenced when it came in and is sent again, still firing, after the silence."""
    return id_ not in seen.episodes or id_ in seen.silenced


def _counted_as(members: list[_Episode]) -> dict[UUID, UUID]:
    return {
        episode.alert.id: UUID(episode.alert.fingerprint[:32])
        for episode in members
        if episode.flapping and episode.policy.count_flapping_once
    }


def ask_store(calls: list[GroupCall]) -> dict[str, GroupDecision]:
    """The decisions by group; a group that the store could not decide is absent.

    A group that the store does not know is asked for in the database and decided in a second round trip.
    """
    try:
        replies = detector.decide(calls) if calls else []
        cold = [call for call, reply in zip(calls, replies, strict=True) if isinstance(reply, Cold)]
        if cold:
            recent = recent_episodes((call.group_key, call.rule.window_us) for call in cold)
            warmed = iter(detector.decide([call.with_recent(recent[call.group_key]) for call in cold]))
            replies = [next(warmed) if isinstance(reply, Cold) else reply for reply in replies]
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
    episodes: dict[UUID, _Episode],
    seen: Seen,
    decisions: dict[str, GroupDecision],
    origin: Origin,
    companion: Companion,
) -> Intake:
    results = _results(episodes, seen)
    outcomes = Counter(result.outcome for result in results)
    rows = [_row(episode, seen, origin) for episode in episodes.values()]
    openings = _openings(episodes, seen, decisions)
    individual = [
        (episode.alert.id, episode.alert.namespace)
        for episode in episodes.values()
        if episode.answer is not None and episode.answer.outcome == Outcome.INDIVIDUAL
    ]
    requests = [decision.storm_id for decision in decisions.values() if decision.notify and decision.storm_id]
    if not openings and not individual:
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
    new = {row.id for row in rows} - seen.episodes.keys()
    if repeated & new:
        _correct_repeated(results, repeated & new, episodes)
        companion.correct(Counter(result.outcome for result in results))
    return Intake(results, list(dict.fromkeys(requests)))


def _results(episodes: dict[UUID, _Episode], seen: Seen) -> list[Result]:
    results = [
        result
        for id_, episode in episodes.items()
        for result in _results_of(episode, not _is_open_question(id_, seen), seen)
    ]
    for result in results:
        if result.storm is not None:
            result.remediation_request = f"storm-{result.storm}"
    return sorted(results, key=lambda result: result.index)


def _results_of(episode: _Episode, known: bool, seen: Seen) -> list[Result]:
    alert, answer = episode.alert, episode.answer
    storm = seen.episodes.get(alert.id)
    results = []
    for place, index in enumerate(episode.firing):
        result = Result(index, alert.fingerprint, Outcome.DUPLICATE.value, episode.group_labels, storm=storm)
        if not known and place == 0:
            result.outcome = _outcome(episode, alert.id in seen.silenced)
            if answer is not None:
                result.count, result.threshold = answer.count, episode.policy.rule.threshold
                result.storm = answer.storm_id
                if answer.outcome == Outcome.INDIVIDUAL:
                    result.remediation_request = f"alert-{alert.id}"
                result.release_at = to_datetime(answer.release_us) if answer.release_us is not None else None
        results.append(result)
    results += [
        Result(index, alert.fingerprint, Outcome.RESOLVED.value, episode.group_labels, storm=storm)
        for index in episode.resolved_at
    ]
    return results


def _outcome(episode: _Episode, was_silenced: bool) -> str:
    if episode.answer is not None:
        return episode.answer.outcome
    if was_silenced:
        # Still silenced, or the store is away and a later copy asks again.
        return Outcome.DUPLICATE.value
    return (Outcome.DEFERRED if episode.silence_id is None else Outcome.SILENCED).value


DISPOSITIONS = {
    Outcome.STORM_OPENED.value: Disposition.MEMBER.value,
    Outcome.AGGREGATED.value: Disposition.MEMBER.value,
    Outcome.INDIVIDUAL.value: Disposition.INDIVIDUAL.value,
    Outcome.HELD.value: Disposition.HELD.value,
}


def _row(episode: _Episode, seen: Seen, origin: Origin) -> Row:
    """The row to insert; if the episode is known by then, only its counters and its resolution are used."""
    answer = episode.answer
    resolution = episode.resolved[-1] if episode.resolved else None
    if answer is not None:
        outcome, disposition = answer.outcome, DISPOSITIONS[answer.outcome]
    elif episode.firing and episode.silence_id is not None:
        outcome, disposition = Outcome.SILENCED.value, Disposition.SILENCED.value
    elif episode.firing:
        outcome, disposition = Outcome.DEFERRED.value, Disposition.DEFERRED.value
    else:
        outcome, disposition = Outcome.RESOLVED.value, Disposition.RESOLVED_UNSEEN.value
    if resolution is not None and disposition == Disposition.HELD.value:
        disposition = Disposition.RESOLVED_WHILE_HELD.value
    return Row(
        alert=episode.alert,
        classified=episode.classified,
        status=AlertStatus.RESOLVED.value if resolution is not None else AlertStatus.FIRING.value,
        ends_at=resolution.ends_at or origin.received_at if resolution is not None else None,
        outcome=outcome,
        disposition=disposition,
        receiver=origin.receiver,
        source=origin.kind,
        delivery_id=origin.delivery_id,
        received_at=origin.received_at,
        occurrences=len(episode.firing),
        resolutions=len(episode.resolved),
        policy_id=episode.policy.id,
        policy_version=episode.policy.version,
        policy_reason=episode.policy.reason,
        group_key=episode.group_key,
        group_labels=episode.group_labels,
        threshold=episode.policy.rule.threshold,
        silence_id=episode.silence_id if answer is None else None,
        flapping=episode.flapping,
        answer=answer,
    )


def _openings(episodes: dict[UUID, _Episode], seen: Seen, decisions: dict[str, GroupDecision]) -> list[Opening]:
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


def _correct_repeated(results: list[Result], repeated: set[UUID], episodes: dict[UUID, _Episode]) -> None:
    """Another request recorded the same new episodes at the same moment: here they are duplicates after all."""
    places = {episodes[id_].firing[0] for id_ in repeated if episodes[id_].firing}
    for result in results:
        if result.index in places:
            result.outcome = Outcome.DUPLICATE.value
            result.release_at = None
