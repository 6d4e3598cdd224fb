"""What of the rows is not as it must be, and its repair: rows alone, rows against the store, rows against the cluster.

Every repair is one that the console makes anyway somewhere (the sweep, the watch, the next alert), repeated here, and
decides by the rows as they are at that moment. So a finding that was overtaken repairs nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import BooleanField, ExpressionWrapper, Q

from storms import detector, store_states
from storms.choices import AlertStatus, StormState, SyncState
from storms.detector import GroupCall, KnownStorm, Rule
from storms.models import RemediationRequest, Storm
from storms.policies import SECOND_US
from storms.queue import enqueue_sync
from storms.reconcile import Finding, OpenStorm, RequestRow, compare_group, compare_states
from storms.services import requests
from storms.services.closing import close_what_the_store_closed
from storms.services.deferred import decide_deferred
from storms.services.lookup import look_up
from storms.services.opening import insert_alert_requests, insert_storm_request
from storms.services.refresh import refresh_storm
from storms.services.releasing import adopt_stragglers, release_due_alerts

SETTLED = timedelta(minutes=1)
"""What was touched more recently may be on its way."""
LIMIT = 200
"""Findings of one kind and run; the next run goes on."""
CLOSED_CHECKED = 1000
"""Storms that ended: the counts of so many, the newest, are compared."""

Repair = Callable[[], bool]
"""True if it did something."""


class Found(NamedTuple):
    """A finding and, where there is one, its repair."""

    finding: Finding
    repair: Repair | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """How many things a part looked at, and what it found."""

    count: int
    found: list[Found]


_COUNTS = """
with looked_at as (
    (select id from storms_storm where state = 'open' or firing_count > 0)
    union (select id from storms_storm where state = 'closed' order by opened_at desc, id desc limit %(closed)s)
), counted as (
    select s.id, s.group_labels, s.alert_count, s.firing_count, c.alerts, c.firing
    from looked_at l join storms_storm s on s.id = l.id
    left join storms_remediationrequest r on r.storm_id = s.id
    cross join lateral (select count(*) as alerts, count(*) filter (where a.status = 'firing') as firing
        from storms_alert a where a.storm_id = s.id) c
    where coalesce(r.sync_state, '') not in ('pending', 'failed')
      and not exists (select 1 from storms_alert a where a.storm_id = s.id and a.changed_xid >= s.refreshed_xmin)
)
select (select count(*) from looked_at),
    (select json_agg(json_build_array(id, alert_count, firing_count, alerts, firing))
     from (select * from counted where alert_count <> alerts or firing_count <> firing limit %(limit)s) c)
"""
_WAITING = """
select count(*) filter (where disposition = 'held'),
    count(*) filter (where disposition = 'held' and release_at < %(before)s),
    count(*) filter (where disposition = 'deferred'),
    count(*) filter (where disposition = 'deferred' and received_at < %(before)s)
from storms_alert where disposition in ('held', 'deferred')
"""
_WITHOUT_REQUEST = """
select 'storm', s.id, coalesce(s.group_labels->>'namespace', '')
from storms_storm s left join storms_remediationrequest r on r.storm_id = s.id
where r.id is null and (s.state = 'open' or s.firing_count > 0) and s.opened_at < %(before)s
union all
select 'alert', a.id, a.namespace from storms_alert a left join storms_remediationrequest r on r.alert_id = a.id
where a.disposition = 'individual' and r.id is null and a.received_at between %(since)s and %(before)s
limit %(limit)s
"""


# --- rows alone


def check_counts() -> Checked:
    """Storms whose numbers are not those of their alerts; those being counted or synced right now are left out."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"closed": CLOSED_CHECKED, "limit": LIMIT})
        looked_at, rows = cursor.fetchone()
    return Checked(looked_at, [_miscounted(*row) for row in rows or ()])


def _miscounted(storm_id: str, alerts: int, firing: int, real_alerts: int, real_firing: int) -> Found:
    def repair() -> bool:
        refresh_storm(storm_id=UUID(storm_id))
        requests.mark_storms_due(storm_ids=[UUID(storm_id)])
        return True

    detail = f"The row says {alerts:,} alerts, {firing:,} firing; there are {real_alerts:,}, {real_firing:,} firing"
    return Found(Finding("counts_differ", f"storm {storm_id}", detail, key=storm_id), repair)


