"""Releasing held alerts: each goes into its storm or gets a RemediationRequest of its own, a second late at most."""

from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from storms.services.opening import adopt_window, insert_alert_requests

# An alert that was decided before its storm opened, but recorded after the storm took its window in.
_STRAGGLERS = """
select distinct s.id from storms_storm s
join storms_alert a on a.group_key = s.group_key and a.storm_id is null and a.decided_at <= s.opened_at
  and a.split_from_id is null
  and a.decided_at > s.opened_at - s.window_seconds * interval '1 second'
where s.state = 'open'
"""
# An alert that was held although its group's storm was open: the store had been set back to before the opening, and
# the alert's request had looked the rows up before the storm was there. Only what the storm would have taken in then:
# decided before it was quiet for too long or too old. The storm's row is locked, so that a close goes first or last.
_JOIN = """
with stranded as (
    select a.id, s.id as storm_id from storms_alert a
    join storms_storm s on s.group_key = a.group_key and s.state = 'open' and a.decided_at > s.opened_at
        and a.decided_at < s.last_alert_at + s.quiet_seconds * interval '1 second'
        and a.decided_at < s.opened_at + s.max_duration_seconds * interval '1 second'
    where a.disposition = 'held' and a.release_at <= %(now)s and a.storm_id is null and a.split_from_id is null
    order by a.id limit %(limit)s for update of a, s skip locked
)
update storms_alert a set storm_id = stranded.storm_id, disposition = 'member',
    changed_xid = pg_current_xact_id()::text::bigint
from stranded where a.id = stranded.id
"""
# `skip locked`: a row that an opening storm is taking in right now is not waited for; it is looked at again next time.
_RELEASE = """
with due as (
    select id from storms_alert where disposition = 'held' and release_at <= %(now)s
    order by id limit %(limit)s for update skip locked
)
update storms_alert a set disposition = 'individual' from due where a.id = due.id returning a.id, a.namespace
"""


def adopt_stragglers() -> list[UUID]:
    """Take late alerts into the open storms that counted them; the ids of those storms."""
    with connection.cursor() as cursor:
        cursor.execute(_STRAGGLERS)
        storms = [id_ for [id_] in cursor.fetchall()]
    for storm_id in storms:
        with transaction.atomic():
            adopt_window(storm_id=storm_id)
    return storms


def release_due_alerts(*, now: datetime, limit: int = 500) -> list[UUID]:
    """A RemediationRequest for each held alert whose time has come and that belongs to no open storm; their ids.

    Runs after `adopt_stragglers`, so an alert that a storm counted goes there. If a storm takes one in at this very
    moment, the rows' locks order the two: the storm then absorbs the request made here.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_JOIN, {"now": now, "limit": limit})
        cursor.execute(_RELEASE, {"now": now, "limit": limit})
        return insert_alert_requests(cursor.fetchall())
