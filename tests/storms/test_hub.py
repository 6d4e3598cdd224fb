"""The hub: what open pages cost is a matter of the process, not of how many they are."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import redis
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import channel_layers, get_channel_layer
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext

from storms import access, hub, live, totals
from storms.access import Watcher
from storms.consumers import live_socket
from storms.hub import Hub, Viewer
from storms.models import Alert, Storm
from tests.factories import make_admin, make_closed_storm, make_held_alert, make_storm, make_user

pytestmark = pytest.mark.django_db(transaction=True)
PAGES = 40


@pytest.fixture(autouse=True)
def _fresh_layer(valkey: redis.Redis) -> Iterator[None]:
    channel_layers.backends.clear()
    totals.forget()
    yield
    channel_layers.backends.clear()


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    return async_to_sync(scenario)()


publish = sync_to_async(live.publish_storm)


@asynccontextmanager
async def pages(number: int, storm_id: Any = None) -> Any:
    """(hub, viewers that joined and have had their snapshot)."""
    watcher = Watcher(1, "session", "hash")
    here = Hub()
    viewers = [Viewer(watcher, storm_id) for _ in range(number)]
    try:
        await asyncio.gather(*(here.join(viewer) for viewer in viewers))
        for viewer in viewers:
            assert (await frame(viewer))["type"] == "snapshot"
        yield here, viewers
    finally:
        for viewer in viewers:
            here.leave(viewer)


async def frame(viewer: Viewer) -> Any:
    async with asyncio.timeout(5):
        item = await viewer.queue.get()
    return item if isinstance(item, int) else json.loads(item)


async def update(viewer: Viewer) -> Any:
    """The next frame about storms."""
    while not (message := await frame(viewer)).get("storms"):
        pass
    return message


@asynccontextmanager
async def queries() -> Any:
    """The statements of the block, in a list that is filled at its end.

    The hub reads in the thread that runs the test, and that thread has to be asked: each has a connection of its own.
    """
    statements: list[str] = []
    captured = CaptureQueriesContext(connection)
    await sync_to_async(captured.__enter__)()
    yield statements
    await sync_to_async(captured.__exit__)(None, None, None)
    statements += await sync_to_async(lambda: [query["sql"] for query in captured.captured_queries])()


def listeners(valkey: redis.Redis) -> int:
    """Connections that hear of changed storms."""
    return int(valkey.pubsub_numsub("stormconsole__group__storms")[0][1])


def test_forty_pages_cost_what_one_does(valkey: redis.Redis) -> None:
    storms = [make_storm() for _ in range(5)]

    async def scenario() -> None:
        async with pages(1) as (here, [first]):
            async with queries() as cost_of_one:
                for storm in storms:
                    await publish(storm)
                await update(first)
            async with AsyncExitStack() as many:
                async with queries() as cost_of_joining:
                    others = [Viewer(first.watcher, None) for _ in range(PAGES)]
                    for viewer in others:
                        await here.join(viewer)
                        many.callback(here.leave, viewer)
                        await frame(viewer)
                assert len(cost_of_joining) == 0  # the snapshot is at hand
                assert await sync_to_async(listeners)(valkey) == 1
                async with queries() as cost_of_many:
                    for storm in storms:
                        await publish(storm)
                    for viewer in others:
                        await update(viewer)
            assert len(cost_of_many) <= len(cost_of_one) + 2  # a look at what is held may come in between

    run(scenario)


def test_a_frame_is_encoded_once_for_all() -> None:
    storm = make_storm()

    async def scenario() -> None:
        async with pages(3) as (_, viewers):
            await publish(storm)
            frames = [await viewer.queue.get() for viewer in viewers]
            assert all(item is frames[0] for item in frames)

    run(scenario)


def test_many_changes_are_one_update() -> None:
    storms = [make_storm() for _ in range(3)]

    async def scenario() -> None:
        async with pages(1) as (here, [viewer]):
            await publish(storms[0])
            await update(viewer)  # at once; what comes now waits for the pause to end
            for count in range(11, 16):
                await sync_to_async(Storm.objects.update)(alert_count=count)
                for storm in storms:
                    await publish(storm)
            message = await update(viewer)
            ids = [storm["id"] for storm in message["storms"]]
            assert len(ids) == len(set(ids))
            seen = {storm["id"]: storm["alert_count"] for storm in message["storms"]}
            while not (len(seen) == 3 and set(seen.values()) == {15}):
                message = await update(viewer)
                seen |= {storm["id"]: storm["alert_count"] for storm in message["storms"]}
            assert viewer.queue.empty()
            assert here.viewers == {viewer}

    run(scenario)


def test_a_page_that_connects_late_knows_what_was_told_before() -> None:
    storm = make_storm()

    async def scenario() -> None:
        async with pages(1) as (here, [viewer]):
            await sync_to_async(Storm.objects.update)(alert_count=77)
            await publish(storm)
            await update(viewer)
            late = Viewer(viewer.watcher, None)
            await here.join(late)
            assert [shown["alert_count"] for shown in (await frame(late))["storms"]] == [77]
            here.leave(late)

    run(scenario)


def test_an_older_reading_does_not_replace_a_newer_one() -> None:
    here = Hub()
    here._keep({"id": "a", "version": 7, "state": "open", "closed_at": None})
    here._keep({"id": "a", "version": 6, "state": "closed", "closed_at": "2026-11-16T10:30:00+00:00"})
    assert here.storms["a"]["version"] == 7


def test_it_keeps_the_storms_that_ended_last() -> None:
    first = make_closed_storm()

    async def scenario() -> None:
        async with pages(1) as (here, [viewer]):
            for _ in range(live.ENDED_SHOWN + 1):
                await publish(await sync_to_async(make_storm)())
            while len(here.storms) < live.ENDED_SHOWN + 2:
                await update(viewer)
            await sync_to_async(
                lambda: Storm.objects.filter(state="open").update(
                    state="closed", closed_at="2026-11-17T00:00Z", firing_count=0
                )
            )()
            for storm in await sync_to_async(lambda: list(Storm.objects.all()))():
                await publish(storm)
            while len(here.storms) > live.ENDED_SHOWN:
                await update(viewer)
            assert str(first.id) not in here.storms

    run(scenario)


def test_what_is_held_is_told_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 0.05)

    async def scenario() -> None:
        async with pages(1) as (_, [viewer]):
            await sync_to_async(make_held_alert)()
            message = await frame(viewer)
            assert [group["held"] for group in message["held"]["groups"]] == [1]
            await asyncio.sleep(0.6)
            assert viewer.queue.empty()  # nothing changed, nothing was said

    run(scenario)


def test_a_page_that_does_not_read_is_cut_off_and_the_others_go_on() -> None:
    storm = make_storm()

    async def scenario() -> None:
        async with pages(2) as (here, [slow, quick]):
            for _ in range(hub.QUEUE_FRAMES):
                slow.offer("{}")
            assert not slow.is_slow.is_set()
            await publish(storm)
            assert (await update(quick))["storms"][0]["id"] == str(storm.id)
            await slow.is_slow.wait()
            assert slow.queue.qsize() == hub.QUEUE_FRAMES  # bounded, whatever comes
            assert quick in here.viewers

    run(scenario)


def test_a_pump_that_is_stuck_ends_with_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser's side does not read: `send` never returns."""
    monkeypatch.setattr(hub, "PING_SECONDS", 0.01)
    admin = make_admin()

    class LoggedIn(dict):  # type: ignore[type-arg]
        session_key = "key"

    async def scenario() -> None:
        scope = {"user": admin, "session": LoggedIn(), "url_route": {"kwargs": {}}}
        monkeypatch.setattr(access, "refused", lambda watchers: {})

        received: asyncio.Queue[Any] = asyncio.Queue()
        received.put_nowait({"type": "websocket.connect"})

        async def send(message: Any) -> None:
            if message["type"] == "websocket.send":
                await asyncio.Event().wait()

        async with asyncio.timeout(5):
            await live_socket(scope, received.get, send)
        assert not hub.current().viewers

    run(scenario)


