"""`manage.py create_user NAME --role ROLE`: prints the new account's password alone, for scripts."""

import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from stormconsole.accounts.roles import ROLES
from stormconsole.accounts.services import create_user


class Command(BaseCommand):
    help = "Creates an account in a role and prints its password, which cannot be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--role", choices=ROLES, required=True)
        parser.add_argument("--email", default="")
        parser.add_argument(
            "--password-stdin", action="store_true", help="Read the password from standard input; nothing is printed."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        given = sys.stdin.readline().rstrip("\n") if options["password_stdin"] else None
        if given == "":
            raise CommandError("Standard input has no password.")
        try:
            password = create_user(
                username=options["username"], role=options["role"], email=options["email"], password=given
            )
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        if given is None:
            self.stdout.write(password)
