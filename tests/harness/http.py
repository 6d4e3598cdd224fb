"""Alertmanager payloads (version 4) and many webhooks at once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx

WEBHOOK = "/api/v1/webhooks/alertmanager"
NEVER = "0001-01-01T00:00:00Z"
"""What Alertmanager gives as `endsAt` of a firing alert (a Go zero time)."""

_serial = itertools.count(1)


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def alert(
    name: str = "PodCrashLooping",
    *,
    namespace: str = "demo",
    status: str = "firing",
    starts_at: datetime | str | None = None,
    ends_at: datetime | str | None = None,
    annotations: dict[str, str] | None = None,
    **labels: str,
) -> dict[str, Any]:
    """One alert of a v4 payload. Without a `pod` label it gets a unique one, so every call is another episode."""
    now = datetime.now(UTC)
    labels = {"alertname": name, "namespace": namespace, "severity": "critical"} | labels
    labels.setdefault("pod", f"pod-{next(_serial)}")
    ended = now if status == "resolved" else NEVER
    return {
        "status": status,
        "labels": labels,
        "annotations": annotations if annotations is not None else {"summary": f"{name} on {labels['pod']}"},
        "startsAt": _time(starts_at or now),
        "endsAt": _time(ends_at or ended),
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": f"{abs(hash(tuple(sorted(labels.items())))):016x}"[-16:],
    }


def resolved(firing: dict[str, Any], *, ends_at: datetime | None = None) -> dict[str, Any]:
    """The resolution of an alert made by `alert`: same labels, same startsAt."""
    return firing | {"status": "resolved", "endsAt": _time(ends_at or datetime.now(UTC))}


def payload(alerts: Sequence[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A webhook body as Alertmanager sends it for one group. `changes` replace or add top-level fields."""
    firing = any(item["status"] == "firing" for item in alerts)
    namespace = alerts[0]["labels"].get("namespace", "") if alerts else ""
    return {
        "version": "4",
        "groupKey": f'{{}}:{{namespace="{namespace}"}}',
        "truncatedAlerts": 0,
        "status": "firing" if firing else "resolved",
        "receiver": "stormconsole",
        "groupLabels": {"namespace": namespace},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": list(alerts),
    } | changes


def post_many(
    urls: str | Sequence[str],
    token: str,
    payloads: Iterable[dict[str, Any]],
    *,
    concurrency: int = 15,
    path: str = WEBHOOK,
    timeout: float = 30.0,
) -> list[Answer]:
    """POST every payload, `concurrency` at a time, to the consoles in turn. Answers are in the payloads' order."""
    bases = [urls] if isinstance(urls, str) else list(urls)
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    with httpx.Client(headers=headers, timeout=timeout, limits=limits) as client:

        def post(numbered: tuple[int, dict[str, Any]]) -> Answer:
            number, body = numbered
            response = client.post(bases[number % len(bases)] + path, json=body)
            return Answer(response.status_code, response.json())

        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(post, enumerate(payloads)))


def outcomes(answers: Iterable[Answer]) -> Counter[str]:
    """How many alerts had which outcome, over all answers."""
    return Counter(result["outcome"] for answer in answers for result in answer.body.get("results", []))


def statuses(answers: Iterable[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def _time(value: datetime | str) -> str:
    return value if isinstance(value, str) else rfc3339(value)
