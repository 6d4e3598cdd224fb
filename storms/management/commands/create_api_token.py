"""`manage.py create_api_token USERNAME`: a new API token, alone on standard output, for scripts."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from storms.api_tokens import create_api_token


class Command(BaseCommand):
    help = "Make a token for the read API and print it. It is shown once: only its hash is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="api", help="What it is for; shown in the list of tokens.")

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()
        try:
            user = users.objects.get_by_natural_key(options["username"])
        except users.DoesNotExist:
            raise CommandError(f"There is no user {options['username']!r}.")
        if not user.is_active:
            raise CommandError(f"The user {options['username']!r} is not active: the token would be refused.")
        _, token = create_api_token(user=user, name=options["name"])
        self.stdout.write(token)
