"""A whole console that can be hurt anywhere: processes, servers of its own, a proxy on every way between them.

    web ---- web_database ----+                         worker, watch ---- kube_proxy ---- API server
    others - database --------+-- PostgreSQL
    web ---- web_store -------+
    others - store -----------+-- Valkey, and its replica

Enter it in the main thread: on Linux the processes die with the thread that started them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg

from stormconsole.commands import PROJECT
from tests.faults.proxies import KubeProxy, Network, TcpProxy
from tests.faults.servers import MAX_CONNECTIONS, Clock, Postgres, Valkey
from tests.harness.kube import Kube
from tests.harness.stack import Stack
from tests.harness.wait import wait_until

FALLBACK = "stormconsole"

_END_OTHERS = """
select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()
"""


class Rig(Stack):
    """`clocks`: the store, PostgreSQL and the console's processes each live by a clock that can be stepped."""

    def __init__(self, kube: Kube, *, web: int = 2, worker: int = 2, sweep: int = 2, clocks: bool = False) -> None:
        super().__init__(web=web, worker=worker, sweep=sweep, watch=1)
        self.kube = kube
        self._with_clocks = clocks

    def make_directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix="stormconsole-faults-"))
        directory.chmod(0o711)  # PostgreSQL is another user when we are root
        return directory

    def start_servers(self) -> None:
        clocks = [Clock(self.directory / f"{name}.clock") for name in ("store", "database", "console")]
        self.clocks = dict(zip(("store", "database", "console"), clocks, strict=True)) if self._with_clocks else {}
        self.postgres = Postgres(self.directory / "postgres", self.clocks.get("database"))
        self.valkey = Valkey(self.directory / "valkey", self.clocks.get("store"))
        self.replica = Valkey(self.directory / "replica", self.clocks.get("store"))
        self.postgres.start()
        self.valkey.start()
        self.database = "stormconsole"
        with self.postgres.connect() as connection:
            connection.execute("create database stormconsole")
        self.network = Network()
        self.web_database = TcpProxy(self.network, self.postgres.socket)
        self.other_database = TcpProxy(self.network, self.postgres.socket)
        self.web_store = TcpProxy(self.network, self._store_address())
        self.other_store = TcpProxy(self.network, self._store_address())
        server = self.kube.server
        if server is None:
            raise LookupError("the API server is not ours: the faults need KUBEBUILDER_ASSETS or KUBE_ENVTEST")
        self.kube_proxy = KubeProxy(self.network, server.port, server.directory / "ca.crt")
        self._kubeconfig = self.kube.account_kubeconfig("stormconsole", server=self.kube_proxy.url)
        self._prepare()

    def stop_servers(self) -> None:
        for server in ("valkey", "replica", "postgres"):
            if hasattr(self, server):
                getattr(self, server).kill()
        if hasattr(self, "kube_proxy"):
            proxies = (self.web_database, self.other_database, self.web_store, self.other_store, self.kube_proxy)
            for proxy in proxies:
                proxy.close()
        if hasattr(self, "network"):
            self.network.stop()
        if self.postgres.socket_directory != self.postgres.directory:
            shutil.rmtree(self.postgres.socket_directory, ignore_errors=True)

    def __enter__(self) -> Rig:
        super().__enter__()
        return self

    def wait_ready(self, timeout: float = 240.0) -> None:
        """Patient: the suite also runs on a machine that has much else to do."""
        super().wait_ready(timeout)

    def database_url(self) -> str:
        return self.postgres.url(self.database)

    def env_of(self, component: str) -> dict[str, str]:
        database = self.web_database if component == "web" else self.other_database
        store = self.web_store if component == "web" else self.other_store
        return (
            self.env
            | {
                "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{database.port}/{self.database}?sslmode=disable",
                "REDIS_URL": f"redis://127.0.0.1:{store.port}/0",
            }
            | (self.clocks["console"].env if self.clocks else {})
        )

    def api(self, path: str) -> Any:
        """The answer of the first web process that gives one."""
        for url in self.urls:
            with contextlib.suppress(httpx.TransportError):
                headers = {"Authorization": f"Bearer {self.api_token}"}
                response = httpx.get(f"{url}/api/v1/{path}", headers=headers, timeout=10)
                assert response.is_success, f"{path}: {response.status_code} {response.text[:300]}"
                return response.json()
        raise AssertionError("no web process answers")

    def new_namespaces(self, words: list[str]) -> list[str]:
        """A namespace for each word, `burst-...`; they exist in the cluster."""
        names = [f"{word}-{uuid.uuid4().hex[:10]}" for word in words]
        for name in names:
            self.kube.create_namespace(name)
        return names

    # --- the console's processes

    def some_of(self, component: str, rng: random.Random) -> list[str]:
        """One of its processes, now and then all of them."""
        names = [name for name, process in self.processes.items() if process.component == component]
        return names if rng.random() < 0.2 else [rng.choice(names)]

    def signal_all(self, names: list[str], number: signal.Signals) -> None:
        for name in names:
            self.kill(name, number)

    def dead(self) -> list[str]:
        """Processes that ended by themselves, with the end of their log."""
        return [
            f"{process.name} ended with {process.returncode()}: {self._tail(process)[-600:]}"
            for process in self.processes.values()
            if process.returncode() is not None
        ]

    # --- Valkey

    def grow_replica(self) -> None:
        """A replica that has everything; a no-op when it is there and in step."""
        if not self.replica.is_running():
            self.replica.start(empty=True)
        self.replica.follow(self.valkey)
        wait_until(self.replica.is_in_step, 10, "the replica is in step")

    def fail_over(self) -> None:
        """The primary dies, the replica takes its place behind the same addresses."""
        self.valkey.kill()
        self.replica.stand_alone()
        self.valkey, self.replica = self.replica, self.valkey
        for proxy in (self.web_store, self.other_store):
            proxy.point_to(self._store_address())

    def count_deferred(self) -> int:
        [[count]] = self.query("select count(*) from storms_alert where disposition = 'deferred'")
        return int(count)

    # --- PostgreSQL

    def restart_postgres(self) -> None:
        """After a kill or a stop: behind the same addresses."""
        self.postgres.start()
        for proxy in (self.web_database, self.other_database):
            proxy.point_to(self.postgres.socket)

    @contextlib.contextmanager
    def locked(self, statement: str, parameters: dict[str, Any] | None = None) -> Iterator[None]:
        """Hold what the statement locks until the block ends."""
        with psycopg.connect(self.database_url()) as connection:
            while True:
                try:
                    connection.execute(statement.encode(), parameters)
                    break
                except psycopg.errors.DeadlockDetected:
                    # The console took the same rows in another order, and this was chosen to give way.
                    connection.rollback()
            yield
            connection.rollback()

    @contextlib.contextmanager
    def out_of_connections(self) -> Iterator[None]:
        """The console's connections are ended, and others take every place before they can come back."""
        hogs: list[psycopg.Connection[Any]] = []

        def hog(_: int) -> None:
            with contextlib.suppress(psycopg.OperationalError):
                hogs.append(self.postgres.connect())

        with self.postgres.connect() as connection, ThreadPoolExecutor(16) as pool:
            list(pool.map(hog, range(MAX_CONNECTIONS)))
            # What is ended makes room for one more, of ours or theirs.
            while connection.execute(_END_OTHERS, [self.database]).fetchall() and len(hogs) < MAX_CONNECTIONS:
                list(pool.map(hog, range(MAX_CONNECTIONS - len(hogs))))
        try:
            yield
        finally:
            for held in hogs:
                held.close()

    # --- Kubernetes

    def wipe_cluster(self, namespaces: list[str]) -> None:
        """etcd lost everything; an administrator makes the namespaces and our objects anew, then a new token."""
        assert self.kube.server is not None
        self.kube.server.wipe()
        self.kube.prepare()
        for name in namespaces:
            self.kube.create_namespace(name)
        self.kube.account_kubeconfig("stormconsole", server=self.kube_proxy.url)

    def _store_address(self) -> tuple[str, int]:
        return "127.0.0.1", self.valkey.port or 0

    def _prepare(self) -> None:
        env = dict(os.environ) | {"DATABASE_URL": self.database_url()}
        command = [sys.executable, "-m", "tests.faults.prepare"]
        done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"prepare failed:\n{done.stdout}{done.stderr}"
        made = json.loads(done.stdout)
        self.webhook_token, self.api_token = made["webhook"], made["api"]
