"""The ledger for the reconciler: deliveries that do not add up, and where acknowledged alerts are in no row."""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from ingestion.ledger import totals
from storms.reconcile import Finding
from storms.services.reconciling import LIMIT, Checked, Found

LOOK_BACK = timedelta(hours=24)
"""Deliveries are looked at for so long; they are never changed afterwards. The sum is over all of them."""
SUSPECTS = 20

_UNBALANCED = """
with looked_at as (
    select d.id, d.received_at, d.received, d.http_status, d.outcomes, d.not_kept,
        (select coalesce(sum(value::int), 0) from jsonb_each_text(d.outcomes)) as answered
    from ingestion_delivery d where d.received_at > %(since)s
)
select (select count(*) from looked_at), (select json_agg(json_build_array(id, received, answered)) from (
    select id, received, answered from looked_at where received <> answered order by received_at limit %(limit)s) u)
"""
# A new episode's row names the delivery that brought it, and has its time.
_SUSPECTS = """
select d.id, d.expected, (select count(*) from storms_alert a where a.received_at = d.received_at
                          and a.delivery_id = d.id) as recorded
from (
    select d.id, d.received_at, (select coalesce(sum(value::int), 0) from jsonb_each_text(d.outcomes)
        where key in ('storm_opened', 'individual', 'aggregated', 'held', 'silenced', 'deferred')) as expected
    from ingestion_delivery d where d.received_at > %(since)s and d.http_status < 300
) d
where d.expected > (select count(*) from storms_alert a where a.received_at = d.received_at and a.delivery_id = d.id)
order by d.received_at limit %(limit)s
"""


def check_deliveries(now: datetime) -> Checked:
    """Deliveries whose outcomes are not as many as their alerts."""
    looked_at, rows = _one(_UNBALANCED, {"since": now - LOOK_BACK, "limit": LIMIT})
    return Checked(
        looked_at,
        [
            Found(
                Finding(
                    "delivery_unbalanced",
                    f"delivery {id_}",
                    f"{received} alerts came, {answered} have an outcome",
                    advice="Nothing writes such a row: was it changed by hand, or restored in part?",
                )
            )
            for id_, received, answered in rows or ()
        ],
    )


def check_sums(now: datetime) -> Checked:
    """The whole ledger: received, answered, recorded; where it does not add up, deliveries whose alerts are missing."""
    counted = totals()
    if not counted["unaccounted"]:
        return Checked(counted["received"], [])
    told = ", ".join(
        f"{counted[name]} {name.replace('_', ' ')}" for name in ("received", "answered", "rejected", "recorded")
    )
    advice = "Alerts were acknowledged and are in no row: restore them from a backup, or have their senders send again."
    detail = f"{counted['unaccounted']} alerts are not accounted for: {told}"
    found = [Found(Finding("ledger_unaccounted", "ledger", detail, advice=advice))]
    with connection.cursor() as cursor:
        cursor.execute(_SUSPECTS, {"since": now - LOOK_BACK, "limit": SUSPECTS})
        found += [Found(_missing(*row)) for row in cursor.fetchall()]
    return Checked(counted["received"], found)


def _missing(delivery: Any, expected: int, recorded: int) -> Finding:
    detail = f"It was answered for {expected} new alerts, and {recorded} rows name it"
    advice = "Silenced alerts that were decided later name an earlier delivery; others were deleted."
    return Finding("alerts_missing", f"delivery {delivery}", detail, advice=advice)


def _one(statement: str, parameters: dict[str, Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()
