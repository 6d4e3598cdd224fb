"""`manage.py collect [--dry-run]`: delete the resources that are over, now. The sweep has it done every minute."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from storms.collection_tasks import collect
from storms.services.collection import Candidate, candidates


class Command(BaseCommand):
    help = (
        "Deletes the resources of closed storms and resolved alerts COLLECT_AFTER_HOURS after their operator is done "
        "with them, or COLLECT_LIMIT_HOURS after they were over. Active ones are never deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Say what would be deleted, delete nothing.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        now = timezone.now()
        due = candidates(now=now)
        deleted = 0
        for candidate in due:
            gone = not dry_run and collect(candidate.id, now)
            deleted += gone
            self.stdout.write(f"{'would delete' if dry_run else 'deleted' if gone else 'kept':12}  {_line(candidate)}")
        if dry_run:
            self.stdout.write(f"{len(due)} would be deleted.")
        else:
            self.stdout.write(f"{deleted} of {len(due)} were deleted.")


def _line(candidate: Candidate) -> str:
    limit = f"limit of {settings.COLLECT_LIMIT_HOURS} h passed" if candidate.past_limit else "operator is done"
    phase = candidate.phase or "no phase"
    return f"{candidate.namespace}/{candidate.name}  over since {candidate.over_at:%Y-%m-%d %H:%M}  {phase}, {limit}"
