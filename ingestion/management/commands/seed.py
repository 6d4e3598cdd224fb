"""`manage.py seed --alerts 1000000 --storms 5000`: synthetic alerts in bulk, to measure and to try the console with."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from ingestion import ledger
from ingestion.seeding.rows import ALERTS_OF_A_STORM, NotEmpty, Plan, refuse_if_not_empty, seed
from storms.choices import StormState
from storms.models import Storm

MAX_ALERTS = 50_000_000
MAX_DAYS = 3_650


class Command(BaseCommand):
    help = (
        "Fill an empty database with SYNTHETIC alerts, storms, resources, deliveries and dead letters. Nothing is "
        "counted or sent: the rows are written as if all of it had happened."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--alerts", type=int, default=10_000, help="How many (default 10000).")
        parser.add_argument("--storms", type=int, default=50, help="How many of them open a storm (default 50).")
        parser.add_argument("--days", type=int, default=30, help="Spread over so many days until now (default 30).")
        parser.add_argument("--seed", type=int, default=1, help="Another number draws other alerts (default 1).")
        parser.add_argument("--force", action="store_true", help="Also into a database that has alerts: for good.")

    def handle(self, *args: Any, alerts: int, storms: int, days: int, force: bool, **options: Any) -> None:
        if not (1 <= alerts <= MAX_ALERTS and 1 <= days <= MAX_DAYS and 0 <= storms <= alerts // ALERTS_OF_A_STORM):
            raise CommandError(
                f"--alerts from 1 to {MAX_ALERTS}, --days from 1 to {MAX_DAYS}, "
                f"--storms at most one for {ALERTS_OF_A_STORM} alerts"
            )
        if not force:
            try:
                refuse_if_not_empty()
            except NotEmpty:
                raise CommandError(
                    "this database has alerts already; synthetic ones cannot be told from them later. Seed a scratch "
                    "database (STORMCONSOLE_DATA_DIR=/tmp/scratch make run), or say --force."
                ) from None
        leave_open = not Storm.objects.filter(state=StormState.OPEN).exists()
        self._seed(Plan(alerts, storms, days, options["seed"], timezone.now(), leave_open))

    def _seed(self, plan: Plan) -> None:
        started = time.monotonic()
        before = ledger.totals()["unaccounted"]
        self.stdout.write(f"SYNTHETIC data: {plan.alerts} alerts, {plan.storms} storms, {plan.days} days")
        for done in seed(plan):
            self.stdout.write(f"\r  {done:>9} of {plan.alerts} alerts, {time.monotonic() - started:.0f} s", ending="")
            self.stdout.flush()
        totals = ledger.totals()
        self.stdout.write(f"\n  done in {time.monotonic() - started:.0f} s")
        self.stdout.write("  ledger: " + ", ".join(f"{name} {value}" for name, value in totals.items()))
        if totals["unaccounted"] != before:
            raise CommandError(f"the ledger does not add up: {totals['unaccounted']} unaccounted, {before} before")
