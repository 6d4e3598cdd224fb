"""Writing receivers. A database trigger tells every web process of a change."""

from ingestion.models import Receiver
from stormconsole.tokens import hash_token, new_token

TOKEN_PREFIX = "scr"  # noqa: S105  (a prefix, not a secret)


def create_receiver(*, name: str, kind: str) -> tuple[Receiver, str]:
    """The receiver and its token, which cannot be read again.

    Raises: django.core.exceptions.ValidationError (a taken name, an unknown kind).
    """
    token = new_token(TOKEN_PREFIX)
    receiver = Receiver(name=name, kind=kind, token_hash=hash_token(token))
    receiver.full_clean()
    receiver.save()
    return receiver, token


def rotate_token(*, receiver: Receiver) -> str:
    """A new token; the old one is refused from the next webhook on."""
    token = new_token(TOKEN_PREFIX)
    receiver.token_hash = hash_token(token)
    receiver.save(update_fields=["token_hash"])
    return token
