"""docs/reliability.md: each invariant names tests that exist, and every mutation stands there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from stormconsole.commands import PROJECT
from tests.faults.mutations import mutations

TEXT = (PROJECT / "docs" / "reliability.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
INVARIANTS = range(1, 13)


def section(number: int) -> str:
    """The row of one invariant: `| 4 | what | tests |`."""
    rows = re.findall(rf"^\| {number} \|.*$", TEXT, re.MULTILINE)
    assert len(rows) == 1, f"invariant {number} has {len(rows)} rows"
    return str(rows[0])


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((PROJECT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", INVARIANTS)
def test_every_invariant_has_a_test(number: int) -> None:
    assert NAMED.findall(section(number))


def test_every_named_test_exists() -> None:
    named = NAMED.findall(TEXT) + [tuple(mutation.test.split("::")) for mutation in mutations()]
    missing = [f"{path}::{name}" for path, name in named if name not in functions(path)]
    assert not missing


def test_every_mutation_still_applies(tmp_path: Path) -> None:
    for mutation in mutations():
        assert mutation.hunks, mutation.name
        for hunk in mutation.hunks:
            (tmp_path / hunk.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / hunk.path).write_text((PROJECT / hunk.path).read_text())
        assert mutation.apply(tmp_path)


def test_every_mutation_is_listed_with_its_invariant() -> None:
    for mutation in mutations():
        assert f"| `{mutation.name}` | {mutation.invariant} |" in TEXT, mutation.name
    assert len({mutation.invariant for mutation in mutations()}) >= 5
