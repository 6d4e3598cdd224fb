"""`manage.py drill`: send a synthetic storm to a running console, wait until it settles, and reconcile.

What was sent, what was answered, what the ledger says and which resources exist must add up; else exit code 1.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import secrets
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion import ledger
from ingestion.models import Receiver
from ingestion.services import create_receiver, rotate_token
from storms.choices import Disposition, EventKind, SyncState
from storms.models import Alert, RemediationRequest, Storm, StormEvent

PATH = "/api/v1/webhooks/alertmanager"
NAMES = ("PodCrashLooping", "PodNotReady", "HighLatency")
RETRIES = 5
RUN_LABEL = "drill"


@dataclass
class Plan:
    """What to send: `alerts` episodes in webhooks of `batch`, spread over `seconds`, by `clients` at once."""

    alerts: int
    seconds: float
    clients: int
    batch: int
    namespace: str
    run: str = field(default_factory=lambda: secrets.token_hex(3))

    def webhooks(self) -> Iterator[tuple[float, int, bytes]]:
        """(seconds after the start, number of alerts, JSON body) of each webhook."""
        starts_at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        for first in range(0, self.alerts, self.batch):
            numbers = range(first, min(first + self.batch, self.alerts))
            body = {"version": "4", "status": "firing", "alerts": [self._alert(n, starts_at) for n in numbers]}
            yield self.seconds * first / self.alerts, len(numbers), json.dumps(body).encode()

    def _alert(self, number: int, starts_at: str) -> dict[str, Any]:
        labels = {
            "alertname": NAMES[number % len(NAMES)],
            "namespace": self.namespace,
            "pod": f"drill-{self.run}-{number}",
            "severity": "critical" if number % 5 == 0 else "warning",
            RUN_LABEL: self.run,
        }
        annotations = {"summary": f"Synthetic alert {number} of drill {self.run}"}
        return {"status": "firing", "labels": labels, "annotations": annotations, "startsAt": starts_at}


@dataclass
class Answers:
    """What came back, from all clients."""

    statuses: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, status: int, body: bytes, alerts: int) -> None:
        results = json.loads(body).get("results", [])
        with self.lock:
            self.statuses[str(status)] += 1
            self.acknowledged += alerts
            self.outcomes.update(result["outcome"] for result in results)

    def refuse(self, status: str, *, final: bool) -> None:
        with self.lock:
            self.statuses[status] += 1
            if final:
                self.lost.append(status)


class Sender:
    """Posts the plan's webhooks with persistent connections; repeats after 5xx and network errors, as Alertmanager."""

    def __init__(self, plan: Plan, url: str, token: str) -> None:
        self.plan = plan
        self.answers = Answers()
        self._target = urlsplit(url)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._due: queue.SimpleQueue[tuple[float, int, bytes] | None] = queue.SimpleQueue()

    def run(self, progress: Any) -> float:
        """Send everything; call `progress(answers)` about twice a second. Returns the seconds it took."""
        for webhook in self.plan.webhooks():
            self._due.put(webhook)
        threads = [threading.Thread(target=self._client, daemon=True) for _ in range(self.plan.clients)]
        self._started = time.monotonic()
        for thread in threads:
            self._due.put(None)
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
                progress(self.answers)
        return time.monotonic() - self._started

    def _client(self) -> None:
        connection = self._connect()
        while webhook := self._due.get():
            after, alerts, body = webhook
            time.sleep(max(self._started + after - time.monotonic(), 0))
            connection = self._post(connection, alerts, body)
        connection.close()

    def _post(self, connection: http.client.HTTPConnection, alerts: int, body: bytes) -> http.client.HTTPConnection:
        for attempt in range(RETRIES + 1):
            final = attempt == RETRIES
            try:
                connection.request("POST", self._target.path.rstrip("/") + PATH, body, self._headers)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.answers.refuse(type(error).__name__, final=final)
                connection.close()
                connection = self._connect()
            else:
                if response.status < 300:
                    self.answers.accept(response.status, answer, alerts)
                    return connection
                final = final or response.status < 500
                self.answers.refuse(str(response.status), final=final)
            if final:
                return connection
            time.sleep(0.2 * 2**attempt)
        return connection

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._target.scheme == "https" else http.client.HTTPConnection
        return kind(self._target.netloc, timeout=30)


