"""`make run` itself: first start, the printed command, second start, Ctrl-C, and kill -9 of the supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from stormconsole.commands import PROJECT
from stormconsole.processes import free_port
from tests.harness.wait import wait_until
from tests.plugin import session

READY = "stormconsole is ready"
OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")


class Run:
    """One `python -m stormconsole.run` and what it printed."""

    def __init__(self, data: Path, port: int, **env: str) -> None:
        self.data, self.port = data, port
        self.url = f"http://127.0.0.1:{port}"
        self.output = data.with_name(f"{data.name}-{free_port()}.log")
        clean = {name: value for name, value in os.environ.items() if name not in OURS}
        self.env = clean | {"STORMCONSOLE_DATA_DIR": str(data), "PORT": str(port), "WEB_CONCURRENCY": "1"} | env
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stormconsole.run"],
                cwd=PROJECT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def printed(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_ready(self) -> Run:
        def ready() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}:\n{self.printed()}")
            return READY in self.printed()

        wait_until(ready, 60, f"the banner:\n{self.printed()}")
        return self

    def stack(self) -> dict[str, Any]:
        return dict(json.loads((self.data / "stack.json").read_text()))

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "stormconsole.run", "manage", *arguments]
        return subprocess.run(command, cwd=PROJECT, env=self.env, capture_output=True, text=True, check=True).stdout

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(15)


@pytest.fixture
def data() -> Path:
    return session().scratch / f"run-{free_port()}"


@pytest.fixture
def run(data: Path) -> Iterator[Run]:
    started = Run(data, free_port())
    yield started
    _end(started)


def _end(run: Run) -> None:
    if run.process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.stop()
        run.process.kill()
        run.process.wait()


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def test_first_storm_then_stop_then_resume(run: Run) -> None:
    run.wait_ready()
    first = run.printed()
    assert "(shown this once)" in first
    assert "cluster: local" in first
    assert httpx.get(f"{run.url}/readyz").json()["checks"].keys() == {
        *("postgresql", "valkey", "migrations", "worker", "sweep", "watch")
    }
    assert stat.S_IMODE((run.data / "stack.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((run.data / "secret_key").stat().st_mode) == 0o600

    _paste_the_command(first)
    family = run.family()
    assert len(family) >= 6
    assert run.stop() == 0
    assert _alive(family) == []
    assert not (run.data / "stack.json").exists()

    again = Run(run.data, run.port).wait_ready()
    try:
        assert "(shown this once)" not in again.printed()
        counted = again.manage("shell", "-v0", "-c", "from storms.models import Alert; print(Alert.objects.count())")
        assert counted.strip() == "15"
    finally:
        assert again.stop() == 0


def _paste_the_command(printed: str) -> None:
    """Run the printed curl loop in bash, as a reader would: one 201, fourteen 202."""
    match = re.search(r"^\(for .*?wait\)$", printed, re.DOTALL | re.MULTILINE)
    assert match, printed
    done = subprocess.run(["bash", "-c", match[0]], capture_output=True, text=True, timeout=60, check=True)
    assert sorted(done.stdout.split()) == ["201"] + ["202"] * 14, done.stderr


def test_a_killed_component_is_started_again(run: Run) -> None:
    run.wait_ready()
    before = run.stack()["pids"]
    os.kill(before["sweep"], signal.SIGKILL)
    wait_until(lambda: run.stack()["pids"]["sweep"] not in {None, before["sweep"]}, 10, "no new sweep")
    assert {name: pid for name, pid in run.stack()["pids"].items() if name != "sweep"} == {
        name: pid for name, pid in before.items() if name != "sweep"
    }


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG of Linux")
def test_nothing_outlives_a_killed_supervisor(run: Run) -> None:
    run.wait_ready()
    family = run.family()
    run.process.kill()
    run.process.wait()
    # At once, while the old processes are still going down.
    again = Run(run.data, run.port)
    try:
        again.wait_ready()
        assert _alive(family) == []
    finally:
        _end(again)


def test_one_console_per_data_directory(run: Run) -> None:
    run.wait_ready()
    second = Run(run.data, free_port())
    assert second.process.wait(10) == 1
    assert second.printed() == (
        f"stormconsole: {run.data} is in use by process {run.process.pid}: a console is running there; stop it, "
        "or set STORMCONSOLE_DATA_DIR (and PORT) for a second one\n"
    )


def test_a_taken_port_is_said_before_anything_starts(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = Run(data, port)
        assert run.process.wait(20) == 1
    assert f"port {port} of 127.0.0.1 is in use: set PORT to another one" in run.printed()
    assert "embedded" not in run.printed()


def test_a_wrong_port_is_said(data: Path) -> None:
    run = Run(data, 0, PORT="http")
    assert run.process.wait(10) == 1
    assert run.printed() == "stormconsole: PORT: expected a number from 1 to 65535, got 'http'\n"


def test_given_servers_are_used(data: Path) -> None:
    """DATABASE_URL and REDIS_URL switch to real servers; here they are refused, and nothing embedded starts."""
    closed = free_port()
    given = {"DATABASE_URL": f"postgresql://x@127.0.0.1:{closed}/x", "REDIS_URL": f"redis://127.0.0.1:{closed}/0"}
    run = Run(data, free_port(), **given)
    assert run.process.wait(30) == 1
    assert "the database could not be prepared" in run.printed()
    assert "embedded" not in run.printed()


def test_it_stops_while_it_starts(data: Path) -> None:
    run = Run(data, free_port())
    wait_until(lambda: "starting web" in run.printed(), 30, "no components started")
    family = run.family()
    assert run.stop() == 0
    assert _alive(family) == []
