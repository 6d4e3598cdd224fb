"""Child processes: restart, back-off, stop in order, no grandchild left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from stormconsole.supervisor import Child, stop_in_order
from tests.harness.wait import wait_until

FOREVER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
WITH_GRANDCHILD = f"""
import subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}], stdout=subprocess.DEVNULL)
open(sys.argv[1], "w").write(str(child.pid))
signal.pause()
"""


@pytest.fixture
def make_child(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def make(code: str, *arguments: str, name: str = "child") -> Child:
        child = Child(name, [sys.executable, "-c", code, *arguments], os.environ, tmp_path)
        children.append(child)
        child.start()
        return child

    yield make
    for child in children:
        child.wait_or_kill(time.monotonic())


def _tend_until(child: Child, condition: Callable[[], bool]) -> None:
    def tended() -> bool:
        child.tend()
        return condition()

    wait_until(tended, 10)


def test_it_restarts_a_child_that_dies(make_child: Callable[..., Child], capfd: pytest.CaptureFixture[str]) -> None:
    child = make_child(FOREVER)
    first = child.pid
    assert first
    os.kill(first, signal.SIGKILL)
    _tend_until(child, lambda: child.pid not in {None, first})
    assert "child ended with SIGKILL, again in 0.5 s" in capfd.readouterr().out


def test_it_waits_longer_after_each_death(make_child: Callable[..., Child], capfd: pytest.CaptureFixture[str]) -> None:
    child = make_child("raise SystemExit(3)")
    printed: list[str] = []

    def twice() -> bool:
        printed.append(capfd.readouterr().out)
        return "again in 1 s" in "".join(printed)

    _tend_until(child, twice)
    assert "child ended with exit code 3, again in 0.5 s" in "".join(printed)


def test_it_prefixes_every_line(make_child: Callable[..., Child], capfd: pytest.CaptureFixture[str]) -> None:
    make_child("print('one'); print('two')", name="sweep")
    printed: list[str] = []

    def both() -> bool:
        printed.append(capfd.readouterr().out)
        return "sweep  | one\nsweep  | two\n" in "".join(printed)

    wait_until(both)


def test_it_takes_grandchildren_along(make_child: Callable[..., Child], tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    child = make_child(WITH_GRANDCHILD, str(note))
    grandchild = int(wait_until(lambda: note.exists() and note.read_text(), 10) or 0)
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    _tend_until(child, lambda: not _runs(grandchild))


def test_it_stops_in_order_and_kills_the_stubborn(
    make_child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stormconsole.supervisor.STOP_SECONDS", 0.3)
    children = [make_child(STUBBORN, name="stub"), make_child(FOREVER, name="meek")]
    printed: list[str] = []

    def both_up() -> bool:
        printed.append(capfd.readouterr().out)
        return "".join(printed).count("up") == 2

    wait_until(both_up)
    pids = [child.pid or 0 for child in children]
    stop_in_order([[children[0]], [children[1]]])
    assert not any(_runs(pid) for pid in pids)
    assert capfd.readouterr().out == "run    | stub did not stop in time, killing it\n"


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
