"""`manage.py rotate_token NAME`: prints a receiver's new token alone, for scripts."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingestion.models import Receiver
from ingestion.services import OVERLAP, rotate_token

MOST_HOURS = 720


class Command(BaseCommand):
    help = "Gives a receiver a new token and prints it; the old one goes on for a while. It cannot be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--overlap-hours",
            type=int,
            choices=range(MOST_HOURS + 1),
            metavar=f"0..{MOST_HOURS}",
            default=OVERLAP // timedelta(hours=1),
            help="How long the old token is still taken; 0: it is refused at once. Default: %(default)s.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        receiver = Receiver.objects.filter(name=options["name"]).first()
        if receiver is None:
            raise CommandError(f"There is no receiver {options['name']!r}.")
        self.stdout.write(rotate_token(receiver=receiver, overlap=timedelta(hours=options["overlap_hours"])))
