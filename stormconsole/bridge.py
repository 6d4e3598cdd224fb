"""HTTP from the event loop to Django's WSGI application, in a pool of persistent threads.

The loop reads the whole request and writes the whole response, so a request crosses between the loop and its thread
twice, and a slow sender or reader holds no thread. (a2wsgi, whose environ this uses, crosses for every piece of both:
`make bench` gave GET /healthz half as much again without that.) Bodies are small here and bounded by MAX_BODY_BYTES.
Only a Django response that streams (a long download) crosses for every piece: it is in memory one piece at a time, and
while its reader is slow it holds no thread.

What would wait too long is shed early: when as many requests wait for a thread as may, or the bodies in memory are as
many bytes as may be, a request is answered 503 as a whole, before its body is read where possible.
"""

import asyncio
import ctypes
import gc
import io
import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, cast

from a2wsgi.wsgi import build_environ

from stormconsole import pressure
from stormconsole.pressure import Reason
from stormconsole.refusals import refusal

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Stream:
    """A response's body that is made while it is sent. Pieces may be made by one thread after another, not at once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._rest: Iterator[bytes] = iter(chunks)

    def next(self) -> bytes | None:
        """None after the last one."""
        return next(self._rest, None)

    def close(self) -> None:
        _close(self._chunks)


Response = tuple[int, list[tuple[bytes, bytes]], bytes | Stream]

LIVENESS = "/healthz"
WEBHOOKS = "/api/v1/webhooks/"
NEVER_SHED = frozenset({LIVENESS, "/readyz", "/metrics"})
"""An overloaded process must still say so; one that is restarted for it makes things worse."""
HEAVY_BYTES = 1024 * 1024
"""Larger bodies have one thread for all of them. 100,000 alerts of 10 MiB are a gigabyte while they are taken in, and
leave the thread's database connection with a send buffer of their size for good: once is enough."""
RETRY_AFTER = (b"retry-after", b"1")
_libc = ctypes.CDLL("libc.so.6") if platform.libc_ver()[0] == "glibc" else None


def give_memory_back() -> None:
    """What was freed goes back to the system: glibc keeps it otherwise, and after a few large bodies most of it."""
    gc.collect()
    if _libc is not None:
        _libc.malloc_trim(0)


class SenderLeft(Exception):
    """The client closed the connection before its request was complete."""


