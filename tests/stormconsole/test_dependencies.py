"""What we build on is pinned, and its known weaknesses are asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from stormconsole.commands import PROJECT
from tests import audit


def _groups() -> list[list[str]]:
    runtime, development = (PROJECT / "requirements.txt").read_text().split("# Development and tests\n")
    return [
        [line for line in part.splitlines() if line and not line.startswith("#")] for part in (runtime, development)
    ]


def test_every_dependency_is_pinned_to_one_version_in_order() -> None:
    for group in _groups():
        names = [line.partition("==")[0].lower() for line in group]
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*(; .+)?", line) for line in group)
        assert names == sorted(names)


def test_bandit_finds_nothing_that_is_not_explained() -> None:
    """Medium and high; as `make lint` runs it."""
    command = [
        sys.executable,
        "-m",
        "bandit",
        "-c",
        "pyproject.toml",
        "-q",
        "-ll",
        "-r",
        "stormconsole",
        "ingestion",
        "storms",
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


WEAK = {"name": "django", "version": "5.2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["5.2.1"]}]}
FINE = {"name": "six", "version": "1.17.0", "vulns": []}
UNKNOWN = {"name": "six", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("document", "accepted", "code"),
    [
        ({"dependencies": [FINE]}, {}, 0),
        ({"dependencies": [FINE, WEAK]}, {}, 1),
        ({"dependencies": [FINE, WEAK]}, {"PYSEC-1": "not used"}, 0),
        ({"dependencies": [UNKNOWN]}, {}, 1),
        (None, {}, 1),
    ],
)
def test_a_known_weakness_fails_the_audit_unless_it_is_explained(
    monkeypatch: pytest.MonkeyPatch, document: Any, accepted: dict[str, str], code: int
) -> None:
    monkeypatch.setattr(audit, "ACCEPTED", accepted)
    assert audit.report(document) == code


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_without_an_advisory_service_it_says_that_nothing_was_audited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], required: str, code: int
) -> None:
    asked = []
    monkeypatch.setenv("REQUIRE_AUDIT", required)
    monkeypatch.setattr(audit, "_ask", lambda *arguments: asked.append(arguments) or {"dependencies": [UNKNOWN]})
    assert audit.main() == code
    assert len(asked) == 1
    assert capsys.readouterr().out.startswith("NOT AUDITED")
