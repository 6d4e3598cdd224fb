"""How many alerts a receiver may send in a minute: asked once for each webhook, of a receiver that has a limit."""

import math
import time

from ingestion import receivers
from ingestion.receivers import KnownReceiver
from stormconsole import pressure
from stormconsole.pressure import Reason
from stormconsole.problems import Problem
from storms import detector
from storms.detector import StoreUnavailable

SECOND_US = 1_000_000
FULL_SECONDS = 1.0
"""How long the store's word that not even one alert is let in is believed without asking again."""

_full_until: dict[int, float] = {}
"""Receiver -> until when, by this process's clock, not even one alert of it would be let in."""


class OverLimit(Problem):
    """503 and not 429: Alertmanager sends again what got a 5xx, and drops the rest."""

    def __init__(self, receiver: KnownReceiver, seconds: float) -> None:
        wait = max(math.ceil(seconds), 1)
        super().__init__(
            503,
            f"Receiver {receiver.name} is over its limit of {receiver.alerts_per_minute} alerts per minute "
            f"(alerts_per_minute), so nothing was taken in: send it again after {wait} s.",
            headers={"Retry-After": str(wait)},
        )


def require_within_limit(receiver: KnownReceiver, count: int) -> None:
    """Count the whole batch against the receiver's limit, or refuse the whole batch.

    A limit protects the others from one sender; it is no reason to lose an alert, so it does not hold while the store
    is away.

    Raises: OverLimit.
    """
    limit = receiver.alerts_per_minute
    if limit is None:
        return
    seconds = _full_until.get(receiver.id, 0.0) - time.monotonic()
    if seconds <= 0:
        seconds = _ask(receiver.id, limit, count)
        if seconds > 0 and (now := _limit_now(receiver)) != limit:
            seconds = _ask(receiver.id, now, count) if now is not None else 0.0
    if seconds > 0:
        pressure.count(Reason.RECEIVER_LIMIT, receiver.id)
        raise OverLimit(receiver, seconds)


def _limit_now(receiver: KnownReceiver) -> int | None:
    """Who is refused gets no further, and would never see that the limit was raised."""
    current = receivers.current(receiver.id)
    return current.alerts_per_minute if current is not None else receiver.alerts_per_minute


def _ask(receiver_id: int, limit: int, count: int) -> float:
    """Seconds to wait, 0 if they are let in."""
    try:
        seconds = detector.within_limit(receiver_id=receiver_id, limit=limit, count=count) / SECOND_US
    except StoreUnavailable:
        return 0.0
    for_one_alert = seconds - (min(count, limit) - 1) * 60 / limit
    # At most a second, so that an edited limit holds soon.
    _full_until[receiver_id] = time.monotonic() + min(for_one_alert, FULL_SECONDS)
    return seconds
