"""`make bench`: webhooks per second through the very processes of `make run`, the seconds to the resource, and the
milliseconds that many policies take to decide; what five hundred open pages cost; and how long each page takes with
a million alerts.

    make bench                              all of it but the pages, which take a while
    make bench ARGS="--seconds 3 --clients 4 --only webhooks"
    make bench ARGS="--only storm-viewers --viewers 50"         all of them on the page of one storm that goes on
    make bench ARGS="--only storm-viewers --viewers 50 --storm-pause 1"         fetching it more often than it does
    make bench ARGS="--only pages --alerts 1000000 --storms 5000"
    make bench ARGS="--only pages --data-dir /var/tmp/million"      keeps the database, and uses it the next time

Absolute figures drift with the machine; compare the ratios of one run. PostgreSQL is durable (fsync on) as in
`make run`; the load generator shares the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from stormconsole.commands import PROJECT
from stormconsole.embedded import free_port
from tests.bench import pages, policies, viewers
from tests.bench.load import Load, run
from tests.harness.http import alert, payload
from tests.harness.wait import wait_until


@dataclass(frozen=True)
class Running:
    """A console as `make run` starts it: its port, its supervisor's process, the environment of its commands."""

    port: int
    pid: int
    env: dict[str, str]

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "stormconsole.run", "manage", *arguments]
        done = subprocess.run(command, cwd=PROJECT, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def token(self) -> str:
        """The token of a new receiver."""
        return self.manage("create_receiver", "bench")


@contextlib.contextmanager
def running(kubeconfig: str = "", data_dir: str = "") -> Iterator[Running]:
    """`make run` in a scratch folder, or on the data of an earlier one."""
    with tempfile.TemporaryDirectory(prefix="stormconsole-bench-") as scratch:
        port = free_port()
        env = dict(os.environ) | {"PORT": str(port), "LOG_LEVEL": "WARNING"}
        env["STORMCONSOLE_DATA_DIR"] = data_dir or f"{scratch}/data"
        env |= {"KUBECONFIG": kubeconfig} if kubeconfig else {}
        log = Path(scratch, "run.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "stormconsole.run"],
                cwd=PROJECT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            try:
                wait_until(lambda: _ready(port), 240, "readiness")  # with migrations of what is kept
            except AssertionError:
                print(log.read_text()[-4000:])
                raise
            yield Running(port, process.pid, env)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextlib.contextmanager
def console(kubeconfig: str = "") -> Iterator[tuple[int, str]]:
    """The same: (port, a receiver's token)."""
    with running(kubeconfig) as started:
        yield started.port, started.token()


def _ready(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    return False


def webhooks(seconds: float, clients: int) -> None:
    with console() as (port, token):
        run(Load(port, token, alerts=1, seconds=1, clients=clients))
        yardstick = run(Load(port, token, alerts=0, seconds=seconds, clients=clients, path="/healthz"))
        print(f"{'':24}{'requests/s':>12}{'alerts/s':>12}{'p50 ms':>10}{'p99 ms':>10}  statuses")
        _print("GET /healthz", yardstick, 0)
        for alerts in (1, 50):
            _print(f"webhook, {alerts} alerts", run(Load(port, token, alerts, seconds, clients)), alerts)


def _print(name: str, measured: object, alerts: int) -> None:
    from tests.bench.load import Measured

    assert isinstance(measured, Measured)
    rate = measured.per_second
    print(
        f"{name:24}{rate:12.0f}{rate * alerts:12.0f}{measured.percentile(50):10.1f}{measured.percentile(99):10.1f}"
        f"  {dict(measured.statuses)}"
    )


def to_the_resource(rounds: int) -> None:
    """Seconds from the answer to the threshold alert to its resource in a real API server."""
    from tests.harness.kube import running_kube

    with running_kube() as kube, console(kube.kubeconfig) as (port, token):
        took = sorted(_one_storm(kube, port, token) for _ in range(rounds))
    print(f"threshold alert to resource: median {took[len(took) // 2]:.3f} s, worst {took[-1]:.3f} s of {rounds}")


def _one_storm(kube: object, port: int, token: str) -> float:
    from tests.harness.kube import Kube

    assert isinstance(kube, Kube)
    namespace = kube.new_namespace(f"bench-{uuid4().hex[:6]}")
    url = f"http://127.0.0.1:{port}/api/v1/webhooks/alertmanager"
    answer = httpx.post(
        url,
        json=payload([alert(namespace=namespace) for _ in range(10)]),
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 201, answer.text
    started = time.perf_counter()
    wait_until(lambda: kube.resources(namespace), 30, "the resource", interval=0.01)
    return time.perf_counter() - started


MAKE_SESSION = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
user = User.objects.get(is_superuser=True)
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(session.session_key)
"""


def many_viewers(seconds: float, number: int, rounds: int, storm_pause: float = 0.0) -> None:
    with running() as started:
        token, session = started.token(), started.manage("shell", "--verbosity", "0", "-c", MAKE_SESSION)
        viewers.measure(
            started.port,
            token,
            started.pid,
            session,
            viewers=number,
            seconds=seconds,
            rounds=rounds,
            storm_pause=storm_pause,
        )


def every_page(alerts: int, storms: int, rounds: int, data_dir: str) -> bool:
    with running(data_dir=data_dir) as started:
        session = started.manage("shell", "--verbosity", "0", "-c", MAKE_SESSION)
        if not pages.is_filled(started.port, session):
            told = started.manage("seed", "--alerts", str(alerts), "--storms", str(storms))
            print("\n".join(told.splitlines()[-2:]))
        policies.set_up()
        return pages.measure(started.port, started.pid, session, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--viewers", type=int, default=500)
    parser.add_argument("--viewer-rounds", type=int, default=4, help="with and without them, in turn")
    parser.add_argument(
        "--storm-pause", type=float, default=5.0, help="of --only storm-viewers: static/console/storm.js"
    )
    parser.add_argument("--only", choices=["webhooks", "resource", "viewers", "storm-viewers", "policies", "pages"])
    parser.add_argument("--alerts", type=int, default=1_000_000, help="of --only pages")
    parser.add_argument("--storms", type=int, default=5_000, help="of --only pages")
    parser.add_argument("--data-dir", default="", help="of --only pages: where the data is kept (default: nowhere)")
    options = parser.parse_args()
    if options.only in (None, "webhooks"):
        webhooks(options.seconds, options.clients)
    if options.only in (None, "resource"):
        try:
            to_the_resource(options.rounds)
        except LookupError as missing:
            print(f"threshold alert to resource: not measured: {missing}")
    if options.only in (None, "viewers"):
        many_viewers(options.seconds, options.viewers, options.viewer_rounds)
    if options.only == "storm-viewers":
        many_viewers(options.seconds, options.viewers, options.viewer_rounds, options.storm_pause)
    if options.only == "pages" and not every_page(options.alerts, options.storms, options.rounds, options.data_dir):
        sys.exit("a page failed, or missed the target")
    if options.only in (None, "policies"):
        # Last: it sets Django up in this process, with servers that are not there.
        policies.measure()


if __name__ == "__main__":
    main()
