"""`manage.py prune [--dry-run]`: delete what is past its retention. The sweep has some of it deleted every hour."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from ingestion.retention import Pruned, PruningElsewhere, count_prunable, prune, pruned_ever


class Command(BaseCommand):
    help = "Deletes rows that are past their retention (RETAIN_*_DAYS)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Say what would go, delete nothing.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        now = timezone.now()
        try:
            rows = count_prunable(now=now) if dry_run else prune(now=now)
        except PruningElsewhere as error:
            raise CommandError("another process is pruning: try again when it is done") from error
        self.stdout.write(f"{'':14}{'would go' if dry_run else 'went':>10}  older than")
        for row in rows:
            self.stdout.write(_line(row))
        if not dry_run:
            ever = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in pruned_ever().items())
            self.stdout.write(f"ever: {ever or 'nothing'}")


def _line(row: Pruned) -> str:
    until = f"{row.before:%Y-%m-%d %H:%M}" if row.before is not None else "kept for ever"
    return f"{row.name:14}{row.count:>10}  {until} ({row.setting})"
