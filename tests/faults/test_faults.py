"""The short form of `make faults`: a handful of faults, once each, on one console with a real Kubernetes API server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.faults.catalogue import FAULTS, Fault, store_gone
from tests.faults.rig import Rig
from tests.faults.runner import Run, run_once
from tests.harness.kube import Kube
from tests.plugin import failed

pytestmark = pytest.mark.slow

HANDFUL = [
    "web killed",
    "worker killed",
    "valkey set back",
    "postgresql killed",
    "kubernetes answers 500",
    "cut web from valkey",
]


@pytest.fixture(scope="module")
def rig(kube: Kube, request: pytest.FixtureRequest) -> Iterator[Rig]:
    if kube.server is None:
        pytest.skip("the faults need an API server of their own: set KUBEBUILDER_ASSETS or KUBE_ENVTEST")
    with Rig(kube, worker=1, sweep=1) as running:
        yield running
        if request.node.stash.get(failed, False):
            running.show_logs()


def described(run: Run) -> str:
    return f"seed {run.seed}: {run.problems}, answers {run.statuses}, outcomes {run.outcomes}"


@pytest.mark.parametrize("name", HANDFUL)
def test_nothing_is_lost_and_nothing_is_made_twice(rig: Rig, name: str) -> None:
    [fault] = [fault for fault in FAULTS if fault.name == name]
    run = run_once(rig, fault, secrets.randbelow(10**9))
    assert run.ok, described(run)
    assert run.acknowledged > 100


def test_a_store_that_is_gone_defers_and_decides_within_five_seconds(rig: Rig) -> None:
    fault = Fault("valkey gone for 3 s", "outage", store_gone(3.0))
    run = run_once(rig, fault, secrets.randbelow(10**9))
    assert run.ok, described(run)
    assert run.outcomes["deferred"] > 100
