"""The browser's end of `storms.live`.

Server to browser, as JSON text:

    {"type": "snapshot", "at": ISO 8601, "storms": [<storm>...], "totals": {...}}   on connect, then every minute
    {"type": "storm", "storm": <storm>}                                             on every change
    {"type": "ping", "at": ISO 8601, "totals": {...}}                               every ten seconds

A snapshot replaces all that the page knows. The browser sends nothing; what it sends is ignored.
Close codes: 4401 not logged in (any more), 4403 may not view storms, 4404 no such storm, 1013 try again later.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone

from storms import live
from storms.models import Storm

logger = logging.getLogger(__name__)

PING_SECONDS = 10.0
SNAPSHOT_EVERY_PINGS = 6
CLOSE_UNAUTHENTICATED = 4401
CLOSE_FORBIDDEN = 4403
CLOSE_NOT_FOUND = 4404
CLOSE_TRY_AGAIN = 1013
RETRYABLE = (*live.LAYER_ERRORS, DatabaseError)


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """Joins its group, sends a snapshot, then passes changes on. Subclasses say which group and which storms."""

    group: str
    heartbeat: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run until the browser leaves, or the channel layer fails: then close, and the browser comes back."""
        try:
            await super().__call__(scope, receive, send)
        except live.LAYER_ERRORS as error:
            logger.warning("live updates interrupted: %s", str(error) or type(error).__name__)
            with suppress(*live.LAYER_ERRORS, RuntimeError):  # RuntimeError: the server has already closed it
                await self.close(CLOSE_TRY_AGAIN)
        finally:
            if self.heartbeat is not None:
                self.heartbeat.cancel()

    async def connect(self) -> None:
        # Accepted first: a browser learns the close code of an accepted connection only.
        await self.accept()
        refusal = await self.refusal()
        if refusal:
            await self.close(refusal)
            return
        try:
            # The group first, the snapshot second: what changes in between is sent twice rather than never.
            await self.join()
            await self.send_snapshot()
        except DatabaseError as error:
            logger.warning("no snapshot: %s", error)
            await self.close(CLOSE_TRY_AGAIN)
            return
        self.heartbeat = asyncio.create_task(self.beat())

    async def disconnect(self, code: int) -> None:
        with suppress(*live.LAYER_ERRORS):
            await self.channel_layer.group_discard(self.group, self.channel_name)
        raise StopConsumer

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Nothing is expected from the browser."""

    async def storm_changed(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "storm", "storm": event["storm"]})

    async def join(self) -> None:
        await self.channel_layer.group_add(self.group, self.channel_name)

    async def send_snapshot(self) -> None:
        await self.send_json(await database_sync_to_async(self.snapshot)())

    async def beat(self) -> None:
        """Ping, and heal: join again (a restarted store forgot the group), check the session, send a snapshot."""
        pings = 0
        try:
            while True:
                await asyncio.sleep(PING_SECONDS)
                pings += 1
                await self.join()
                if pings % SNAPSHOT_EVERY_PINGS:
                    await self.send_json(await database_sync_to_async(self.ping)())
                elif refusal := await self.refusal():
                    return await self.close(refusal)
                else:
                    await self.send_snapshot()
        except RETRYABLE as error:
            logger.warning("live updates interrupted: %s", str(error) or type(error).__name__)
            await self.close(CLOSE_TRY_AGAIN)

    async def refusal(self) -> int | None:
        """The close code for who may not watch, else None."""
        return await database_sync_to_async(self.check_access)()

    def check_access(self) -> int | None:
        user = self.scope.get("user")
        if user is None or not user.is_authenticated or not self.session_lives():
            return CLOSE_UNAUTHENTICATED
        # Read again: an open page must not outlive its user's rights.
        current = get_user_model().objects.filter(pk=user.pk, is_active=True).first()
        if current is None:
            return CLOSE_UNAUTHENTICATED
        return None if current.has_perm("storms.view_storm") else CLOSE_FORBIDDEN

    def session_lives(self) -> bool:
        key = self.scope["session"].session_key
        store = import_module(settings.SESSION_ENGINE).SessionStore
        return bool(key) and store().exists(key)

    def ping(self) -> dict[str, Any]:
        return {"type": "ping", "at": timezone.now().isoformat(), "totals": live.totals()}

    def snapshot(self) -> dict[str, Any]:
        return self.ping() | {"type": "snapshot", "storms": live.storm_messages(self.storms())}

    def storms(self) -> Iterable[Storm]:
        raise NotImplementedError


class StormsConsumer(LiveConsumer):
    """Every storm in sight, and the last that ended."""

    group = live.STORMS_GROUP

    def storms(self) -> list[Storm]:
        return [*live.storms_in_sight(), *live.storms_ended_last()]


class StormConsumer(LiveConsumer):
    """One storm."""

    @property
    def group(self) -> str:  # type: ignore[override]
        return live.storm_group(self.storm_id)

    @property
    def storm_id(self) -> Any:
        return self.scope["url_route"]["kwargs"]["storm_id"]

    def check_access(self) -> int | None:
        refused = super().check_access()
        if refused:
            return refused
        return None if self.storms().exists() else CLOSE_NOT_FOUND

    def storms(self) -> QuerySet[Storm]:
        return live.storms_for_live().filter(id=self.storm_id)
