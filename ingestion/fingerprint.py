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


def key_fingerprint(scope: str, key: str) -> str:
    """64 hex characters for an episode that its source gave a key of its own; `scope` keeps sources apart."""
    return sha256(msgspec.json.encode(["key", scope, key])).hexdigest()


def keyed_episode_id(fingerprint_of_key: str) -> UUID:
    """The key is the episode: no time is part of the id, so that a copy without one is still a copy."""
    return UUID(bytes=sha256(f"key|{fingerprint_of_key}".encode()).digest()[:16])