def check_waiting(now: datetime) -> Checked:
    """Held alerts past their release, and deferred ones that nobody decides although the store answers."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"before": now - SETTLED})
        held, late, deferred, undecided = cursor.fetchone()
    found = []
    if late:
        detail = f"{late} held alerts were to be released more than {SETTLED.seconds} s ago; is the sweep running?"
        found.append(Found(Finding("held_late", "held alerts", detail), lambda: _release(now)))
    if undecided:
        detail = f"{undecided} alerts have waited for a decision for more than {SETTLED.seconds} s"
        advice = "They are decided once the store answers: see /readyz."
        found.append(Found(Finding("deferred_late", "deferred alerts", detail, advice=advice), _decide))
    return Checked(held + deferred, found)


def _release(now: datetime) -> bool:
    adopt_stragglers()
    released = release_due_alerts(now=now)
    enqueue_sync(released)
    return bool(released)


def _decide() -> bool:
    decided = decide_deferred()
    enqueue_sync(decided.requests)
    return bool(decided.decided)


def check_requests(now: datetime) -> Checked:
    """RemediationRequests that do not get to the cluster, and why."""
    before = now - SETTLED
    unsynced = RemediationRequest.objects.filter(sync_state__in=[SyncState.PENDING, SyncState.FAILED])
    rested = Q(last_attempt_at__isnull=True) | Q(last_attempt_at__lt=before)
    stuck = unsynced.filter(rested, Q(next_attempt_at__lt=before) | Q(next_attempt_at__isnull=True))
    found = [_stuck(row) for row in _brief(stuck.filter(attempts__lt=requests.CHAIN_ATTEMPTS))]
    failing = unsynced.filter(attempts__gte=requests.CHAIN_ATTEMPTS)
    found += [Found(_failing(row)) for row in _brief(failing)]
    refused = RemediationRequest.objects.filter(sync_state=SyncState.REJECTED)
    # A refused mark leaves two active resources for one storm.
    rejected = refused.filter(WANTED | Q(superseded_by__isnull=False))
    found += [Found(_rejected(row)) for row in _brief(rejected)]
    return Checked(unsynced.count(), found + _without_request(now))


WANTED = Q(superseded_by__isnull=True) & (
    Q(storm__state=StormState.OPEN) | Q(storm__firing_count__gt=0) | Q(alert__status=AlertStatus.FIRING)
)


def _brief(rows: Any) -> Iterable[RemediationRequest]:
    fields = ("id", "namespace", "name", "last_error", "attempts", "next_attempt_at", "sync_state")
    chosen: Iterable[RemediationRequest] = rows.only(*fields).order_by("id")[:LIMIT]
    return chosen


def _stuck(row: RemediationRequest) -> Found:
    def repair() -> bool:
        due = requests.make_due(rr_id=row.id)
        if due:
            enqueue_sync([row.id])
        return due

    due = f"since {row.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC" if row.next_attempt_at else "without a time"
    detail = f"It is {row.sync_state} and due {due}, and nobody syncs it"
    return Found(Finding("request_stuck", str(row), detail, key=str(row.id)), repair)


def _failing(row: RemediationRequest) -> Finding:
    return Finding(
        "request_failing",
        str(row),
        f"{row.attempts} attempts failed, the last with: {row.last_error}"[:400],
        advice="It is tried again by itself; mend what the error names, in the cluster or its configuration.",
    )


def _rejected(row: RemediationRequest) -> Finding:
    return Finding(
        "request_rejected",
        str(row),
        f"The cluster refuses it: {row.last_error}"[:400],
        advice="It is sent again once it changes, or as the mark of an absorbed one from time to time. "
        "Is the custom resource definition this version's? "
        "manage.py install_crd",
    )


def _without_request(now: datetime) -> list[Found]:
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {"before": now - SETTLED, "since": now - timedelta(days=1), "limit": LIMIT}
        cursor.execute(_WITHOUT_REQUEST, parameters)
        rows = cursor.fetchall()
    return [_to_request(kind, id_, namespace) for kind, id_, namespace in rows]


def _to_request(kind: str, id_: UUID, namespace: str) -> Found:
    @transaction.atomic
    def repair() -> bool:
        made = (
            insert_storm_request(storm_id=id_, namespace=namespace)
            if kind == "storm"
            else bool(insert_alert_requests([(id_, namespace)]))
        )
        transaction.on_commit(lambda: enqueue_sync([id_]))
        return made

    detail = "It has no RemediationRequest, and must have one"
    return Found(Finding("request_missing", f"{kind} {id_}", detail, key=str(id_)), repair)


# --- rows against the store


def check_open_storms() -> Checked:
    """Each open storm's row against what the store says of its group.

    Raises: StoreUnavailable.
    """
    storms = list(Storm.objects.filter(state=StormState.OPEN).only("id", "group_key", "group_labels"))
    states = store_states.states(storm.group_key for storm in storms)
    found = []
    for storm in storms:
        open_storm = OpenStorm(str(storm.id), storm.group_key, storm.group_title)
        finding = compare_group(open_storm, states[storm.group_key])
        if finding is not None:
            found.append(Found(finding, partial(_agree, storm)))
    return Checked(len(storms), found)


def _agree(storm: Storm) -> bool:
    """The row follows a close of the store's; else the row wins.

    Raises: StoreUnavailable.
    """
    if close_what_the_store_closed(storm_id=storm.id):
        return True
    known = look_up(ids=[], groups=[storm.group_key]).storms.get(storm.group_key)
    if known is None or known.id != storm.id:
        return False
    [reply] = detector.decide([_restoring(storm, known)])
    if isinstance(reply, detector.StoreUnavailable):
        raise reply
    return True


def _restoring(storm: Storm, known: KnownStorm) -> GroupCall:
    """A call that decides nothing, and makes the store take over what the rows know."""
    row = Storm.objects.only("threshold", "window_seconds").get(id=storm.id)
    rule = Rule(row.threshold, row.window_seconds * SECOND_US, 0, known.quiet_us, known.max_us)
    return GroupCall(storm.group_key, rule, uuid4(), [], known, known_wins=True)


def check_store() -> Checked:
    """What the store has open and the rows have not.

    Raises: StoreUnavailable.
    """
    states = store_states.open_groups()
    ids = [UUID(storm) for storm in states.values()]
    rows = {str(id_): state for id_, state in Storm.objects.filter(id__in=ids).values_list("id", "state")}
    open_groups = set(Storm.objects.filter(state=StormState.OPEN).values_list("group_key", flat=True))
    found = [
        Found(finding, _closing(finding.key, states[finding.key]) if finding.kind == "store_stale" else None)
        for finding in compare_states(states, rows, open_groups)
    ]
    return Checked(len(states), found)


def _closing(group_key: str, storm_id: str) -> Repair:
    def repair() -> bool:
        verdict = detector.close(group_key=group_key, storm_id=UUID(storm_id), reason="stale", idle_us=0, last_us=0)
        return verdict.verdict == "closed"

    return repair


# --- rows against the cluster


def request_rows(label: str, before: datetime, names: Iterable[str] | None = None) -> Iterator[RequestRow]:
    """Rows that were applied to this cluster, and that nobody has touched since `before`.

    Args:
        names: only these, with their manifests; None: those that the cluster must hold, without.
    """
    settled = Q(sync_state=SyncState.APPLIED, cluster=label, applied_at__lt=before, last_attempt_at__lt=before)
    rows = RemediationRequest.objects.filter(settled).annotate(
        wanted=ExpressionWrapper(WANTED, output_field=BooleanField())
    )
    fields = ["id", "namespace", "name", "phase", "phase_message"]
    if names is None:
        rows = rows.filter(wanted=True)
    else:
        rows, fields = rows.filter(name__in=names), [*fields, "manifest"]
    for row in rows.only(*fields).iterator(chunk_size=500):
        yield RequestRow(
            id=str(row.id),
            namespace=row.namespace,
            name=row.name,
            wanted=row.wanted,
            phase=row.phase,
            phase_message=row.phase_message,
            manifest=row.manifest if names is not None else None,
        )


def known_names(names: Iterable[str]) -> set[str]:
    """Those of the names that any row has."""
    return set(RemediationRequest.objects.filter(name__in=names).values_list("name", flat=True))


def repair_of(finding: Finding, resource: Mapping[str, Any] | None) -> Repair | None:
    """The repair of a finding about a resource.

    Args:
        resource: as the list showed it, with the status that is kept of it.
    """
    if not finding.key:
        return None
    rr_id = UUID(finding.key)
    if finding.kind == "resource_missing":
        return lambda: requests.mirror_deleted(rr_id=rr_id)
    if finding.kind == "resource_differs":
        return lambda: requests.mirror_drift(rr_id=rr_id, detail=finding.detail, changes=[])
    assert resource is not None
    return lambda: _mirror(rr_id, resource)


def _mirror(rr_id: UUID, resource: Mapping[str, Any]) -> bool:
    metadata, status = resource["metadata"], resource.get("status") or {}
    requests.mirror_status(
        rr_id=rr_id,
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=int(metadata.get("generation", 0)),
        phase=str(status.get("phase") or ""),
        message=str(status.get("message") or ""),
        status=dict(status),
    )
    return True
