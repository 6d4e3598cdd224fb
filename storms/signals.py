"""Django's signals about logins, each handed to the audit."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from stormconsole import pressure
from stormconsole.pressure import PerMinute, Reason
from storms.choices import AuditAction
from storms.services import audit

_failures = PerMinute(60)


@receiver(user_logged_in)
def logged_in(user: AbstractBaseUser, **_: Any) -> None:
    audit.record(action=AuditAction.LOGGED_IN, actor=user.get_username(), target=user)


@receiver(user_logged_out)
def logged_out(user: AbstractBaseUser | None, **_: Any) -> None:
    """None: there was no session any more."""
    if user is not None:
        audit.record(action=AuditAction.LOGGED_OUT, actor=user.get_username(), target=user)


@receiver(user_login_failed)
def login_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """The name is what was typed, whoever that was; the password never gets here.

    Nothing of who is locked out already, and a bounded number of all others: whoever guesses must not fill the disk.
    """
    # The failure that locks is counted by django-axes first; one of who was locked out before is not counted.
    was_locked = getattr(request, "axes_locked_out", False) and request.axes_failures_since_start is None  # type: ignore[union-attr]
    if was_locked or not _failures.take():
        pressure.count(Reason.LOGIN)
        return
    audit.record(action=AuditAction.LOGIN_FAILED, actor=str(credentials.get("username") or ""))
