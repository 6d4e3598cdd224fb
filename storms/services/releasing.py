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
    """A RemediationRequest for each held alert whose time has come; their ids.

    Runs after `adopt_stragglers`, so an alert that a storm counted goes there. If a storm takes one in at this very
    moment, the rows' locks order the two: the storm then absorbs the request made here.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"now": now, "limit": limit})
        return insert_alert_requests(cursor.fetchall())
