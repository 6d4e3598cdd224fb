"""Django's own command, and its entry in the audit."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.contrib.auth.models import User

from storms.choices import AuditAction
from storms.services import audit


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        told = super().handle(*args, **options)
        user = User.objects.get(username=options["username"] or getpass.getuser())
        audit.record(action=AuditAction.PASSWORD_CHANGED, actor="", target=user)
        return told
