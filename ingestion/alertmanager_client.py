"""What Alertmanagers hold, asked over their own API: nothing, unless they are the ones meant and know what fires."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from ingestion.adapters.alertmanager_api import HeldAlert, merged, read_groups, read_receivers, read_status
from ingestion.adapters.batch import PayloadError
from ingestion.normalise import Terms
from stormconsole import outgoing

T = TypeVar("T")

MAX_BYTES, TIMEOUT_SECONDS = 64 * 1024 * 1024, 30.0
"""Of an answer. 64 MiB are some fifty thousand alerts, one that goes to two receivers counted twice."""
NAMED = 3
"""Names that a message gives as examples."""


class AlertmanagerAway(Exception):
    """It was not asked, did not answer, or not as it should; the message says which one and what to do."""


def held_alerts(urls: Sequence[str], name: str, terms: Terms, *, not_since: datetime) -> dict[str, HeldAlert]:
    """What any of `urls` has, by fingerprint.

    Args:
        urls: every replica of a cluster, by its own address.
        name: a receiver of their configuration.
        not_since: one that started later may not have learned yet what fires.

    Raises: AlertmanagerAway if one of them cannot be asked: what the others do not have may be there.
    """
    held: dict[str, HeldAlert] = {}
    for url in urls:
        _require_ours(url, name)
        _require_settled(url, len(urls), not_since)
        for fingerprint, item in _ask(url, "alerts/groups", partial(read_groups, terms=terms)).items():
            held[fingerprint] = merged(held.get(fingerprint), item)
    return held


def _require_ours(url: str, name: str) -> None:
    """Raises: AlertmanagerAway where it cannot be the one that sends here: by what it lacks nothing is over."""
    names = _ask(url, "receivers", read_receivers)
    if name not in names:
        known = ", ".join(sorted(names)[:NAMED])
        raise AlertmanagerAway(f"{url} has no receiver {name!r} (but {known}): is it the right one?")


def _require_settled(url: str, named: int, not_since: datetime) -> None:
    """Raises: AlertmanagerAway while it has just started: it learns what fires from its Prometheus, bit by bit.

    And where its cluster has more replicas than are named: they do not tell each other what fires.
    """
    running = _ask(url, "status", read_status)
    if running.replicas > named:
        raise AlertmanagerAway(
            f"{url} is one of {running.replicas} replicas, of which {named} are named: name each, by its own address"
        )
    if running.since > not_since:
        since = f"{running.since:%Y-%m-%d %H:%M:%S}"
        raise AlertmanagerAway(f"{url} runs since {since} UTC only: what it does not have it may not have yet")


def _ask(url: str, what: str, read: Callable[[bytes], T]) -> T:
    asked = f"{url.rstrip('/')}/api/v2/{what}"
    try:
        answer = outgoing.get(asked, timeout=TIMEOUT_SECONDS, max_bytes=MAX_BYTES)
    except (outgoing.OutgoingRefused, outgoing.OutgoingFailed) as error:
        raise AlertmanagerAway(f"{asked}: {error}") from error
    if answer.status in (401, 403):
        raise AlertmanagerAway(f"{asked} answered {answer.status}: give its credentials in OUTGOING_CREDENTIALS")
    if answer.status != 200:
        raise AlertmanagerAway(f"{asked} answered {answer.status}: is it Alertmanager's own address?")
    try:
        return read(answer.body)
    except PayloadError as error:
        raise AlertmanagerAway(
            f"{asked} did not answer as Alertmanager does: {error} at {error.pointer or '/'}"
        ) from error
