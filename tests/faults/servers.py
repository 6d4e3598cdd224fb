"""PostgreSQL and Valkey that can be hurt: killed with everything they started, filled up, set to another time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from stormconsole.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.harness.wait import wait_until

LIBRARIES = [
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
]
"""Of Debian's package libfaketime."""

MAX_CONNECTIONS = 100
"""PostgreSQL's, twice of what a rig needs."""


class Clock:
    """A wall clock that can be stepped while its processes run, by libfaketime; monotonic clocks go on as they are."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0)

    def step(self, seconds: float) -> None:
        """From now on (within a second) the processes see the real time and so many seconds more."""
        whole = self._file.with_suffix(".new")
        whole.write_text(f"{seconds:+.3f}s\n")
        whole.chmod(0o644)
        whole.replace(self._file)

    @property
    def env(self) -> dict[str, str]:
        """Of a process that is to live by this clock. Raises LookupError where libfaketime is not installed."""
        library = faketime()
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # The file is read once a second: at every call it would cost more than all the rest.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


def faketime() -> Path:
    """Raises LookupError."""
    for library in LIBRARIES:
        if library.exists():
            return library
    raise LookupError("libfaketime is not installed: apt-get install libfaketime")


class Postgres(EmbeddedPostgres):
    """Durable, as in production: what it acknowledged survives a SIGKILL."""

    def __init__(self, directory: Path, clock: Clock | None) -> None:
        super().__init__(directory, durable=True, max_connections=MAX_CONNECTIONS)
        self._clock = clock

    @property
    def socket(self) -> Path:
        return self.socket_directory / ".s.PGSQL.5432"

    def kill(self) -> None:
        """SIGKILL to the postmaster and all of its children at once, as a power cut."""
        if self.pid is None:
            return
        postmaster = psutil.Process(self.pid)
        # Stopped first: a child that it makes after the list was taken would keep the shared memory, and with it the
        # next postmaster from starting.
        postmaster.suspend()
        wait_until(lambda: postmaster.status() == psutil.STATUS_STOPPED, message="the postmaster is stopped")
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        super().kill()
        psutil.wait_procs(processes, timeout=5)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """An autocommit connection that no proxy stands in front of."""
        return psycopg.connect(self.url(database), autocommit=True)

    def _identity(self) -> dict[str, Any]:
        identity = super()._identity()
        if self._clock:
            identity["env"] = identity["env"] | self._clock.env
        return identity


class Valkey(EmbeddedValkey):
    """With an append-only file: what it answered survives a SIGKILL, unless it is started empty."""

    def __init__(self, directory: Path, clock: Clock | None) -> None:
        super().__init__(directory, persistent=True)
        self._clock = clock

    def client(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port or 0, decode_responses=True)

    def follow(self, primary: Valkey) -> None:
        """Become its replica; returns when everything of it has arrived."""
        with self.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", str(primary.port))

    def is_in_step(self) -> bool:
        with self.client() as client:
            return client.info("replication").get("master_link_status") == "up"

    def stand_alone(self) -> None:
        """Stop following; from now on it takes writes."""
        with self.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")

    def _launch(self, command: list[str], **popen: Any) -> None:
        env = dict(os.environ) | (self._clock.env if self._clock else {})
        super()._launch(command, env=env, **popen)
