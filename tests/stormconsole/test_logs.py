"""Log lines say what they are about, and nobody can forge one."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from stormconsole import logs
from stormconsole.commands import PROJECT
from tests.harness.http import alert, payload

EVIL = "x\n2026-11-16T10:30:00.000000Z INFO storms all is well\r\x1b[31m\u2028\u202e"


def logged(format: str, log: Callable[[logging.Logger], None]) -> str:
    """What a logger of ours writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(format))
    logger = logging.getLogger("storms.test")
    logger.addHandler(handler)
    try:
        log(logger)
    finally:
        logger.removeHandler(handler)
    return stream.getvalue()


def fail(logger: logging.Logger) -> None:
    try:
        raise ValueError(EVIL)
    except ValueError:
        logger.exception("it failed: %s", "why")


def test_a_line_has_time_level_logger_and_message() -> None:
    text = logged("line", lambda logger: logger.warning("%d of %s", 3, "four"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z WARNING storms\.test 3 of four\n", text)


def test_json_is_one_object_in_a_line() -> None:
    text = logged("json", lambda logger: logger.warning("%d of %s", 3, "four"))
    assert text.count("\n") == 1
    told = json.loads(text)
    assert list(told) == ["time", "level", "logger", "message"]
    assert (told["level"], told["logger"], told["message"]) == ("WARNING", "storms.test", "3 of four")


@pytest.mark.parametrize("format", ["line", "json"])
def test_what_is_bound_is_in_every_line_within(format: str) -> None:
    def log(logger: logging.Logger) -> None:
        with logs.bound(delivery_id="d-1"):
            logger.warning("one")
            with logs.bound(request_id=7):
                logger.warning("two")
        logger.warning("three")

    one, two, three = logged(format, log).splitlines()
    assert "d-1" in one
    assert "request_id" not in one
    assert "d-1" in two
    assert "request_id" in two
    assert "d-1" not in three


def test_no_message_can_forge_a_line() -> None:
    text = logged("line", lambda logger: logger.warning("label %s", EVIL))
    assert text.count("\n") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u2028\u202e]", text)
    assert json.loads(logged("json", lambda logger: logger.warning("label %s", EVIL)))["message"] == f"label {EVIL}"


def test_no_bound_value_can_forge_a_line() -> None:
    def log(logger: logging.Logger) -> None:
        with logs.bound(delivery_id=EVIL):
            logger.warning("one")

    assert logged("line", log).count("\n") == 1
    assert logged("json", log).count("\n") == 1


def test_a_traceback_is_below_its_line_and_cannot_forge_one() -> None:
    first, *below = logged("line", fail).rstrip("\n").split("\n")
    assert first.endswith("ERROR storms.test it failed: why")
    assert below[0] == "  | Traceback (most recent call last):"
    assert all(line.startswith("  | ") for line in below)
    told = json.loads(logged("json", fail))
    assert told["exception"].startswith("Traceback (most recent call last):")
    assert told["message"] == "it failed: why"


def test_a_webhooks_lines_name_its_delivery(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storms.detector.group_keys", lambda _: ("a", "b", "c"))  # a call that the store refuses
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter("json"))
    logging.getLogger("storms").addHandler(handler)
    try:
        answer = console.post(payload([alert(namespace="demo")])).json()
    finally:
        logging.getLogger("storms").removeHandler(handler)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert told
    assert {line["delivery_id"] for line in told} == {answer["deliveryId"]}


@pytest.mark.parametrize("format", ["line", "json"])
def test_a_process_logs_as_it_is_told(format: str) -> None:
    script = "import django, logging; django.setup(); logging.getLogger('storms').warning('a\\nb')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=PROJECT,
        env=os.environ | {"LOG_FORMAT": format, "DJANGO_SETTINGS_MODULE": "stormconsole.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = done.stderr.splitlines()
    assert json.loads(line)["message"] == "a\nb" if format == "json" else line.endswith("WARNING storms a\\nb")
