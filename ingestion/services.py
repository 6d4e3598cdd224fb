"""Writing receivers. A database trigger tells every web process of a change."""

from typing import Any

from django.db import transaction

from ingestion.models import Receiver
from stormconsole.tokens import hash_token, new_token
from storms.choices import AuditAction
from storms.services import audit

TOKEN_PREFIX = "scr"  # noqa: S105  (a prefix, not a secret)


AUDITED_FIELDS = ("name", "kind", "enabled", "static_labels", "allowed_namespaces", "heartbeat_minutes")


@transaction.atomic
def create_receiver(*, name: str, kind: str, actor: str = "", **options: Any) -> tuple[Receiver, str]:
    """The receiver and its token, which cannot be read again.

    Args:
        actor: a person's name; empty: the console or its command line. The same below.
        options: further fields: enabled, static_labels, allowed_namespaces, heartbeat_minutes.

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
def rotate_token(*, receiver: Receiver, actor: str = "") -> str:
    """A new token; the old one is refused from the next webhook on."""
    token = new_token(TOKEN_PREFIX)
    receiver.token_hash = hash_token(token)
    receiver.save(update_fields=["token_hash"])
    audit.record(action=AuditAction.RECEIVER_TOKEN_ROTATED, actor=actor, target=receiver)
    return token


@transaction.atomic
def delete_receiver(*, receiver: Receiver, actor: str = "") -> None:
    """Its token is refused from the next webhook on; what it sent stays."""
    audit.record(action=AuditAction.RECEIVER_DELETED, actor=actor, target=receiver, before=_audited(receiver))
    receiver.delete()


def _audited(receiver: Receiver) -> dict[str, Any]:
    return {name: getattr(receiver, name) for name in AUDITED_FIELDS}
