"""What a page must never do, whatever it is tested for: heard while a test runs, told at its end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request

REPORT_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) => console.error(
  "content security policy:", event.violatedDirective, event.blockedURI, event.sourceFile, event.lineNumber))"""
SCHEMES = {"http", "https", "ws", "wss"}


class Problems:
    """Script errors, alert boxes, errors in the console, reports of the content security policy, other hosts."""

    def __init__(self, urls: Iterable[str]) -> None:
        self.hosts = {urlsplit(url).netloc for url in urls}
        self.found: list[str] = []

    def watch(self, context: BrowserContext) -> None:
        """Call it before the context has a page."""
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("page", self._watch_page)

    def unexpected(self, expected: Iterable[str]) -> list[str]:
        """Without those that one of the patterns is found in."""
        return [problem for problem in self.found if not any(re.search(pattern, problem) for pattern in expected)]

    def _watch_page(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("dialog", self._asked_the_reader)
        page.on("pageerror", lambda error: self.found.append(f"script: {error}"))
        page.on("request", self._asked)
        page.on("websocket", lambda socket: self._check_host(socket.url))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" or (message.type == "warning" and "Alpine" in message.text):
            self.found.append(f"console: {message.text[:300]} {urlsplit(message.location.get('url', '')).path}")

    def _asked_the_reader(self, dialog: Dialog) -> None:
        self.found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        self._check_host(request.url)

    def _check_host(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in SCHEMES and parts.netloc not in self.hosts:
            self.found.append(f"request: {url}")
