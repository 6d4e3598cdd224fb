"""HTTP from the event loop to Django's WSGI application, in a pool of persistent threads.

The loop reads the whole request and writes the whole response, so a request crosses between the loop and its thread
twice, and a slow sender or reader holds no thread. (a2wsgi, whose environ this uses, crosses for every piece of both:
`make bench` gave GET /healthz half as much again without that.) Bodies are small here and bounded by MAX_BODY_BYTES;
nothing is streamed.
"""

import asyncio
import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from a2wsgi.wsgi import build_environ

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Response = tuple[int, list[tuple[bytes, bytes]], bytes]


class SenderLeft(Exception):
    """The client closed the connection before its request was complete."""


class WSGIBridge:
    """An ASGI application for `http` scopes.

    Args:
        threads: how many requests are served at once; each thread keeps its database connection.
        max_body: bytes; of a longer body only one byte more is read, so the application can tell.
    """

    def __init__(self, app: WSGIApplication, *, threads: int, max_body: int) -> None:
        self.app = app
        self.max_body = max_body
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="wsgi")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await self._read(scope, receive)
        except SenderLeft:
            return
        environ: dict[str, Any] = dict(build_environ(scope, io.BytesIO(body)))  # type: ignore[arg-type]
        status, headers, content = await asyncio.get_running_loop().run_in_executor(self.pool, self._run, environ)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _read(self, scope: Any, receive: Any) -> bytes:
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.max_body:
            # Refused by its length alone; not a byte of it is read.
            return b""
        parts, size, more = [], 0, True
        while more and size <= self.max_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise SenderLeft
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        return b"".join(parts)

    def _run(self, environ: dict[str, Any]) -> Response:
        started: list[Any] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [int(status.split(" ", 1)[0]), headers]
            return written.append

        chunks = self.app(environ, start_response)
        try:
            content = b"".join([*written, *chunks])
        finally:
            # Django ends the request here: its signals, and closing what the response holds open.
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        status, headers = started
        return status, [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers], content
