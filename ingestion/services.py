"""Writing receivers. A database trigger tells every web process of a change."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from ingestion.models import Receiver
from stormconsole.tokens import hash_token, new_token
from storms.choices import AuditAction
from storms.services import audit

TOKEN_PREFIX = "scr"  # noqa: S105  (a prefix, not a secret)
OVERLAP = timedelta(hours=24)
"""How long a rotated token is still taken, unless it is asked for otherwise: time to change the sender."""
OPTIONS = (
    "static_labels",
    "allowed_namespaces",
    "heartbeat_minutes",
    "alerts_per_minute",
    "alertmanager_urls",
    "alertmanager_receiver",
)
AUDITED_FIELDS = ("name", "kind", "enabled", *OPTIONS)


@transaction.atomic
def create_receiver(*, name: str, kind: str, actor: str = "", **options: Any) -> tuple[Receiver, str]:
    """The receiver and its token, which cannot be read again.

    Args:
        actor: a person's name; empty: the console or its command line. The same below.
        options: further fields: enabled and `OPTIONS`.

    Raises: django.core.exceptions.ValidationError (a taken name, an unknown kind, labels that are none).
    """
    token = new_token(TOKEN_PREFIX)
    receiver = Receiver(name=name, kind=kind, token_hash=hash_token(token), **options)
    receiver.full_clean()
    receiver.save()
    audit.record(action=AuditAction.RECEIVER_CREATED, actor=actor, target=receiver, after=_audited(receiver))
    return receiver, token


@transaction.atomic
def edit_receiver(*, receiver: Receiver, actor: str = "", **fields: Any) -> None:
    """Change these fields and no other: not the token, which somebody else may have rotated meanwhile.

    Raises: django.core.exceptions.ValidationError.
    """
    before = _audited(Receiver.objects.get(pk=receiver.pk))
    for field, value in fields.items():
        setattr(receiver, field, value)
    receiver.full_clean()
    receiver.save(update_fields=list(fields))
    differences = audit.changed(before, {name: getattr(receiver, name) for name in fields if name in before})
    if differences["after"]:
        audit.record(action=AuditAction.RECEIVER_EDITED, actor=actor, target=receiver, **differences)


@transaction.atomic
def rotate_token(*, receiver: Receiver, overlap: timedelta = OVERLAP, actor: str = "") -> str:
    """A new token; the one so far is taken for `overlap` longer, an older one is refused from the next webhook on."""
    row = Receiver.objects.select_for_update().get(pk=receiver.pk)
    token, now = new_token(TOKEN_PREFIX), timezone.now()
    old = (row.token_hash, now + overlap) if overlap > timedelta(0) else (None, None)
    row.previous_token_hash, row.previous_token_until = old
    row.token_hash, row.token_rotated_at = hash_token(token), now
    _save_token(row, receiver)
    audit.record(
        action=AuditAction.RECEIVER_TOKEN_ROTATED, actor=actor, target=row, after={"old_token_until": old[1] or now}
    )
    return token


@transaction.atomic
def revoke_old_token(*, receiver: Receiver, actor: str = "") -> bool:
    """The token from before the rotation is refused from the next webhook on; False if there is none."""
    row = Receiver.objects.select_for_update().get(pk=receiver.pk)
    if row.previous_token_hash is None:
        return False
    audit.record(
        action=AuditAction.RECEIVER_TOKEN_REVOKED,
        actor=actor,
        target=row,
        before={"old_token_until": row.previous_token_until},
    )
    row.previous_token_hash = row.previous_token_until = None
    _save_token(row, receiver)
    return True


def _save_token(row: Receiver, shown: Receiver) -> None:
    """`shown`: the caller's copy, which follows."""
    names = ("token_hash", "token_rotated_at", "previous_token_hash", "previous_token_until")
    row.save(update_fields=names)
    for name in names:
        setattr(shown, name, getattr(row, name))


@transaction.atomic
def delete_receiver(*, receiver: Receiver, actor: str = "") -> None:
    """Its token is refused from the next webhook on; what it sent stays."""
    audit.record(action=AuditAction.RECEIVER_DELETED, actor=actor, target=receiver, before=_audited(receiver))
    receiver.delete()


def _audited(receiver: Receiver) -> dict[str, Any]:
    return {name: getattr(receiver, name) for name in AUDITED_FIELDS}
