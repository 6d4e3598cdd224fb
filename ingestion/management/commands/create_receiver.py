"""`manage.py create_receiver NAME --kind KIND`: prints the new receiver's token alone, for scripts."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingestion.models import ReceiverKind
from ingestion.services import create_receiver


class Command(BaseCommand):
    help = "Creates a receiver and prints its token, which cannot be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--kind", choices=ReceiverKind.values, default=ReceiverKind.ALERTMANAGER.value)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _, token = create_receiver(name=options["name"], kind=options["kind"])
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        self.stdout.write(token)
