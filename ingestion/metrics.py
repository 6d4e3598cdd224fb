"""`/metrics`: what Prometheus scrapes. docs/metrics.md lists every name; a test compares the two.

Nearly all values are read at the scrape: from the rows (partial indexes, sums kept by day), the store and the
heartbeats. So each web process gives the same answer, a restart loses nothing, and nothing is counted twice. Only how
long webhooks take is measured in the processes that serve them; those of one host share files (prometheus_client's
multiprocess mode, see `stormconsole.run`).
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import Error, connection
from prometheus_client import CollectorRegistry, Histogram, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

import stormconsole
from ingestion import counting
from ingestion.models import ReceiverKind
from stormconsole import alive, pressure
from stormconsole.commands import HEARTBEATS
from storms.cluster.address import cluster_label

logger = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""Scrapes within this time share one reading: what needs no login must not be a way to keep PostgreSQL busy."""
QUEUE = "stormconsole.stormconsole"
"""Celery's queue in the store (CELERY_TASK_DEFAULT_QUEUE with its prefix)."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_processes = CollectorRegistry()
WEBHOOK_SECONDS = Histogram(
    "stormconsole_webhook_duration_seconds",
    "How long webhooks took in the web process, by kind and HTTP status.",
    ["kind", "status"],
    buckets=BUCKETS,
    registry=_processes,
)

Values = dict[str, dict[tuple[str, ...], float]]
"""{metric: {label values: value}}"""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric that is read at the scrape."""

    help: str
    labels: tuple[str, ...] = ()
    is_counter: bool = False


FAMILIES: Mapping[str, Family] = {
    "stormconsole_info": Family("Always 1.", ("version", "cluster")),
    "stormconsole_up": Family("Whether the server answered this scrape: 1 or 0.", ("server",)),
    "stormconsole_component_processes": Family("Processes with a heartbeat in the last 15 s.", ("component",)),
    "stormconsole_queue_messages": Family("Messages that no worker has taken yet."),
    "stormconsole_shed_total": Family("Turned away at the edge, since the store was last empty.", ("reason",), True),
    "stormconsole_deliveries_total": Family("Webhook requests in the ledger.", (), True),
    "stormconsole_deliveries_refused_total": Family("Those that were answered with an error.", (), True),
    "stormconsole_alerts_received_total": Family("Alerts in webhooks, re-sends among them.", (), True),
    "stormconsole_alerts_total": Family("What alerts were answered.", ("outcome",), True),
    "stormconsole_requests_made_total": Family("RemediationRequests made.", (), True),
    "stormconsole_counted_timestamp_seconds": Family("When the sums above were added up, every half minute."),
    "stormconsole_unaccounted_alerts": Family("Alerts received without an outcome or a row: 0, or something is wrong."),
    "stormconsole_dead_letters_not_kept_total": Family("Alerts set aside when too many were.", (), True),
    "stormconsole_ledger_timestamp_seconds": Family("When these two were added up, by a worker."),
    "stormconsole_alerts_held": Family("Alerts that wait for a storm or their release."),
    "stormconsole_held_overdue_seconds": Family("For how long the oldest held alert is over its release; 0: none is."),
    "stormconsole_alerts_deferred": Family("Alerts that wait for the store."),
    "stormconsole_deferred_age_seconds": Family("For how long the oldest of them has waited."),
    "stormconsole_storms": Family("Storms in sight: open, or settled (alerts still fire).", ("state", "severity")),
    "stormconsole_storm_alerts_firing": Family("Alerts that fire in these storms."),
    "stormconsole_storms_unacknowledged": Family("Open storms that nobody has acknowledged."),
    "stormconsole_requests_unsynced": Family("RemediationRequests that are not in the cluster.", ("state",)),
    "stormconsole_requests_overdue_seconds": Family("For how long the oldest of them has been due; 0: none is."),
    "stormconsole_dead_letters": Family("Alerts set aside that wait for somebody.", ("receiver", "reason")),
    "stormconsole_receiver_last_accepted_timestamp_seconds": Family(
        "When a webhook of the receiver was accepted last.", ("receiver", "kind")
    ),
    "stormconsole_receiver_silent": Family("Whether its dead man's switch went off: 1 or 0.", ("receiver", "kind")),
    "stormconsole_reconcile_timestamp_seconds": Family("When the reconciler ended last."),
    "stormconsole_reconcile_found": Family("What it found then, and did not repair.", ("kind",)),
    "stormconsole_reconcile_skipped": Family("Parts that it could not look at then."),
}  # fmt: skip

