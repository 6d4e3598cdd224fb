"""`manage.py drill` against real processes: it adds up, and it notices when it does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.harness.stack import Stack


@pytest.fixture(scope="module")
def console() -> Iterator[Stack]:
    with Stack(web=1) as stack:
        yield stack


def _drill(console: Stack, *arguments: str, check: bool = True) -> dict[str, str]:
    """The table that was printed: {name: text}."""
    printed = console.manage("drill", "--url", console.url, *arguments, check=check)
    return dict(re.findall(r"^  (\w[\w ]*?)\s{2,}(.+)$", printed.replace("\r", "\n"), re.MULTILINE))


def test_a_storm_adds_up(console: Stack) -> None:
    table = _drill(console, "--alerts", "120", "--seconds", "1", "--clients", "6", "--namespace", "shop")
    assert table["HTTP"] == "201 1, 202 119"
    assert table["outcomes"] == "aggregated 110, held 9, storm_opened 1"
    assert table["episodes stored"] == "120, received 120 times"
    assert table["ledger"] == "answered 120, deliveries 120, received 120, recorded 120"
    assert table["storms"] == "namespace=shop: 120 alerts"
    assert table["resources"] == "1 active, 0 superseded (applied 1)"


def test_batches_add_up_with_another_receivers_token(console: Stack) -> None:
    table = _drill(console, "--alerts", "110", "--seconds", "0", "--batch", "25", "--token", console.token())
    assert table["ledger"] == "answered 110, deliveries 5, received 110, recorded 110"
    assert table["resources"] == "1 active, 0 superseded (applied 1)"


def test_a_refused_token_does_not_add_up(console: Stack) -> None:
    with pytest.raises(
        AssertionError, match=r"(?s)exit 1.*6 webhooks never acknowledged: 401 6.*0 of 6 episodes stored"
    ):
        _drill(console, "--alerts", "6", "--seconds", "0", "--token", "scr_unknown", "--timeout", "1")


def test_an_unapplied_resource_does_not_add_up(stack_factory: Callable[..., Stack]) -> None:
    without_worker = stack_factory(worker=False)
    with pytest.raises(AssertionError, match=r"(?s)exit 1.*1 resources not applied"):
        _drill(without_worker, "--alerts", "12", "--seconds", "0", "--timeout", "2")
