"""Runs of the reconciler: asked for, done one at a time, and kept.

`storms.services.reconciling`, `ingestion.ledger_checks` and `ingestion.alertmanager_checks` say what disagrees and how
it is repaired; here is the order. A part whose server is away is skipped, with the reason, and the others are done.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import Error, transaction
from django.db.models import QuerySet
from django.utils import timezone

from ingestion.alertmanager_checks import check_alertmanager, receivers_to_ask
from ingestion.alertmanager_client import AlertmanagerAway
from ingestion.ledger_checks import check_deliveries, check_sums
from ingestion.models import ReconcileRun, RunState
from storms.choices import AuditAction
from storms.cluster import Cluster, ClusterError, get_cluster
from storms.detector import StoreUnavailable
from storms.locks import locked
from storms.observed import storable_status
from storms.reconcile import Finding, Resource, compare_resources, missing_resources
from storms.services import audit, reconciling
from storms.services.reconciling import SETTLED, Checked, Found

logger = logging.getLogger(__name__)

LOCK = 0x5245434F  # "RECO"
KEPT_RUNS = 200
KEPT_FINDINGS = 500
CONFIRM_SECONDS = 2.0
"""A disagreement with the store is believed if it is still there after this time: a webhook may be on its way."""

Part = Callable[[], Checked]


class ReconcilingElsewhere(Exception):
    """Another process reconciles at the moment."""


@transaction.atomic
def request_run(*, dry_run: bool, actor: str = "") -> ReconcileRun:
    """A run that a worker is to do; call `enqueue_reconciliation` after it. One that waits already is taken again."""
    waiting = ReconcileRun.objects.filter(state=RunState.QUEUED, dry_run=dry_run, actor=actor).first()
    if waiting is not None:
        return waiting
    run = ReconcileRun.objects.create(dry_run=dry_run, actor=actor)
    if actor:
        audit.record(action=AuditAction.RECONCILED, actor=actor, target=run, after={"dry_run": dry_run})
    return run


def request_due_run(*, now: datetime) -> ReconcileRun | None:
    """The console's own run, if the last one is `RECONCILE_MINUTES` ago; None if it is not, or never to be."""
    if not settings.RECONCILE_MINUTES:
        return None
    since = now - timedelta(minutes=settings.RECONCILE_MINUTES)
    if ReconcileRun.objects.filter(actor="", dry_run=False, requested_at__gt=since).exists():
        return None
    return request_run(dry_run=False)


def unfinished_runs() -> QuerySet[ReconcileRun]:
    return ReconcileRun.objects.filter(state__in=[RunState.QUEUED, RunState.RUNNING])


def execute(*, run_id: int) -> ReconcileRun:
    """Do a queued run; the row as it is then. One that was done already is only returned.

    Raises: ReconcileRun.DoesNotExist, ReconcilingElsewhere, django.db.Error.
    """
    with _alone():
        # Whoever has the lock is the only one at work: what says that it runs was interrupted.
        interrupted = ReconcileRun.objects.filter(state=RunState.RUNNING)
        interrupted.update(state=RunState.FAILED, finished_at=timezone.now(), error="It was interrupted.")
        run = ReconcileRun.objects.get(id=run_id)
        if run.state != RunState.QUEUED:
            return run
        run.state, run.started_at = RunState.RUNNING, timezone.now()
        run.save(update_fields=["state", "started_at"])
        _do(run)
        _forget_old_runs()
    logger.info(
        "reconciled: %d findings, %d repaired%s%s",
        run.found,
        run.repaired,
        " (dry run)" if run.dry_run else "",
        f", skipped {', '.join(run.skipped)}" if run.skipped else "",
    )
    return run


@contextmanager
def _alone() -> Iterator[None]:
    with locked(LOCK) as mine:
        if not mine:
            raise ReconcilingElsewhere
        yield


def _do(run: ReconcileRun) -> None:
    assert run.started_at is not None
    results = _Results(run)
    try:
        for name, part in _parts(run.started_at).items():
            results.add(name, part)
        run.state = RunState.DONE
    except Error:
        raise
    except Exception as error:
        logger.exception("reconciling failed")
        run.state, run.error = RunState.FAILED, f"{type(error).__name__}: {error}"[:500]
    results.write()
    run.finished_at = timezone.now()
    run.save()


