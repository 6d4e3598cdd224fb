"""Django's own command, and its entry in the audit: who can run it makes somebody who may do everything."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User

from storms.choices import AuditAction
from storms.services import audit


class Command(createsuperuser.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        # The name may be asked for; and no transaction is kept open while somebody types.
        administrators = User.objects.filter(is_superuser=True)
        known = set(administrators.values_list("id", flat=True))
        super().handle(*args, **options)
        for made in administrators.exclude(id__in=known):
            audit.record(action=AuditAction.ACCESS_CREATED, actor="", target=made, after={"is_superuser": True})
