"""Every fault: what strikes, for how long, and how it heals. Each function returns when it is healed.

They run in the main thread, while the load is being sent.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.faults.load import Load
from tests.faults.proxies import KubeFault, Proxy
from tests.faults.rig import Rig
from tests.harness.wait import wait_until

LONG_SECONDS = 10.0
"""A pause and a lock last so long."""
DECIDED_WITHIN = 5.0
"""Seconds after the store's return until every deferred alert is decided (design, section 4)."""
QUEUE = "stormconsole.stormconsole"
"""The list in Valkey that is Celery's queue."""


# In the order in which the console locks them.
_ROWS = """
with s as materialized (
    select id from storms_storm where group_labels->>'namespace' = any(%(namespaces)s) order by id for update
), a as materialized (
    select id, (select count(*) from s) from storms_alert where namespace = any(%(namespaces)s) order by id for update
), r as materialized (
    select id, (select count(*) from a) from storms_remediationrequest where id in (select id from s) for update
)
select count(*) from r
"""


@dataclass(frozen=True, slots=True)
class Strike:
    """What a fault may use: the console, the load that is being sent, and the run's chance.

    problems: what the fault itself saw go wrong; notes: figures for the report.
    """

    rig: Rig
    load: Load
    rng: Random
    problems: list[str] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)

    def wait(self, shortest: float, longest: float) -> None:
        time.sleep(self.rng.uniform(shortest, longest))


