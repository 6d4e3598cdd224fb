"""uvicorn's HTTP protocol, with an end to everything that a peer may take its time with.

As it comes, uvicorn waits for ever for a request that was begun, keeps whatever headers come, and knows one limit for
everything (`--limit-concurrency`), which idle browsers and WebSockets would use up. Here:

- a request's head is there within `HEAD_SECONDS` and under `MAX_HEAD_BYTES`;
- its body may take `BODY_SECONDS`, and a second more for every `BODY_BYTES_PER_SECOND` that came;
- a response is taken within `WRITE_SECONDS`;
- of more than `WEB_CONNECTIONS` connections the oldest that brought no whole request has to go.

What runs out is closed; where a request had begun it is told why. The clock is looked at once a second for all
connections, so a request costs no timer. A WebSocket leaves this protocol when it is upgraded.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from stormconsole import env, pressure
from stormconsole.pressure import Reason
from stormconsole.refusals import refusal

HEAD_SECONDS = 10.0
BODY_SECONDS = 10.0
BODY_BYTES_PER_SECOND = 64 * 1024
WRITE_SECONDS = 60.0
CLOSING_SECONDS = 5.0
"""How long the peer of a closed connection may take what was written last."""
MAX_HEAD_BYTES = 64 * 1024
CHECK_SECONDS = 1.0

IDLE, HEAD, BODY, WHOLE, CLOSING = "idle", "head", "body", "whole", "closing"
"""Between requests; its head comes; its body comes; all of it is here; closed, but not gone yet."""


class Guard:
    """All connections of this process, the oldest first."""

    def __init__(self) -> None:
        self.connections: dict[GuardedHTTP, None] = {}
        self.limit = env.integer("WEB_CONNECTIONS", 1000, minimum=10, maximum=100_000)
        self._ticking = False

    def admit(self, connection: GuardedHTTP) -> bool:
        """False: there are too many, and each of them is at work."""
        if len(self.connections) >= self.limit:
            waiting = next((other for other in self.connections if other.phase in {IDLE, HEAD, BODY}), None)
            if waiting is None:
                pressure.count(Reason.CONNECTION_REFUSED)
                return False
            pressure.count(Reason.CONNECTION_DROPPED)
            self.connections.pop(waiting)
            waiting.transport.abort()
        self.connections[connection] = None
        if not self._ticking:
            self._ticking = True
            connection.loop.call_later(CHECK_SECONDS, self._tick, connection.loop)
        return True

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self.connections):
            connection.check(now)
        if pressure.anything_to_send():
            loop.run_in_executor(None, pressure.send)
        self._ticking = bool(self.connections) or pressure.anything_to_send()
        if self._ticking:
            loop.call_later(CHECK_SECONDS, self._tick, loop)


_guard: Guard | None = None


def guard() -> Guard:
    """The process's own: one event loop, one guard."""
    global _guard
    _guard = _guard or Guard()
    return _guard


class GuardedHTTP(HttpToolsProtocol):
    """`uvicorn --http stormconsole.edge:GuardedHTTP`."""

    phase = IDLE
    _deadline: float | None = None
    _write_deadline: float | None = None
    _body_since = 0.0
    _body_bytes = 0
    _other_bytes = 0
    """What came that is no body: heads, the frames of chunks, trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.time() + HEAD_SECONDS
        if not guard().admit(self):
            self._refuse(503, "Too many connections: try again.", [(b"retry-after", b"1")])

    def connection_lost(self, exc: Exception | None) -> None:
        guard().connections.pop(self, None)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        guard().connections.pop(self, None)
        super().handle_websocket_upgrade()

    # --- what comes

    def data_received(self, data: bytes) -> None:
        if self.phase == CLOSING:
            return
        if self.phase == IDLE:
            # Not in `on_message_begin`: a blank line every few seconds begins no message.
            self.phase, self._deadline = HEAD, self.loop.time() + HEAD_SECONDS
        self._other_bytes += len(data)
        super().data_received(data)
        if self.phase in {HEAD, BODY} and self._other_bytes > MAX_HEAD_BYTES + self._body_bytes // 4:
            pressure.count(Reason.HEAD_TOO_LARGE)
            self._refuse(431, f"The request's head is over the limit of {MAX_HEAD_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        self.phase, self._body_since, self._body_bytes = BODY, self.loop.time(), 0
        # A pipelined request is not read before its turn, so its time does not run yet.
        self._deadline = None if self._is_busy() else self._body_since + BODY_SECONDS
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self.phase == BODY:
            self._body_since = self.loop.time()
            self._deadline = self._body_since + BODY_SECONDS
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._other_bytes -= len(body)
        if self._deadline is not None:
            self._deadline = self._body_since + BODY_SECONDS + self._body_bytes / BODY_BYTES_PER_SECOND
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._other_bytes = 0
        if self._is_busy():
            self.phase, self._deadline = WHOLE, None
        else:
            # It was refused before it was read; uvicorn's own timer was taken away by the rest of it.
            self.phase, self._deadline = IDLE, self.loop.time() + self.timeout_keep_alive

    # --- what goes

    def on_response_complete(self) -> None:
        if self.phase == WHOLE:
            self.phase = IDLE
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._write_deadline = self.loop.time() + WRITE_SECONDS
        super().pause_writing()

    def resume_writing(self) -> None:
        self._write_deadline = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    # --- what takes too long

    def check(self, now: float) -> None:
        """Once a second."""
        if self._write_deadline is not None and now > self._write_deadline:
            pressure.count(Reason.SLOW_READER)
            self.transport.abort()
        elif self.phase != CLOSING and self.transport.is_closing():
            self._deadline = now + WRITE_SECONDS
            self.phase = CLOSING
        elif self._deadline is not None and now > self._deadline:
            self._run_out()

    def _run_out(self) -> None:
        if self.phase == CLOSING:
            self.transport.abort()
        elif self.phase == HEAD:
            pressure.count(Reason.SLOW_HEAD)
            self._refuse(408, f"The request's head did not come within {HEAD_SECONDS:g} s.")
        elif self.phase == BODY:
            pressure.count(Reason.SLOW_BODY)
            if self._is_busy():
                self._refuse(408, "The request's body comes too slowly.")
            else:  # it is answered already, and the rest is only drained
                self._close()
        else:
            self._close()

    def _refuse(self, status: int, detail: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        """Answer past the application, which sees a peer that left, and close."""
        if self.transport.is_closing():
            return
        reading = self.phase == BODY and self._is_busy() and not self.cycle.response_started and not self.pipeline
        if reading or not self._is_busy():
            status, all_headers, body = refusal(status, detail, headers=[*(headers or []), (b"connection", b"close")])
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in all_headers)
            self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._close()

    def _close(self) -> None:
        self.phase, self._deadline = CLOSING, self.loop.time() + CLOSING_SECONDS
        self.transport.close()

    def _is_busy(self) -> bool:
        """A request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete
