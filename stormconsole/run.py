"""`make run`: the whole console on this machine, from a bare checkout.

    python -m stormconsole.run                  start everything, until Ctrl-C
    python -m stormconsole.run web|worker|...   become that component (docker-compose.yml does)
    python -m stormconsole.run manage ARGS...   manage.py with the settings of the console that runs here

With DATABASE_URL or REDIS_URL set, those servers are used; else embedded ones, with data in STORMCONSOLE_DATA_DIR.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from stormconsole.commands import COMPONENTS, PROJECT, STACK_FILE, become, command_line, manage


def main(arguments: list[str]) -> None:
    if not arguments:
        # Here: a component only passes through this module and starts sooner without the supervisor's imports.
        from stormconsole.console import run_console

        run_console(data_directory())
    elif arguments[0] == "manage":
        os.environ.update(_running_stack_env())
        _require_settings()
        become(manage(*arguments[1:]))
    elif arguments[0] in {*COMPONENTS, "migrate"}:
        if arguments[0] == "web":
            _share_metrics()
        become(command_line(arguments[0], os.environ))
    else:
        sys.exit(f"stormconsole: unknown component {arguments[0]!r}: one of {', '.join(COMPONENTS)}, migrate, manage")


def data_directory() -> Path:
    return (PROJECT / os.environ.get("STORMCONSOLE_DATA_DIR", ".data")).absolute()


def _share_metrics() -> None:
    """What the web processes of this start measure themselves is added up in files (prometheus_client's own way)."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="stormconsole-metrics-")


def _require_settings() -> None:
    if not (os.environ.get("SECRET_KEY") or os.environ.get("SECRET_KEY_FILE")):
        sys.exit(
            f"stormconsole: no console runs in {data_directory()}: make run first, or set SECRET_KEY and DATABASE_URL"
        )


def _running_stack_env() -> dict[str, str]:
    """The environment of the console that runs in the data directory, as far as ours does not say otherwise."""
    try:
        stack: dict[str, Any] = json.loads((data_directory() / STACK_FILE).read_text())
    except FileNotFoundError:
        return {}
    env = {"STORMCONSOLE_URL": stack["url"], **stack["env"]}
    return {name: value for name, value in env.items() if name not in os.environ}


if __name__ == "__main__":
    main(sys.argv[1:])