Inject = Callable[[Strike], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`family`: what is hurt. `heals_late`: what is left needs one more change of every group (a 422)."""

    name: str
    family: str
    inject: Inject
    heals_late: bool = False
    needs_replica: bool = False


def killed(component: str) -> Inject:
    """SIGKILL to one or all of them; started again within half a second, as a supervisor does."""

    def inject(strike: Strike) -> None:
        names = strike.rig.some_of(component, strike.rng)
        strike.rig.signal_all(names, signal.SIGKILL)
        strike.wait(0, 0.5)
        for name in names:
            strike.rig.start(name)

    return inject


def stopped(component: str) -> Inject:
    """SIGSTOP: the process is there, its connections and locks too, but it does nothing."""

    def inject(strike: Strike) -> None:
        names = strike.rig.some_of(component, strike.rng)
        strike.rig.signal_all(names, signal.SIGSTOP)
        strike.wait(1, 3)
        strike.rig.signal_all(names, signal.SIGCONT)

    return inject


def store_killed(*, empty: bool) -> Inject:
    def inject(strike: Strike) -> None:
        strike.rig.valkey.kill()
        strike.wait(0, 1.5)
        strike.rig.valkey.start(empty=empty)

    return inject


def store_paused(strike: Strike) -> None:
    pid = strike.rig.valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    time.sleep(LONG_SECONDS)
    os.kill(pid, signal.SIGCONT)


def store_full(strike: Strike) -> None:
    """Out of memory with `noeviction`: it reads, and refuses every write."""
    with strike.rig.valkey.client() as client:
        client.config_set("maxmemory", "1")
        strike.wait(1, 3)
        client.config_set("maxmemory", "0")


def store_failed_over(strike: Strike) -> None:
    strike.rig.fail_over()
    strike.rig.grow_replica()


def store_set_back(strike: Strike) -> None:
    """The replica had lost touch for a while: what it takes over with is older than what was answered."""
    strike.rig.replica.stand_alone()
    strike.wait(0.2, 1.2)
    strike.rig.fail_over()
    strike.rig.grow_replica()


def store_gone(seconds: float) -> Inject:
    """Nobody is told to send again, and within five seconds of its return nothing is deferred any more."""

    def inject(strike: Strike) -> None:
        strike.rig.valkey.kill()
        time.sleep(seconds)
        deferred = strike.rig.count_deferred()
        strike.rig.valkey.start()
        returned = time.monotonic()
        wait_until(lambda: strike.rig.count_deferred() == 0, 60, "the deferred alerts are decided")
        took = time.monotonic() - returned
        strike.notes.update(deferred=deferred, decided_after=round(took, 2))
        if took > DECIDED_WITHIN:
            strike.problems.append(f"{deferred} deferred alerts were decided after {took:.1f} s")
        # A sender's own impatience on a busy machine is no answer.
        refused = {status: n for status, n in strike.load.statuses.items() if status.isdigit() and status[0] != "2"}
        if refused or not deferred:
            strike.problems.append(f"{deferred} deferred, other answers than 2xx: {refused}")

    return inject


def queue_flushed(strike: Strike) -> None:
    """Whatever is queued is lost, again and again; kombu's own bookkeeping too."""
    until = time.monotonic() + strike.rng.uniform(0.5, 1.5)
    with strike.rig.valkey.client() as client:
        while time.monotonic() < until:
            client.delete(QUEUE, "stormconsole._kombu.binding.stormconsole")
            time.sleep(0.01)


def database_killed(strike: Strike) -> None:
    strike.rig.postgres.kill()
    strike.wait(0, 1)
    strike.rig.restart_postgres()


def database_restarted(strike: Strike) -> None:
    strike.rig.postgres.stop()
    strike.rig.restart_postgres()


def database_full(strike: Strike) -> None:
    with strike.rig.out_of_connections():
        strike.wait(1, 3)


def table_locked(strike: Strike) -> None:
    with strike.rig.locked("lock table storms_alert in access exclusive mode"):
        time.sleep(LONG_SECONDS)


def rows_locked(strike: Strike) -> None:
    """Every storm, alert and request of the run that is there by now."""
    with strike.rig.locked(_ROWS, {"namespaces": [group.namespace for group in strike.load.groups]}):
        time.sleep(LONG_SECONDS)


def cluster(code: int = 0, delay: float = 0.0) -> Inject:
    """The API server answers `code`, or is `delay` seconds late, to half or all of the requests."""

    def inject(strike: Strike) -> None:
        strike.rig.kube_proxy.fault = KubeFault(code, delay, strike.rng.choice([0.5, 1.0]))
        strike.wait(1, 3)
        strike.rig.kube_proxy.fault = None

    return inject


def cluster_killed(strike: Strike) -> None:
    """One of its programs, etcd among them."""
    server = strike.rig.kube.server
    assert server is not None
    server.kill(strike.rng.choice(server.running))
    strike.wait(0, 1)
    server.resume()


def cluster_wiped(strike: Strike) -> None:
    strike.rig.wipe_cluster([group.namespace for group in strike.load.groups])


def clock_stepped(whose: str) -> Inject:
    """Forward or back by up to 30 s, and after a while to the right time again."""

    def inject(strike: Strike) -> None:
        clock = strike.rig.clocks[whose]
        clock.step(strike.rng.choice([-1, 1]) * strike.rng.uniform(2, 30))
        strike.wait(1.5, 3)
        clock.step(0)

    return inject


def cut(way: str) -> Inject:
    """The network between two of them swallows everything; then it forwards what it held back, or drops it."""

    def inject(strike: Strike) -> None:
        proxy: Proxy = getattr(strike.rig, way)
        proxy.cut()
        strike.wait(1, 4)
        proxy.heal(drop=strike.rng.random() < 0.5)

    return inject


FAULTS = [
    *(Fault(f"{name} killed", "process", killed(name)) for name in ("web", "worker", "sweep", "watch")),
    *(Fault(f"{name} stopped", "process", stopped(name)) for name in ("web", "worker", "sweep", "watch")),
    Fault("valkey restarted with data", "valkey", store_killed(empty=False)),
    Fault("valkey restarted empty", "valkey", store_killed(empty=True)),
    Fault("valkey paused 10 s", "valkey", store_paused),
    Fault("valkey out of memory", "valkey", store_full),
    Fault("valkey failed over", "valkey", store_failed_over, needs_replica=True),
    Fault("valkey set back", "valkey", store_set_back, needs_replica=True),
    Fault("queue flushed", "valkey", queue_flushed),
    Fault("postgresql killed", "postgresql", database_killed),
    Fault("postgresql restarted", "postgresql", database_restarted),
    Fault("postgresql out of connections", "postgresql", database_full),
    Fault("table locked 10 s", "postgresql", table_locked),
    Fault("rows locked 10 s", "postgresql", rows_locked),
    *(
        Fault(f"kubernetes answers {code}", "kubernetes", cluster(code), heals_late=code == 422)
        for code in (409, 410, 422, 429, 500)
    ),
    Fault("kubernetes 5 s slow", "kubernetes", cluster(delay=5.0)),
    Fault("kubernetes killed", "kubernetes", cluster_killed),
    Fault("etcd wiped", "kubernetes", cluster_wiped),
    Fault("store's clock stepped", "clock", clock_stepped("store")),
    Fault("database's clock stepped", "clock", clock_stepped("database")),
    Fault("console's clock stepped", "clock", clock_stepped("console")),
    Fault("cut web from postgresql", "network", cut("web_database")),
    Fault("cut web from valkey", "network", cut("web_store")),
    Fault("cut others from postgresql", "network", cut("other_database")),
    Fault("cut others from valkey", "network", cut("other_store")),
    Fault("cut worker from kubernetes", "network", cut("kube_proxy")),
]
OUTAGE = Fault("valkey gone for 60 s", "outage", store_gone(60.0))
