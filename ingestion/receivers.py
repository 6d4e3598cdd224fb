"""Receivers as the hot path uses them: all of them in memory, reloaded when the configuration's generation moved."""

from dataclasses import dataclass, field

from ingestion.models import Receiver
from ingestion.normalise import Terms
from stormconsole.tokens import hash_token


@dataclass(frozen=True, slots=True)
class KnownReceiver:
    """Who sends; `token_hash` is what it was recognised by."""

    id: int
    name: str
    kind: str
    token_hash: str
    terms: Terms = field(default_factory=Terms)
    is_authenticated: bool = True


_by_hash: dict[str, KnownReceiver] = {}


def find(token: str) -> KnownReceiver | None:
    """The receiver of a token, None if there is none or it is disabled.

    A token that this process does not know is looked up in the database, so a new one works at once; a revoked one is
    refused when the webhook's own look-up shows a new generation (`reload`, then `same`).
    """
    token_hash = hash_token(token)
    return _by_hash.get(token_hash) or reload().get(token_hash)


def reload() -> dict[str, KnownReceiver]:
    global _by_hash
    rows = Receiver.objects.filter(enabled=True).values_list(
        "id", "name", "kind", "token_hash", "static_labels", "allowed_namespaces"
    )
    _by_hash = {
        token_hash: KnownReceiver(id_, name, kind, token_hash, Terms(str(id_), labels, frozenset(namespaces)))
        for id_, name, kind, token_hash, labels, namespaces in rows
    }
    return _by_hash


def current(receiver_id: int) -> KnownReceiver | None:
    """The receiver as it is now; None if it was disabled or deleted."""
    return next((receiver for receiver in reload().values() if receiver.id == receiver_id), None)


def same(receiver: KnownReceiver) -> KnownReceiver | None:
    """The receiver of the same token as it is now; None if the token was revoked."""
    return _by_hash.get(receiver.token_hash)
