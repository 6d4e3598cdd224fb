"""README.md lists every environment variable that the code reads, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from stormconsole.commands import PROJECT

READERS = {
    "text",
    "credentials",
    "names",
    "hosts",
    "integer",
    "boolean",
    "secret",
    "choice",
    "pairs",
    "database",
    "redis_url",
    "namespace",
    "get",
}
FROM_FILES = {"secret", "database", "redis_url", "credentials"}
NAME = re.compile(r"[A-Z][A-Z0-9_]+")
SOURCES = ("stormconsole", "ingestion", "storms")


def _reads(path: Path) -> Iterator[tuple[str, str]]:
    """(function, variable) of every `env.text("X")`, `os.environ.get("X")`, `env.get("X")`, ... of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        first = node.args[0]
        reader, owner = node.func.attr, ast.unparse(node.func.value)
        if reader not in READERS or owner not in {"env", "self.env", "os.environ"}:
            continue
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and NAME.fullmatch(first.value):
            yield reader, first.value


def _read_by_code() -> dict[str, bool]:
    """{variable: whether VARIABLE_FILE works too}."""
    found: dict[str, bool] = {}
    for source in SOURCES:
        for path in (PROJECT / source).rglob("*.py"):
            for reader, name in _reads(path):
                found[name] = found.get(name, False) or reader in FROM_FILES
    return {name: file for name, file in found.items() if not name.endswith("_FILE")}


def _documented() -> dict[str, bool]:
    table = (PROJECT / "README.md").read_text().split("## Configuration")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name: "_FILE" in row for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}


def test_every_setting_is_documented() -> None:
    assert _documented() == _read_by_code()


def test_the_readme_starts_with_the_two_commands() -> None:
    lines = (PROJECT / "README.md").read_text().splitlines()[:4]
    assert [line.split("#")[0].strip() for line in lines] == ["", "", "make run", "make test"]
