"""`make audit`: are there known weaknesses in what is installed? Exit 1 if so, unless a reason is written down here.

pip-audit asks an advisory service about every package. Where none answers (no network, a mirror that keeps no
advisories) nothing is audited: that is said, loudly, and is no failure, or nobody could build offline;
`REQUIRE_AUDIT=1` makes it one. One package is asked about first, so that a mirror is not asked about all in vain.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ACCEPTED: dict[str, str] = {}
"""{advisory's id: why it does not concern us, and until when}."""
TIMEOUT_SECONDS = 600


def main() -> int:
    probe = _ask("--no-deps", "--disable-pip", "-r", _one_package())
    if not audited(probe):
        print("NOT AUDITED: no advisory service answers here; run `make audit` where one is reached.")
        return int(os.environ.get("REQUIRE_AUDIT") == "1")
    return report(_ask("--local"))


def report(found: dict[str, Any] | None) -> int:
    """Print what pip-audit found; its document, or None if it could not ask."""
    names = audited(found)
    weak = weaknesses(found)
    for name, id_, fixed in weak:
        reason = ACCEPTED.get(id_)
        print(f"{name}: {id_}, fixed in {fixed or 'no version yet'}" + (f" (accepted: {reason})" if reason else ""))
    print(f"{len(names)} packages audited, {len(weak)} known weaknesses")
    return int(any(id_ not in ACCEPTED for _, id_, _ in weak) or not names)


def audited(found: dict[str, Any] | None) -> list[str]:
    """The packages that an advisory service knew."""
    return [item["name"] for item in (found or {}).get("dependencies", []) if "skip_reason" not in item]


def weaknesses(found: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """(package, advisory, versions with a fix)."""
    return [
        (f"{item['name']} {item['version']}", weakness["id"], ", ".join(weakness["fix_versions"]))
        for item in (found or {}).get("dependencies", [])
        for weakness in item.get("vulns", [])
    ]


def _one_package() -> str:
    path = Path(tempfile.mkdtemp()) / "one.txt"
    path.write_text(f"pip-audit=={version('pip-audit')}\n")
    return str(path)


def _ask(*arguments: str) -> dict[str, Any] | None:
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        print((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])
        return None
    return document


if __name__ == "__main__":
    sys.exit(main())
