"""The embedded servers: start, resume, crash, leftovers, long paths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from stormconsole.commands import PROJECT
from stormconsole.embedded import EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey
from stormconsole.processes import DataDirectoryInUseError, exclusive
from tests.harness.wait import wait_until
from tests.plugin import session


@pytest.fixture
def scratch(request: pytest.FixtureRequest) -> Path:
    """Below the session's scratch directory: pytest's own tmp_path is closed to PostgreSQL's user."""
    directory = session().scratch / request.node.name
    directory.mkdir(mode=0o711)
    return directory


@pytest.fixture
def postgres(scratch: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(scratch / "postgres").start()
    yield server
    server.stop()


@pytest.fixture
def valkey_server(scratch: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(scratch / "valkey").start()
    yield server
    server.stop()


def _value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def _write(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_postgres_is_durable_and_private(postgres: EmbeddedPostgres) -> None:
    assert _value(postgres.url(), "show fsync") == "on"
    assert _value(postgres.url(), "show synchronous_commit") == "on"
    assert _value(postgres.url(), "show listen_addresses") == ""
    assert int(str(_value(postgres.url(), "show max_connections"))) >= 200
    assert postgres.socket_directory.stat().st_mode & 0o077 == 0


def test_postgres_keeps_its_data_over_a_crash(postgres: EmbeddedPostgres) -> None:
    _write(postgres.url(), "create table kept as select 42 as answer")
    postgres.kill()
    assert not postgres.is_running()
    postgres.start()
    assert _value(postgres.url(), "select answer from kept") == 42


def test_postgres_leftover_is_stopped_before_the_new_start(postgres: EmbeddedPostgres) -> None:
    """Two postmasters on one data directory would destroy it; the old one has no owner any more."""
    leftover = postgres.pid
    heir = EmbeddedPostgres(postgres.directory).start()
    try:
        assert heir.pid != leftover
        assert not postgres.is_running()
        assert _value(heir.url(), "select 1") == 1
    finally:
        heir.stop()


def test_postgres_stale_pid_file_of_a_stranger_is_no_leftover(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    (postgres.directory / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres.directory}\n")
    postgres._stop_leftover(postgres.directory / "postmaster.pid")
    assert psutil.pid_exists(os.getpid())


def test_postgres_on_a_path_too_long_for_a_socket(scratch: Path) -> None:
    deep = scratch / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    server = EmbeddedPostgres(deep / "postgres", durable=False).start()
    try:
        assert server.socket_directory != server.directory
        assert _value(server.url(), "select 1") == 1
    finally:
        server.stop()
    assert not server.socket_directory.exists()


def test_postgres_that_cannot_start_says_why(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    configuration = postgres.directory / "postgresql.conf"
    configuration.write_text(configuration.read_text() + "\nno_such_setting = 1\n")
    with pytest.raises(EmbeddedServerError, match="no_such_setting"):
        postgres.start()


def test_valkey_keeps_data_and_port_over_a_stop(valkey_server: EmbeddedValkey) -> None:
    redis.Redis.from_url(valkey_server.url).set("kept", "42")
    url = valkey_server.url
    valkey_server.stop()
    again = EmbeddedValkey(valkey_server.directory).start()
    try:
        assert again.url == url
        assert redis.Redis.from_url(url).get("kept") == b"42"
    finally:
        again.stop()


def test_valkey_restarted_empty(valkey_server: EmbeddedValkey) -> None:
    redis.Redis.from_url(valkey_server.url).set("lost", "1")
    valkey_server.kill()
    valkey_server.start(empty=True)
    assert redis.Redis.from_url(valkey_server.url).dbsize() == 0


def test_valkey_never_evicts_and_listens_on_the_loopback_only(valkey_server: EmbeddedValkey) -> None:
    client = redis.Redis.from_url(valkey_server.url, decode_responses=True)
    assert client.config_get("maxmemory-policy", "bind", "appendonly", "appendfsync") == {
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }


def test_valkey_moves_when_its_port_was_taken(valkey_server: EmbeddedValkey) -> None:
    valkey_server.stop()
    usurper = EmbeddedValkey(valkey_server.directory.with_name("usurper"))
    usurper.port = valkey_server.port
    usurper.start()
    heir = EmbeddedValkey(valkey_server.directory).start()
    try:
        assert heir.port != usurper.port
        assert redis.Redis.from_url(heir.url).ping()
    finally:
        heir.stop()
        usurper.stop()


def test_valkey_leftover_is_stopped_before_the_new_start(valkey_server: EmbeddedValkey) -> None:
    heir = EmbeddedValkey(valkey_server.directory).start()
    try:
        assert not valkey_server.is_running()
        assert heir.url == valkey_server.url
    finally:
        heir.stop()


def test_directory_has_one_owner(scratch: Path) -> None:
    with exclusive(scratch), pytest.raises(DataDirectoryInUseError, match=str(os.getpid())), exclusive(scratch):
        raise AssertionError("two owners")
    with exclusive(scratch):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG of Linux")
def test_servers_die_with_a_killed_owner(scratch: Path) -> None:
    program = f"""
import signal
from pathlib import Path
from stormconsole.embedded import EmbeddedPostgres, EmbeddedValkey
scratch = Path({str(scratch)!r})
servers = [EmbeddedPostgres(scratch / "postgres", durable=False).start(), EmbeddedValkey(scratch / "valkey").start()]
print(*(server.pid for server in servers), flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(_alive(pid) for pid in pids), 10, "the servers outlive their owner")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
