"""Closing, joining, splitting, releasing and opening raced two hundred times each, across real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Console, running_console
from tests.harness.http import WEBHOOK, alert, payload
from tests.harness.kube import Kube
from tests.harness.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROUNDS = 200


class Racers:
    """Kept connections to three web processes, so that what is raced starts at the same moment."""

    def __init__(self, console: Console) -> None:
        self.console = console
        urls = console.stack.urls
        self.webhooks = [
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {console.token}"}, timeout=20) for url in urls
        ]
        self.apis = [
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {console.api_token}"}, timeout=20)
            for url in urls
        ]
        self.pool = ThreadPoolExecutor(4)

    def send(self, web: int, namespace: str, count: int) -> list[dict[str, Any]]:
        body = payload([alert(namespace=namespace) for _ in range(count)])
        answer = self.webhooks[web].post(WEBHOOK, json=body)
        assert answer.status_code in (201, 202), answer.text
        return list(answer.json()["results"])

    def act(self, web: int, path: str, **body: Any) -> int:
        answer = self.apis[web].post(f"/api/v1/{path}/", json=body)
        assert answer.status_code in (200, 409), answer.text
        return answer.status_code

    def together(self, *work: Callable[[], Any]) -> list[Any]:
        return [future.result() for future in [self.pool.submit(one) for one in work]]


@pytest.fixture(scope="module")
def console(kube: Kube, request: pytest.FixtureRequest) -> Iterator[Console]:
    yield from running_console(kube, request, web=3)


@pytest.fixture(scope="module")
def racers(console: Console) -> Racers:
    console.policy("(close|split)-.*", threshold=2, hold_seconds=60)
    console.policy("release-.*", threshold=5, hold_seconds=1)
    return Racers(console)


def everything_adds_up(console: Console, prefix: str, alerts: int) -> None:
    like = f"{prefix}-%"
    assert console.rows("select count(*) from storms_alert where namespace like %s", like) == [(alerts,)]
    late = (
        "select count(*) from storms_alert a join storms_storm s on s.id = a.storm_id where a.decided_at > s.closed_at"
    )
    assert console.rows(late) == [(0,)], "an alert was added to a closed storm"
    astray = "select count(*) from storms_alert where (disposition = 'member') <> (storm_id is not null)"
    assert console.rows(astray) == [(0,)]
    assert console.unaccounted() == 0


def test_close_against_join(console: Console, racers: Racers) -> None:
    for number in range(ROUNDS):
        namespace = f"close-{number}"
        storm = racers.send(0, namespace, 2)[1]["storm"]
        racers.together(
            lambda storm=storm: racers.act(0, f"storms/{storm}/close", comment="race"),
            lambda namespace=namespace: racers.send(1, namespace, 2),
            lambda namespace=namespace: racers.send(2, namespace, 2),
        )
    everything_adds_up(console, "close", ROUNDS * 6)
    by_hand = "select count(*) from storms_storm where close_reason = 'operator'"
    assert console.rows(by_hand) == [(ROUNDS,)]


def test_split_against_close(console: Console, racers: Racers) -> None:
    for number in range(ROUNDS):
        first, second, _ = racers.send(0, f"split-{number}", 3)
        [[alert_id]] = console.rows("select id from storms_alert where fingerprint = %s", first["fingerprint"])
        storm = second["storm"]
        split, closed = racers.together(
            lambda alert_id=alert_id: racers.act(1, f"alerts/{alert_id}/split"),
            lambda storm=storm: racers.act(2, f"storms/{storm}/close", comment="race"),
        )
        assert (split, closed) == (200, 200)
    everything_adds_up(console, "split", ROUNDS * 3)
    out = "select count(*) from storms_alert where namespace like 'split-%' and split_from_id is not null"
    assert console.rows(out) == [(ROUNDS,)]


def test_release_against_open(console: Console, racers: Racers) -> None:
    """The fifth alert of each group comes when the sweep releases the other four."""
    for number in range(ROUNDS):
        racers.send(number % 3, f"release-{number}", 4)
    for number in range(ROUNDS):
        namespace = f"release-{number}"
        due = "select 1 from storms_alert where namespace = %s and release_at <= now() + interval '20 ms'"
        wait_until(lambda namespace=namespace, due=due: console.rows(due, namespace), 10, due, interval=0.005)
        racers.send(number % 3, namespace, 1)

    like = "release-%"
    members = "select count(*) from storms_alert where namespace like %s and disposition = 'member'"
    wait_until(lambda: console.rows(members, like) == [(ROUNDS * 5,)], 30, "every alert in its storm")
    everything_adds_up(console, "release", ROUNDS * 5)
    active = (
        "select r.kind, count(*) from storms_remediationrequest r left join storms_storm s on s.id = r.storm_id"
        " left join storms_alert a on a.id = r.alert_id where r.superseded_by_id is null"
        " and coalesce(s.group_labels->>'namespace', a.namespace) like %s group by 1"
    )
    assert console.rows(active, like) == [("storm", ROUNDS)]