def _parts(now: datetime) -> dict[str, Part]:
    """In their order: what was lost in the rows first, since the store and the cluster follow the rows."""
    return {
        "deliveries": partial(check_deliveries, now),
        "alerts in the ledger": partial(check_sums, now),
        **{
            f"Alertmanager of {receiver.name}": partial(check_alertmanager, receiver.pk)
            for receiver in receivers_to_ask()
        },
        "waiting alerts": partial(reconciling.check_waiting, now),
        "open storms": partial(_twice, reconciling.check_open_storms),
        "groups of the store": partial(_twice, reconciling.check_store),
        "storms counted": reconciling.check_counts,
        "requests not applied": partial(reconciling.check_requests, now),
        "resources in the cluster": partial(check_cluster, now),
    }


def _twice(part: Part) -> Checked:
    """What it finds at both of two looks."""
    first = part()
    if not first.found:
        return first
    time.sleep(CONFIRM_SECONDS)
    seen = {found.finding for found in first.found}
    second = part()
    return Checked(second.count, [found for found in second.found if found.finding in seen])


def check_cluster(now: datetime, connect: Callable[[], Cluster] = get_cluster) -> Checked:
    """One list of the cluster, page by page, against the rows; rows are read after the page, so none is newer than it.

    Raises: ClusterError.
    """
    cluster = connect()
    before = now - SETTLED
    held: set[tuple[str, str]] = set()
    found: list[Found] = []
    for resources, _ in cluster.pages():
        held.update((resource["metadata"]["namespace"], resource["metadata"]["name"]) for resource in resources)
        found += _check_page(resources, cluster.label, before)
    missing = missing_resources(reconciling.request_rows(cluster.label, before), held)
    found += [Found(finding, reconciling.repair_of(finding, None)) for finding in missing]
    return Checked(len(held), found)


def _check_page(resources: list[Resource], label: str, before: datetime) -> list[Found]:
    by_name = {
        resource["metadata"]["name"]: {**resource, "status": storable_status(resource)} for resource in resources
    }
    rows = {row.name: row for row in reconciling.request_rows(label, before, by_name)}
    findings = compare_resources(resources, rows, reconciling.known_names(by_name))
    return [
        Found(finding, reconciling.repair_of(finding, by_name[finding.target.partition("/")[2]]))
        for finding in findings
    ]


class _Results:
    """What the parts of a run found, repaired as it comes, unless the run is dry."""

    def __init__(self, run: ReconcileRun) -> None:
        self.run = run
        self.counts: Counter[str] = Counter()
        self.rows: list[dict[str, str]] = []

    def add(self, name: str, part: Part) -> None:
        try:
            checked = part()
        except (AlertmanagerAway, StoreUnavailable, ClusterError) as error:
            self.run.skipped[name] = str(error)[:300]
            return
        self.run.checked[name] = checked.count
        for found in checked.found:
            self._add(found)

    def _add(self, found: Found) -> None:
        result = self._repair(found)
        self.counts[found.finding.kind] += 1
        self.run.found += 1
        self.run.repaired += result == "repaired"
        if len(self.rows) < KEPT_FINDINGS:
            self.rows.append(_row(found.finding, result))

    def _repair(self, found: Found) -> str:
        if found.repair is None:
            return "listed"
        if self.run.dry_run:
            return "would be repaired"
        try:
            return "repaired" if found.repair() else "gone"
        except (StoreUnavailable, ClusterError) as error:
            return f"not repaired: {error}"[:200]

    def write(self) -> None:
        self.run.counts, self.run.findings = dict(self.counts), self.rows


def _row(finding: Finding, result: str) -> dict[str, str]:
    return {
        "kind": finding.kind,
        "target": finding.target,
        "detail": finding.detail.replace("\x00", ""),
        "result": result,
        "advice": finding.advice,
    }


def _forget_old_runs() -> None:
    kept = ReconcileRun.objects.order_by("-id").values("id")[:KEPT_RUNS]
    ReconcileRun.objects.exclude(id__in=list(kept.values_list("id", flat=True))).delete()
