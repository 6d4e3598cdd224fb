"""One hub in each web process stands between the channel layer and the open pages, so that a page costs little.

However many pages are open, the process listens once, reads what changed once (a few times a second at most), encodes
it once, and hands the same text to all. The hub holds what the first page shows, so a page that connects gets a
snapshot without a query. It starts with the first page and ends with the last.

To the first page's sockets (JSON text):

    {"type": "snapshot", "at", "storms": [<storm>...], "held", "totals"}   on connect, then every minute
    {"type": "update", "at", "storms": [<storm>...], "held", "totals"}     what changed; each may be absent
    {"type": "ping", "at", "totals"}                                       every ten seconds

To those of one storm:

    {"type": "snapshot", "at", "storms": [<storm>], "totals"}
    {"type": "storm", "at", "storm": <storm>, "at_once"}                   at_once: a person did it, or it closed
    {"type": "ping", "at", "totals"}

`at` is the server's time, `held` as in `storms.held.Held`, `totals` as in `storms.totals.Totals`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import DatabaseError, connections
from django.utils import timezone

from storms import access, held, live, totals
from storms.access import Watcher

logger = logging.getLogger(__name__)

PING_SECONDS = 10.0
SNAPSHOT_EVERY_PINGS = 6
LOOK_SECONDS = 1.0
ECHO_SECONDS = 1.0
DEAF_SECONDS = 4.0
# From one frame to the next of the same page. With many pages it grows, up to what still looks live.
SHORTEST_PERIOD = 0.25
LONGEST_PERIOD = 0.75
PERIOD_PER_VIEWER = 0.001
# Between two readings, where one takes longer than its period.
SHORTEST_PAUSE = 0.1
# Between so many pages the loop looks at its other connections: a webhook must not wait for five hundred sends.
BREATH = 20
QUEUE_FRAMES = 16
"""What a page may be behind. A slower one is cut off; it comes back, and gets a snapshot instead of a backlog."""
CLOSE_NOT_FOUND = 4404
CLOSE_TRY_AGAIN = 1013
RETRYABLE = (*live.LAYER_ERRORS, DatabaseError)


class Viewer:
    """An open page: a bounded queue of frames. A number in it is a close code, and the last item."""

    def __init__(self, watcher: Watcher, storm_id: UUID | None) -> None:
        self.watcher = watcher
        self.storm_id = storm_id
        self.queue: asyncio.Queue[str | int] = asyncio.Queue(QUEUE_FRAMES)
        self.is_slow = asyncio.Event()

    def offer(self, frame: str | int) -> None:
        """Never waits: a page whose queue is full is slow, and said to be so."""
        try:
            self.queue.put_nowait(frame)
        except asyncio.QueueFull:
            self.is_slow.set()


class Hub:
    """What this process knows of the storms in sight, and who watches them."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.storms: dict[str, dict[str, Any]] = {}
        self.held: dict[str, Any] = {}
        self.totals: dict[str, Any] = {}
        self.numbers: dict[str, Any] = {}
        """Of `held` and `totals` what is not told yet."""
        self.changed: dict[UUID, bool] = {}
        """Storms to be read again, and whether the readers of one are not to wait (`live.publish_storm`)."""
        self.woken = asyncio.Event()
        self.starting: asyncio.Task[None] | None = None
        self.running: asyncio.Task[None] | None = None
        self.snapshot: str | None = None
        self.heard = 0.0

    async def join(self, viewer: Viewer) -> None:
        """Send a snapshot, then all that changes after it. Raises what `RETRYABLE` names, if the hub cannot start."""
        self.viewers.add(viewer)
        try:
            await self._started()
            if viewer.storm_id is not None:
                await self._show_one(viewer, viewer.storm_id)
            else:
                viewer.offer(self._snapshot())
        except BaseException:
            self.leave(viewer)
            raise

    def leave(self, viewer: Viewer) -> None:
        self.viewers.discard(viewer)
        if not self.viewers and self.running is not None:
            self.running.cancel()
            self.running = None

    async def _started(self) -> None:
        """Pages that connect at once wait for one start, and fail with it."""
        if self.running is None:
            if self.starting is None:
                self.starting = asyncio.create_task(self._start())
            starting = self.starting
            try:
                await asyncio.shield(starting)
            finally:
                if starting.done() and self.starting is starting:
                    self.starting = None

    async def _start(self) -> None:
        layer = get_channel_layer()
        try:
            # Listening first, reading second: what changes in between is told twice rather than never.
            async with asyncio.timeout(live.SEND_TIMEOUT_SECONDS):
                channel = await layer.new_channel()
                await layer.group_add(live.STORMS_GROUP, channel)
                await live.send_echo()
            await self._read_all()
        except RETRYABLE:
            await _reset(layer)
            raise
        self.heard = time.monotonic()
        self.running = asyncio.create_task(self._run(layer, channel))
        await asyncio.sleep(0)  # a task that is cancelled before it began would clean nothing up
        if not self.viewers and self.running is not None:  # who waited for it has left meanwhile
            self.running.cancel()
            self.running = None

    async def _run(self, layer: Any, channel: str) -> None:
        """Until the last page has left, or the channel layer or the database fails: then all pages come back later."""
        # A lane of its own for what takes long on a busy machine and is not urgent: storms do not wait behind it.
        lane = ThreadPoolExecutor(1, thread_name_prefix="live-numbers")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(layer, channel))
                tasks.create_task(self._echo())
                tasks.create_task(self._pulse())
                tasks.create_task(self._look(lane))
                tasks.create_task(self._beat(lane))
        except* RETRYABLE as group:
            error = group.exceptions[0]
            logger.warning("live updates interrupted: %s", str(error) or type(error).__name__)
            await self._send_away(layer)
        except* Exception:
            logger.exception("live updates failed")
            await self._send_away(layer)
        finally:
            lane.submit(connections.close_all)
            lane.shutdown(wait=False)
            with suppress(*live.LAYER_ERRORS):
                await layer.group_discard(live.STORMS_GROUP, channel)

    async def _send_away(self, layer: Any) -> None:
        """All pages come back, to a hub that starts anew."""
        await _reset(layer)
        if self.running is asyncio.current_task():
            self.running = None
        await self._tell(self.viewers, CLOSE_TRY_AGAIN)

    async def _listen(self, layer: Any, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            self.heard = time.monotonic()
            if message["type"] == live.CHANGED:
                storm = UUID(message["storm"])
                self.changed[storm] = self.changed.get(storm, False) or message.get("at_once", False)
                self.woken.set()

    async def _echo(self) -> None:
        """The layer connects again by itself and tells nobody what it missed meanwhile: so listen to oneself."""
        while True:
            await asyncio.sleep(ECHO_SECONDS)
            if time.monotonic() - self.heard > DEAF_SECONDS:
                raise TimeoutError("the channel layer is silent")
            await live.send_echo()

    async def _pulse(self) -> None:
        """Frames of what changed, with a pause between them."""
        while True:
            await self.woken.wait()
            self.woken.clear()
            began = time.monotonic()
            frame = await self._changes()
            numbers, self.numbers = self.numbers, {}
            if frame := frame | numbers:
                await self._tell(self._overviews(), _encode({"type": "update", "at": _now()} | frame))
            # From one beginning to the next: what the work took on a busy machine is not added to the pause.
            period = min(SHORTEST_PERIOD + PERIOD_PER_VIEWER * len(self.viewers), LONGEST_PERIOD)
            await asyncio.sleep(max(period - (time.monotonic() - began), SHORTEST_PAUSE))

    async def _changes(self) -> dict[str, Any]:
        ids, self.changed = self.changed, {}
        if not ids:
            return {}
        messages = await database_sync_to_async(_read_storms)(ids)
        for message in messages:
            self._keep(message)
        self.snapshot = None
        single = {viewer.storm_id for viewer in self.viewers} & {UUID(message["id"]) for message in messages}
        for message in messages:
            if UUID(message["id"]) in single:
                watching = [viewer for viewer in self.viewers if str(viewer.storm_id) == message["id"]]
                frame = {"type": "storm", "at": _now(), "storm": message, "at_once": ids[UUID(message["id"])]}
                await self._tell(watching, _encode(frame))
        return {"storms": messages} if messages else {}

    def _keep(self, message: dict[str, Any]) -> None:
        """Of two readings of a storm the one with the higher version; of the ended ones, those that ended last."""
        known = self.storms.get(message["id"])
        if known is None or known["version"] <= message["version"]:
            self.storms[message["id"]] = message
        ended = [storm for storm in self.storms.values() if storm["state"] == "closed"]
        ended.sort(key=lambda storm: storm["closed_at"], reverse=True)
        for storm in ended[live.ENDED_SHOWN :]:
            del self.storms[storm["id"]]

    async def _look(self, lane: ThreadPoolExecutor) -> None:
        """Every second at what nobody tells of: the held alerts and the totals."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._overviews():
                continue
            found = await _in(lane, _read_numbers)
            before = {"held": self.held, "totals": self.totals}
            self.held, self.totals = found["held"], found["totals"]
            if changed := {name: value for name, value in found.items() if value != before[name]}:
                self.numbers |= changed
                self.snapshot = None
                self.woken.set()

    async def _beat(self, lane: ThreadPoolExecutor) -> None:
        """Ping, and heal: ask who may still watch, read all anew."""
        pings = 0
        while True:
            await asyncio.sleep(PING_SECONDS)
            pings += 1
            await self._close_refused()
            if pings % SNAPSHOT_EVERY_PINGS:
                self.totals = await _in(lane, totals.totals)
                self.numbers.pop("totals", None)
                self.snapshot = None
                await self._tell(self.viewers, _encode({"type": "ping", "at": _now(), "totals": self.totals}))
            else:
                await self._read_all()
                await self._tell(self._overviews(), self._snapshot())
                for viewer in self.viewers - self._overviews():
                    await self._show_one(viewer, viewer.storm_id)

    async def _close_refused(self) -> None:
        codes = await database_sync_to_async(access.refused)({viewer.watcher for viewer in self.viewers})
        for viewer in list(self.viewers):
            if code := codes.get(viewer.watcher):
                viewer.offer(code)

    async def _read_all(self) -> None:
        storms, self.held, self.totals = await database_sync_to_async(_read_everything)()
        self.numbers = {}
        known, self.storms, self.snapshot = self.storms, {storm["id"]: storm for storm in storms}, None
        for id_ in known.keys() & self.storms.keys():
            self._keep(known[id_])  # it may have been read after this reading began

    async def _show_one(self, viewer: Viewer, storm_id: UUID | None) -> None:
        storms = await database_sync_to_async(_read_storms)([storm_id])
        frame = {"type": "snapshot", "at": _now(), "storms": storms, "totals": self.totals}
        viewer.offer(_encode(frame) if storms else CLOSE_NOT_FOUND)

    def _snapshot(self) -> str:
        """Encoded once until something changes, however many pages connect."""
        if self.snapshot is None:
            self.snapshot = _encode({"storms": list(self.storms.values()), "held": self.held, "totals": self.totals})
        return f'{{"type":"snapshot","at":"{_now()}",{self.snapshot[1:]}'

    def _overviews(self) -> set[Viewer]:
        return {viewer for viewer in self.viewers if viewer.storm_id is None}

    async def _tell(self, viewers: Iterable[Viewer], frame: str | int) -> None:
        for number, viewer in enumerate(list(viewers), 1):
            viewer.offer(frame)
            if number % BREATH == 0:
                await asyncio.sleep(0)


_hubs: "WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = WeakKeyDictionary()


def current() -> Hub:
    """The hub of the running event loop: a web process has one."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())


async def _reset(layer: Any) -> None:
    """Let the layer forget its connections and channels: after a failure it would keep what nobody reads any more."""
    with suppress(*live.LAYER_ERRORS):
        await layer.flush()


async def _in(lane: ThreadPoolExecutor, read: Callable[..., Any], *arguments: Any) -> Any:
    return await database_sync_to_async(read, thread_sensitive=False, executor=lane)(*arguments)


def _read_storms(ids: Iterable[UUID | None]) -> list[dict[str, Any]]:
    return live.storm_messages(live.storms_for_live().filter(id__in=list(ids)))


def _read_numbers() -> dict[str, Any]:
    return {"held": held.held_groups(), "totals": totals.totals()}


def _read_everything() -> tuple[list[dict[str, Any]], Any, Any]:
    storms = live.storm_messages([*live.storms_in_sight(), *live.storms_ended_last()])
    return storms, held.held_groups(), totals.totals()


def _encode(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


def _now() -> str:
    return timezone.now().isoformat()