class Reconciliation:
    """What the rows say about the alerts of one run."""

    def __init__(self, run: str, since: datetime) -> None:
        self.alerts = Alert.objects.filter(received_at__gte=since, labels__contains={RUN_LABEL: run})

    def read(self) -> None:
        rows = list(self.alerts.values_list("id", "disposition", "storm_id", "occurrences"))
        self.episodes = len(rows)
        self.occurrences = sum(row[3] for row in rows)
        self.dispositions = Counter(row[1] for row in rows)
        self.storms = list(Storm.objects.filter(id__in={row[2] for row in rows if row[2]}))
        ids = [row[0] for row in rows] + [storm.pk for storm in self.storms]
        self.requests = list(RemediationRequest.objects.filter(id__in=ids))
        self.by_id = {request.pk: request for request in self.requests}
        self.members = {storm.pk: storm.alerts.count() for storm in self.storms}
        self.own = {row[0]: row[2] for row in rows if row[0] in self.by_id}

    def unsettled(self) -> list[str]:
        """What still has to happen, in words."""
        waiting = [self.dispositions[kind] for kind in (Disposition.HELD, Disposition.DEFERRED)]
        behind = [r for r in self.requests if r.sync_state not in _DONE or r.applied_version < r.desired_version]
        text = [f"{n} alerts {kind}" for n, kind in zip(waiting, ("held", "deferred"), strict=True) if n]
        text += [f"{len(behind)} resources not applied: {_first_error(behind)}"] if behind else []
        text += [line for storm in self.storms for line in self._storm_lag(storm)]
        return text

    def _storm_lag(self, storm: Storm) -> list[str]:
        request = self.by_id.get(storm.pk)
        if request is None:
            return [f"storm {storm.pk} has no RemediationRequest"]
        applied = _applied_count(request)
        members = self.members[storm.pk]
        return [] if applied == members else [f"storm {storm.pk}: {members} alerts, alertCount {applied}"]

    def faults(self) -> list[str]:
        """What is wrong and will not mend itself."""
        rejected = [r for r in self.requests if r.sync_state == SyncState.REJECTED]
        faults = [f"{len(rejected)} resources rejected: {_first_error(rejected)}"] if rejected else []
        open_groups = Counter(storm.group_key for storm in self.storms if storm.state == "open")
        faults += [f"group {key[:12]} has {n} open storms" for key, n in open_groups.items() if n > 1]
        for alert_id, storm_id in self.own.items():
            absorbed = self.by_id[alert_id].superseded_by_id
            if storm_id and absorbed != storm_id:
                faults.append(f"alert {alert_id} is in storm {storm_id}, but its own resource is still active")
        return faults

    @property
    def active(self) -> int:
        return sum(r.superseded_by_id is None and r.sync_state != SyncState.SKIPPED for r in self.requests)

    @property
    def superseded(self) -> int:
        return sum(r.superseded_by_id is not None for r in self.requests)

    def seconds_to_resource(self) -> float | None:
        """From the alert that opened the first storm to its first apply."""
        delays = [
            (at - storm.opened_at).total_seconds()
            for storm in self.storms
            for at in StormEvent.objects.filter(storm=storm, kind=EventKind.APPLIED).values_list("at", flat=True)[:1]
        ]
        return min(delays) if delays else None


_DONE = {SyncState.APPLIED, SyncState.SKIPPED, SyncState.REJECTED}


