"""Live updates, through the real channel layer: who may watch, snapshot, changes, and what heals after a failure."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import redis
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import channel_layers
from django.contrib.auth.models import AbstractUser
from django.db import connection
from django.test import Client

from stormconsole.asgi import application
from stormconsole.embedded import free_port
from storms import consumers, hub, live, totals
from storms.models import Storm
from tests.factories import (
    make_admin,
    make_closed_storm,
    make_held_alert,
    make_request,
    make_storm,
    make_user,
)
from tests.storms.websocket import WebSocket

# Channels gives every database call a connection of its own making: it cannot see a test's open transaction.
pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = "5f0c6d2e-0000-4000-8000-000000000000"
"""An id of nothing; fixed, since it is part of the names of tests, which xdist compares between its workers."""

ORIGIN = (b"origin", b"http://localhost:8000")
HOST = (b"host", b"localhost:8000")


@pytest.fixture(autouse=True)
def _fresh_layer(valkey: redis.Redis) -> Iterator[None]:
    """The session's Valkey, empty, and a layer without connections of another test's loop."""
    channel_layers.backends.clear()
    totals.forget()
    yield
    channel_layers.backends.clear()


def session_of(user: AbstractUser) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin() -> Client:
    return session_of(make_admin())


@asynccontextmanager
async def watching(path: str, client: Client | None, *headers: tuple[bytes, bytes]) -> Any:
    """A WebSocket with the client's session, from the console's own origin unless `headers` say otherwise."""
    cookie = [(b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode())] if client else []
    socket = WebSocket(application, path, headers=[*(headers or (ORIGIN, HOST)), *cookie])
    try:
        yield socket
    finally:
        await socket.disconnect()


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    return async_to_sync(scenario)()


async def close_code(socket: WebSocket) -> int:
    await socket.connect()
    message = await socket.receive_output(5)
    assert message["type"] == "websocket.close"
    return int(message["code"])


publish = sync_to_async(live.publish_storm)


async def receive_storm(socket: WebSocket) -> dict[str, Any]:
    """The next change of a storm; on the first page's socket it comes in an update, perhaps with others."""
    async with asyncio.timeout(5):
        while True:
            message: dict[str, Any] = await socket.receive_json()
            if message["type"] == "storm":
                return dict(message["storm"])
            if message["type"] == "update" and message.get("storms"):
                return dict(message["storms"][0])


async def receive(socket: WebSocket, kind: str) -> dict[str, Any]:
    """The next message of a kind; pings and snapshots may come in between."""
    async with asyncio.timeout(5):
        while True:
            message: dict[str, Any] = await socket.receive_json()
            if message["type"] == kind:
                return message


# --- who may watch


@pytest.mark.parametrize("path", ["/ws/storms/", f"/ws/storms/{UNKNOWN}/"])
def test_without_a_session_it_closes_with_4401(path: str) -> None:
    async def scenario() -> None:
        async with watching(path, None) as socket:
            assert await close_code(socket) == consumers.CLOSE_UNAUTHENTICATED

    run(scenario)


def test_without_the_permission_it_closes_with_4403() -> None:
    client = session_of(make_user())

    async def scenario() -> None:
        async with watching("/ws/storms/", client) as socket:
            assert await close_code(socket) == consumers.CLOSE_FORBIDDEN

    run(scenario)


def test_an_unknown_storm_closes_with_4404(admin: Client) -> None:
    async def scenario() -> None:
        async with watching(f"/ws/storms/{uuid4()}/", admin) as socket:
            assert await close_code(socket) == consumers.CLOSE_NOT_FOUND

    run(scenario)


def test_a_page_of_another_origin_is_refused(admin: Client) -> None:
    async def scenario() -> None:
        async with watching("/ws/storms/", admin, (b"origin", b"https://evil.example"), HOST) as socket:
            connected, _ = await socket.connect()
            assert not connected

    run(scenario)


