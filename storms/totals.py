"""The numbers at the top of the first page, and what keeps them cheap.

`totals` is asked for by every page view and every open page. It is counted at most once in `TTL_SECONDS` for all
processes together: the result lies in the cache, with a copy in the process for the moment that the cache is away.

What came in over the last day is not counted over and over: minutes that are over are counted once and kept (at most
1440 small numbers), so only the last one or two are read from the rows, whatever a day holds.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, cast

from django.core.cache import cache
from django.db import connection
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

from storms.choices import AlertStatus, Disposition, StormState, SyncState
from storms.live import IN_SIGHT
from storms.models import Alert, RemediationRequest, Storm

TTL_SECONDS = 5
DAY = timedelta(days=1)
# A webhook stamps its alerts when it comes in and commits them later: a minute is final when it is over for so long.
SETTLE_SECONDS = 60
TOTALS_KEY = "storms.totals"
MINUTES_KEY = "storms.totals.minutes"
HEARTBEAT = "heartbeat"
SILENT_ALERT = "StormconsoleReceiverSilent"
"""Source and name of the alerts that the dead man's switch raises for a receiver that fell silent."""

_MINUTES = """
select floor(extract(epoch from at) / 60)::bigint as minute, sum(alerts)::bigint, sum(resources)::bigint from (
    select received_at as at, 1 as alerts, 0 as resources from storms_alert where received_at >= %(since)s
    union all
    select created_at, 0, 1 from storms_remediationrequest where created_at >= %(since)s
) rows group by 1
"""

Minutes = dict[int, tuple[int, int]]
"""{minutes since the epoch: (alerts received, resources made)}, without the empty ones."""


class Totals(TypedDict):
    """`_24h` are of the last day, the others of now; last_alert_at: ISO 8601, when the newest alert came, ever."""

    held: int
    deferred: int
    failed_syncs: int
    silent_receivers: int
    open_storms: int
    settled_storms: int
    firing_in_storms: int
    alerts_24h: int
    resources_24h: int
    last_alert_at: str | None


_totals: tuple[float, Totals | None] = (0.0, None)
_settled: tuple[int, Minutes] = (0, {})
"""The first minute that may still change, and the counts before it."""


def totals() -> Totals:
    """The totals, at most twice `TTL_SECONDS` old."""
    global _totals
    until, kept = _totals
    if kept is None or time.monotonic() > until:
        kept = _from_cache(lambda: cache.get(TOTALS_KEY))
        if kept is None:
            # Two that count at once come to the same.
            kept = count_totals()
            _from_cache(lambda: cache.set(TOTALS_KEY, kept, TTL_SECONDS))
        _totals = (time.monotonic() + TTL_SECONDS, kept)
    return kept


def _from_cache(work: Callable[[], Any]) -> Any:
    """None while the cache is away."""
    try:
        return work()
    except (ConnectionInterrupted, RedisError):
        return None


def forget() -> None:
    """Count anew at the next call; for tests, whose rows come and go."""
    global _totals, _settled
    _totals, _settled = (0.0, None), (0, {})
    _from_cache(lambda: cache.delete_many([TOTALS_KEY, MINUTES_KEY]))


def count_totals() -> Totals:
    """The totals, counted now."""
    alerts, resources = last_day(timezone.now())
    newest = Alert.objects.order_by("-received_at", "-id").values_list("received_at", flat=True).first()
    return {
        **count_trouble(),
        "silent_receivers": silent_alerts().count(),
        **count_in_sight(),
        "alerts_24h": alerts,
        "resources_24h": resources,
        "last_alert_at": newest.isoformat() if newest else None,
    }


class Trouble(TypedDict):
    held: int
    deferred: int
    failed_syncs: int


def count_trouble() -> Trouble:
    """What waits and what fails, counted now; each count is an index of little else."""
    failed = [SyncState.FAILED, SyncState.REJECTED]
    return {
        "held": Alert.objects.filter(disposition=Disposition.HELD).count(),
        "deferred": Alert.objects.filter(disposition=Disposition.DEFERRED).count(),
        "failed_syncs": RemediationRequest.objects.filter(sync_state__in=failed).count(),
    }


class InSight(TypedDict):
    open_storms: int
    settled_storms: int
    firing_in_storms: int


def count_in_sight() -> InSight:
    """Open and settled storms, and what fires in them, counted now: a page may show fewer (`live.MAX_STORMS`)."""
    is_open = Q(state=StormState.OPEN)
    counted: Any = Storm.objects.filter(IN_SIGHT).aggregate(
        open_storms=Count("id", filter=is_open),
        settled_storms=Count("id", filter=~is_open),
        firing_in_storms=Coalesce(Sum("firing_count"), 0),
    )
    return cast(InSight, counted)


def silent_alerts() -> Any:
    """The firing alerts of receivers that fell silent."""
    return Alert.objects.filter(source=HEARTBEAT, status=AlertStatus.FIRING)


def last_day(now: datetime) -> tuple[int, int]:
    """(alerts received, resources made) in the last 24 hours, to the minute."""
    global _settled
    first, final = _minute(now - DAY), _minute(now - timedelta(seconds=SETTLE_SECONDS))
    # Another process may have counted later than this one; this one has its own while the cache is away.
    until, settled = max(_settled, _from_cache(lambda: cache.get(MINUTES_KEY)) or _settled, key=lambda kept: kept[0])
    since = max(until, first)
    counted = _count_minutes(since)
    every = {minute: counts for minute, counts in (settled | counted).items() if minute >= first}
    _settled = (max(final, since), {minute: counts for minute, counts in every.items() if minute < final})
    _from_cache(lambda: cache.set(MINUTES_KEY, _settled, DAY.total_seconds()))
    return sum(alerts for alerts, _ in every.values()), sum(resources for _, resources in every.values())


def _count_minutes(since: int) -> Minutes:
    with connection.cursor() as cursor:
        cursor.execute(_MINUTES, {"since": datetime.fromtimestamp(since * 60, UTC)})
        return {minute: (alerts, resources) for minute, alerts, resources in cursor.fetchall()}


def _minute(moment: datetime) -> int:
    return int(moment.timestamp() // 60)