class Command(BaseCommand):
    help = "Send a synthetic storm to a running console and reconcile what was sent with what became of it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--alerts", type=_positive, default=200, help="distinct alerts (default 200)")
        parser.add_argument("--seconds", type=float, default=5.0, help="spread over this time (default 5)")
        parser.add_argument("--clients", type=_positive, default=8, help="concurrent connections (default 8)")
        parser.add_argument("--batch", type=_positive, default=1, help="alerts per webhook (default 1)")
        parser.add_argument("--namespace", help="the alerts' namespace label (default: a new one)")
        parser.add_argument("--url", help="the console (default: the one that `make run` started)")
        parser.add_argument("--token", help="a receiver's token (default: a receiver of the drill's own)")
        parser.add_argument("--timeout", type=float, default=90.0, help="seconds to settle (default 90)")

    def handle(self, **options: Any) -> None:
        plan = Plan(options["alerts"], options["seconds"], options["clients"], options["batch"], "")
        plan.namespace = options["namespace"] or f"drill-{plan.run}"
        url = options["url"] or os.environ.get("STORMCONSOLE_URL") or settings.PUBLIC_URL
        before, since = ledger.totals(), timezone.now()
        sender = Sender(plan, url, options["token"] or _own_token())
        self.stdout.write(f"drill {plan.run}: {plan.alerts} alerts in {plan.seconds:g} s to {url}")
        took = sender.run(lambda answers: self._progress(answers, plan))
        self.stdout.write("")
        found = Reconciliation(plan.run, since)
        unsettled = self._settle(found, options["timeout"])
        delta = _difference(ledger.totals(), before)
        self._report(plan, sender.answers, took, found, delta)
        reasons = _contradictions(plan, sender.answers, found, delta) + unsettled + found.faults()
        if reasons:
            raise CommandError("does not add up:\n  " + "\n  ".join(reasons))
        self.stdout.write(self.style.SUCCESS("adds up"))

    def _progress(self, answers: Answers, plan: Plan) -> None:
        statuses = " ".join(f"{status}:{n}" for status, n in sorted(answers.statuses.items()))
        self.stdout.write(f"\r  {answers.acknowledged}/{plan.alerts} acknowledged  {statuses}", ending="")
        self.stdout.flush()

    def _settle(self, found: Reconciliation, timeout: float) -> list[str]:
        """Wait until nothing is left to do; return what is after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found.read()
            waiting = found.unsettled()
            if not waiting or time.monotonic() > deadline:
                return waiting
            self.stdout.write(f"\r  settling: {'; '.join(waiting)[:100]:<100}", ending="")
            self.stdout.flush()
            time.sleep(0.5)

    def _report(self, plan: Plan, answers: Answers, took: float, found: Reconciliation, delta: dict[str, int]) -> None:
        states = Counter(request.sync_state for request in found.requests)
        delay = found.seconds_to_resource()
        rows = [
            ("sent", f"{plan.alerts} alerts in {took:.1f} s, {plan.alerts / max(took, 0.001):.0f} per second"),
            ("HTTP", _counts(answers.statuses)),
            ("outcomes", _counts(answers.outcomes)),
            ("episodes stored", f"{found.episodes}, received {found.occurrences} times"),
            ("ledger", _counts(Counter(delta))),
            ("storms", ", ".join(f"{s.group_title}: {found.members[s.pk]} alerts" for s in found.storms) or "none"),
            ("resources", f"{found.active} active, {found.superseded} superseded ({_counts(states)})"),
            ("first resource", f"{delay:.2f} s after the storm opened" if delay is not None else "-"),
        ]
        self.stdout.write("\r" + " " * 112 + "\r", ending="")
        for name, text in rows:
            self.stdout.write(f"  {name:<16} {text}")


def _contradictions(plan: Plan, answers: Answers, found: Reconciliation, delta: dict[str, int]) -> list[str]:
    answered = sum(answers.outcomes.values())
    checks = [
        (not answers.lost, f"{len(answers.lost)} webhooks never acknowledged: {_counts(Counter(answers.lost))}"),
        (answers.acknowledged == plan.alerts, f"{answers.acknowledged} of {plan.alerts} alerts acknowledged"),
        (answered == answers.acknowledged, f"{answered} outcomes for {answers.acknowledged} acknowledged alerts"),
        (found.episodes == plan.alerts, f"{found.episodes} of {plan.alerts} episodes stored"),
        (delta.get("received", 0) >= answers.acknowledged, f"the ledger counts {delta.get('received', 0)} received"),
        (delta.get("unaccounted", 0) == 0, f"{delta.get('unaccounted')} unaccounted in the ledger"),
    ]
    return [text for holds, text in checks if not holds]


def _own_token() -> str:
    """A new token of the receiver `drill`, since the one of an earlier drill cannot be read again."""
    receiver = Receiver.objects.filter(name="drill").first()
    return (
        rotate_token(receiver=receiver, overlap=timedelta(0))
        if receiver
        else create_receiver(name="drill", kind="alertmanager")[1]
    )


def _applied_count(request: RemediationRequest) -> int:
    manifest = request.manifest or {}
    return int(manifest.get("spec", {}).get("storm", {}).get("alertCount", 0))


def _first_error(requests: list[RemediationRequest]) -> str:
    return next((request.last_error for request in requests if request.last_error), "no error yet")


def _difference(after: Any, before: Any) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in after.items() if isinstance(value, int)}


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counter.items()) if n) or "none"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value
