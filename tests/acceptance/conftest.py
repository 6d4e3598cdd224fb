"""A whole console against a real Kubernetes API server, and short ways to look at both."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.harness.http import Answer, payload, post_many
from tests.harness.kube import Kube
from tests.harness.stack import Stack
from tests.harness.wait import wait_until
from tests.plugin import failed

_serial = itertools.count(1)


class Console:
    """A running stack with its API server: send alerts, look at the ledger, the rows and the resources."""

    def __init__(self, stack: Stack, kube: Kube) -> None:
        self.stack = stack
        self.kube = kube
        self.token = stack.token()
        stack.manage("createsuperuser", "--no-input", "--username", "root", "--email", "root@example.com")
        self.api_token = stack.manage("create_api_token", "root")

    def send(self, alerts: Sequence[dict[str, Any]], *, concurrency: int = 15, batch: int = 1) -> list[Answer]:
        payloads = [payload(alerts[start : start + batch]) for start in range(0, len(alerts), batch)]
        return post_many(self.stack.urls, self.token, payloads, concurrency=concurrency)

    def api(self, path: str, method: str = "GET", **body: Any) -> Any:
        response = httpx.request(
            method,
            f"{self.stack.url}/api/v1/{path}",
            headers={"Authorization": f"Bearer {self.api_token}"},
            json=body or None,
            timeout=20,
        )
        assert response.is_success, response.text
        return response.json()

    def policy(self, namespace_pattern: str, **fields: Any) -> None:
        """A policy for the namespaces that match."""
        name = f"policy-{next(_serial)}"
        self.api("policies/", "POST", name=name, matchers=f'namespace=~"{namespace_pattern}"', **fields)

    def resources(self, namespace: str) -> list[dict[str, Any]]:
        return self.kube.resources(namespace)

    def active(self, namespace: str) -> list[dict[str, Any]]:
        """Those that are not superseded."""
        return [item for item in self.resources(namespace) if not item["spec"].get("supersededBy")]

    def await_storm(self, namespace: str, count: int, *, timeout: float = 20) -> dict[str, Any]:
        """Until one active resource is left, a storm with this many alerts."""

        def storm() -> dict[str, Any]:
            active = self.active(namespace)
            assert len(active) == 1, f"{len(active)} active resources"
            assert active[0]["spec"]["isStorm"], active[0]["spec"]
            assert active[0]["spec"]["storm"]["alertCount"] == count, active[0]["spec"]["storm"]["alertCount"]
            return active[0]

        return wait_until(storm, timeout, f"a storm of {count} alerts in {namespace}")

    def unaccounted(self) -> int:
        return int(self.api("status/")["unaccounted"])

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.stack.query(statement, *parameters)


def running_console(kube: Kube, request: pytest.FixtureRequest, **options: Any) -> Iterator[Console]:
    """A console and, where a test failed, the logs of its processes."""
    env = {"DJANGO_SUPERUSER_PASSWORD": "a-password-for-tests"} | options.pop("env", {})
    with Stack(kubeconfig=kube.kubeconfig, watch=True, env=env, **options) as stack:
        yield Console(stack, kube)
        if request.node.stash.get(failed, False):
            stack.show_logs()


def describe(answers: Sequence[Answer]) -> str:
    return json.dumps([answer.body for answer in answers], indent=1)[:4000]


@pytest.fixture(scope="module")
def console(kube: Kube, request: pytest.FixtureRequest) -> Iterator[Console]:
    """Four web processes, one worker, the sweep and the watch."""
    yield from running_console(kube, request, web=4)
