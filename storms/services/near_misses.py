"""Groups that came close to a storm, kept by day: evidence for tuning that takes no reading of a million alerts."""

from datetime import datetime, timedelta

from django.db import connection

from storms.models import NearMiss
from storms.statistics import NEAR

KEPT = timedelta(days=366)

# Repeating it over the same alerts changes nothing. An alert that is taken into a storm later leaves its group's near
# miss behind: whoever reads them leaves out the days on which the group had a storm (storms.history).
_FIND = """
insert into storms_nearmiss as n (day, policy_id, group_key, group_labels, peak, threshold, peaked_at)
select distinct on (policy_id, day, group_key) day, policy_id, group_key, group_labels, count, threshold, decided_at
from (
    select (a.decided_at at time zone 'UTC')::date as day, a.policy_id, a.group_key, a.group_labels, a.count,
        a.threshold, a.decided_at
    from storms_alert a
    where a.received_at >= %(since)s and a.storm_id is null and a.policy_id is not null and a.decided_at is not null
        and a.count < a.threshold and a.count >= a.threshold * %(near)s - 1e-9
) close
order by policy_id, day, group_key, count desc, decided_at
on conflict (policy_id, day, group_key) do update
    set peak = excluded.peak, threshold = excluded.threshold, peaked_at = excluded.peaked_at
    where excluded.peak > n.peak
"""


def find_near_misses(*, since: datetime) -> int:
    """Take note of the near misses among the alerts received since then; how many are new or came closer."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND, {"since": since, "near": NEAR})
        return cursor.rowcount


def forget_near_misses(*, now: datetime) -> int:
    deleted, _ = NearMiss.objects.filter(day__lt=(now - KEPT).date()).delete()
    return deleted
