"""What a webhook's look-up costs: as much in the middle of a storm as before it."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from storms.models import Alert
from storms.services.lookup import FLAPPING_EPISODES, LATEST_EPISODES, look_up
from tests.factories import make_alert, make_storm

ALERTS = 50
"""Of a webhook."""


def fill(number: int, one: Alert) -> None:
    """So many alerts like this one came just now."""
    columns = [f.column for f in Alert._meta.concrete_fields if f.column not in ("id", "fingerprint", "received_at")]
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"insert into storms_alert (id, fingerprint, received_at, {names})"
            f" select gen_random_uuid(), md5(n::text), now() - n * interval '1 ms', {names}"
            " from storms_alert, generate_series(1, %s) n where id = %s",
            [number, one.id],
        )


def rows_read(sql: str) -> int:
    """The most rows that any step of the plan touched."""
    with connection.cursor() as cursor:
        cursor.execute(f"explain (analyze, format json) {sql}")
        [found] = cursor.fetchone()

    def most(node: dict[str, Any]) -> int:
        of_this = int(node["Actual Rows"] * node["Actual Loops"]) + int(node.get("Rows Removed by Filter", 0))
        return max([of_this, *(most(child) for child in node.get("Plans", ()))])

    plan = json.loads(found) if isinstance(found, str) else found
    return most(plan[0]["Plan"])


@pytest.mark.django_db
@pytest.mark.parametrize("analyzed", [False, True])
def test_a_look_up_reads_no_more_in_a_storm(analyzed: bool) -> None:
    fill(20_000, make_alert(storm=make_storm()))
    if analyzed:
        with connection.cursor() as cursor:
            cursor.execute("analyze storms_alert")
    with CaptureQueriesContext(connection) as queries:
        look_up(
            ids=[uuid4() for _ in range(ALERTS)],
            groups=["a-group"],
            fingerprints=[os.urandom(32).hex() for _ in range(ALERTS)],
        )
    [query] = queries
    assert rows_read(query["sql"]) <= ALERTS * LATEST_EPISODES


@pytest.mark.django_db
@pytest.mark.parametrize("analyzed", [False, True])
def test_a_look_up_reads_one_of_those_that_wait_for_the_store(analyzed: bool) -> None:
    one = make_alert(disposition="deferred", decided_at=None, deferred_at=timezone.now())
    fill(20_000, one)
    if analyzed:
        with connection.cursor() as cursor:
            cursor.execute("analyze storms_alert")
    with CaptureQueriesContext(connection) as queries:
        seen = look_up(ids=[], groups=[one.group_key])
    assert list(seen.waiting_us) == [one.group_key]
    [query] = queries
    assert rows_read(query["sql"]) <= 2


@pytest.mark.django_db
def test_an_alert_that_fired_often_within_the_hour_flaps_whatever_came_before() -> None:
    def known(fingerprint: str, *hours_ago: float) -> None:
        for hours in hours_ago:
            at = timezone.now() - timedelta(hours=hours)
            make_alert(fingerprint=fingerprint, starts_at=at, received_at=at)

    quiet, old, flaps = "a" * 64, "b" * 64, "c" * 64
    known(quiet, *(number / 10 for number in range(1, FLAPPING_EPISODES)))
    known(old, *(number + 1.1 for number in range(LATEST_EPISODES + 5)))
    known(flaps, *(number / 10 for number in range(1, FLAPPING_EPISODES + 1)), 5, 6)
    assert look_up(ids=[], groups=[], fingerprints=[quiet, old, flaps]).flapping == {flaps}
