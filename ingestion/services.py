"""Writing receivers. A database trigger tells every web process of a change."""

from typing import Any

from ingestion.models import Receiver
from stormconsole.tokens import hash_token, new_token

TOKEN_PREFIX = "scr"  # noqa: S105  (a prefix, not a secret)


def create_receiver(*, name: str, kind: str, **options: Any) -> tuple[Receiver, str]:
    """The receiver and its token, which cannot be read again.

    Args:
        options: further fields: enabled, static_labels, allowed_namespaces, heartbeat_minutes.

    Raises: django.core.exceptions.ValidationError (a taken name, an unknown kind, labels that are none).
    """
    token = new_token(TOKEN_PREFIX)
    receiver = Receiver(name=name, kind=kind, token_hash=hash_token(token), **options)
    receiver.full_clean()
    receiver.save()
    return receiver, token


def edit_receiver(*, receiver: Receiver, **fields: Any) -> None:
    """Change these fields and no other: not the token, which somebody else may have rotated meanwhile.

    Raises: django.core.exceptions.ValidationError.
    """
    for field, value in fields.items():
        setattr(receiver, field, value)
    receiver.full_clean()
    receiver.save(update_fields=list(fields))


def rotate_token(*, receiver: Receiver) -> str:
    """A new token; the old one is refused from the next webhook on."""
    token = new_token(TOKEN_PREFIX)
    receiver.token_hash = hash_token(token)
    receiver.save(update_fields=["token_hash"])
    return token
