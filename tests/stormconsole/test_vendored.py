"""What of others stands in static/vendor is listed there, with version and licence; and nothing that is gone."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

import pytest

from stormconsole.commands import PROJECT

VENDOR = PROJECT / "static" / "vendor"
SAYS = {"MIT": "MIT License", "0BSD": "Zero-Clause BSD"}
"""What the text of each licence has in it."""


class Listed(NamedTuple):
    folder: str
    package: str
    version: str
    files: frozenset[str]
    licence: str


def listed() -> list[Listed]:
    """The rows of the README's table."""
    lines = [line for line in (VENDOR / "README.md").read_text().splitlines() if line.startswith("| `")]
    found = []
    for line in lines:
        folder, package, files, licence = (cell.strip() for cell in line.strip("|").split("|"))
        name, version = re.fullmatch(r"`(\S+)` (\d[\d.]*)", package).groups()  # type: ignore[union-attr]
        names = frozenset(PurePosixPath(path).name for path in re.findall(r"`([^`]+)`", files))
        found.append(Listed(folder.strip("`"), name, version, names, licence))
    return found


def test_every_folder_is_listed_and_every_listed_one_is_there() -> None:
    assert [row.folder for row in listed()]
    assert {row.folder for row in listed()} == {path.name for path in VENDOR.iterdir() if path.is_dir()}
    assert [path.name for path in VENDOR.iterdir() if path.is_file()] == ["README.md"]


@pytest.mark.parametrize("row", listed(), ids=lambda row: row.folder)
def test_a_folder_holds_the_listed_files_of_its_version_and_their_licence(row: Listed) -> None:
    folder = VENDOR / row.folder
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == row.files | {"LICENSE"}
    assert row.folder.endswith(f"-{row.version}")
    assert SAYS[row.licence].lower() in (folder / "LICENSE").read_text().lower()
