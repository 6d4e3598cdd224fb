"""The table of a full run."""

from __future__ import annotations

from itertools import groupby

from tests.faults.runner import Run

HEAD = ("fault", "runs", "acknowledged", "lost", "duplicated storms", "duplicated resources", "slowest recovery")


def render(runs: list[Run]) -> str:
    """Markdown: a line for each fault, and one for all."""
    lines = [_row(HEAD), _row(["---"] * len(HEAD))]
    for name, group in groupby(runs, key=lambda run: run.fault):
        lines.append(_line(name, list(group)))
    if runs:
        lines.append(_line("all", runs))
    failed = [run for run in runs if not run.ok]
    lines += ["", f"{len(runs)} runs, {len(failed)} failed"]
    lines += [f"- {run.fault}, seed {run.seed}: {run.notes}" for run in runs if run.notes]
    lines += [f"- {run.fault}, seed {run.seed}: {'; '.join(run.problems)[:500]}" for run in failed]
    return "\n".join(lines)


def _line(name: str, runs: list[Run]) -> str:
    return _row(
        [
            name,
            str(len(runs)),
            str(sum(run.acknowledged for run in runs)),
            str(sum(run.lost for run in runs)),
            str(sum(run.duplicated_storms for run in runs)),
            str(sum(run.duplicated_resources for run in runs)),
            f"{max(run.recovery for run in runs):.1f} s",
        ]
    )


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
