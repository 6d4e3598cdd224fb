"""The real processes of a console, for tests where processes matter.

    with Stack(web=4, watch=True, kubeconfig=path) as stack:
        answers = post_many(stack.urls, stack.token(), payloads)
        stack.kill("worker")            # SIGKILL; `restart` brings it back
        stack.valkey.kill()
        stack.valkey.start(empty=True)

Every stack has a database of its own (a copy of one migrated database) and a Valkey of its own. Enter it in the main
thread: on Linux the processes die with the thread that started them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
from psycopg import sql

from stormconsole.commands import PROJECT, manage
from stormconsole.embedded import EmbeddedValkey
from stormconsole.processes import die_with_parent, free_port
from tests.harness.wait import wait_until
from tests.plugin import session

TEMPLATE = "stormconsole_template"
LOG_TAIL_LINES = 40


class Process:
    """One component with its log file."""

    def __init__(self, name: str, component: str, env: dict[str, str], log: Path) -> None:
        self.name = name
        self.component = component
        self.env = env
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stormconsole.run", self.component],
                cwd=PROJECT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    def signal(self, number: int) -> None:
        """To the whole process group. SIGKILL returns once the process is gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.wait()

    def stop(self, timeout: float = 8.0) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        self.signal(signal.SIGKILL)
        self._process = None

    def returncode(self) -> int | None:
        return self._process.poll() if self._process else None