_DAYS = """
select coalesce(sum(deliveries), 0), coalesce(sum(refused), 0), coalesce(sum(received), 0),
    coalesce(sum(resources), 0), extract(epoch from max(counted_at)),
    (select coalesce(json_object_agg(outcome, n), '{}') from (
        select o.key as outcome, sum(o.value::bigint) as n from storms_daytotals d, jsonb_each_text(d.outcomes) o
        group by 1) each_outcome)
from storms_daytotals
"""
# One condition each, as the partial indexes have them: an `in` would read every alert.
_WAITING = """
select held.n, held.overdue, deferred.n, deferred.age
from (select count(*) as n, coalesce(extract(epoch from now() - min(release_at)), 0) as overdue
        from storms_alert where disposition = 'held') held,
    (select count(*) as n, coalesce(extract(epoch from now() - min(received_at)), 0) as age
        from storms_alert where disposition = 'deferred') deferred
"""
_STORMS = """
select case when state = 'open' then 'open' else 'settled' end, severity, count(*), sum(firing_count),
    count(*) filter (where state = 'open' and acknowledged_at is null)
from storms_storm where state = 'open' or firing_count > 0 group by 1, 2
"""
# Likewise: each part by its own partial index.
_REQUESTS = """
select sync_state, count(*), coalesce(extract(epoch from now() - min(next_attempt_at)), 0) from (
    select sync_state, next_attempt_at from storms_remediationrequest where sync_state in ('pending', 'failed')
    union all
    select sync_state, next_attempt_at from storms_remediationrequest
    where sync_state in ('failed', 'rejected') and sync_state = 'rejected'
) unsynced group by 1
"""
_LETTERS = """
select coalesce(r.name, ''), l.reason, count(*)
from ingestion_deadletter l left join ingestion_receiver r on r.id = l.receiver_id
where l.state = 'waiting' group by 1, 2
"""
_RECEIVERS = """
select r.name, r.kind, extract(epoch from heard.at), r.heartbeat_minutes is not null
    and coalesce(heard.at, r.created_at) + r.heartbeat_minutes * interval '1 minute' <= now()
from ingestion_receiver r left join lateral (
    select d.received_at as at from ingestion_delivery d
    where d.receiver_id = r.id and d.http_status < 300 and d.kind = any(%s) order by d.received_at desc limit 1
) heard on true where r.enabled
"""
_LEDGER = """
select (totals->>'unaccounted')::bigint, coalesce((totals->>'not_kept')::bigint, 0), extract(epoch from counted_at)
from ingestion_ledgercount where id = %s
"""
_LAST_RUN = """
select extract(epoch from finished_at), findings::json, (select count(*) from jsonb_object_keys(skipped))
from ingestion_reconcilerun where state = 'done' order by id desc limit 1
"""


class RowsCollector(Collector):
    """Everything but the processes' own measurements."""

    def collect(self) -> Iterator[Metric]:
        values = _read_all()
        for name, family in FAMILIES.items():
            if name in values:
                make = CounterMetricFamily if family.is_counter else GaugeMetricFamily
                metric = make(name, family.help, labels=family.labels)
                for labels, value in sorted(values[name].items()):
                    metric.add_metric(labels, value)
                yield metric


def registry() -> CollectorRegistry:
    """For one scrape."""
    made = CollectorRegistry()
    made.register(RowsCollector())
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.MultiProcessCollector(made)
    else:
        made.register(_Processes())
    return made


class _Processes(Collector):
    """This process's own measurements, where there is no other to share with."""

    def collect(self) -> Iterator[Metric]:
        yield from _processes.collect()


_lock = threading.Lock()
_last: tuple[float, Values] = (0.0, {})


def _read_all() -> Values:
    global _last
    with _lock:
        read_at, values = _last
        if not values or time.monotonic() - read_at > FRESH_SECONDS:
            _last = (time.monotonic(), _read_servers())
        return _last[1]


