"""What a console needs before it can serve: tables, one administrator, one receiver. Safe to run at every start.

`python -m stormconsole.first_start` prints one line of JSON with what it made: `password` of the user `admin`, and
`token` of the receiver `alertmanager`; neither can be read again.
"""

import contextlib
import json
import os
import secrets
import sys

import django
import redis
from django.core.management import call_command

from stormconsole.alive import forget_dead_processes
from stormconsole.commands import HEARTBEATS


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    with contextlib.suppress(redis.RedisError):  # without Valkey there is no heartbeat to forget
        forget_dead_processes(HEARTBEATS)
    made = {"password": _make_administrator(), "token": _make_receiver()}
    sys.stdout.write(json.dumps({key: value for key, value in made.items() if value}) + "\n")


def _make_administrator() -> str:
    """The new password, or nothing where somebody can already administer."""
    from django.contrib.auth import get_user_model
    from django.db import transaction

    from storms.choices import AuditAction
    from storms.services import audit

    users = get_user_model()._default_manager
    if users.filter(is_superuser=True).exists():
        return ""
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        made = users.create_superuser(username="admin", email="", password=password)
        audit.record(action=AuditAction.ACCESS_CREATED, actor="", target=made, after={"is_superuser": True})
    return password


def _make_receiver() -> str:
    """The new token, or nothing where a receiver exists."""
    from ingestion.models import Receiver
    from ingestion.services import create_receiver

    if Receiver.objects.exists():
        return ""
    return create_receiver(name="alertmanager", kind="alertmanager")[1]


if __name__ == "__main__":
    main()
