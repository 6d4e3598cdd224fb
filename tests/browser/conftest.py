"""A real Chromium against real processes. Skipped, with the way to enable it, where there is none."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.problems import Problems
from tests.harness.http import alert, payload, post_many
from tests.harness.stack import Stack
from tests.plugin import failed

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
USER, PASSWORD = "root", "a-password-for-tests"
# What is awaited, on a machine that runs other tests beside this one. What must be quick says so where it is expected.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the whole session: while it lives, its event loop makes Django refuse database calls of other tests."""
    if not CHROMIUM:
        pytest.skip("no Chromium: `apt-get install chromium`, or name the program in CHROMIUM")
    with sync_playwright() as playwright:
        # The tests may run as root in a container, where Chromium has no sandbox and a small /dev/shm.
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])


class Console:
    """A running stack of two web processes with an administrator and a receiver."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.token = stack.token()
        self.cookies: dict[tuple[str, str], Any] = {}
        stack.manage("createsuperuser", "--no-input", "--username", USER, "--email", "root@example.com")

    def send(self, namespace: str, number: int, *, web: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Fire new alerts of one namespace through one web process; returns them."""
        alerts = [alert(namespace=namespace, **fields) for _ in range(number)]
        self.deliver(alerts, web=web)
        return alerts

    def deliver(self, alerts: list[dict[str, Any]], *, web: int = 0) -> None:
        [answer] = post_many(self.stack.urls[web], self.token, [payload(alerts)])
        assert answer.status in (201, 202), answer


@pytest.fixture(scope="module")
def console(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Console]:
    """Made after `browser`, so that nothing is started where there is none."""
    with Stack(web=2, env={"DJANGO_SUPERUSER_PASSWORD": PASSWORD}) as stack:
        yield Console(stack)
        if request.node.stash.get(failed, False):
            stack.show_logs()


def log_in_as(page: Page, username: str, password: str) -> None:
    """On the login page; returns on the page that it leads to."""
    page.fill("#id_username", username)
    page.fill("#id_password", password)
    page.press("#id_password", "Enter")
    page.locator("header nav").wait_for()
    page.wait_for_load_state("load")  # its scripts have run


@pytest.fixture
def open_page(browser: Browser, console: Console, request: pytest.FixtureRequest) -> Iterator[Callable[..., Page]]:
    """`open_page("/", **context_options)`: a logged-in page that fails the test on what `problems` tells of.

    A user types the password once for each console, and again where that session is over, or with `own_session`.
    A test that provokes such a thing names it: `@pytest.mark.expects_problem("403 .*/note/$")`.
    """
    problems = Problems(console.stack.urls)
    contexts = []

    def open_(
        path: str,
        *,
        log_in: bool = True,
        user: tuple[str, str] = (USER, PASSWORD),
        own_session: bool = False,
        **options: Any,
    ) -> Page:
        context = browser.new_context(base_url=console.stack.url, **options)
        contexts.append(context)
        problems.watch(context)
        if log_in and not own_session:
            context.add_cookies(console.cookies.get(user, []))
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.goto(path)
        if log_in and urlsplit(page.url).path == "/login/":
            log_in_as(page, *user)
            console.cookies[user] = context.cookies()
        return page

    yield open_
    for context in contexts:
        context.close()
    expected = [pattern for mark in request.node.iter_markers("expects_problem") for pattern in mark.args]
    assert problems.unexpected(expected) == []
