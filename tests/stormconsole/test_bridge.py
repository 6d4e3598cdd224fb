"""The server's edge, byte by byte: chunked bodies, limits, senders that take their time."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psycopg
import pytest

from tests.harness.http import WEBHOOK, alert, payload
from tests.harness.stack import Stack
from tests.harness.wait import wait_until

pytestmark = pytest.mark.slow
LIMIT = 100_000


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    env = {"MAX_BODY_BYTES": str(LIMIT), "WEB_THREADS": "2", "WEB_BUFFER_BYTES": str(3 * LIMIT)}
    with Stack(worker=False, sweep=False, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def headers(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.token()}", "Content-Type": "application/json"}


def test_a_chunked_body_is_read(stack: Stack, headers: dict[str, str]) -> None:
    body = json.dumps(payload([alert()])).encode()
    pieces = (body[start : start + 100] for start in range(0, len(body), 100))

    answer = httpx.post(stack.url + WEBHOOK, content=pieces, headers=headers)

    assert answer.request.headers["Transfer-Encoding"] == "chunked"
    assert answer.status_code == 202, answer.text


def test_a_chunked_body_over_the_limit_is_refused(stack: Stack, headers: dict[str, str]) -> None:
    answer = httpx.post(stack.url + WEBHOOK, content=(b"x" * 10_000 for _ in range(11)), headers=headers)
    assert answer.status_code == 413


def test_a_declared_length_over_the_limit_is_refused_before_the_body_comes(
    stack: Stack, headers: dict[str, str]
) -> None:
    with connect(stack) as connection:
        connection.sendall(head(headers, LIMIT + 1))
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_slow_senders_hold_no_thread(stack: Stack, headers: dict[str, str]) -> None:
    """Twenty senders that stop after a byte, and two threads: others are served all the same."""
    with ExitStack() as slow:
        for _ in range(20):
            connection = slow.enter_context(connect(stack))
            connection.sendall(head(headers, 1000) + b"{")
        answer = httpx.post(stack.url + WEBHOOK, json=payload([alert()]), headers=headers, timeout=5)
    assert answer.status_code == 202


def test_bodies_that_never_end_give_way_to_others(stack: Stack, headers: dict[str, str]) -> None:
    """Whoever reaches the port could fill what all bodies may hold together; nobody asked for a token yet."""
    stranger = {"Content-Type": "application/json"}
    with ExitStack() as stalled:
        connections = []
        for _ in range(3):
            connection = stalled.enter_context(connect(stack))
            connection.sendall(head(stranger, LIMIT) + b"x" * (LIMIT - 1))
            connections.append(connection)
        for _ in range(3):
            body = json.dumps(payload([alert() for _ in range(100)])).encode()
            answer = httpx.post(stack.url + WEBHOOK, content=body, headers=headers, timeout=5)
            assert answer.status_code in (201, 202), answer.text
        assert connections[0].recv(100).startswith(b"HTTP/1.1 503")


def test_it_says_that_it_lives_while_every_thread_waits(stack: Stack, headers: dict[str, str]) -> None:
    """A locked table keeps all webhooks waiting; a restart of the process would not help."""
    with psycopg.connect(stack.database_url()) as locker, ThreadPoolExecutor(4) as pool:
        locker.execute("lock table storms_alert in access exclusive mode")
        waiting = [
            pool.submit(httpx.post, stack.url + WEBHOOK, json=payload([alert()]), headers=headers, timeout=30)
            for _ in range(4)
        ]
        wait_until(lambda: blocked(stack) >= 2, 10, "both threads wait for the lock")
        assert httpx.get(f"{stack.url}/healthz", timeout=5).status_code == 200
        locker.rollback()
        assert {answer.result().status_code for answer in waiting} <= {201, 202}


def blocked(stack: Stack) -> int:
    """How many connections wait for a lock."""
    [[count]] = stack.query("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
    return int(count)


def test_a_sender_that_leaves_harms_nobody(stack: Stack, headers: dict[str, str]) -> None:
    with connect(stack) as connection:
        connection.sendall(head(headers, 1000) + b"{")
    assert httpx.post(stack.url + WEBHOOK, json=payload([alert()]), headers=headers).status_code == 202


def test_pages_headers_and_cookies_come_through(stack: Stack) -> None:
    login = httpx.get(f"{stack.url}/login/")
    assert login.status_code == 200
    assert "csrftoken" in login.cookies
    assert login.headers["X-Frame-Options"] == "DENY"
    css = httpx.get(f"{stack.url}/static/console/console.css")
    assert (css.status_code, css.headers["Content-Type"].partition(";")[0]) == (200, "text/css")
    assert int(css.headers["Content-Length"]) > 1000


def connect(stack: Stack) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", stack.ports[0]), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(headers: dict[str, str], length: int) -> bytes:
    lines = [f"POST {WEBHOOK} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