def _read_servers() -> Values:
    """A server that does not answer is said to be down, and what it would tell is absent."""
    values: Values = {
        "stormconsole_info": {(stormconsole.__version__, cluster_label()): 1},
        "stormconsole_up": {},
    }
    for server, read, errors in (("postgresql", _rows, Error), ("valkey", _store, RedisError)):
        try:
            values |= read()
            values["stormconsole_up"][(server,)] = 1
        except errors as error:
            logger.warning("%s does not answer a scrape: %s", server, error)
            values["stormconsole_up"][(server,)] = 0
            if server == "postgresql":
                connection.close()
    return values


def _rows() -> Values:
    return _days() | _ledger() | _waiting() | _storms() | _requests() | _letters() | _receivers() | _reconciler()


def _days() -> Values:
    [(deliveries, refused, received, resources, counted_at, outcomes)] = _query(_DAYS)
    if counted_at is None:
        return {}
    return {
        "stormconsole_deliveries_total": {(): deliveries},
        "stormconsole_deliveries_refused_total": {(): refused},
        "stormconsole_alerts_received_total": {(): received},
        "stormconsole_alerts_total": {(outcome,): count for outcome, count in outcomes.items()},
        "stormconsole_requests_made_total": {(): resources},
        "stormconsole_counted_timestamp_seconds": {(): counted_at},
    }


def _ledger() -> Values:
    """As it was added up last: a scrape never adds up a million rows."""
    for unaccounted, not_kept, counted_at in _query(_LEDGER, [counting.ROW]):
        return {
            "stormconsole_unaccounted_alerts": {(): unaccounted},
            "stormconsole_dead_letters_not_kept_total": {(): not_kept},
            "stormconsole_ledger_timestamp_seconds": {(): counted_at},
        }
    return {}


def _waiting() -> Values:
    [(held, overdue, deferred, age)] = _query(_WAITING)
    return {
        "stormconsole_alerts_held": {(): held},
        "stormconsole_held_overdue_seconds": {(): max(overdue, 0)},
        "stormconsole_alerts_deferred": {(): deferred},
        "stormconsole_deferred_age_seconds": {(): age},
    }


def _storms() -> Values:
    rows = _query(_STORMS)
    return {
        "stormconsole_storms": {(state, severity): count for state, severity, count, _, _ in rows},
        "stormconsole_storm_alerts_firing": {(): sum(row[3] for row in rows)},
        "stormconsole_storms_unacknowledged": {(): sum(row[4] for row in rows)},
    }


def _requests() -> Values:
    rows = _query(_REQUESTS)
    counts: dict[tuple[str, ...], float] = {(state,): 0 for state in ("pending", "failed", "rejected")}
    return {
        "stormconsole_requests_unsynced": counts | {(state,): count for state, count, _ in rows},
        "stormconsole_requests_overdue_seconds": {(): max([0, *(overdue for _, _, overdue in rows)])},
    }


def _letters() -> Values:
    return {"stormconsole_dead_letters": {(receiver, reason): count for receiver, reason, count in _query(_LETTERS)}}


def _receivers() -> Values:
    rows = _query(_RECEIVERS, [ReceiverKind.values])
    return {
        "stormconsole_receiver_last_accepted_timestamp_seconds": {
            (name, kind): at for name, kind, at, _ in rows if at is not None
        },
        "stormconsole_receiver_silent": {(name, kind): int(bool(silent)) for name, kind, _, silent in rows},
    }


def _reconciler() -> Values:
    found: dict[tuple[str, ...], float] = {}
    for at, findings, skipped in _query(_LAST_RUN):
        for finding in findings:
            if finding["result"] not in ("repaired", "gone"):
                found[(finding["kind"],)] = found.get((finding["kind"],), 0) + 1
        return {
            "stormconsole_reconcile_timestamp_seconds": {(): at},
            "stormconsole_reconcile_found": found,
            "stormconsole_reconcile_skipped": {(): skipped},
        }
    return {}


def _store() -> Values:
    return {
        "stormconsole_component_processes": {(name,): alive.count_alive(name) for name in HEARTBEATS},
        "stormconsole_queue_messages": {(): alive.store().llen(QUEUE)},
        "stormconsole_shed_total": {(reason,): count for reason, count in pressure.shed_totals().items()},
    }


def _query(statement: str, parameters: list[Any] | None = None) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def time_webhook(kind: str) -> Callable[[int], None]:
    """Starts the clock; the returned function stops it, with the HTTP status."""
    started = time.perf_counter()

    def stop(status: int) -> None:
        WEBHOOK_SECONDS.labels(kind, str(status)).observe(time.perf_counter() - started)

    return stop