@pytest.mark.parametrize("leave", ["logout", "deactivate"])
def test_an_open_page_does_not_outlive_its_user_s_rights(leave: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PING_SECONDS", 0.02)
    monkeypatch.setattr(hub, "SNAPSHOT_EVERY_PINGS", 1)
    user = make_admin()
    client = session_of(user)

    def go() -> None:
        if leave == "logout":
            client.logout()
        else:
            type(user).objects.update(is_active=False)

    async def scenario() -> None:
        async with watching("/ws/storms/", client) as socket:
            await socket.connect()
            cookie = client.cookies["sessionid"].value
            await receive(socket, "snapshot")
            await sync_to_async(go)()
            async with asyncio.timeout(5):
                while (message := await socket.receive_output(5))["type"] != "websocket.close":
                    pass
            assert message["code"] == consumers.CLOSE_UNAUTHENTICATED
            client.cookies["sessionid"] = cookie

    run(scenario)


# --- what it sends


def test_a_snapshot_holds_what_is_in_sight_and_what_ended_last(admin: Client) -> None:
    opened = make_storm(group_labels={"namespace": "payments"})
    settled = make_closed_storm(firing_count=2)
    ended = [make_closed_storm() for _ in range(live.ENDED_SHOWN + 2)]
    make_held_alert()
    make_request(sync_state="rejected", last_error="422")

    async def scenario() -> None:
        async with watching("/ws/storms/", admin) as socket:
            await socket.connect()
            snapshot = await receive(socket, "snapshot")
            ids = [storm["id"] for storm in snapshot["storms"]]
            assert ids[:2] == [str(opened.id), str(settled.id)]
            assert [storm["state"] for storm in snapshot["storms"][:2]] == ["open", "settled"]
            assert len(ids) == 2 + live.ENDED_SHOWN
            assert set(ids[2:]) <= {str(storm.id) for storm in ended}
            assert snapshot["held"]["groups"][0]["counted"] == 1
            last = snapshot["totals"].pop("last_alert_at")
            assert last.startswith("2026-11-16T10:30:00")
            assert snapshot["totals"] == {
                "held": 1,
                "deferred": 0,
                "failed_syncs": 1,
                "silent_receivers": 0,
                "open_storms": 1,
                "settled_storms": 1,
                "firing_in_storms": opened.firing_count + settled.firing_count,
                "alerts_24h": 0,
                "resources_24h": 0,
            }

    run(scenario)


def test_a_storm_s_message(admin: Client) -> None:
    storm = make_storm(
        group_labels={"namespace": "payments"},
        alert_names=[{"name": name, "count": 3} for name in "abcde"],
        resolved_count=4,
        firing_count=6,
        recent={"119": 10},
    )
    request = make_request(storm=storm, sync_state="failed", last_error="503", cluster="")
    expected = {
        "id": str(storm.id),
        "url": f"/storms/{storm.id}/",
        "group": "namespace=payments",
        "group_labels": {"namespace": "payments"},
        "state": "open",
        "severity": "critical",
        "alert_count": 10,
        "firing_count": 6,
        "resolved_count": 4,
        "acknowledged_by": "",
        "assignee": "",
        "recent": {"from": 119, "counts": [10]},
        "alert_names": [{"name": "a", "count": 3}, {"name": "b", "count": 3}, {"name": "c", "count": 3}],
        "alert_names_more": 2,
        "opened_at": "2026-11-16T10:30:00+00:00",
        "last_alert_at": "2026-11-16T10:30:00+00:00",
        "closed_at": None,
        "close_reason": "",
        "policy": "default",
        "threshold": 10,
        "window_seconds": 60,
        "remediation_request": {
            "id": str(request.id),
            "name": request.name,
            "namespace": "payments",
            "sync_state": "failed",
            "phase": "",
            "last_error": "503",
            "next_attempt_at": None,
            "cluster": "local",
        },
        "refreshed_at": None,
    }

    async def scenario() -> None:
        async with watching("/ws/storms/", admin) as all_storms, watching(f"/ws/storms/{storm.id}/", admin) as one:
            for socket in (all_storms, one):
                await socket.connect()
                assert len((await receive(socket, "snapshot"))["storms"]) == 1
            await publish(storm)
            for socket in (all_storms, one):
                message = await receive_storm(socket)
                assert message.pop("version") > 0
                assert message == expected

    run(scenario)


def test_a_storm_s_page_hears_of_its_storm_only(admin: Client) -> None:
    storm, other = make_storm(), make_storm()

    async def scenario() -> None:
        async with watching(f"/ws/storms/{storm.id}/", admin) as socket:
            await socket.connect()
            assert [s["id"] for s in (await receive(socket, "snapshot"))["storms"]] == [str(storm.id)]
            await publish(other)
            await publish(storm.id)
            assert (await receive_storm(socket))["id"] == str(storm.id)

    run(scenario)


def test_a_message_tells_what_the_row_says_now(admin: Client) -> None:
    storm = make_storm()
    Storm.objects.update(alert_count=99)  # `storm` in our hands is old

    async def scenario() -> None:
        async with watching("/ws/storms/", admin) as socket:
            await socket.connect()
            await receive(socket, "snapshot")
            await publish(storm)
            assert (await receive_storm(socket))["alert_count"] == 99

    run(scenario)


def test_what_the_browser_sends_is_ignored(admin: Client) -> None:
    storm = make_storm()

    async def scenario() -> None:
        async with watching("/ws/storms/", admin) as socket:
            await socket.connect()
            await receive(socket, "snapshot")
            await socket.send("not json")
            await socket.send(data=b"\0")
            await publish(storm)
            assert (await receive_storm(socket))["id"] == str(storm.id)

    run(scenario)


def test_it_pings(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PING_SECONDS", 0.02)

    async def scenario() -> None:
        async with watching("/ws/storms/", admin) as socket:
            await socket.connect()
            ping = await receive(socket, "ping")
            assert ping.keys() == {"type", "at", "totals"}
            # Every sixth is a snapshot, which heals what was missed.
            await receive(socket, "snapshot")
            await receive(socket, "snapshot")

    run(scenario)


# --- failures


def test_a_page_hears_again_after_valkey_lost_all_its_data(
    admin: Client, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "PING_SECONDS", 0.05)
    storm = make_storm()

    async def scenario() -> None:
        async with watching("/ws/storms/", admin) as socket:
            await socket.connect()
            await receive(socket, "snapshot")
            await sync_to_async(valkey.flushdb)()
            await receive(socket, "ping")
            await receive(socket, "ping")  # the second came after a joining that came after the loss
            await publish(storm)
            assert (await receive_storm(socket))["id"] == str(storm.id)

    run(scenario)


def test_a_dead_channel_layer_is_logged_and_never_raised(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{free_port()}/0"]},
        }
    }
    channel_layers.backends.clear()
    storm = make_storm()
    with caplog.at_level(logging.WARNING, logger="storms.live"):
        live.publish_storm(storm)
    assert f"storm {storm.id} was not published" in caplog.text


def test_without_a_channel_layer_the_page_is_told_to_try_again(admin: Client, settings: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{free_port()}/0"]},
        }
    }
    channel_layers.backends.clear()

    async def scenario() -> None:
        socket = WebSocket(
            application,
            "/ws/storms/",
            headers=[ORIGIN, HOST, (b"cookie", f"sessionid={admin.cookies['sessionid'].value}".encode())],
        )
        connected, code = await socket.connect()
        if connected:
            code = (await socket.receive_output(5))["code"]
        assert code == consumers.CLOSE_TRY_AGAIN
        await socket.wait()

    run(scenario)


