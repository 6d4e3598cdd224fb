"""`make mutations`: break each invariant on purpose, in a copy of the tree, and see a test turn red.

    python -m tests.faults.mutations [TEXT]      those whose name has the text in it

A mutation is a diff in `mutations/` with what it does, its invariant and the test that must notice on top. Every test
must be green without it. Exit 1 if a test stays green with its mutation, or a diff no longer applies.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stormconsole.commands import PROJECT

FOLDER = Path(__file__).parent / "mutations"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".cache", ".data", "__pycache__", ".*_cache", ".hypothesis")
FAILED = 1
"""pytest's exit code when tests ran and failed; all others say that something else went wrong."""


class Hunk(NamedTuple):
    """Lines of one file, with their context, before and after. Where in the file they stand does not matter."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    name: str
    what: str
    invariant: int
    test: str
    hunks: list[Hunk]

    def apply(self, tree: Path) -> dict[Path, str]:
        """Change the tree; what its files were before. Raises ValueError where a hunk does not fit exactly once."""
        before: dict[Path, str] = {}
        for hunk in self.hunks:
            path = tree / hunk.path
            text = path.read_text()
            before.setdefault(path, text)
            if text.count(hunk.old) != 1:
                raise ValueError(f"{self.name}: {hunk.path} has changed; make the diff anew")
            path.write_text(text.replace(hunk.old, hunk.new))
        return before


def mutations() -> list[Mutation]:
    """All of them, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.diff"))]


def _read(path: Path) -> Mutation:
    head, _, diff = path.read_text().partition("diff --git")
    named = re.search(r"^Invariant: (\d+)\nTest: (\S+)$", head, re.MULTILINE)
    assert named, f"{path.name} names no invariant or no test"
    return Mutation(path.stem, head.split("\n", 1)[0], int(named[1]), named[2], list(_hunks(diff)))


def _hunks(diff: str) -> Iterator[Hunk]:
    for part in diff.split("\n--- a/")[1:]:
        path, *hunks = re.split(r"^@@.*\n", part, flags=re.MULTILINE)
        for hunk in hunks:
            lines = [line for line in hunk.splitlines(keepends=True) if line[0] in " +-"]
            old = "".join(line[1:] for line in lines if line[0] != "+")
            yield Hunk(path.split("\n", 1)[0], old, "".join(line[1:] for line in lines if line[0] != "-"))


def main(text: str = "") -> int:
    chosen = [mutation for mutation in mutations() if text in mutation.name]
    with tempfile.TemporaryDirectory(prefix="stormconsole-mutations-") as scratch:
        Path(scratch).chmod(0o711)  # PostgreSQL is another user when we are root
        tree = Path(scratch) / "tree"
        shutil.copytree(PROJECT, tree, ignore=LEFT_OUT)
        (tree / ".cache").symlink_to(PROJECT / ".cache")
        tests = sorted({mutation.test for mutation in chosen})
        green = _pytest(tree, tests)
        print(
            f"without a mutation: {len(tests)} tests, {'green' if green == 0 else f'pytest exit {green}'}", flush=True
        )
        seen = [_notices(tree, mutation) for mutation in chosen]
    return 0 if green == 0 and all(seen) else 1


def _notices(tree: Path, mutation: Mutation) -> bool:
    """Whether the test turned red under the mutation; the tree is as before afterwards."""
    try:
        before = mutation.apply(tree)
    except ValueError as error:
        print(error, flush=True)
        return False
    code = _pytest(tree, [mutation.test])
    for path, text in before.items():
        path.write_text(text)
    print(f"{mutation.name}: {_word(code)} ({mutation.test}: {mutation.what})", flush=True)
    return code == FAILED


def _word(code: int) -> str:
    return {0: "green", FAILED: "red"}.get(code, f"pytest exit {code}")


def _pytest(tree: Path, tests: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    # A skipped test proves nothing; a compiled module may be the mutated one.
    env = dict(os.environ) | {"REQUIRE_ALL": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