class Stack:
    """Context manager: N web processes, worker, sweep, watch on a fresh database and Valkey.

    `web` single-worker web processes listen on ports of their own (`urls`); `env` overrides the settings of all. A
    second worker is called `worker-1`, and so on.
    """

    def __init__(
        self,
        web: int = 1,
        worker: int = 1,
        sweep: int = 1,
        watch: int = 0,
        kubeconfig: str | Path | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.ports = [free_port() for _ in range(web)]
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        self._components = {"worker": int(worker), "sweep": int(sweep), "watch": int(watch)}
        self._kubeconfig = kubeconfig
        self._extra_env = env or {}
        self.processes: dict[str, Process] = {}

    @property
    def url(self) -> str:
        return self.urls[0]

    def __enter__(self) -> Stack:
        self.directory = self.make_directory()
        self.valkey = EmbeddedValkey(self.directory / "valkey", persistent=False)
        self.database = f"stack_{uuid.uuid4().hex[:12]}"
        try:
            self.start_servers()
            self.env = self._make_env()
            self._start_processes()
            self.wait_ready()
        except BaseException as error:
            if isinstance(error, Exception):
                self.show_logs()
            self._tear_down()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception):
            self.show_logs()
        self._tear_down()

    def make_directory(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="stack-", dir=session().scratch))

    def start_servers(self) -> None:
        self.valkey.start()
        _copy_template(self.database)

    def stop_servers(self) -> None:
        self.valkey.stop()
        _drop(self.database)

    def database_url(self) -> str:
        """Where this module, and every process unless `env_of` says otherwise, finds the stack's database."""
        return _with_database(self.database)

    def env_of(self, component: str) -> dict[str, str]:
        """The environment of one component's processes."""
        return self.env

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Until every web process says it is ready, the other components' heartbeats included."""
        for url in self.urls:
            wait_until(lambda url=url: self._is_ready(url), timeout, f"{url}/readyz")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signal one process: `web-0`, `web-1`, ..., `worker`, `worker-1`, ..., `sweep`, `watch`."""
        self.processes[name].signal(number)

    def restart(self, name: str) -> None:
        """Stop the component if it still runs, start it, and wait until the stack is ready."""
        self.processes[name].stop()
        self.processes[name].start()
        self.wait_ready()

    def start(self, name: str) -> None:
        """Start a component that was killed, without waiting."""
        self.processes[name].start()

    def manage(self, *arguments: str, check: bool = True, timeout: float = 60.0) -> str:
        """`manage.py ARGUMENTS`: its standard output, stripped. A failure raises with what it printed."""
        done = subprocess.run(
            manage(*arguments), cwd=PROJECT, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"manage.py {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def token(self, kind: str = "alertmanager", name: str | None = None) -> str:
        """The token of a new receiver."""
        return self.manage("create_receiver", name or f"{kind}-{uuid.uuid4().hex[:8]}", "--kind", kind)

    @contextlib.contextmanager
    def db(self) -> Iterator[psycopg.Connection[Any]]:
        """An autocommit connection to the stack's database."""
        with psycopg.connect(self.database_url(), autocommit=True) as connection:
            yield connection

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of one statement."""
        with self.db() as connection:
            return connection.execute(statement.encode(), parameters or None).fetchall()

    @contextlib.contextmanager
    def closed_database(self) -> Iterator[None]:
        """PostgreSQL refuses this database: open connections are ended, new ones are turned away."""
        _execute("alter database {} allow_connections false", self.database)
        _execute_with(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
            self.database,
        )
        try:
            yield
        finally:
            _execute("alter database {} allow_connections true", self.database)

    def log(self, name: str) -> str:
        return self.processes[name].log.read_text(errors="replace")

    def _make_env(self) -> dict[str, str]:
        env = dict(os.environ) | {
            "DATABASE_URL": self.database_url(),
            "REDIS_URL": self.valkey.url,
            "EXPECTED_COMPONENTS": ",".join(name for name, count in self._components.items() if count),
            "WEB_CONCURRENCY": "1",
            "PYTHONUNBUFFERED": "1",
            "LOG_LEVEL": "INFO",
        }
        if self.urls:
            env["PUBLIC_URL"] = self.urls[0]
        if self._kubeconfig:
            env["KUBECONFIG"] = str(self._kubeconfig)
        return env | self._extra_env

    def _start_processes(self) -> None:
        for number, port in enumerate(self.ports):
            self._add(f"web-{number}", "web", self.env_of("web") | {"PORT": str(port)})
        for component, count in self._components.items():
            for number in range(count):
                self._add(f"{component}-{number}" if number else component, component, self.env_of(component))

    def _add(self, name: str, component: str, env: dict[str, str]) -> None:
        process = self.processes[name] = Process(name, component, env, self.directory / f"{name}.log")
        process.start()

    def _is_ready(self, url: str) -> bool:
        for process in self.processes.values():
            if process.returncode() is not None:
                raise RuntimeError(f"{process.name} ended with {process.returncode()}:\n{self._tail(process)}")
        try:
            response = httpx.get(f"{url}/readyz", timeout=5)
        except httpx.TransportError as error:
            raise AssertionError(str(error)) from error
        assert response.status_code == 200, response.text
        return True

    def show_logs(self) -> None:
        """Into the test's captured output, which pytest shows with the failure."""
        for process in self.processes.values():
            print(f"--- {process.name} (last {LOG_TAIL_LINES} lines)\n{self._tail(process)}")

    def _tail(self, process: Process) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(process.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        return "(no log)"

    def _tear_down(self) -> None:
        for process in self.processes.values():
            process.signal(signal.SIGTERM)
        for process in self.processes.values():
            process.stop(3)
        self.stop_servers()
        shutil.rmtree(self.directory, ignore_errors=True)


def _with_database(name: str) -> str:
    """The session's DATABASE_URL with another database."""
    parts = urlsplit(session().database_url())
    return urlunsplit(parts._replace(path=f"/{name}"))


def _execute(statement: str, *names: str) -> None:
    with psycopg.connect(_with_database("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _execute_with(statement: LiteralString, *parameters: Any) -> None:
    with psycopg.connect(_with_database("postgres"), autocommit=True) as connection:
        connection.execute(statement, parameters)


@cache
def _template() -> str:
    """The name of a migrated database, made once per session."""
    name = f"{TEMPLATE}_{uuid.uuid4().hex[:8]}"
    _execute("create database {}", name)
    env = dict(os.environ) | {"DATABASE_URL": _with_database(name)}
    command = manage("migrate", "--no-input", "-v0")
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"migrate failed:\n{done.stdout}{done.stderr}"
    return name


def _copy_template(name: str) -> None:
    _execute("create database {} template {}", name, _template())


def _drop(name: str) -> None:
    with contextlib.suppress(psycopg.Error):
        _execute("drop database if exists {} with (force)", name)
