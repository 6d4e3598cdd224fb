"""One run: fresh groups, a burst, the fault at a random moment, the recovery, the reconciliation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random

import httpx
import psycopg

from tests.faults.catalogue import Fault, Strike
from tests.faults.load import Load, outcomes_of
from tests.faults.reconcile import judge, read_rows, unsettled
from tests.faults.rig import Rig

RATE = 200.0
BEFORE, AFTER = 1.0, 1.0
"""Seconds of load before a fault at most, and after it."""
GROUPS = ["burst", "burst", "burst", "now", "few"]
RECOVERY_LIMIT = 60.0
"""Seconds after which what is not settled counts as stuck."""


@dataclass(slots=True)
class Run:
    """What became of one run. recovery: seconds from the end of the load, one after the fault's, until nothing was left
    to do."""

    fault: str
    seed: int
    acknowledged: int = 0
    lost: int = 0
    duplicated_storms: int = 0
    duplicated_resources: int = 0
    recovery: float = 0.0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems and not self.lost and not self.duplicated_storms and not self.duplicated_resources


def run_once(rig: Rig, fault: Fault, seed: int, *, rate: float = RATE) -> Run:
    """Never raises for the console's sake: what went wrong is in `problems`."""
    rng, began = Random(seed), time.monotonic()
    run = Run(fault.name, seed)
    if fault.needs_replica:
        rig.grow_replica()
    load = Load(rig.urls, rig.webhook_token, rig.new_namespaces(GROUPS), rng, rate=rate)
    load.start()
    time.sleep(rng.uniform(0.05, BEFORE))
    strike = Strike(rig, load, rng)
    fault.inject(strike)
    time.sleep(AFTER)
    since = time.monotonic()
    load.stop()
    if fault.heals_late:
        load.send_one_more()
    left = _settle(rig, load, since + RECOVERY_LIMIT)
    run.recovery = max(time.monotonic() - since, 0.0)
    verdict = judge(rig, read_rows(rig, load), load)
    run.acknowledged = load.acknowledged
    run.lost, run.duplicated_storms = verdict.lost, verdict.duplicated_storms
    run.duplicated_resources = verdict.duplicated_resources
    run.problems = [f"stuck: {word}" for word in left] + verdict.problems + strike.problems + rig.dead()
    run.notes = strike.notes
    run.statuses, run.outcomes = dict(load.statuses), dict(outcomes_of(load))
    run.seconds = time.monotonic() - began
    return run


def _settle(rig: Rig, load: Load, deadline: float) -> list[str]:
    """Wait until nothing is left to do and what the cluster holds is right; what is left at the deadline."""
    while True:
        left = _left(rig, load)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.3)


def _left(rig: Rig, load: Load) -> list[str]:
    try:
        rows = read_rows(rig, load)
        left = unsettled(rows, load)
        if rig.kube_proxy.holds_back:
            left.append("a request is on its way to the API server, late")
        # The cluster's side may still be on its way when a resource was wiped and nobody has noticed yet.
        return left or judge(rig, rows, load).problems
    except (psycopg.OperationalError, httpx.HTTPError, AssertionError) as error:
        return [f"{type(error).__name__}: {error}"[:300]]