class Reading:
    """A body that is coming in: its parts so far, and the request that waits for the rest."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.task = cast("asyncio.Task[None]", asyncio.current_task())

    @property
    def size(self) -> int:
        return sum(map(len, self.held))


class Shed(Exception):
    """The request is turned away as a whole."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class WSGIBridge:
    """An ASGI application for `http` scopes.

    Args:
        threads: how many requests are served at once; each thread keeps its database connection.
        max_body: bytes; of a longer body only one byte more is read, so the application can tell.
        queue: how many requests may wait for a thread.
        max_buffer: bytes of bodies that are held at once, over all requests.
    """

    def __init__(self, app: WSGIApplication, *, threads: int, max_body: int, queue: int, max_buffer: int) -> None:
        self.app = app
        self.max_body = max_body
        self.max_pending = threads + queue
        self.max_buffer = max_buffer
        self.pending = 0
        self.buffered = 0
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="wsgi")
        self.heavy = ThreadPoolExecutor(1, thread_name_prefix="wsgi-heavy")
        self.liveness = ThreadPoolExecutor(1, thread_name_prefix="wsgi-liveness")
        self.reading: dict[Reading, None] = {}
        """Bodies that are not there yet, the oldest first."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            status, headers, content = await self._answer(scope, receive)
        except SenderLeft:
            return
        except Shed as shed:
            pressure.count(shed.reason)
            status, headers, content = self._refuse(scope, 503, "The console is overloaded: send it again.")
            headers.append(RETRY_AFTER)
        except UnicodeDecodeError:
            status, headers, content = self._refuse(scope, 400, "The address is not ASCII.")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if isinstance(content, Stream):
            await self._send_stream(content, receive, send)
        else:
            await send({"type": "http.response.body", "body": content})

    async def _send_stream(self, stream: Stream, receive: Any, send: Any) -> None:
        """Piece by piece, each when the one before it was taken, until the end or until its reader has left."""
        loop = asyncio.get_running_loop()
        left = asyncio.ensure_future(receive())
        try:
            while not left.done() and (piece := await loop.run_in_executor(self.pool, stream.next)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()
            await loop.run_in_executor(self.pool, stream.close)

    async def _answer(self, scope: Any, receive: Any) -> Response:
        """Raises: SenderLeft, Shed, UnicodeDecodeError."""
        self._require_room(scope)
        body = Reading()
        try:
            await self._read(scope, receive, body)
            # Others came while this one was read.
            self._require_room(scope)
            body.held[:] = [b"".join(body.held)]
            return await self._in_a_thread(scope, body.held[0])
        finally:
            self.buffered -= body.size

    def _require_room(self, scope: Any) -> None:
        if self.pending >= self.max_pending and scope["path"] not in NEVER_SHED:
            raise Shed(Reason.QUEUE_FULL)

    async def _read(self, scope: Any, receive: Any, body: Reading) -> None:
        """Append to the body's parts, which are counted in `buffered`. Raises: SenderLeft, Shed."""
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.max_body:
            # Refused by its length alone; not a byte of it is read.
            return
        size, more = 0, True
        self.reading[body] = None
        try:
            while more and size <= self.max_body:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise SenderLeft
                part = message.get("body", b"")
                self._make_room(len(part), body)
                body.held.append(part)
                size += len(part)
                self.buffered += len(part)
                more = message.get("more_body", False)
        except asyncio.CancelledError:
            if body in self.reading:
                raise
            # `_make_room` took it out.
            body.task.uncancel()
            raise Shed(Reason.BUFFER_FULL) from None
        finally:
            self.reading.pop(body, None)

    def _make_room(self, size: int, body: Reading) -> None:
        """For a part of a body. A sender that never ends must not keep the others out: the oldest unfinished ones go.

        Raises: Shed, if all that is held is whole already.
        """
        while self.buffered + size > self.max_buffer:
            oldest = next((other for other in self.reading if other is not body and other.held), None)
            if oldest is None:
                raise Shed(Reason.BUFFER_FULL)
            self.buffered -= oldest.size
            oldest.held.clear()
            del self.reading[oldest]
            oldest.task.cancel()

    async def _in_a_thread(self, scope: Any, body: bytes) -> Response:
        environ: dict[str, Any] = dict(build_environ(scope, io.BytesIO(body)))  # type: ignore[arg-type]
        self.pending += 1
        try:
            pool, run = self.pool, self._run
            if scope["path"] == LIVENESS:
                # A database that answers nobody keeps every thread busy, and is no reason to restart this process.
                pool = self.liveness
            elif self._is_heavy(environ, body):
                pool, run = self.heavy, self._run_heavy
            return await asyncio.get_running_loop().run_in_executor(pool, run, environ)
        finally:
            self.pending -= 1

    def _is_heavy(self, environ: dict[str, Any], body: bytes) -> bool:
        """A compressed body may become as large as any."""
        return len(body) > HEAVY_BYTES or bool(body and "HTTP_CONTENT_ENCODING" in environ)

    def _refuse(self, scope: Any, status: int, detail: str) -> Response:
        # Who waits for "100 Continue" sends no body now, so what comes next would be taken for one.
        expects = any(name == b"expect" for name, _ in scope["headers"])
        return refusal(status, detail, scope["path"], headers=[(b"connection", b"close")] if expects else [])

    def _run_heavy(self, environ: dict[str, Any]) -> Response:
        response = self._run(environ)
        # Nobody else's was taken apart, and who has no token must not buy the time that this takes.
        if environ["PATH_INFO"].startswith(WEBHOOKS) and response[0] != HTTPStatus.UNAUTHORIZED:
            give_memory_back()
        return response

    def _run(self, environ: dict[str, Any]) -> Response:
        started: list[Any] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [int(status.split(" ", 1)[0]), headers]
            return written.append

        chunks = self.app(environ, start_response)
        content: bytes | Stream
        if _streams(chunks):
            content = Stream(chunks)
        else:
            try:
                content = b"".join([*written, *chunks])
            finally:
                _close(chunks)
        status, headers = started
        return status, [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers], content


def _streams(chunks: Iterable[bytes]) -> bool:
    """Django's handler returns its response as the iterable; a static file streams too, but is small and at hand."""
    return bool(getattr(chunks, "streaming", False)) and getattr(chunks, "file_to_stream", None) is None


def _close(chunks: Iterable[bytes]) -> None:
    """Django ends the request here: its signals, and closing what the response holds open."""
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