def test_it_ends_with_its_last_page_and_starts_again(valkey: redis.Redis) -> None:
    storm = make_storm()

    async def scenario() -> None:
        async with pages(2) as (here, viewers):
            running = here.running
            for viewer in viewers:
                here.leave(viewer)
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await sync_to_async(listeners)(valkey) == 0
            again = Viewer(viewers[0].watcher, None)
            await here.join(again)
            await frame(again)
            await publish(storm)
            await update(again)
            here.leave(again)

    run(scenario)


def test_it_starts_again_without_the_numbers_of_its_last_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(hub, "SHORTEST_PAUSE", 0.3)

    async def scenario() -> None:
        async with pages(1) as (here, [viewer]):
            await sync_to_async(make_held_alert)()
            await frame(viewer)  # now it pauses
            await sync_to_async(make_held_alert)()
            while not here.numbers:
                await asyncio.sleep(0.01)
            here.leave(viewer)
            await sync_to_async(Alert.objects.all().delete)()
            again = Viewer(viewer.watcher, None)
            await here.join(again)
            assert (await frame(again))["held"]["alerts"] == 0
            await asyncio.sleep(0.5)
            assert again.queue.empty()
            here.leave(again)

    run(scenario)


def test_a_hub_that_hears_nothing_sends_its_pages_away(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is there, and its subscription is not."""
    monkeypatch.setattr(hub, "ECHO_SECONDS", 0.02)
    monkeypatch.setattr(hub, "DEAF_SECONDS", 0.2)
    storm = make_storm()

    async def scenario() -> None:
        async with pages(2) as (here, viewers):
            await asyncio.sleep(0.4)
            assert here.running is not None  # it hears itself
            layer = get_channel_layer()
            await layer._shards[0]._pubsub.unsubscribe("stormconsole__group__storms")
            for viewer in viewers:
                while (item := await frame(viewer)) != hub.CLOSE_TRY_AGAIN:
                    assert item["type"] != "storm"
            assert here.running is None
            again = Viewer(viewers[0].watcher, None)
            await here.join(again)
            await frame(again)
            await publish(storm)
            await update(again)
            here.leave(again)

    run(scenario)


def test_pages_that_connect_at_once_share_one_start() -> None:
    async def scenario() -> None:
        async with queries() as cost_of_one, pages(1):
            pass
        async with queries() as cost_of_many, pages(PAGES):
            pass
        assert 0 < len(cost_of_many) <= len(cost_of_one)

    run(scenario)


def test_an_unknown_storm_is_said_to_be_none() -> None:
    async def scenario() -> None:
        here, viewer = Hub(), Viewer(Watcher(1, "session", "hash"), uuid4())
        await here.join(viewer)
        assert await frame(viewer) == hub.CLOSE_NOT_FOUND
        here.leave(viewer)

    run(scenario)


# --- who may watch


def test_all_pages_are_asked_about_in_three_queries(django_assert_num_queries: Any, client: Any) -> None:
    users = [make_user(f"viewer-{number}", "storms.view_storm") for number in range(5)]
    watchers = []
    for user in users:
        client.force_login(user)
        watchers.append(Watcher(user.pk, client.session.session_key, user.get_session_auth_hash()))
        client.cookies.clear()
    stranger = make_user("stranger")
    client.force_login(stranger)
    watchers.append(Watcher(stranger.pk, client.session.session_key, stranger.get_session_auth_hash()))
    with django_assert_num_queries(3):
        assert access.refused(watchers) == {watchers[-1]: access.FORBIDDEN}


@pytest.mark.parametrize("change", ["password", "logout", "expired", "inactive"])
def test_a_page_ends_with_its_session(change: str, client: Any) -> None:
    user = make_user("viewer", "storms.view_storm")
    client.force_login(user)
    watcher = Watcher(user.pk, client.session.session_key, user.get_session_auth_hash())
    assert access.refused([watcher]) == {}
    if change == "password":
        user.set_password("another")
        user.save()
    elif change == "inactive":
        type(user).objects.update(is_active=False)
    elif change == "logout":
        client.logout()
    else:
        Session.objects.update(expire_date="2026-01-01T00:00Z")
    assert access.refused([watcher]) == {watcher: access.UNAUTHENTICATED}
