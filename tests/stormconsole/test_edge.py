"""The web process under peers that mean harm, or know no better: it says no in time, and goes on serving the others."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest
import redis
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as websocket

from stormconsole.pressure import KEY
from tests.harness.http import WEBHOOK, alert, payload
from tests.harness.stack import Stack
from tests.harness.wait import wait_until

pytestmark = pytest.mark.slow
CONNECTIONS = 40


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    env = {"WEB_THREADS": "2", "WEB_QUEUE": "4", "WEB_CONNECTIONS": str(CONNECTIONS), "TRUSTED_PROXIES": "127.0.0.1"}
    with Stack(worker=False, sweep=False, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def headers(stack: Stack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.token()}", "Content-Type": "application/json"}


def connect(stack: Stack) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", stack.ports[0]), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(headers: dict[str, str], length: int) -> bytes:
    lines = [f"POST {WEBHOOK} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def drip(connection: socket.socket, piece: bytes, *, every: float = 0.5, most: int = 60) -> bytes:
    """Send the piece again and again until the console answers or closes; the start of its answer."""
    connection.settimeout(every)
    for _ in range(most):
        try:
            connection.sendall(piece)
            return connection.recv(100)
        except TimeoutError:
            continue
        except OSError:
            return b""
    raise AssertionError("the console went on listening")


def shed(stack: Stack, reason: str) -> int:
    with redis.Redis.from_url(stack.env["REDIS_URL"]) as store:
        return int(store.hget(KEY, reason) or 0)


def serves(stack: Stack, headers: dict[str, str]) -> None:
    answer = httpx.post(stack.url + WEBHOOK, json=payload([alert()]), headers=headers, timeout=10)
    assert answer.status_code in (201, 202), answer.text


# --- senders that take their time


def slow_head(stack: Stack, headers: dict[str, str]) -> bytes:
    with connect(stack) as connection:
        connection.sendall(f"POST {WEBHOOK} HTTP/1.1\r\n".encode())
        return drip(connection, b"x-slow: 1\r\n")


def blank_lines(stack: Stack, headers: dict[str, str]) -> bytes:
    with connect(stack) as connection:
        return drip(connection, b"\r\n")


def slow_body(stack: Stack, headers: dict[str, str]) -> bytes:
    with connect(stack) as connection:
        connection.sendall(head(headers, 100_000))
        return drip(connection, b"x", every=1)


def silence(stack: Stack, headers: dict[str, str]) -> bytes:
    with connect(stack) as connection:
        return connection.recv(100)


def refused_and_goes_on(stack: Stack, headers: dict[str, str]) -> bytes:
    """Refused by its length; the rest of it, a byte now and then, does not keep the connection."""
    with connect(stack) as connection:
        connection.sendall(head(headers, 11 * 1024 * 1024))
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413
        answer.read()
        return drip(connection, b"x")


def test_a_peer_that_takes_its_time_has_to_go(stack: Stack, headers: dict[str, str]) -> None:
    """All at once, each for its ten seconds; others are served meanwhile."""
    peers = {
        slow_head: b"HTTP/1.1 408",
        blank_lines: b"HTTP/1.1 408",
        slow_body: b"HTTP/1.1 408",
        silence: b"",
        refused_and_goes_on: b"",
    }
    with ThreadPoolExecutor(len(peers)) as pool:
        answers = [(peer, pool.submit(peer, stack, headers)) for peer in peers]
        serves(stack, headers)
        for peer, answer in answers:
            start = answer.result(40)
            assert start[: len(b"HTTP/1.1 408")] == peers[peer], peer.__name__
    wait_until(lambda: (shed(stack, "slow_head"), shed(stack, "slow_body")) == (2, 2), 5, "counted")
    serves(stack, headers)


# --- too much at once


def test_idle_connections_give_way(stack: Stack, headers: dict[str, str]) -> None:
    with ExitStack() as idle:
        for _ in range(3 * CONNECTIONS):
            idle.enter_context(connect(stack))
        for _ in range(3):
            serves(stack, headers)
    wait_until(lambda: shed(stack, "connection_dropped") >= 2 * CONNECTIONS, 5, "counted")


@pytest.mark.parametrize("kind", ["one line", "many lines", "address"])
def test_an_endless_head_is_cut(stack: Stack, headers: dict[str, str], kind: str) -> None:
    endless = {
        "one line": (b"GET /healthz HTTP/1.1\r\nx: ", b"x" * 4096),
        "many lines": (b"GET /healthz HTTP/1.1\r\n", b"x: y\r\n" * 700),
        "address": (b"GET /", b"x" * 4096),
    }
    opening, more = endless[kind]
    with connect(stack) as connection:
        connection.sendall(opening)
        answer = drip(connection, more, every=0.001, most=5000)
        assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")), answer
    serves(stack, headers)


def test_endless_trailers_and_tiny_chunks_are_cut(stack: Stack, headers: dict[str, str]) -> None:
    lines = [f"POST {WEBHOOK} HTTP/1.1", "Host: 127.0.0.1", "Transfer-Encoding: chunked"]
    opening = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
    for start, more in ((b"1\r\n{\r\n0\r\n", b"x-more: y\r\n" * 400), (b"", b"1;" + b"x" * 4000 + b"\r\n{\r\n")):
        with connect(stack) as connection:
            connection.sendall(opening + start)
            drip(connection, more, every=0.001, most=5000)


def test_more_requests_than_may_wait_are_shed_whole_and_counted(stack: Stack, headers: dict[str, str]) -> None:
    """Two threads, four places to wait, forty senders: each gets all of its batch taken in, or a 503."""
    batch = [payload([alert(namespace=f"shed-{number}") for _ in range(50)]) for number in range(40)]
    before = shed(stack, "queue_full")

    def send(body: dict[str, Any]) -> httpx.Response:
        return httpx.post(stack.url + WEBHOOK, json=body, headers=headers, timeout=30)

    with ThreadPoolExecutor(len(batch)) as pool:
        answers = list(pool.map(send, batch))

    refused = [answer for answer in answers if answer.status_code == 503]
    taken = [answer for answer in answers if answer.status_code in (201, 202)]
    assert len(refused) + len(taken) == len(batch)
    assert refused
    assert taken
    for answer in refused:
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["Content-Type"] == "application/problem+json"
    stored = stack.query("select count(*) from storms_alert where namespace like 'shed-%%'")
    assert stored == [(50 * len(taken),)]
    wait_until(lambda: shed(stack, "queue_full") == before + len(refused), 5, "counted")


def test_an_overloaded_process_still_says_that_it_lives(stack: Stack, headers: dict[str, str]) -> None:
    body = payload([alert(namespace="busy") for _ in range(300)])

    def send(_: int) -> int:
        return httpx.post(stack.url + WEBHOOK, json=body, headers=headers, timeout=30).status_code

    with ThreadPoolExecutor(20) as pool:
        sent = pool.map(send, range(40))
        probes = [httpx.get(f"{stack.url}/healthz", timeout=30).status_code for _ in range(5)]
        assert 503 in set(sent)
    assert probes == [200] * 5


# --- bodies


def compressed(name: str, body: bytes) -> bytes:
    if name == "gzip":
        return gzip.compress(body)
    if name == "raw deflate":
        raw = zlib.compressobj(wbits=-15)
        return raw.compress(body) + raw.flush()
    return zlib.compress(body)


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw deflate", "two members"])
def test_compressed_bodies_are_taken(stack: Stack, headers: dict[str, str], name: str) -> None:
    body = json.dumps(payload([alert()])).encode()
    encoding = "deflate" if "deflate" in name else "gzip"
    content = gzip.compress(body[:50]) + gzip.compress(body[50:]) if name == "two members" else compressed(name, body)
    answer = httpx.post(stack.url + WEBHOOK, content=content, headers=headers | {"Content-Encoding": encoding})
    assert answer.status_code in (201, 202), answer.text


@pytest.mark.parametrize(
    ("encoding", "content", "status"),
    [
        ("gzip", gzip.compress(b" " * (11 * 1024 * 1024)), 413),
        ("deflate", zlib.compress(b" " * (200 * 1024 * 1024)), 413),
        ("gzip", b"no gzip at all", 400),
        ("gzip", gzip.compress(b'{"alerts": []}')[:-9], 400),
        ("gzip", gzip.compress(b"{}") + b"tail", 400),
        ("br", b"x", 415),
        ("gzip, gzip", b"x", 415),
        ("zstd", b"x", 415),
    ],
    ids=["bomb", "larger bomb", "garbage", "cut", "tail", "br", "twice", "zstd"],
)
def test_a_compressed_body_is_bounded_and_its_error_is_told(
    stack: Stack, headers: dict[str, str], encoding: str, content: bytes, status: int
) -> None:
    answer = httpx.post(stack.url + WEBHOOK, content=content, headers=headers | {"Content-Encoding": encoding})
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status
    assert ("Accept-Encoding" in answer.headers) == (status == 415)


DEEP = 200_000
FIRING = '{"status":"firing","labels":{"alertname":"A","namespace":"bomb"},"startsAt":"2026-11-25T10:00:00Z"'


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"[" * DEEP, 400),
        (b'{"alerts":' + b"[" * DEEP + b"]" * DEEP + b"}", 400),
        (b'{"alerts":[' + FIRING.encode() + b',"x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}]}", 400),
        (b'{"alerts":[' + FIRING.encode() + b'}],"truncatedAlerts":' + b"9" * 100_000 + b"}", 400),
        (b'{"alerts":[' + FIRING.encode() + b'}],"x":' + b"9" * 1_000_000 + b"}", 202),
        (b'{"alerts":[' + FIRING.encode() + b'}],"x":1e999999}', 202),
        (b'{"alerts":[' + b'{"alerts":1},' * 2 + FIRING.encode() + b"}]}", 202),
        (b'{"alerts":1,"alerts":[' + FIRING.encode() + b"}]}", 400),
        (b'{"alerts":[' + FIRING.encode().replace(b'"A"', b'"\xff\xfe"') + b"}]}", 400),
        (b'{"alerts":[' + FIRING.encode().replace(b'"A"', b'"\\ud800"') + b"}]}", 400),
        (b'{"alerts":[' + FIRING.encode().replace(b'"A"', b'"\\u0000"') + b"}]}", 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"", 400),
        (b"\x00" * 1000, 400),
        (b"NaN", 400),
    ],
    ids=[
        "open lists", "lists", "objects in an alert", "huge count", "huge number beside it", "infinity beside it",
        "bad neighbours", "duplicate key, one of them wrong", "not UTF-8", "half a surrogate", "NUL", "BOM", "empty",
        "zeros", "NaN",
    ],
)  # fmt: skip
def test_a_json_bomb_is_refused_or_harmless(stack: Stack, headers: dict[str, str], content: bytes, status: int) -> None:
    answer = httpx.post(stack.url + WEBHOOK, content=content, headers=headers, timeout=30)
    assert answer.status_code == status, answer.text[:300]
    assert "Traceback" not in stack.log("web-0")


def test_the_api_answers_a_json_bomb_too(stack: Stack) -> None:
    stack.manage("shell", "-c", "from tests.factories import make_admin; make_admin('root')")
    headers = {
        "Authorization": f"Bearer {stack.manage('create_api_token', 'root')}",
        "Content-Type": "application/json",
    }
    bombs = (
        b'{"name":' + b"[" * DEEP,
        b'{"name":' + b"9" * 100_000 + b"}",
        b'{"name":"\\ud800"}',
        b"\xff",
        b'{"name":NaN}',
    )
    for content in bombs:
        answer = httpx.post(f"{stack.url}/api/v1/policies/", content=content, headers=headers, timeout=30)
        assert answer.status_code == 400, (content[:20], answer.text[:300])


def test_ten_mebibytes_of_alerts_are_taken(stack: Stack, headers: dict[str, str]) -> None:
    """Two hundred alerts with all the annotations that fit."""
    big = [alert(namespace="big", annotations={f"a{n}": "x" * 6400 for n in range(8)}) for _ in range(200)]
    body = json.dumps(payload(big)).encode()
    assert 10_000_000 < len(body) < 10 * 1024 * 1024
    answer = httpx.post(stack.url + WEBHOOK, content=body, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text[:300]


def test_an_address_that_is_not_ascii_is_refused(stack: Stack, headers: dict[str, str]) -> None:
    with connect(stack) as connection:
        connection.sendall(b"GET /healthz?x=\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 400")
    assert "Traceback" not in stack.log("web-0")


# --- who sent it


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("nonsense", None),
        ("", "127.0.0.1"),
    ],
)
def test_a_trusted_proxy_names_the_sender(
    stack: Stack, headers: dict[str, str], forwarded: str, address: str | None
) -> None:
    answer = httpx.post(
        stack.url + WEBHOOK, json=payload([alert()]), headers=headers | {"X-Forwarded-For": forwarded}, timeout=10
    )
    stored = stack.query("select host(remote_addr) from ingestion_delivery where id = %s", answer.json()["deliveryId"])
    assert stored == [(address,)]


def test_nobody_else_does() -> None:
    with Stack(worker=False, sweep=False) as stack:
        headers = {"Authorization": f"Bearer {stack.token()}", "X-Forwarded-For": "198.51.100.7"}
        answer = httpx.post(stack.url + WEBHOOK, json=payload([alert()]), headers=headers, timeout=10)
        assert answer.status_code == 202
        assert stack.query("select host(remote_addr) from ingestion_delivery") == [("127.0.0.1",)]


def test_time_is_not_wasted_on_a_request_that_is_whole(stack: Stack, headers: dict[str, str]) -> None:
    """A second request on one connection, after it was idle for a while."""
    with httpx.Client(headers=headers) as client:
        assert client.post(stack.url + WEBHOOK, json=payload([alert()])).is_success
        time.sleep(2.5)  # the edge looks at its clock twice
        assert client.post(stack.url + WEBHOOK, json=payload([alert()])).is_success


# --- WebSockets


@pytest.mark.parametrize(
    ("origin", "let_in"),
    [("its own", True), ("http://evil.example", False), ("http://127.0.0.1:1", False), ("null", False), (None, False)],
)
def test_a_foreign_page_s_handshake_is_refused(stack: Stack, origin: str | None, let_in: bool) -> None:
    """A page that another port of this machine served, too: the cookie would come along."""
    address, own = f"{stack.url.replace('http', 'ws')}/ws/storms/", stack.url
    if not let_in:
        with pytest.raises(InvalidStatus, match="403"), websocket(address, origin=origin):
            pass
        return
    # As far as the handshake: nobody is logged in.
    with websocket(address, origin=own) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_a_large_message_ends_its_socket_alone(stack: Stack, headers: dict[str, str]) -> None:
    address = f"{stack.url.replace('http', 'ws')}/ws/storms/"
    with websocket(address, origin=stack.url) as socket, suppress(ConnectionClosed):
        socket.send("x" * 1_000_000)
        socket.recv(timeout=10)
    serves(stack, headers)
