"""`manage.py simulate_operator`: play the remediation operator, for demonstrations and tests."""

import random
import signal
import threading
import time
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from storms.cluster import Cluster, ClusterError, ClusterUnavailable, Resource, is_local, kubernetes_cluster

TERMINAL = {"Completed", "Failed", "Cancelled"}


class Command(BaseCommand):
    help = (
        "Move every RemediationRequest that is not superseded through Pending, Processing and Completed or Failed. "
        "Needs an account that may patch remediationrequests/status (deploy/rbac-operator-simulator.yaml)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--failures", type=_share, default=0.1, metavar="SHARE", help="0 to 1 (default 0.1)")
        parser.add_argument(
            "--delay", type=float, default=2.0, metavar="SECONDS", help="between two phases (default 2)"
        )
        parser.add_argument("--once", action="store_true", help="take every request to its end now, then exit")
        parser.add_argument("--kubeconfig", default=settings.KUBECONFIG, help="the operator's (default: KUBECONFIG)")

    def handle(self, *args: Any, failures: float, delay: float, once: bool, kubeconfig: str, **options: Any) -> None:
        if not kubeconfig and is_local():
            raise CommandError("the local cluster takes no status: configure a cluster with KUBECONFIG")
        try:
            cluster = kubernetes_cluster(kubeconfig, timeout_seconds=settings.KUBERNETES_TIMEOUT_SECONDS)
            operator = Operator(cluster, failures=failures, delay=0 if once else delay)
            if once:
                while operator.step():
                    continue
            else:
                self._run(operator, delay)
        except ClusterError as error:
            raise CommandError(error.message) from error

    def _run(self, operator: "Operator", delay: float) -> None:
        stopped = threading.Event()

        def stop(signum: int, frame: FrameType | None) -> None:
            stopped.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        while not stopped.wait(min(1.0, max(delay / 2, 0.05))):
            try:
                operator.step()
            except ClusterUnavailable as error:
                self.stderr.write(error.message)


class Operator:
    """Moves each request on by one phase whenever `delay` seconds have passed since its last move."""

    def __init__(self, cluster: Cluster, *, failures: float, delay: float) -> None:
        self._cluster = cluster
        self._failures = failures
        self._delay = delay
        self._moved_at: dict[str, float] = {}

    def step(self) -> int:
        """How many requests moved. Raises ClusterErrors."""
        resources, _ = self._cluster.list()
        return sum(self._move(resource) for resource in resources)

    def _move(self, resource: Resource) -> bool:
        metadata = resource["metadata"]
        following = self._next(resource)
        moved_at = self._moved_at.get(metadata["uid"])
        if following is None or (moved_at is not None and time.monotonic() - moved_at < self._delay):
            return False
        phase, message = following
        self._cluster.patch_status(
            metadata["namespace"], metadata["name"], _status(phase, message, metadata["generation"])
        )
        self._moved_at[metadata["uid"]] = time.monotonic()
        return True

    def _next(self, resource: Resource) -> tuple[str, str] | None:
        """(phase, message), or None when there is nothing to do."""
        phase = (resource.get("status") or {}).get("phase")
        superseded_by = resource["spec"].get("supersededBy")
        if phase in TERMINAL:
            return None
        if superseded_by:
            return ("Cancelled", f"superseded by {superseded_by}") if phase else None
        if not phase:
            return "Pending", "accepted"
        if phase == "Pending":
            return "Processing", "remediation is running"
        if random.random() < self._failures:  # noqa: S311
            return "Failed", "the remediation did not help"
        return "Completed", "remediated"


def _status(phase: str, message: str, generation: int) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": "Ready",
        "status": "True" if phase == "Completed" else "False",
        "observedGeneration": generation,
        "lastTransitionTime": now,
        "reason": phase,
        "message": message,
    }
    return {"phase": phase, "message": message, "observedGeneration": generation, "conditions": [condition]}


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value
