"""A sender that remembers exactly what was acknowledged, and sends again what was not, as Alertmanager does."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tests.harness.http import WEBHOOK, payload, resolved
from tests.harness.http import alert as make_alert

CLIENTS = 24
TIMEOUT_SECONDS = 5.0
GIVE_UP_SECONDS = 60.0
RESENT, RESOLVED = 0.25, 0.1
"""Shares of the webhooks that carry alerts of before again, and that carry resolutions."""
FEW = 5


@dataclass(slots=True)
class Group:
    """One group's alerts by their pod. Guarded by the load's lock."""

    namespace: str
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    resolved: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def is_storm(self) -> bool:
        return not self.namespace.startswith("few")


@dataclass(slots=True)
class Webhook:
    due: float
    group: Group
    fresh: list[dict[str, Any]]
    attempts: int = 0


class Load:
    """`rate` alerts a second until it is stopped, over all namespaces, in webhooks of one to eight new alerts."""

    def __init__(self, urls: list[str], token: str, namespaces: list[str], rng: random.Random, *, rate: float) -> None:
        self.groups = [Group(namespace) for namespace in namespaces]
        self.statuses: Counter[str] = Counter()
        self.refused: list[str] = []
        self.unacknowledged = 0
        self._urls, self._rng = urls, rng
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._lock = threading.Lock()
        self._plan_lock = threading.Lock()
        self._plan = self._webhooks(rate)
        self._until = float("inf")

    def start(self) -> None:
        self.started = time.monotonic()
        self._threads = [threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """What was due by now is still sent, until it is acknowledged."""
        self._until = time.monotonic() - self.started
        for thread in self._threads:
            thread.join()

    def send_one_more(self) -> None:
        """A new alert for every group that is a storm, and a resolution for one alert of the others: a change each."""
        for group in self.groups:
            if group.is_storm:
                self._post_until_acknowledged(0, group, [self._alert(group)])
            else:
                for pod in sorted(group.acknowledged - group.resolved):
                    self._post_until_acknowledged(0, group, [resolved(group.alerts[pod])])

    @property
    def acknowledged(self) -> int:
        return sum(len(group.acknowledged) for group in self.groups)

    def _webhooks(self, rate: float) -> Iterator[Webhook]:
        """Endless, in the order in which they are due; the groups below the threshold are done first."""
        storms = [group for group in self.groups if group.is_storm]
        planned = 0
        for group in self.groups:
            for _ in range(0 if group.is_storm else FEW):
                yield Webhook(planned / rate, group, [self._alert(group)])
                planned += 1
        while True:
            group = self._rng.choice(storms)
            size = self._rng.randint(1, 8)
            yield Webhook(planned / rate, group, [self._alert(group) for _ in range(size)])
            planned += size

    def _next(self) -> Webhook | None:
        """None once it was stopped: what is due later is not sent."""
        with self._plan_lock:
            webhook = next(self._plan)
        while webhook.due > time.monotonic() - self.started:
            if webhook.due > self._until:
                return None
            time.sleep(min(0.05, max(self.started + webhook.due - time.monotonic(), 0)))
        return webhook if webhook.due <= self._until else None

    def _alert(self, group: Group) -> dict[str, Any]:
        pod = f"{group.namespace}-{len(group.alerts)}"
        made = make_alert(namespace=group.namespace, pod=pod, starts_at=datetime.now(UTC))
        group.alerts[pod] = made
        return made

    def _client(self, number: int) -> None:
        connections: dict[str, http.client.HTTPConnection] = {}
        while webhook := self._next():
            self._post_until_acknowledged(number, webhook.group, self._with_others(webhook), connections)
        for connection in connections.values():
            connection.close()

    def _with_others(self, webhook: Webhook) -> list[dict[str, Any]]:
        """The group's flush: what is new, perhaps with alerts sent before, perhaps with resolutions."""
        group, sent = webhook.group, list(webhook.fresh)
        if not group.is_storm:
            return sent
        fresh = {alert["labels"]["pod"] for alert in sent}
        with self._lock:
            known = sorted(group.acknowledged - group.resolved - fresh)
            if known and self._rng.random() < RESENT:
                sent += [group.alerts[pod] for pod in self._rng.sample(known, min(3, len(known)))]
            elif len(known) > 20 and self._rng.random() < RESOLVED:
                sent.append(resolved(group.alerts[self._rng.choice(known)]))
        return sent

    def _post_until_acknowledged(
        self,
        number: int,
        group: Group,
        alerts: list[dict[str, Any]],
        connections: dict[str, http.client.HTTPConnection] | None = None,
    ) -> None:
        body = json.dumps(payload(alerts)).encode()
        connections = {} if connections is None else connections
        give_up = time.monotonic() + GIVE_UP_SECONDS
        attempt = 0
        while time.monotonic() < give_up:
            url = self._urls[(number + attempt) % len(self._urls)]
            status, answer = self._post(url, body, connections)
            with self._lock:
                self.statuses[status] += 1
            if status in ("201", "202"):
                self._remember(group, alerts, json.loads(answer))
                return
            if status.startswith("4"):
                with self._lock:
                    self.refused.append(f"{status} {answer[:200]!r}")
                return
            attempt += 1
            time.sleep(min(0.1 * 2**attempt, 1.0))
        with self._lock:
            self.unacknowledged += len(alerts)

    def _post(self, url: str, body: bytes, connections: dict[str, http.client.HTTPConnection]) -> tuple[str, bytes]:
        connection = connections.get(url)
        if connection is None:
            connection = connections[url] = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", WEBHOOK, body, self._headers)
            response = connection.getresponse()
            return str(response.status), response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            connections.pop(url, None)
            return type(error).__name__, b""

    def _remember(self, group: Group, alerts: list[dict[str, Any]], answer: dict[str, Any]) -> None:
        with self._lock:
            group.outcomes.update(result["outcome"] for result in answer["results"])
            for alert in alerts:
                pod = alert["labels"]["pod"]
                group.acknowledged.add(pod)
                if alert["status"] == "resolved":
                    group.resolved.add(pod)


def outcomes_of(load: Load) -> Counter[str]:
    total: dict[str, int] = defaultdict(int)
    for group in load.groups:
        for outcome, count in group.outcomes.items():
            total[outcome] += count
    return Counter(total)
