"""What each day brought, rolled up from the deliveries, so that History never has to read them.

Days are in UTC. A day that is not over is added up anew each time, which may be repeated at will; a day's sums never
fall, so what retention deletes stays counted.
"""

from datetime import UTC, datetime, timedelta

from django.db import connection
from django.db.models import Max

from storms.models import DayTotals
from storms.periods import midnight
from storms.services.near_misses import find_near_misses, forget_near_misses

# A webhook is stamped first and committed later; no sender waits for its answer as long as this.
OVERLAP = timedelta(hours=1)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

_ROLL_UP = """
with came as (
    select (received_at at time zone 'UTC')::date as day, count(*) as deliveries,
        count(*) filter (where http_status >= 300) as refused, sum(received) as received
    from ingestion_delivery where received_at >= %(since)s group by 1
), answered as (
    select day, jsonb_object_agg(outcome, n) as outcomes from (
        select (d.received_at at time zone 'UTC')::date as day, o.key as outcome, sum(o.value::int) as n
        from ingestion_delivery d, jsonb_each_text(d.outcomes) o where d.received_at >= %(since)s group by 1, 2
    ) each_outcome group by day
), made as (
    select (created_at at time zone 'UTC')::date as day, count(*) as resources
    from storms_remediationrequest where created_at >= %(since)s and sync_state <> 'skipped' group by 1
)
insert into storms_daytotals as t (day, deliveries, refused, received, outcomes, resources, counted_at)
select day, coalesce(deliveries, 0), coalesce(refused, 0), coalesce(received, 0), coalesce(outcomes, '{}'),
    coalesce(resources, 0), %(now)s
from came full join answered using (day) full join made using (day)
on conflict (day) do update set deliveries = excluded.deliveries, refused = excluded.refused,
    received = excluded.received, outcomes = excluded.outcomes, counted_at = excluded.counted_at,
    resources = greatest(t.resources, excluded.resources)
where excluded.deliveries >= t.deliveries
"""


def roll_up(*, now: datetime, everything: bool = False) -> int:
    """Add up the days since the last roll-up, or all that are still there; how many days it wrote."""
    since = BEGINNING if everything else _rolled_up_until() or BEGINNING
    with connection.cursor() as cursor:
        cursor.execute(_ROLL_UP, {"since": midnight(since.date()), "now": now})
        written = cursor.rowcount
    find_near_misses(since=since)
    forget_near_misses(now=now)
    return written


def _rolled_up_until() -> datetime | None:
    latest: datetime | None = DayTotals.objects.aggregate(latest=Max("counted_at"))["latest"]
    return latest - OVERLAP if latest else None
