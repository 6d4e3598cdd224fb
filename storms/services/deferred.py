"""Deciding alerts that came while the store was away, in the order of their receipt, and as of the time of it.

Counted at the time of the decision, an outage of an hour would make one storm of what came one by one; and what was
decided right before the outage would be older than the window of the storm that began with it.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from django.db import connection, transaction

from storms import policies
from storms.choices import Disposition, Outcome
from storms.clock import to_datetime, to_us
from storms.detector import Answer, GroupCall, GroupDecision, KnownStorm
from storms.policies import CompiledPolicy
from storms.services.batch import DISPOSITIONS, counted_as
from storms.services.intake import ask_store, settle
from storms.services.lookup import Seen, look_up, recent_episodes
from storms.services.opening import (
    Opening,
    StormConflict,
    adopt_window,
    begin_earlier,
    ensure_storm,
    insert_alert_requests,
)

_WAITING = """
select id, fingerprint, flapping, group_key, group_labels::json, policy_id, namespace, status, received_at
from storms_alert where disposition = 'deferred' order by received_at, id limit %(limit)s
"""
_DECIDED = """
update storms_alert a set disposition = t.disposition, decided_at = t.decided_at, count = t.count,
    release_at = t.release_at, storm_id = t.storm_id, changed_xid = pg_current_xact_id()::text::bigint
from (select * from unnest(%(ids)s::uuid[], %(dispositions)s::text[], %(decided)s::timestamptz[], %(counts)s::int[],
        %(releases)s::timestamptz[], %(storms)s::uuid[])
        as t(id, disposition, decided_at, count, release_at, storm_id) order by id) t
where a.id = t.id and a.disposition = 'deferred'
"""


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
    received_at: datetime
    answer: Answer | None = None


def decide_deferred(*, limit: int = 1000) -> tuple[int, list[UUID]]:
    """Decide the longest waiting alerts: how many, and the RemediationRequests worth a sync.

    (0, []) while the store is away. A crash after the decision is harmless: the store gives the same answers again.
    """
    waiting = _waiting(limit)
    if not waiting:
        return 0, []
    groups: dict[str, list[_Waiting]] = {}
    for alert in waiting:
        groups.setdefault(alert.group_key, []).append(alert)
    seen = look_up(ids=[], groups=groups)
    recent = recent_episodes(
        ((key, members[0].policy.rule.window_us) for key, members in groups.items()),
        before_us=to_us(waiting[0].received_at),
    )
    decisions = ask_store([_call(key, members, seen, recent[key]) for key, members in groups.items()])
    requests: list[UUID] = []
    decided = 0
    for key in sorted(decisions):
        for alert, answer in zip(groups[key], decisions[key].answers, strict=True):
            alert.answer = answer
        try:
            requests += _record(groups[key], decisions[key], seen.storms.get(key))
            decided += len(groups[key])
        except StormConflict as conflict:
            # They are decided again at the next tick, when rows and store agree.
            if settle(conflict):
                _overrule(groups[key])
    return decided, requests


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
        received_us={alert.id: to_us(alert.received_at) for alert in members},
    )


def _waiting(limit: int) -> list[_Waiting]:
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"limit": limit})
        rows = cursor.fetchall()
    if not rows:
        # Nearly every tick of the sweep: nothing waits, so no policy is needed.
        return []
    policy_set = policies.reload()
    return [
        _Waiting(
            id_, fingerprint, flapping, key, labels, policy_set.by_id(policy_id), namespace, status == "resolved", at
        )
        for id_, fingerprint, flapping, key, labels, policy_id, namespace, status, at in rows
    ]


def _record(alerts: list[_Waiting], decision: GroupDecision, known: KnownStorm | None) -> list[UUID]:
    """`known`: the storm of the look-up, whose rows are there."""
    first = alerts[0]
    requests: list[UUID] = []
    joined = any(alert.answer is not None and alert.answer.storm_id is not None for alert in alerts)
    opens = joined and (known is None or known.id != decision.storm_id)
    takes_in = opens or (joined and known is not None and decision.window_from_us < known.window_from_us)
    with transaction.atomic():
        if opens:
            ensure_storm(
                Opening(
                    group_key=first.group_key,
                    group_labels=first.group_labels,
                    policy=first.policy,
                    decision=decision,
                    joined_at=to_datetime(decision.now_us),
                )
            )
        if takes_in and decision.storm_id is not None:
            begin_earlier(storm_id=decision.storm_id, window_from_us=decision.window_from_us)
        _update(alerts)
        individual = [
            (alert.id, alert.namespace)
            for alert in alerts
            if alert.answer is not None and alert.answer.outcome == Outcome.INDIVIDUAL
        ]
        requests += insert_alert_requests(individual)
        if joined and decision.storm_id is not None:
            requests.append(decision.storm_id)
        if takes_in and decision.storm_id is not None:
            requests += adopt_window(storm_id=decision.storm_id)
    return requests


def _update(alerts: list[_Waiting]) -> None:
    answers = [(alert, alert.answer) for alert in alerts if alert.answer is not None]
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


def _disposition(alert: _Waiting, answer: Answer) -> str:
    disposition = DISPOSITIONS[answer.outcome]
    if alert.resolved and disposition == Disposition.HELD.value:
        return Disposition.RESOLVED_WHILE_HELD.value
    return disposition
