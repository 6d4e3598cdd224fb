"""Deleting alerts and storms whose retention has passed, in short transactions.

Alerts go first: an alert that is kept keeps its storm. Nothing goes that is still at work: a live storm (open, or one
of its alerts fires) keeps its alerts, a held or deferred alert waits for its decision, and a row whose resource is
still in the cluster waits for garbage collection, or nobody would ever delete that resource.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from storms.cluster.address import cluster_label
from storms.models import AuditEntry, RemediationRequest, StormEvent

BATCH = 1000

Account = Callable[[Mapping[str, int]], None]
"""Told within the transaction what it deletes: {counter: how many}."""

# A request whose resource is in no cluster that this console writes to, and that nobody is about to put there.
_GONE = """(
    r.sync_state not in ('pending', 'failed')
    and (r.applied_at is null or r.collected_at is not null or r.cluster <> %(cluster)s)
)"""
_OLD_ALERTS = f"""
a.received_at < %(alerts)s and a.last_seen_at < %(alerts)s and a.disposition not in ('held', 'deferred')
and not exists (select 1 from storms_storm s where s.id = a.storm_id
                and (s.state = 'open' or s.firing_count > 0 or s.closed_at >= %(alerts)s))
and not exists (select 1 from storms_remediationrequest r where r.alert_id = a.id and not {_GONE})
"""  # noqa: S608
_OLD_STORMS = f"""
s.state = 'closed' and s.firing_count = 0 and s.closed_at < %(storms)s
and not exists (select 1 from storms_remediationrequest r where r.storm_id = s.id and not {_GONE})
"""  # noqa: S608


@transaction.atomic
def prune_alerts(*, before: datetime, account: Account, batch: int = BATCH) -> int:
    """Delete one batch of alerts not seen since `before`, with their requests; how many. 0: none is left."""
    with connection.cursor() as cursor:
        # A webhook that sends one of them again right now is waited for, and what it brings is news.
        cursor.execute(
            f"select a.id, a.occurrences + a.resolutions from storms_alert a where {_OLD_ALERTS}"  # noqa: S608
            " order by a.received_at limit %(batch)s for update of a skip locked",
            _parameters(alerts=before, batch=batch),
        )
        rows = cursor.fetchall()
        ids = [id_ for id_, _ in rows]
        if ids:
            requests = _delete_requests("alert_id", ids)
            cursor.execute("delete from storms_alert where id = any(%s)", [ids])
            account({"alerts": len(ids), "recorded": sum(count for _, count in rows), "requests": requests})
    return len(ids)


@transaction.atomic
def prune_storms(*, before: datetime, account: Account, batch: int = BATCH) -> int:
    """Delete one batch of storms closed before `before` that have no alert left, with their requests and timelines."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"select s.id from storms_storm s where {_OLD_STORMS}"  # noqa: S608
            " and not exists (select 1 from storms_alert a where a.storm_id = s.id)"
            " order by s.closed_at limit %(batch)s for update of s skip locked",
            _parameters(storms=before, batch=batch),
        )
        ids = [id_ for [id_] in cursor.fetchall()]
        if ids:
            requests = _delete_requests("storm_id", ids)
            events, _ = StormEvent.objects.filter(storm_id__in=ids).delete()
            for column, table in (
                ("previous_id", "storms_storm"),
                ("merged_into_id", "storms_storm"),
                ("split_from_id", "storms_alert"),
            ):
                cursor.execute(f"update {table} set {column} = null where {column} = any(%s)", [ids])  # noqa: S608
            cursor.execute("delete from storms_storm where id = any(%s)", [ids])
            account({"storms": len(ids), "requests": requests, "events": events})
    return len(ids)


@transaction.atomic
def prune_audit(*, before: datetime, account: Account, batch: int = BATCH) -> int:
    """Delete one batch of audit entries from before `before`; how many."""
    oldest = AuditEntry.objects.filter(at__lt=before).order_by("at", "id").values("id")[:batch]
    count, _ = AuditEntry.objects.filter(id__in=oldest).delete()
    if count:
        account({"audit": count})
    return count


def count_prunable_audit(*, before: datetime) -> int:
    return AuditEntry.objects.filter(at__lt=before).count()


def count_prunable_alerts(*, before: datetime) -> int:
    return _count(f"select count(*) from storms_alert a where {_OLD_ALERTS}", alerts=before)  # noqa: S608


def count_prunable_storms(*, before: datetime, alerts_before: datetime | None) -> int:
    """Storms that would go after the alerts; `alerts_before` None: alerts are kept for ever."""
    return _count(
        f"select count(*) from storms_storm s where {_OLD_STORMS}"  # noqa: S608
        f" and not exists (select 1 from storms_alert a where a.storm_id = s.id and ({_OLD_ALERTS}) is not true)",
        storms=before,
        alerts=alerts_before,
    )


def _count(statement: str, **times: datetime | None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, _parameters(**times))
        return int(cursor.fetchone()[0])


def _delete_requests(column: str, ids: list[UUID]) -> int:
    _, deleted = RemediationRequest.objects.filter(**{f"{column}__in": ids}).only("id").delete()
    # What the cluster had of them goes along, and is not counted.
    return deleted.get(RemediationRequest._meta.label, 0)


def _parameters(**values: Any) -> dict[str, Any]:
    return {"cluster": cluster_label(), **values}
