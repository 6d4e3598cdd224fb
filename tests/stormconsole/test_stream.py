"""A long download crosses the bridge piece by piece: never whole in memory, and no thread waits for its reader."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stormconsole.bridge import WSGIBridge

SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/long.csv",
    "raw_path": b"/long.csv",
    "query_string": b"",
    "root_path": "",
    "headers": [],
    "server": ("127.0.0.1", 80),
    "client": ("127.0.0.1", 5),
}


class Download:
    """As Django's streaming response is: the WSGI iterable itself."""

    streaming = True

    def __init__(self, pieces: int) -> None:
        self.pieces, self.made, self.closed = pieces, 0, 0

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.pieces):
            self.made += 1
            yield b"%d\n" % number

    def close(self) -> None:
        self.closed += 1


class Reader:
    """A client: what it was sent, and how many pieces were made by then."""

    def __init__(self, download: Any, leaves_after: int | None = None) -> None:
        self.download, self.leaves_after = download, leaves_after
        self.sent: list[dict[str, Any]] = []
        self.made: list[int] = []
        self.asked = 0
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def receive_body(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.made.append(getattr(self.download, "made", 0))
        if len(self.sent) == self.leaves_after:
            self.left.set()
            await asyncio.sleep(0)  # the bridge's waiting `receive` gets its turn

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]


def answer(content: Any, **reader: Any) -> Reader:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/csv")])
        return content

    async def run() -> Reader:
        client = Reader(content, **reader)
        bridge = WSGIBridge(app, threads=1, max_body=100, queue=10, max_buffer=1000)
        await bridge(SCOPE, client.receive, client.send)
        bridge.pool.shutdown()
        return client

    return asyncio.run(run())


def test_each_piece_is_sent_before_the_next_is_made() -> None:
    download = Download(4)
    reader = answer(download)
    assert reader.bodies == [b"0\n", b"1\n", b"2\n", b"3\n", b""]
    assert reader.made == [0, 1, 2, 3, 4, 4]
    assert [message.get("more_body", False) for message in reader.sent[1:]] == [True, True, True, True, False]
    assert download.closed == 1


def test_nothing_more_is_made_for_a_reader_that_left() -> None:
    download = Download(1_000)
    answer(download, leaves_after=3)
    assert download.made <= 4
    assert download.closed == 1


def test_a_download_that_fails_is_closed_and_cut_short() -> None:
    class Failing(Download):
        def __iter__(self) -> Iterator[bytes]:
            yield b"0\n"
            raise RuntimeError("the database went away")

    download = Failing(1)
    failed: list[str] = []
    try:
        answer(download)
    except RuntimeError as error:
        failed.append(str(error))
    assert failed == ["the database went away"]
    assert download.closed == 1


def test_what_does_not_stream_is_one_body() -> None:
    assert answer([b"a", b"b"]).bodies == [b"ab"]


def test_the_threads_are_free_between_two_pieces() -> None:
    """One thread, two downloads at once: the second does not wait for the first one's reader."""
    downloads = [Download(3), Download(3)]
    waiting = iter(downloads)
    gate = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return next(waiting)

    async def run() -> None:
        bridge = WSGIBridge(app, threads=1, max_body=100, queue=10, max_buffer=1000)
        slow, quick = Reader(downloads[0]), Reader(downloads[1])
        blocked = asyncio.Event()

        async def slowly(message: dict[str, Any]) -> None:
            await slow.send(message)
            await blocked.wait()

        first = asyncio.ensure_future(bridge(SCOPE, slow.receive, slowly))
        await asyncio.sleep(0)
        await asyncio.wait_for(bridge(SCOPE, quick.receive, quick.send), 5)
        gate.set()
        blocked.set()
        await first
        bridge.pool.shutdown()

    asyncio.run(run())
    assert gate.is_set()
    assert [download.closed for download in downloads] == [1, 1]


@pytest.mark.parametrize(
    ("path", "headers", "status", "collects"),
    [
        ("/healthz", [(b"content-encoding", b"x")], "200 OK", 0),
        ("/login/", [(b"content-encoding", b"gzip")], "200 OK", 0),
        ("/api/v1/webhooks/generic", [(b"content-encoding", b"gzip")], "401 Unauthorized", 0),
        ("/api/v1/webhooks/generic", [(b"content-encoding", b"gzip")], "202 Accepted", 1),
        ("/api/v1/webhooks/generic", [], "202 Accepted", 0),
    ],
)
def test_a_header_alone_buys_nobody_a_walk_through_all_memory(
    path: str, headers: list[tuple[bytes, bytes]], status: str, collects: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[int] = []
    monkeypatch.setattr("stormconsole.bridge.give_memory_back", lambda: collected.append(1))

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [])
        return [b""]

    async def run() -> None:
        client = Reader(None)
        bridge = WSGIBridge(app, threads=1, max_body=100, queue=10, max_buffer=1000)
        await bridge(SCOPE | {"path": path, "headers": headers}, client.receive_body, client.send)

    asyncio.run(run())
    assert len(collected) == collects
