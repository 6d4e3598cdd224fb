"""Alertmanager's own API (`/api/v2`, since 0.17): what it holds, for whom, and since when it runs (pure)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

import msgspec

from ingestion.adapters.batch import decode_body
from ingestion.fingerprint import fingerprint
from ingestion.normalise import BadAlert, Terms, incoming_alert
from storms.incoming import IncomingAlert

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Receiver(msgspec.Struct):
    name: str


class _Status(msgspec.Struct):
    state: str
    mutedBy: list[str] | None = None  # noqa: N815 (Alertmanager's name; since 0.28)


class _Alert(msgspec.Struct):
    labels: dict[str, str]
    startsAt: _Time  # noqa: N815
    status: _Status
    annotations: dict[str, str] | None = None
    generatorURL: str | None = None  # noqa: N815


class _Group(msgspec.Struct):
    receiver: _Receiver
    alerts: list[_Alert]


class _Cluster(msgspec.Struct):
    peers: list[msgspec.Raw] | None = None


class _Running(msgspec.Struct):
    uptime: _Time
    cluster: _Cluster


_groups_decoder = msgspec.json.Decoder(list[_Group])
_receivers_decoder = msgspec.json.Decoder(list[_Receiver])
_running_decoder = msgspec.json.Decoder(_Running)


@dataclass(frozen=True, slots=True)
class HeldAlert:
    """An alert that Alertmanager has, which means that it fires there.

    Attributes:
        starts_at: cut to milliseconds by this API.
        alert: as its webhook would have brought it; None if the receiver may not send it, or nobody could.
        told: Alertmanager's receivers that are told of it: it is neither silenced, inhibited nor muted for them.
    """

    starts_at: datetime
    alert: IncomingAlert | None
    told: frozenset[str]


@dataclass(frozen=True, slots=True)
class Running:
    """One Alertmanager: since when it runs, and how many there are in its cluster (1 without one)."""

    since: datetime
    replicas: int


def read_groups(body: bytes, terms: Terms) -> dict[str, HeldAlert]:
    """The answer of `GET /api/v2/alerts/groups`, by fingerprint.

    Not that of `/api/v2/alerts`, which knows nothing of time intervals: they belong to the routes.

    Raises: PayloadError.
    """
    held: dict[str, HeldAlert] = {}
    for group in decode_body(_groups_decoder, body):
        for item in group.alerts:
            # Of the labels alone: what is held is not over, whatever else of it is too long or not allowed (any more).
            identity = fingerprint({**item.labels, **terms.static_labels})
            known = held.get(identity)
            told = {group.receiver.name} if item.status.state == "active" and not item.status.mutedBy else set()
            if known is None:
                held[identity] = HeldAlert(item.startsAt, _incoming(item, terms), frozenset(told))
            else:
                held[identity] = replace(known, told=known.told | told)
    return held


def merged(first: HeldAlert | None, second: HeldAlert) -> HeldAlert:
    """What two replicas hold of one alert: the episode that began first."""
    if first is None:
        return second
    earlier = min(first, second, key=lambda item: item.starts_at)
    return replace(earlier, told=first.told | second.told)


def _incoming(item: _Alert, terms: Terms) -> IncomingAlert | None:
    try:
        return incoming_alert(
            firing=True,
            labels=item.labels,
            annotations=item.annotations or {},
            starts_at=item.startsAt,
            ends_at=None,
            generator_url=item.generatorURL or "",
            terms=terms,
        )
    except BadAlert:
        return None


def read_receivers(body: bytes) -> set[str]:
    """The answer of `GET /api/v2/receivers`: the names in its configuration.

    Raises: PayloadError.
    """
    return {receiver.name for receiver in decode_body(_receivers_decoder, body)}


def read_status(body: bytes) -> Running:
    """The answer of `GET /api/v2/status`.

    Raises: PayloadError.
    """
    running = decode_body(_running_decoder, body)
    return Running(running.uptime, max(1, len(running.cluster.peers or ())))
