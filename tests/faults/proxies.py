"""What stands between two processes: a proxy that can stop forwarding, one that answers in the API server's place.

They run on one event loop in a thread of its own; every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

CHUNK = 65536
Address = tuple[str, int] | Path
"""A TCP address, or the path of a Unix socket."""

RESOURCES = b"/remediationrequests"


class Network:
    """The thread in which all proxies run."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="network", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def call(self, work: Callable[[], None]) -> None:
        """Run a plain function on the loop and wait for it."""

        async def step() -> None:
            work()

        self.run(step())

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


class Proxy:
    """Forwards from a port of its own; the clients' address stays whatever happens behind it.

    `cut` is a network that swallows everything: connections stay, nothing passes, new ones are accepted and hang.
    `drop` ends every connection, as a failover or a router's restart does.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server = network.run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        self.network.call(self._passing.clear)

    def heal(self, *, drop: bool = False) -> None:
        """Forward again: what was held back arrives late, or, with `drop`, never."""
        if drop:
            self.drop()
        self.network.call(self._passing.set)

    def drop(self) -> None:
        self.network.call(self._abort_all)

    def close(self) -> None:
        self.drop()

        async def close() -> None:
            self._server.close()
            await self._server.wait_closed()

        self.network.run(close())

    def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._writers.add(writer)
        # RuntimeError: uvloop's word for a write to a connection that `drop` has ended.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, RuntimeError):
            await self._passing.wait()
            far_reader, far_writer = await self._connect()
            ends.append(far_writer)
            self._writers.add(far_writer)
            await asyncio.gather(self._forward(reader, writer, far_writer), self._pump(far_reader, writer))
        for end in ends:
            self._writers.discard(end)
            end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raise NotImplementedError

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_writer: asyncio.StreamWriter
    ) -> None:
        await self._pump(reader, far_writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        # One side is done: end the other, whose pump would wait for ever.
        writer.transport.close()


class TcpProxy(Proxy):
    """Bytes to `target`, which may change."""

    def __init__(self, network: Network, target: Address) -> None:
        self.target = target
        super().__init__(network)

    def point_to(self, target: Address) -> None:
        """New connections go there, the old ones end."""
        self.target = target
        self.drop()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, Path):
            return await asyncio.open_unix_connection(str(self.target))
        return await asyncio.open_connection(*self.target)


@dataclass(slots=True)
class KubeFault:
    """What the API server does to requests about RemediationRequests: answer `code`, or be `delay` seconds late.

    share: of the requests, 0 to 1; the others go through.
    """

    code: int = 0
    delay: float = 0.0
    share: float = 1.0


LATE_SECONDS = 2.0
_REASONS = {409: "Conflict", 410: "Expired", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError"}


class KubeProxy(Proxy):
    """Plain HTTP in front of a real API server, which is spoken to over TLS; every request may meet `fault`.

    Requests are read, answers only forwarded: a client sends its next request after it has read the last answer, so
    whatever arrives from the server belongs to the request before.
    """

    def __init__(self, network: Network, port: int, ca: Path) -> None:
        self.fault: KubeFault | None = None
        self._waiting = 0
        self._forwarded_late = -math.inf
        self._upstream = port
        self._context = ssl.create_default_context(cafile=str(ca))
        super().__init__(network)
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def holds_back(self) -> bool:
        """A request waits, or was let through so late and lately that the server may still be at it.

        What it applies is older than what came past it meanwhile, so until then nothing can be said of the cluster.
        """
        return self._waiting > 0 or time.monotonic() - self._forwarded_late < LATE_SECONDS

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            "127.0.0.1", self._upstream, ssl=self._context, server_hostname="127.0.0.1"
        )

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_content_length(head))
                await self._passing.wait()
                fault = self.fault
                if fault and RESOURCES in head.split(b"\r\n", 1)[0] and random.random() < fault.share:
                    self._waiting += 1
                    try:
                        await asyncio.sleep(fault.delay)
                    finally:
                        self._waiting -= 1
                    if fault.delay:
                        self._forwarded_late = time.monotonic()
                    if fault.code:
                        writer.write(_refusal(fault.code))
                        await writer.drain()
                        continue
                far_writer.write(head + body)
                await far_writer.drain()
        finally:
            far_writer.transport.abort()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _refusal(code: int) -> bytes:
    """Kubernetes' own way to say no."""
    reason = _REASONS[code]
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": f"the fault proxy answers {code}",
        "reason": reason,
        "code": code,
    }
    body = json.dumps(status).encode()
    retry = "Retry-After: 1\r\n" if code == 429 else ""
    head = f"HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\n{retry}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
