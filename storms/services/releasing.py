"""Releasing held alerts: each goes into its storm or gets a RemediationRequest of its own, a second late at most."""

from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from storms.services.opening import STRAYED, adopt_window, insert_alert_requests

_STRAGGLERS = f"select distinct s.id from storms_storm s join storms_alert a on {STRAYED}"  # noqa: S608  (fixed text)
# `skip locked`: a row that an opening storm is taking in right now is not waited for; it is looked at again next time.
_RELEASE = """
with due as (
    select id from storms_alert where disposition = 'held' and release_at <= %(now)s
    order by id limit %(limit)s for update skip locked
)
update storms_alert a set disposition = 'individual' from due where a.id = due.id returning a.id, a.namespace
"""


def adopt_stragglers() -> list[UUID]:
    """Take alerts that strayed into the open storms they belong to; the ids of those storms."""
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
