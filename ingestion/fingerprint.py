"""The identity of alerts and of their episodes (pure)."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec


def fingerprint(labels: Mapping[str, str]) -> str:
    """64 hex characters for a set of labels, whatever their order.

    Not Alertmanager's own fingerprint: that is 64 bits (FNV-1a), this one is also a resource's `signalFingerprint`.
    """
    return sha256(msgspec.json.encode(sorted(labels.items()))).hexdigest()


def episode_id(alert_fingerprint: str, starts_at: datetime) -> UUID:
    """The same id for every copy of an episode: an alert counts once, however often and by whomever it is sent.

    `starts_at` is in UTC, with the microseconds that the database keeps.
    """
    text = f"{alert_fingerprint}|{starts_at.isoformat(timespec='microseconds')}"
    return UUID(bytes=sha256(text.encode()).digest()[:16])
