"""`make screenshots`: the README's pictures, taken of a console that this starts in a scratch folder, fills and stops.

A month of synthetic alerts is for the history; what burns on the pictures is real: three drills over HTTP, whose
resources a simulated operator remediates meanwhile. Needs Chromium.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from stormconsole.commands import PROJECT
from stormconsole.processes import free_port
from tests.harness.wait import wait_until

FOLDER = PROJECT / "docs" / "screenshots"
SIZE = {"width": 1280, "height": 800}
LARGEST_BYTES = 250_000
DRILLS = (("checkout", 90, 4), ("search", 40, 2), ("payments", 360, 12))
"""Namespace, alerts, seconds; the last is the storm whose page is shown."""

BELOW = {"tuning": ".dash-evidence"}
"""What a picture is about, where it is not the top of its page."""


class Console:
    """`make run` with data of its own."""

    def __init__(self, data: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = data / "run.log"
        port = self.url.rpartition(":")[2]
        self.env = os.environ | {"PORT": port, "STORMCONSOLE_DATA_DIR": str(data), "WEB_CONCURRENCY": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self._command(), cwd=PROJECT, env=self.env, stdout=log, stderr=log)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "stormconsole.run", *arguments]

    def password(self) -> str:
        """The administrator's, once the console is ready."""
        return wait_until(self._find_password, 90, "the console is ready")

    def _find_password(self) -> str:
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"log in as admin, password (\S+)", self.log.read_text())
        return found.group(1) if found else ""

    def manage(self, *arguments: str) -> None:
        subprocess.run(self._command("manage", *arguments), cwd=PROJECT, env=self.env, check=True)

    @contextlib.contextmanager
    def operator(self) -> Iterator[None]:
        """A simulated remediation operator, for as long as the block runs."""
        process = subprocess.Popen(
            self._command("manage", "simulate_operator", "--delay", "3"), env=self.env, cwd=PROJECT
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def take_all(page: Page) -> None:
    """Every picture in light and dark."""
    storm = page.locator("#section-open .storm", has=page.get_by_text("payments", exact=True))
    page.goto("/")
    address = storm.locator("a.group").get_attribute("href") or ""
    policy = page.request.get("/api/v1/policies/").json()["results"][0]["id"]
    pages = {
        "now": "/",
        "storm": address,
        "alerts": "/alerts/",
        "history": "/history/",
        "tuning": f"/admin/storms/stormpolicy/{policy}/change/",
    }
    for name, path in pages.items():
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.goto(path, wait_until="load")
            if page.locator("#connection").count():
                expect(page.locator("#connection")).to_have_attribute("data-state", "live")
            expect(page.locator(".htmx-request")).to_have_count(0)
            if name in BELOW:
                page.locator(BELOW[name]).evaluate("part => part.scrollIntoView({ block: 'center' })")
            picture = page.screenshot()
            assert len(picture) < LARGEST_BYTES, f"{name}: {len(picture)} bytes"
            (FOLDER / f"{name}-{scheme}.png").write_bytes(picture)


def main() -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("no Chromium: `apt-get install chromium`, or name the program in CHROMIUM")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as data, sync_playwright() as playwright:
        Path(data).chmod(0o711)  # run as root, the embedded PostgreSQL is another user
        console = Console(Path(data))
        try:
            password = console.password()
            console.manage("seed", "--alerts", "30000", "--storms", "150", "--days", "30")
            with console.operator():
                for namespace, alerts, seconds in DRILLS:
                    console.manage(
                        "drill", "--alerts", str(alerts), "--seconds", str(seconds), "--namespace", namespace
                    )
                arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
                browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
                page = browser.new_page(base_url=console.url, viewport=SIZE)
                page.goto("/login/")
                page.fill("#id_username", "admin")
                page.fill("#id_password", password)
                page.press("#id_password", "Enter")
                page.locator("header nav").wait_for()
                take_all(page)
                browser.close()
        finally:
            console.stop()


if __name__ == "__main__":
    main()
