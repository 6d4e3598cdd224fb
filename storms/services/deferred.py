"""Deciding alerts that came while the store was away, in the order of their receipt, and as of the time of it.

Counted at the time of the decision, an outage of an hour would make one storm of what came one by one; and what was
decided right before the outage would be older than the window of the storm that began with it.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from django.db import InterfaceError, OperationalError, connection, transaction

from storms import policies
from storms.choices import Disposition, Outcome
from storms.clock import to_datetime, to_us
from storms.detector import Answer, GroupCall, GroupDecision, KnownStorm
from storms.locks import locked
from storms.models import Alert
from storms.policies import CompiledPolicy
from storms.services.batch import DISPOSITIONS, counted_as
from storms.services.intake import ask_store, settle
from storms.services.lookup import Seen, first_members, look_up, recent_episodes
from storms.services.opening import (
    Opening,
    StormConflict,
    adopt_window,
    begin_earlier,
    ensure_storm,
    insert_alert_requests,
)

logger = logging.getLogger(__name__)

LOCK = 0x44454652  # "DEFR"
_WAITING = """
select id, fingerprint, flapping, group_key, group_labels::json, policy_id, namespace, status,
    coalesce(deferred_at, received_at)
from storms_alert where disposition = 'deferred' and group_key <> all(%(without)s)
order by deferred_at, id limit %(limit)s
"""
_DECIDED = """
update storms_alert a set disposition = t.disposition, decided_at = t.decided_at, count = t.count,
    release_at = t.release_at, storm_id = t.storm_id, changed_xid = pg_current_xact_id()::text::bigint
from (select * from unnest(%(ids)s::uuid[], %(dispositions)s::text[], %(decided)s::timestamptz[], %(counts)s::int[],
        %(releases)s::timestamptz[], %(storms)s::uuid[])
        as t(id, disposition, decided_at, count, release_at, storm_id) order by id) t
where a.id = t.id and a.disposition = 'deferred' returning a.id
"""

BATCH = 1500
MOST_COMPARED = 200_000


@dataclass(slots=True)
class _Waiting:
    id: UUID
    fingerprint: str
    flapping: bool
    group_key: str
    group_labels: dict[str, str]
    policy: CompiledPolicy
    namespace: str
    resolved: bool
    came_at: datetime


@dataclass(frozen=True, slots=True)
class _Decided:
    """One group's alerts and the decision on the first of them, or all.

    known: the storm of the look-up, whose rows are there.
    """

    alerts: list[_Waiting]
    decision: GroupDecision
    known: KnownStorm | None

    @property
    def key(self) -> str:
        return self.alerts[0].group_key

    @property
    def answers(self) -> list[tuple[_Waiting, Answer]]:
        return list(zip(self.alerts, self.decision.answers, strict=False))

    @property
    def joined(self) -> bool:
        return any(answer.storm_id is not None for answer in self.decision.answers)

    @property
    def opens(self) -> bool:
        return self.joined and (self.known is None or self.known.id != self.decision.storm_id)

    @property
    def takes_in(self) -> bool:
        """The storm's window holds what is not in it yet."""
        earlier = self.known is not None and self.decision.window_from_us < self.known.window_from_us
        return self.opens or (self.joined and earlier)

    def opening(self) -> Opening:
        first = self.alerts[0]
        return Opening(
            group_key=first.group_key,
            group_labels=first.group_labels,
            policy=first.policy,
            decision=self.decision,
            joined_at=to_datetime(self.decision.now_us),
        )


class Round(NamedTuple):
    """read: alerts that waited; decided: those of them that are; requests: RemediationRequests worth a sync.

    set_aside: groups that had their turn: the store refused them, or cannot decide them yet, or more of them at once
    would take it too long.
    """

    read: int = 0
    decided: int = 0
    requests: tuple[UUID, ...] = ()
    set_aside: tuple[str, ...] = ()


def decide_deferred(*, without: Collection[str] = ()) -> Round:
    """Decide the longest waiting alerts, of other groups than `without`.

    Nothing while the store is away, or another process does it. A crash after the decision is harmless: the store gives
    the same answers again. A batch is a look-up, a question to the store and one transaction, however many groups are
    in it.
    """
    # Two that decide the same alerts could each ask the store at another state of the rows.
    with locked(LOCK) as mine:
        return _decide(without) if mine else Round()


