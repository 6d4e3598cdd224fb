"""`manage.py reconcile [--dry-run] [--json]`: compare rows, store and cluster, and repair what is safe."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingestion.models import ReconcileRun, RunState
from ingestion.reconcile_services import ReconcilingElsewhere, execute, request_run


class Command(BaseCommand):
    help = (
        "Compares rows, store and cluster both ways, repairs what is safe and lists what is not. "
        "Exit 1 if something could not be looked at, or was found and not repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Say what disagrees, change nothing.")
        parser.add_argument("--json", action="store_true", help="One JSON object instead of a table.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        try:
            run = execute(run_id=request_run(dry_run=dry_run).id)
        except ReconcilingElsewhere as error:
            raise CommandError("another process is reconciling: try again when it is done") from error
        self.stdout.write(json.dumps(as_dict(run), indent=2, ensure_ascii=False) if options["json"] else as_table(run))
        if run.state == RunState.FAILED:
            raise CommandError(run.error)
        if run.skipped or run.repaired < run.found:
            raise CommandError("not everything is as it must be", returncode=1)


def as_dict(run: ReconcileRun) -> dict[str, Any]:
    return {
        "dryRun": run.dry_run,
        "checked": run.checked,
        "skipped": run.skipped,
        "found": run.found,
        "repaired": run.repaired,
        "counts": run.counts,
        "findings": run.findings,
    }


def as_table(run: ReconcileRun) -> str:
    lines = [f"{name:26}{count:>9} looked at" for name, count in run.checked.items()]
    lines += [f"{name:26}{'skipped':>9}: {reason}" for name, reason in run.skipped.items()]
    for row in run.findings:
        lines.append(f"{row['result']:18} {row['kind']:20} {row['target']}: {row['detail']}")
        if row["advice"]:
            lines.append(f"{'':39} {row['advice']}")
    lines.append(f"{run.found} found, {run.repaired} repaired{' (dry run)' if run.dry_run else ''}")
    return "\n".join(lines)
