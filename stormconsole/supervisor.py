"""Child processes that are started together, restarted when they die, and stopped in order.

All methods are for the main thread: on Linux a child dies with the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

from stormconsole.processes import die_with_parent

FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 15.0
HEALTHY_SECONDS = 30.0
"""A child that ran this long starts again at once, with the back-off forgotten."""

STOP_SECONDS = 4.0

_print_lock = threading.Lock()


def say(line: str, name: str = "run") -> None:
    """Print one line behind the name of its process; whole lines, whichever thread they come from."""
    with _print_lock:
        sys.stdout.write(f"{name:<7}| {line}\n")
        sys.stdout.flush()


class Child:
    """One component: its process, in a process group of its own, and its restarts."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], cwd: Path) -> None:
        self.name = name
        self._command = command
        self._env = dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at = 0.0
        self._backoff = FIRST_RESTART_SECONDS

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            self._command,
            cwd=self._cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        self._started_at = time.monotonic()
        if self._process.stdout:
            reader = threading.Thread(target=_copy_lines, args=(self._process.stdout, self.name), daemon=True)
            reader.start()

    def tend(self) -> None:
        """Start the child again when it died, after a pause that doubles while it keeps dying."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._note_death(self._process, now)
        if self._process is None and now >= self._restart_at:
            self.start()

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_or_kill(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then end the whole group, grandchildren included."""
        if self._process is None:
            return
        try:
            self._process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            say(f"{self.name} did not stop in time, killing it")
        self._kill_group(self._process)
        self._process = None

    def _note_death(self, process: subprocess.Popen[bytes], now: float) -> None:
        # A dead master may have left workers that hold its port.
        self._kill_group(process)
        if now - self._started_at >= HEALTHY_SECONDS:
            self._backoff = FIRST_RESTART_SECONDS
        say(f"{self.name} ended with {_exit_text(process.returncode)}, again in {self._backoff:g} s")
        self._restart_at = now + self._backoff
        self._backoff = min(self._backoff * 2, LONGEST_RESTART_SECONDS)
        self._process = None

    @staticmethod
    def _kill_group(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stop_in_order(groups: list[list[Child]]) -> None:
    """Stop each group of children before the next; each group gets `STOP_SECONDS`."""
    for children in groups:
        deadline = time.monotonic() + STOP_SECONDS
        for child in children:
            child.terminate()
        for child in children:
            child.wait_or_kill(deadline)


def _copy_lines(stream: IO[bytes], name: str) -> None:
    with stream:
        for line in stream:
            say(line.decode(errors="replace").rstrip(), name)


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def fail(message: str) -> NoReturn:
    """End with exit code 1 and the reason on standard error."""
    sys.exit(f"stormconsole: {message}")
