"""Alerts of sources that never say "resolved": a Kubernetes event that was not repeated for a while is over."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection

# Sources whose alerts only end by not being repeated.
SOURCES = ["kubernetes-event"]

_EXPIRE = """
with expired as (
    select id from storms_alert
    where status = 'firing' and source = any(%(sources)s) and last_seen_at <= %(before)s
    order by id limit %(limit)s for update skip locked
), resolved as (
    update storms_alert a set status = 'resolved', ends_at = a.last_seen_at,
        disposition = case when a.disposition = 'held' then 'resolved_while_held' else a.disposition end,
        changed_xid = pg_current_xact_id()::text::bigint
    from expired e where a.id = e.id returning a.id
), told as (
    update storms_remediationrequest r set desired_version = r.desired_version + 1, sync_state = 'pending',
        next_attempt_at = now(), enqueued_at = null
    from resolved where r.alert_id = resolved.id and r.sync_state = 'applied'
)
select id from resolved
"""


def expire_alerts(*, now: datetime, limit: int = 500) -> list[UUID]:
    """Resolve what was not repeated within EVENT_EXPIRY_MINUTES (0: never); the ids."""
    if not settings.EVENT_EXPIRY_MINUTES:
        return []
    before = now - timedelta(minutes=settings.EVENT_EXPIRY_MINUTES)
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE, {"sources": SOURCES, "before": before, "limit": limit})
        return [id_ for [id_] in cursor.fetchall()]
