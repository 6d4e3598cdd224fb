"""Alerts that come, and what they stand as."""

from collections import Counter
from typing import Any

from storms.models import Alert
from tests.harness.http import alert, payload


def send(console: Any, count: int, namespace: str = "demo", **labels: str) -> list[dict[str, Any]]:
    alerts = [alert(namespace=namespace, **labels) for _ in range(count)]
    response = console.post(payload(alerts))
    assert response.status_code in (201, 202), response.content
    return alerts


def dispositions() -> Counter[str]:
    return Counter(Alert.objects.values_list("disposition", flat=True))
