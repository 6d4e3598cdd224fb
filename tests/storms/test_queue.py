"""Celery's queue while the broker is away: nothing waits for it, and nothing is lost for good."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from kombu.exceptions import OperationalError

from stormconsole.celery import app


class Hangup:
    """Listens on loopback and closes every connection at once; `attempts` counts them."""

    def __init__(self) -> None:
        self.attempts = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._socket.getsockname()[1]}/0"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.attempts += 1
            connection.close()


@pytest.fixture
def broker() -> Iterator[Hangup]:
    hangup = Hangup()
    yield hangup
    hangup.close()


class Enough(Exception):
    pass


def test_a_worker_tries_to_reach_its_broker_every_second_however_long_it_is_away(broker: Hangup):
    pauses = []

    def note(_: Exception, pause: float) -> None:
        pauses.append(pause)
        if len(pauses) == 4:
            raise Enough

    with app.connection_for_read(broker.url) as connection, pytest.raises(Enough):
        connection.ensure_connection(note, app.conf.broker_connection_max_retries)
    assert pauses == [1, 1, 1, 1]
    assert app.conf.broker_connection_max_retries is None


def test_a_message_is_tried_once(broker: Hangup):
    """The sweep, which sends it, has held alerts to release meanwhile."""
    with app.connection_for_write(broker.url) as connection, pytest.raises(OperationalError):
        assert connection.default_channel
    assert broker.attempts == 1
