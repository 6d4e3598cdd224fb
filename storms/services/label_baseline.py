"""What is usual: how frequent each label value was among all alerts of the last seven days.

Counted now and then, in the background, from a random sample: a storm's page compares with it and must not read a
million alerts. Ids of alerts are hashes, so all ids up to a bound are such a sample, and the primary key finds them.
"""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from storms.models import LabelBaseline

DAYS = 7
SAMPLE = 20_000
MAX_VALUES = 5_000
MAX_VALUE_LENGTH = 200
"""Longer values are no places or things, and are not compared."""
AGAIN = timedelta(minutes=10)
ALL = (1 << 128) - 1
TIMEOUT = "30s"

_COUNT = "select count(*) from storms_alert where received_at >= %(since)s and received_at < %(at)s"
_VALUES = """
with sample as materialized (
    select labels from storms_alert where id <= %(to)s and received_at >= %(since)s and received_at < %(at)s
), counted as (
    select l.key, l.value, count(*) as n from sample, jsonb_each_text(sample.labels) l
    where l.value <> '' and length(l.value) <= %(length)s group by 1, 2
), kept as (
    select key, value, n from counted order by n desc, key, value limit %(values)s
), by_label as (
    select key, jsonb_object_agg(value, n) as values, min(n) as least from kept group by 1
)
select (select count(*) from sample), (select count(*) from counted), coalesce(min(least), 0),
    coalesce(jsonb_object_agg(key, values), '{}')::text from by_label
"""


def baseline_is_due(*, now: datetime) -> bool:
    return not LabelBaseline.objects.filter(at__gt=now - AGAIN).exists()


def measure_label_baseline(*, now: datetime) -> None:
    """Count anew, if it is time. Two at once do the same work twice, and no harm."""
    if not baseline_is_due(now=now):
        return
    since = now - timedelta(days=DAYS)
    parameters: dict[str, Any] = {"since": since, "at": now, "values": MAX_VALUES, "length": MAX_VALUE_LENGTH}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"set local statement_timeout = '{TIMEOUT}'")
        cursor.execute(_COUNT, parameters)
        [alerts] = cursor.fetchone()
        to = sample_to(SAMPLE, alerts)
        cursor.execute(_VALUES, {**parameters, "to": to})
        sampled, values, least, counts = cursor.fetchone()
    LabelBaseline.objects.update_or_create(
        id=1,
        defaults={
            "since": since,
            "at": now,
            "sample_to": to,
            "sampled": sampled,
            "counts": json.loads(counts),
            "floor": least if values > MAX_VALUES else 0,
        },
    )


def sample_to(wanted: int, number: int) -> UUID:
    """The highest id of a sample of about `wanted` of `number` alerts; all of them if there are no more."""
    return UUID(int=ALL if number <= wanted else ALL * wanted // number)
