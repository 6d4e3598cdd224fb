"""Waiting for a condition, instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 10.0, message: str = "", interval: float = 0.05) -> T:
    """Ask `condition` every `interval` seconds until it is true; return its value.

    An AssertionError inside the condition counts as "not yet" and its text ends up in the failure. Raises
    AssertionError after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        reason = ""
        try:
            if value := condition():
                return value
        except AssertionError as error:
            reason = f": {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {message or repr(condition)}{reason}")
        time.sleep(interval)
