"""docker-compose.yml and `make run` start the same commands with variables that exist."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from stormconsole.commands import COMPONENTS, HEARTBEATS, PROJECT, command_line
from tests.stormconsole.test_docs import _documented


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    return dict(compose["services"])


def test_it_has_every_service(services: dict[str, Any]) -> None:
    assert set(services) == {*COMPONENTS, "migrate", "postgres", "valkey"}


@pytest.mark.parametrize("name", [*COMPONENTS, "migrate"])
def test_its_commands_are_those_of_the_supervisor(services: dict[str, Any], name: str) -> None:
    assert services[name]["command"] == ["python", "-m", "stormconsole.run", name]
    assert command_line(name, {})  # and the name means something there


def test_every_service_has_a_healthcheck(services: dict[str, Any]) -> None:
    assert [name for name in services if "healthcheck" not in services[name]] == ["migrate"]
    for name in HEARTBEATS:
        assert services[name]["healthcheck"]["test"][-1] == name


def test_the_web_service_expects_the_other_components(services: dict[str, Any]) -> None:
    assert services["web"]["environment"]["EXPECTED_COMPONENTS"] == ",".join(HEARTBEATS)


@pytest.mark.parametrize("name", COMPONENTS)
def test_its_variables_are_settings(services: dict[str, Any], name: str) -> None:
    assert set(services[name]["environment"]) <= set(_documented())


@pytest.mark.parametrize("name", COMPONENTS)
def test_components_wait_for_the_migration_and_run_unprivileged(services: dict[str, Any], name: str) -> None:
    assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert "\nUSER 10001\n" in (PROJECT / "Dockerfile").read_text()


def test_commands_follow_the_environment() -> None:
    web = command_line("web", {"PORT": "9000", "HOST": "0.0.0.0", "WEB_CONCURRENCY": "4"})
    assert " ".join(web[1:]) == (
        "-m uvicorn stormconsole.asgi:application --no-access-log --host 0.0.0.0 --port 9000 --workers 4 "
        "--log-level warning --timeout-graceful-shutdown 3 --http stormconsole.edge:GuardedHTTP --ws-max-size 65536 "
        "--timeout-keep-alive 75 --ws-per-message-deflate false --no-proxy-headers"
    )
    worker = command_line("worker", {"WORKER_CONCURRENCY": "3", "LOG_LEVEL": "DEBUG"})
    assert " ".join(worker[3:]) == (
        "-m celery --quiet -A stormconsole worker --pool threads --concurrency 3 --loglevel DEBUG "
        "--without-gossip --without-mingle"
    )
    assert command_line("sweep", {})[1:] == [str(PROJECT / "manage.py"), "sweep"]
