"""Processes killed in mid storm: at the end one storm, one resource, the right count, nothing unaccounted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Console, running_console
from tests.harness.http import Answer, alert, outcomes, payload, post_many
from tests.harness.kube import Kube
from tests.harness.wait import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def console(kube: Kube, request: pytest.FixtureRequest) -> Iterator[Console]:
    """A console of its own: its processes are killed, and each test leaves them running."""
    yield from running_console(kube, request, web=2)


def send_around(console: Console, alerts: list[dict[str, Any]], fault: Callable[[], None]) -> list[Answer]:
    """Send the alerts one a webhook, a few at a time; the fault strikes when a third of them are answered."""
    third = len(alerts) // 3
    answers = console.send(alerts[:third], concurrency=4)
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(console.send, alerts[third:], concurrency=4)
        fault()
        return answers + rest.result()


def one_open_storm(console: Console, namespace: str) -> None:
    storms = console.rows(
        "select state, alert_count from storms_storm where group_labels->>'namespace' = %s", namespace
    )
    assert storms == [("open", 300)]


def test_a_killed_worker_loses_nothing(console: Console) -> None:
    namespace = console.kube.new_namespace("worker")

    def kill_worker() -> None:
        console.stack.kill("worker")
        console.stack.start("worker")

    answers = send_around(console, [alert(namespace=namespace) for _ in range(300)], kill_worker)

    assert outcomes(answers) == {"held": 9, "storm_opened": 1, "aggregated": 290}
    console.await_storm(namespace, 300, timeout=40)
    one_open_storm(console, namespace)
    assert console.unaccounted() == 0


def test_a_store_that_lost_everything_loses_nothing(console: Console) -> None:
    namespace = console.kube.new_namespace("store")

    def empty_store() -> None:
        console.stack.valkey.kill()
        console.stack.valkey.start(empty=True)

    answers = send_around(console, [alert(namespace=namespace) for _ in range(300)], empty_store)

    told = outcomes(answers)
    assert told["storm_opened"] == 1
    assert told["held"] == 9
    assert told["aggregated"] + told["deferred"] == 290
    console.await_storm(namespace, 300, timeout=40)
    one_open_storm(console, namespace)
    assert console.rows(
        "select count(*) from storms_alert where namespace = %s and disposition <> 'member'", namespace
    ) == [(0,)]
    assert console.unaccounted() == 0


def test_a_store_emptied_before_the_threshold_goes_on_counting(console: Console) -> None:
    namespace = console.kube.new_namespace("window")
    alerts = [alert(namespace=namespace) for _ in range(15)]
    before = console.send(alerts[:6])
    console.stack.valkey.kill()
    console.stack.valkey.start(empty=True)

    after = console.send(alerts[6:], concurrency=1)

    assert outcomes(before) == {"held": 6}
    told = outcomes(after)
    # The first web threads to find their connections dead may defer; whatever they defer is decided on return.
    assert told["storm_opened"] + told["deferred"] >= 1
    console.await_storm(namespace, 15, timeout=30)
    assert len(console.resources(namespace)) == 1
    assert console.unaccounted() == 0


def test_a_store_that_is_away_defers_and_decides_in_order_on_return(console: Console) -> None:
    namespace = console.kube.new_namespace("away")
    console.stack.valkey.kill()

    answers = console.send([alert(namespace=namespace) for _ in range(15)], concurrency=3)

    assert {answer.status for answer in answers} == {202}
    assert outcomes(answers) == {"deferred": 15}
    console.stack.valkey.start()
    wait_until(
        lambda: console.rows("select count(*) from storms_alert where disposition = 'deferred'") == [(0,)],
        5,
        "deferred alerts decided within five seconds of the store's return",
    )
    console.await_storm(namespace, 15, timeout=30)
    order = console.rows("select count from storms_alert where namespace = %s order by deferred_at, id", namespace)
    assert [count for [count] in order] == list(range(1, 16))
    assert console.unaccounted() == 0


def test_a_killed_web_process_answers_the_same_when_asked_again(console: Console) -> None:
    namespace = console.kube.new_namespace("web")
    alerts = [alert(namespace=namespace) for _ in range(60)]

    def kill_web() -> None:
        console.stack.kill("web-0")
        console.stack.start("web-0")

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(post_until_acknowledged, console, [payload([one]) for one in alerts])
        # In this thread: a process of the stack dies with the thread that started it.
        first_row = "select 1 from storms_alert where namespace = %s"
        wait_until(lambda: console.rows(first_row, namespace), 10, first_row)
        kill_web()
        answers = sent.result()

    assert all(answer.status in (201, 202) for answer in answers)
    console.await_storm(namespace, 60, timeout=30)
    assert console.rows("select count(*) from storms_storm where group_labels->>'namespace' = %s", namespace) == [(1,)]
    console.stack.wait_ready()
    assert console.unaccounted() == 0


def test_postgresql_away_is_a_503_and_its_return_is_noticed_at_once(console: Console) -> None:
    namespace = console.kube.new_namespace("database")
    console.send([alert(namespace=namespace) for _ in range(3)], concurrency=3)
    with console.stack.closed_database():
        refused = console.send([alert(namespace=namespace) for _ in range(6)], concurrency=3)

    # The connections that the web threads held are dead now; no sender hears of it.
    taken = console.send([alert(namespace=namespace) for _ in range(12)], concurrency=3)

    assert {answer.status for answer in refused} == {503}
    assert "PostgreSQL" in refused[0].body["detail"]
    assert {answer.status for answer in taken} == {201, 202}
    console.await_storm(namespace, 15, timeout=30)
    assert console.rows("select count(*) from storms_alert where namespace = %s", namespace) == [(15,)]
    assert console.unaccounted() == 0


def post_until_acknowledged(console: Console, payloads: list[dict[str, Any]]) -> list[Answer]:
    """As Alertmanager does: a webhook without an answer is sent again."""

    def post(numbered: tuple[int, dict[str, Any]]) -> Answer:
        number, body = numbered

        def attempt() -> Answer | None:
            try:
                [answer] = post_many(console.stack.urls[number % 2], console.token, [body])
            except httpx.TransportError:
                return None
            return answer if answer.status < 500 else None

        return wait_until(attempt, 30, "an acknowledgement")

    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(post, enumerate(payloads)))