def _decide(without: Collection[str]) -> Round:
    waiting = _waiting(without)
    if not waiting:
        return Round()
    groups: dict[str, list[_Waiting]] = {}
    for alert in waiting:
        groups.setdefault(alert.group_key, []).append(alert)
    seen = look_up(ids=[], groups=groups)
    if seen.generation != policies.current().generation:
        policies.reload()
        return _decide(without)
    set_aside = set()
    recent = recent_episodes(
        (key, members[0].policy.rule.window_us, to_us(members[0].came_at)) for key, members in groups.items()
    )
    before = [key for key in groups if _came_before(seen.storms.get(key), groups[key], recent[key])]
    for key in before:
        most = max(1, MOST_COMPARED // groups[key][0].policy.rule.threshold)
        if len(groups[key]) > most:
            groups[key] = groups[key][:most]
            set_aside.add(key)
    shared = first_members(before)
    decisions = ask_store(
        [_call(key, members, seen, recent[key] + shared.get(key, [])) for key, members in groups.items()]
    )
    set_aside |= groups.keys() - decisions.keys()
    answered = [_Decided(groups[key], decisions[key], seen.storms.get(key)) for key in sorted(decisions)]
    recorded = _record_each(answered)
    for conflict in recorded.conflicts:
        # They are decided again in the next round, when rows and store agree.
        if settle(conflict):
            _overrule(groups[conflict.group_key])
    return Round(
        len(waiting), recorded.alerts, tuple(dict.fromkeys(recorded.requests)), tuple(set_aside | recorded.failed)
    )


def anything_deferred() -> bool:
    return Alert.objects.filter(disposition=Disposition.DEFERRED).exists()


def _came_before(known: KnownStorm | None, members: list[_Waiting], recent: list[tuple[UUID, int]]) -> bool:
    """The first of them, or what was decided and stayed alone, came before the open storm's window: members count."""
    first = min((to_us(members[0].came_at), *(us for _, us in recent)))
    return known is not None and first <= known.window_from_us


def _overrule(members: list[_Waiting]) -> None:
    """Tell the store which storm the rows have open in this group, without deciding anything."""
    key = members[0].group_key
    known = look_up(ids=[], groups=[key]).storms.get(key)
    ask_store([GroupCall(key, members[0].policy.rule, uuid4(), [], known, known_wins=True)])


def _call(key: str, members: list[_Waiting], seen: Seen, recent: list[tuple[UUID, int]]) -> GroupCall:
    policy = members[0].policy
    return GroupCall(
        key,
        policy.rule,
        uuid4(),
        [alert.id for alert in members],
        seen.storms.get(key),
        recent,
        reopen_us=policy.reopen_us,
        counted_as=counted_as((alert.id, alert.fingerprint, alert.flapping, alert.policy) for alert in members),
        received_us={alert.id: to_us(alert.came_at) for alert in members},
    )


def _waiting(without: Collection[str]) -> list[_Waiting]:
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"limit": BATCH, "without": list(without)})
        rows = cursor.fetchall()
    policy_set = policies.current()
    found = [
        _Waiting(
            id_, fingerprint, flapping, key, labels, policy_set.by_id(policy_id), namespace, status == "resolved", at
        )
        for id_, fingerprint, flapping, key, labels, policy_id, namespace, status, at in rows
    ]
    return sorted(found, key=lambda alert: (alert.came_at, alert.id))


class _Recorded(NamedTuple):
    """conflicts: why groups were left out; failed: those of which nothing could be recorded."""

    alerts: int
    requests: list[UUID]
    conflicts: list[StormConflict]
    failed: set[str]


def _record_each(groups: list[_Decided]) -> _Recorded:
    """All in one transaction, or each in its own, if one of them cannot be recorded."""
    try:
        return _record(groups)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        # One bad row must not keep the other groups waiting.
        if len(groups) == 1:
            logger.exception("deferred alerts of group %s could not be recorded", groups[0].key)
            return _Recorded(0, [], [], {groups[0].key})
        each = [_record_each([group]) for group in groups]
    return _Recorded(
        sum(one.alerts for one in each),
        [id_ for one in each for id_ in one.requests],
        [conflict for one in each for conflict in one.conflicts],
        {key for one in each for key in one.failed},
    )


def _record(groups: list[_Decided]) -> _Recorded:
    conflicts: list[StormConflict] = []
    agreed: list[_Decided] = []
    with transaction.atomic():
        for group in groups:
            try:
                if group.opens:
                    with transaction.atomic():
                        ensure_storm(group.opening())
            except StormConflict as conflict:
                conflicts.append(conflict)
            else:
                agreed.append(group)
        for group in agreed:
            if group.takes_in and group.decision.storm_id is not None:
                begin_earlier(storm_id=group.decision.storm_id, window_from_us=group.decision.window_from_us)
        recorded = _update([pair for group in agreed for pair in group.answers])
        requests = insert_alert_requests(
            (alert.id, alert.namespace)
            for group in agreed
            for alert, answer in group.answers
            if answer.outcome == Outcome.INDIVIDUAL and alert.id in recorded
        )
    for group in agreed:
        if group.joined and group.decision.storm_id is not None:
            requests.append(group.decision.storm_id)
            if group.takes_in:
                # On its own: together with the rows above it would lock in another order than a webhook that sends
                # them again.
                with transaction.atomic():
                    requests += adopt_window(storm_id=group.decision.storm_id)
    return _Recorded(len(recorded), requests, conflicts, set())


def _update(answers: list[tuple[_Waiting, Answer]]) -> set[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(
            _DECIDED,
            {
                "ids": [alert.id for alert, _ in answers],
                "dispositions": [_disposition(alert, answer) for alert, answer in answers],
                "decided": [to_datetime(answer.decided_us) for _, answer in answers],
                "counts": [answer.count for _, answer in answers],
                "releases": [
                    to_datetime(answer.release_us) if answer.release_us is not None else None for _, answer in answers
                ],
                "storms": [answer.storm_id for _, answer in answers],
            },
        )
        return {id_ for [id_] in cursor.fetchall()}


def _disposition(alert: _Waiting, answer: Answer) -> str:
    disposition = DISPOSITIONS[answer.outcome]
    if alert.resolved and disposition == Disposition.HELD.value:
        return Disposition.RESOLVED_WHILE_HELD.value
    return disposition
