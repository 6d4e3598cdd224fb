"""A batch between its payload and its rows: its episodes, the answers to their copies, the rows to write."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from storms import policies, rules
from storms.choices import AlertStatus, Disposition, Outcome
from storms.clock import to_datetime
from storms.detector import Answer
from storms.incoming import IncomingAlert
from storms.policies import CompiledPolicy, PolicySet
from storms.rules import Classified
from storms.services.lookup import Seen
from storms.services.recording import Row


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
class Episode:
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


def plan(alerts: Sequence[tuple[int, IncomingAlert]], policy_set: PolicySet, origin: Origin) -> dict[UUID, Episode]:
    """The batch by episode, in order, each with its policy and group."""
    episodes: dict[UUID, Episode] = {}
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
            episode = episodes[alert.id] = Episode(alert, policy, labels, keys[place], rule_set.classify(alert.labels))
            episode.silence_id = origin.silence_of(alert.labels)
        if alert.firing:
            episode.firing.append(index)
        else:
            episode.resolved.append(alert)
            episode.resolved_at.append(index)
    return episodes


def is_open_question(id_: UUID, seen: Seen) -> bool:
    """A new episode, or one that was silenced when it came in and is sent again, still firing, after the silence."""
    return id_ not in seen.episodes or id_ in seen.silenced


def counted_as(episodes: Iterable[tuple[UUID, str, bool, CompiledPolicy]]) -> dict[UUID, UUID]:
    """{episode: the member of the window that it is} of those that count once with others of their alert.

    Args:
        episodes: (id, fingerprint, whether its alert is flapping, policy).
    """
    return {
        id_: UUID(fingerprint[:32])
        for id_, fingerprint, flapping, policy in episodes
        if flapping and policy.count_flapping_once
    }


def results_of_batch(episodes: dict[UUID, Episode], seen: Seen) -> list[Result]:
    found = [
        result
        for id_, episode in episodes.items()
        for result in _results_of(episode, not is_open_question(id_, seen), seen)
    ]
    for result in found:
        if result.storm is not None:
            result.remediation_request = f"storm-{result.storm}"
    return sorted(found, key=lambda result: result.index)


def _results_of(episode: Episode, known: bool, seen: Seen) -> list[Result]:
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


def _outcome(episode: Episode, was_silenced: bool) -> str:
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


def row_of(episode: Episode, origin: Origin) -> Row:
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


def correct_repeated(results: list[Result], repeated: set[UUID], episodes: dict[UUID, Episode]) -> None:
    """Another request recorded the same new episodes at the same moment: here they are duplicates after all."""
    places = {episodes[id_].firing[0] for id_ in repeated if episodes[id_].firing}
    for result in results:
        if result.index in places:
            result.outcome = Outcome.DUPLICATE.value
            result.release_at = None