def test_more_pages_than_may_be_kept_up_to_date_try_again_later(admin: Client, settings: Any) -> None:
    settings.WEB_SOCKETS = 1
    cookie = (b"cookie", f"sessionid={admin.cookies['sessionid'].value}".encode())

    async def scenario() -> None:
        first, second = (WebSocket(application, "/ws/storms/", headers=[ORIGIN, HOST, cookie]) for _ in range(2))
        await first.connect()
        assert (await first.receive_json())["type"]
        await second.connect()
        assert (await second.receive_output(5))["code"] == consumers.CLOSE_TRY_AGAIN
        await second.wait()
        await first.disconnect()

    run(scenario)


def test_a_storm_that_is_gone_is_no_error() -> None:
    live.publish_storm(uuid4())


def test_a_later_reading_has_a_higher_version() -> None:
    storm = make_storm()
    versions = []
    for count in range(11, 16):
        Storm.objects.filter(id=storm.id).update(alert_count=count)
        versions.append(live.storms_for_live().get().version)
    assert versions == sorted(set(versions))


def test_a_snapshot_reads_no_manifest_and_takes_one_query(django_assert_num_queries: Any) -> None:
    for _ in range(3):
        make_request(storm=make_storm())
    with django_assert_num_queries(1) as queries:
        assert len(live.storm_messages(live.storms_in_sight())) == 3
    assert "manifest" not in queries.captured_queries[0]["sql"]


def test_the_storms_that_ended_last_come_from_an_index_in_their_order() -> None:
    """Of five thousand storms eight are read, not all of them sorted."""
    for _ in range(3):
        make_closed_storm()
    with connection.cursor() as cursor:
        cursor.execute("set enable_seqscan = off")
        plan = live.storms_ended_last().explain()
        cursor.execute("reset enable_seqscan")
    assert "storm_ended" in plan
    assert "Sort" not in plan
