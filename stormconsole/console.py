"""The supervisor behind `make run`: embedded servers, first start, the four components, the banner, the stop."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from stormconsole.commands import COMPONENTS, HEARTBEATS, PROJECT, STACK_FILE, manage
from stormconsole.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedServerError, EmbeddedValkey
from stormconsole.processes import DataDirectoryInUseError, exclusive
from stormconsole.supervisor import Child, fail, say, stop_in_order

PORT_WAIT_SECONDS = 6.0


def run_console(data: Path) -> None:
    """Run a console with its data in `data` until SIGINT or SIGTERM. Ends the process with a reason when it cannot."""
    try:
        with exclusive(data):
            Console(data).run()
    except DataDirectoryInUseError as error:
        fail(f"{error}: a console is running there; stop it, or set STORMCONSOLE_DATA_DIR (and PORT) for a second one")
    except EmbeddedServerError as error:
        fail(str(error))


class Console:
    """The supervisor: owns the embedded servers and the four components from start to stop."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.host = os.environ.get("HOST", "127.0.0.1")
        self.port = _port(os.environ.get("PORT", "8000"))
        local = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104
        self.url = f"http://{local}:{self.port}"
        self.env = dict(os.environ)
        self.servers: list[EmbeddedServer] = []
        self.children: list[Child] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        """Start, tend and stop. Returns when SIGINT or SIGTERM arrived and everything has ended."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stopping.set())
        self._require_port()
        try:
            self._start_servers()
            self._settle_environment()
            made = self._prepare()
            if not self.stopping.is_set():
                self._start_children()
                self._tend_until_ready()
            if not self.stopping.is_set():
                self._print_banner(made)
            while not self.stopping.wait(0.2):
                self._tend()
        finally:
            self._stop()

    def _require_port(self) -> None:
        """Fail early when the port is taken; a console that was just killed gets some seconds to let go of it."""
        was_killed = (self.data / STACK_FILE).exists()
        deadline = time.monotonic() + (PORT_WAIT_SECONDS if was_killed else 0)
        while not _can_listen(self.host, self.port):
            if time.monotonic() > deadline or self.stopping.wait(0.2):
                fail(f"port {self.port} of {self.host} is in use: set PORT to another one")

    def _start_servers(self) -> None:
        if not (self.env.get("DATABASE_URL") or self.env.get("DATABASE_URL_FILE")):
            postgres = EmbeddedPostgres(self.data / "postgres")
            self.servers.append(postgres)
            self.env["DATABASE_URL"] = postgres.start().url()
        if not (self.env.get("REDIS_URL") or self.env.get("REDIS_URL_FILE")):
            valkey = EmbeddedValkey(self.data / "valkey")
            self.servers.append(valkey)
            self.env["REDIS_URL"] = valkey.start().url
        for server in self.servers:
            say(f"embedded {server.name} in {server.directory} (pid {server.pid})")

    def _settle_environment(self) -> None:
        if not (self.env.get("SECRET_KEY") or self.env.get("SECRET_KEY_FILE")):
            self.env["SECRET_KEY_FILE"] = str(_kept_secret(self.data / "secret_key"))
        self.env.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")
        self.env.setdefault("PUBLIC_URL", self.url)
        self.env.setdefault("EXPECTED_COMPONENTS", ",".join(HEARTBEATS))
        self.env["PYTHONUNBUFFERED"] = "1"
        # Our own readiness probe comes over the loopback, whatever name the users call the console by.
        if hosts := self.env.get("ALLOWED_HOSTS"):
            self.env["ALLOWED_HOSTS"] = f"{hosts},127.0.0.1,localhost"

    def _prepare(self) -> dict[str, str]:
        """Migrate and make what a first start needs; `{password, token}` as far as they were made just now."""
        say("migrations")
        with subprocess.Popen(
            [sys.executable, "-m", "stormconsole.first_start"], cwd=PROJECT, env=self.env, stdout=subprocess.PIPE
        ) as process:
            printed = process.communicate()[0].decode()
        if process.returncode and not self.stopping.is_set():
            fail("the database could not be prepared, see above")
        return dict(json.loads(printed)) if printed.strip() else {}

    def _start_children(self) -> None:
        for name in COMPONENTS:
            child = Child(name, [sys.executable, "-m", "stormconsole.run", name], self.env, PROJECT)
            self.children.append(child)
            child.start()
        self._write_stack_file()

    def _tend(self) -> None:
        before = [child.pid for child in self.children]
        for child in self.children:
            child.tend()
        if [child.pid for child in self.children] != before:
            self._write_stack_file()

    def _tend_until_ready(self) -> None:
        """Wait for /readyz; every 15 s say what it still waits for."""
        say(f"starting {', '.join(COMPONENTS)}")
        last_said = time.monotonic()
        while (trouble := _not_ready(self.url)) and not self.stopping.wait(0.1):
            self._tend()
            if time.monotonic() - last_said > 15:
                say(f"not ready: {trouble}")
                last_said = time.monotonic()

    def _write_stack_file(self) -> None:
        """What `manage` and `make drill` need to talk to this console; readable by its owner only."""
        names = ("DATABASE_URL", "DATABASE_URL_FILE", "REDIS_URL", "REDIS_URL_FILE", "SECRET_KEY", "SECRET_KEY_FILE")
        kept = (*names, "KUBECONFIG", "REMEDIATION_NAMESPACE", "PUBLIC_URL", "ALLOWED_HOSTS")
        stack = {
            "url": self.url,
            "port": self.port,
            "pid": os.getpid(),
            "pids": {child.name: child.pid for child in self.children},
            "env": {name: self.env[name] for name in kept if self.env.get(name)},
        }
        _write_private(self.data / STACK_FILE, json.dumps(stack, indent=2))

    def _print_banner(self, made: dict[str, str]) -> None:
        lines = [f"stormconsole is ready: {self.url}", f"  cluster: {_cluster(self.env)}"]
        if made.get("password"):
            lines.append(f"  log in as admin, password {made['password']} (shown this once)")
        if made.get("token"):
            lines += [f"  receiver token {made['token']} (shown this once)", "", "Send a first storm of 15 alerts:", ""]
            lines += first_storm(self.url, made["token"]).splitlines()
        else:
            lines.append("  new token: make manage ARGS='create_receiver NAME --kind alertmanager'")
        lines += ["", "A bigger one: make drill. Stop with Ctrl-C."]
        sys.stdout.write("\n" + "\n".join(lines) + "\n\n")
        sys.stdout.flush()
        self._check_crd()

    def _check_crd(self) -> None:
        """The definition is the cluster administrator's to install: look, and say how."""
        if not self.env.get("KUBECONFIG"):
            return
        check = subprocess.run(  # noqa: S603
            manage("install_crd", "--check"), env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        if check.returncode:
            say(f"custom resource definition: {(check.stdout + check.stderr).strip().splitlines()[-1:]}")
            say("install it with: make manage ARGS=install_crd (needs the right to create CRDs)")

    def _stop(self) -> None:
        say("stopping")
        self.stopping.set()
        web = [child for child in self.children if child.name == "web"]
        stop_in_order([web, [child for child in self.children if child not in web]])
        for server in reversed(self.servers):
            server.stop()
        (self.data / STACK_FILE).unlink(missing_ok=True)
        say("stopped")


def first_storm(url: str, token: str) -> str:
    """A shell command that sends 15 alerts at once: one answer 201, fourteen 202."""
    labels = '{"alertname":"PodCrashLooping","namespace":"demo","pod":"web-\'$i\'","severity":"critical"}'
    alert = f'{{"status":"firing","labels":{labels},"annotations":{{}},"startsAt":"\'$(date -u +%FT%TZ)\'"}}'
    return f"""\
(for i in $(seq 15); do curl -sS -o /dev/null -w '%{{http_code}}\\n' {url}/api/v1/webhooks/alertmanager \\
  -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\
  -d '{{"version":"4","status":"firing","alerts":[{alert}]}}' & done; wait)"""


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        fail(f"PORT: expected a number from 1 to 65535, got {text!r}")
    return int(text)


def _can_listen(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _not_ready(url: str) -> str:
    """What /readyz says is missing, or nothing."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=3):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError, AttributeError):
            checks = json.load(error).get("checks", {})
            return ", ".join(f"{name}: {check['detail']}" for name, check in checks.items() if "detail" in check)
        return f"HTTP {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))


def _kept_secret(path: Path) -> Path:
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(48))
    return path


def _write_private(path: Path, text: str) -> None:
    """Write whole or not at all, readable by the owner only from the first byte on."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def _cluster(env: dict[str, str]) -> str:
    """Where the RemediationRequests go, in words."""
    if path := env.get("KUBECONFIG"):
        try:
            config = yaml.safe_load(Path(path).read_text())
            context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
            server = next(c["cluster"]["server"] for c in config["clusters"] if c["name"] == context["cluster"])
        except (OSError, KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
            return f"KUBECONFIG={path} cannot be used: {error!r}"
        return f"{server} (KUBECONFIG={path})"
    if env.get("KUBERNETES_SERVICE_HOST"):
        return "the one this process runs in"
    return "local (no KUBECONFIG: resources are kept in PostgreSQL, nothing acts on them)"
