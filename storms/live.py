"""What the open pages show of a storm, and the word that one changed: the only caller of `group_send`.

One Channels group, `storms`, carries hints:

    {"type": "storm.changed", "storm": "<id>"}      look at it again; with "at_once": true it is of what no count tells
    {"type": "hub.echo"}                            nothing changed; a hub that hears none is deaf

Each web process with an open page listens once (`storms.hub`), reads the rows of what changed once, and tells all its
pages. A `<storm>` is what `storm_message` returns; it holds text as it was received, and the browser must treat it so.

Nothing depends on a hint arriving: a page that misses one is healed by its next snapshot.
"""

import asyncio
import logging
import os
from collections.abc import Iterable
from threading import Lock, Thread
from typing import Any
from uuid import UUID

from channels.layers import get_channel_layer
from django.db import connection, models
from django.db.models import Case, F, Q, QuerySet, When
from redis.exceptions import RedisError

from storms.choices import Severity, StormState
from storms.cluster.address import cluster_label
from storms.models import RemediationRequest, Storm
from storms.rate import recent_counts

logger = logging.getLogger(__name__)

STORMS_GROUP = "storms"
CHANGED = "storm.changed"
SEND_TIMEOUT_SECONDS = 1.0
MAX_STORMS = 500
"""Most storms in a snapshot; more than anybody reads, and it bounds the message."""
ENDED_SHOWN = 8
ALERT_NAMES_SHOWN = 3
LAYER_ERRORS = (RedisError, OSError, TimeoutError)

SETTLED = "settled"
IN_SIGHT = Q(state=StormState.OPEN) | Q(firing_count__gt=0)
"""Open, or closed with alerts that still fire."""

# The order of open storms; static/console/now.js keeps the same (`before`).
_OPEN = Q(state=StormState.OPEN)
TROUBLE = (
    Case(
        When(_OPEN & Q(severity=Severity.CRITICAL), then=0),
        When(_OPEN & Q(severity=Severity.WARNING), then=1),
        When(_OPEN, then=2),
    ),
    Case(When(_OPEN, then=F("firing_count"))).desc(),
)
"""By severity, then by how many fire."""


_READ_VERSION = (
    "select pg_snapshot_xmax(s)::text::bigint - (select count(*) from pg_snapshot_xip(s)) from pg_current_snapshot() s"
)


class ReadVersion(models.Func):
    """How many transactions the reading statement sees: it never falls, and rises whenever there is more to see.

    Two processes may read a storm in one order and publish in the other; the browser keeps the higher version.
    """

    template = f"({_READ_VERSION})"
    output_field = models.BigIntegerField()


def read_version() -> int:
    """What every statement after this one sees is of this version or a later one, outside of a repeatable read."""
    with connection.cursor() as cursor:
        cursor.execute(_READ_VERSION)
        return int(cursor.fetchone()[0])


def storms_for_live() -> QuerySet[Storm]:
    """Storms with what `storm_message` needs, in one statement, so that one version holds for the whole row."""
    # A manifest may have half a megabyte, and no message holds one.
    rows = Storm.objects.select_related("remediation_request").defer("remediation_request__manifest")
    return rows.annotate(version=ReadVersion())


def storms_in_sight() -> QuerySet[Storm]:
    """Open storms first, the most trouble on top; then settled ones, the newest first; `MAX_STORMS` at most."""
    return storms_for_live().filter(IN_SIGHT).order_by("-state", *TROUBLE, "-opened_at", "-id")[:MAX_STORMS]


def storms_ended_last() -> QuerySet[Storm]:
    """Closed and none of their alerts fires: the `ENDED_SHOWN` that closed last."""
    ended = storms_for_live().filter(state=StormState.CLOSED, firing_count=0)
    return ended.order_by("-closed_at", "-id")[:ENDED_SHOWN]


def publish_storm(storm: Storm | UUID, *, at_once: bool = False) -> None:
    """Tell the web processes that a storm changed. Call it after the commit: they read the row again.

    `at_once`: readers of the storm's page must not wait: a person did it, or it closed, and no count may tell of it.
    Never raises for the channel layer's sake: it logs, and the pages heal by snapshot.
    """
    storm_id = storm if isinstance(storm, UUID) else storm.id
    try:
        asyncio.run_coroutine_threadsafe(_send(storm_id, at_once), _sending_loop()).result(2 * SEND_TIMEOUT_SECONDS)
    except LAYER_ERRORS as error:
        logger.warning("storm %s was not published: %s", storm_id, str(error) or type(error).__name__)


async def _send(storm_id: UUID, at_once: bool) -> None:
    await _tell_hubs({"type": CHANGED, "storm": str(storm_id)} | ({"at_once": True} if at_once else {}))


async def send_echo() -> None:
    """Something for the hubs to hear. Raises what `LAYER_ERRORS` names."""
    await _tell_hubs({"type": "hub.echo"})


async def _tell_hubs(message: dict[str, Any]) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
        await get_channel_layer().group_send(STORMS_GROUP, message)


_loops: dict[int, asyncio.AbstractEventLoop] = {}
_starting = Lock()


def _sending_loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own, for as long as the process lives, so that messages share a connection.

    With a loop, and so a connection, for each message (`async_to_sync`) one costs five to ten times the CPU time.
    """
    with _starting:
        # By process: a forked child has the dictionary, but not the thread.
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            Thread(target=loop.run_forever, name="live", daemon=True).start()
        return loop


def storm_state(storm: Storm) -> str:
    """`open`, `settled` (closed, some alerts still fire) or `closed`."""
    return SETTLED if storm.is_settled else str(storm.state)


def storm_message(storm: Storm) -> dict[str, Any]:
    """A storm as pages and WebSocket messages show it; times are ISO 8601 in UTC, absent ones None.

    `storm` comes from `storms_for_live`. `version` orders two messages about the same storm (see `ReadVersion`).
    """
    return {
        "id": str(storm.id),
        "url": f"/storms/{storm.id}/",
        "group": storm.group_title,
        "group_labels": storm.group_labels,
        "state": storm_state(storm),
        "severity": storm.severity,
        "alert_count": storm.alert_count,
        "firing_count": storm.firing_count,
        "resolved_count": storm.resolved_count,
        "acknowledged_by": storm.acknowledged_by,
        "assignee": storm.assignee,
        "recent": recent_counts(storm.recent),
        "alert_names": storm.alert_names[:ALERT_NAMES_SHOWN],
        "alert_names_more": max(len(storm.alert_names) - ALERT_NAMES_SHOWN, 0),
        "opened_at": _iso(storm.opened_at),
        "last_alert_at": _iso(storm.last_alert_at),
        "closed_at": _iso(storm.closed_at),
        "close_reason": storm.close_reason,
        "policy": storm.policy_name,
        "threshold": storm.threshold,
        "window_seconds": storm.window_seconds,
        "remediation_request": request_message(getattr(storm, "remediation_request", None)),
        "refreshed_at": _iso(storm.refreshed_at),
        "version": getattr(storm, "version", 0),
    }


def request_message(request: RemediationRequest | None) -> dict[str, Any] | None:
    if request is None:
        return None
    return {
        "id": str(request.id),
        "name": request.name,
        "namespace": request.namespace,
        "sync_state": request.sync_state,
        "phase": request.phase,
        "last_error": request.last_error,
        "next_attempt_at": _iso(request.next_attempt_at),
        "cluster": request.cluster or cluster_label(),
    }


def storm_messages(storms: Iterable[Storm]) -> list[dict[str, Any]]:
    return [storm_message(storm) for storm in storms]


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if moment else None
