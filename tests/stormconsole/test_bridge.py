"""The server's edge, byte by byte: chunked bodies, limits, senders that take their time."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.harness.http import WEBHOOK, alert, payload
from tests.harness.stack import Stack

pytestmark = pytest.mark.slow
LIMIT = 100_000


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(worker=False, sweep=False, env={"MAX_BODY_BYTES": str(LIMIT), "WEB_THREADS": "2"}) as running:
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
