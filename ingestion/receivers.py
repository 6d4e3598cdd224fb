"""Receivers as the hot path uses them: all of them in memory, reloaded when the configuration's generation moved."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from ingestion.models import Receiver
from ingestion.normalise import Terms
from stormconsole.tokens import hash_token


@dataclass(frozen=True, slots=True)
class KnownReceiver:
    """Who sends.

    Attributes:
        token_hash: what it was recognised by.
        alerts_per_minute: None: no limit.
        old_until: the token was rotated, and is refused from then on; None: it is the current one.
    """

    id: int
    name: str
    kind: str
    token_hash: str
    terms: Terms = field(default_factory=Terms)
    alerts_per_minute: int | None = None
    old_until: datetime | None = None
    is_authenticated: bool = True


_by_hash: dict[str, KnownReceiver] = {}


def find(token: str) -> KnownReceiver | None:
    """The receiver of a token, None if there is none or it is disabled.

    A token that this process does not know is looked up in the database, so a new one works at once; a revoked one is
    refused when the webhook's own look-up shows a new generation (`reload`, then `same`).
    """
    token_hash = hash_token(token)
    known = _by_hash.get(token_hash)
    # Strangers cost one look at an index, not a reload.
    if known is None and _is_stored(token_hash):
        known = reload().get(token_hash)
    return known if known is not None and _is_valid(known) else None


def _is_stored(token_hash: str) -> bool:
    return Receiver.objects.filter(Q(token_hash=token_hash) | Q(previous_token_hash=token_hash), enabled=True).exists()


def _is_valid(receiver: KnownReceiver) -> bool:
    return receiver.old_until is None or timezone.now() < receiver.old_until


def reload() -> dict[str, KnownReceiver]:
    global _by_hash
    known: dict[str, KnownReceiver] = {}
    for row in Receiver.objects.filter(enabled=True):
        receiver = KnownReceiver(
            id=row.pk,
            name=row.name,
            kind=row.kind,
            token_hash=row.token_hash,
            terms=Terms(str(row.pk), row.static_labels, frozenset(row.allowed_namespaces)),
            alerts_per_minute=row.alerts_per_minute,
        )
        known[row.token_hash] = receiver
        if row.previous_token_hash:
            known[row.previous_token_hash] = replace(
                receiver, token_hash=row.previous_token_hash, old_until=row.previous_token_until
            )
    _by_hash = known
    return _by_hash


def current(receiver_id: int) -> KnownReceiver | None:
    """The receiver as it is now; None if it was disabled or deleted."""
    return next((receiver for receiver in reload().values() if receiver.id == receiver_id), None)


def same(receiver: KnownReceiver) -> KnownReceiver | None:
    """The receiver of the same token as it is now; None if the token was revoked."""
    now = _by_hash.get(receiver.token_hash)
    return now if now is not None and _is_valid(now) else None
