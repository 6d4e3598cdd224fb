"""The browser's end of `storms.hub`: who may watch is let in, gets what the hub sends, and is cut off if too slow.

What the browser sends is ignored. Close codes: 4401 not logged in (any more), 4403 may not view storms, 4404 no such
storm, 1013 try again later.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings

from stormconsole import pressure
from stormconsole.pressure import Reason
from storms import access, hub
from storms.hub import CLOSE_TRY_AGAIN, RETRYABLE, Viewer

logger = logging.getLogger(__name__)

CLOSE_UNAUTHENTICATED = access.UNAUTHENTICATED
CLOSE_FORBIDDEN = access.FORBIDDEN
CLOSE_NOT_FOUND = hub.CLOSE_NOT_FOUND


async def live_socket(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application of both sockets; `storm_id` in the address is the storm of the second."""
    await receive()
    # Accepted first: a browser learns the close code of an accepted connection only.
    await send({"type": "websocket.accept"})
    viewer, code = await _let_in(scope)
    if viewer is None:
        await send({"type": "websocket.close", "code": code})
        return
    parts = [_pump(viewer, send), _until_gone(receive), viewer.is_slow.wait()]
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if viewer.is_slow.is_set():
            logger.warning("a page that could not keep up with live updates was cut off")
    finally:
        hub.current().leave(viewer)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _let_in(scope: Any) -> tuple[Viewer | None, int]:
    """The viewer, who has joined the hub; or none, and the close code."""
    if len(hub.current().viewers) >= settings.WEB_SOCKETS:
        pressure.count(Reason.SOCKET_REFUSED)
        return None, CLOSE_TRY_AGAIN
    try:
        watcher = access.watcher_of(scope)
        if watcher is None:
            return None, access.UNAUTHENTICATED
        codes = await database_sync_to_async(access.refused)([watcher])
        if watcher in codes:
            return None, codes[watcher]
        viewer = Viewer(watcher, scope["url_route"]["kwargs"].get("storm_id"))
        await hub.current().join(viewer)
    except RETRYABLE as error:
        logger.warning("no live updates: %s", str(error) or type(error).__name__)
        return None, CLOSE_TRY_AGAIN
    return viewer, 0


async def _pump(viewer: Viewer, send: Any) -> None:
    with suppress(OSError):  # the browser has left
        while True:
            frame = await viewer.queue.get()
            if isinstance(frame, int):
                return await send({"type": "websocket.close", "code": frame})
            await send({"type": "websocket.send", "text": frame})


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
