"""Debian's Alertmanager, a real client of our webhook."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from stormconsole.processes import die_with_parent, free_port
from tests.harness.http import rfc3339
from tests.harness.wait import wait_until

PROGRAM = "prometheus-alertmanager"


def require_alertmanager() -> str:
    """The program's path. Skips the test, with the way to enable it, where it is missing."""
    program = shutil.which(PROGRAM) or shutil.which("alertmanager")
    if program is None:
        pytest.skip(f"needs Alertmanager: apt-get install {PROGRAM}")
    return program


class Alertmanager:
    """Context manager: one Alertmanager with one webhook receiver, grouping by `group_by`.

    The waits are short (seconds), so that a test sees resolutions and re-sends soon.
    """

    def __init__(
        self,
        directory: Path,
        webhook: str,
        token: str,
        *,
        group_by: Iterable[str] = ("namespace",),
        group_wait: str = "1s",
        group_interval: str = "1s",
        repeat_interval: str = "4h",
        max_alerts: int = 0,
    ) -> None:
        self.program = require_alertmanager()
        self.directory = directory
        self.log = directory / "alertmanager.log"
        route = {
            "receiver": "stormconsole",
            "group_by": list(group_by),
            "group_wait": group_wait,
            "group_interval": group_interval,
            "repeat_interval": repeat_interval,
        }
        webhook_config = {
            "url": webhook,
            "send_resolved": True,
            "max_alerts": max_alerts,
            "http_config": {"authorization": {"type": "Bearer", "credentials": token}},
        }
        receiver = {"name": "stormconsole", "webhook_configs": [webhook_config]}
        self.config = {"route": route, "receivers": [receiver]}

    def __enter__(self) -> Alertmanager:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "alertmanager.yml"
        config.write_text(yaml.safe_dump(self.config))
        self.url = f"http://127.0.0.1:{free_port()}"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self.program,
                    f"--config.file={config}",
                    f"--storage.path={self.directory / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                    "--cluster.listen-address=",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        wait_until(self._is_ready, 20, f"Alertmanager: {self.log.read_text()}")
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            print(f"--- alertmanager\n{self.log.read_text()[-4000:]}")
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()

    def fire(self, label_sets: Iterable[dict[str, str]], *, starts_at: datetime | None = None) -> None:
        """Post firing alerts, as Prometheus does. They stay firing for an hour, or until `resolve`."""
        now = datetime.now(UTC)
        self._post(
            {"labels": labels, "startsAt": rfc3339(starts_at or now), "endsAt": rfc3339(now + timedelta(hours=1))}
            for labels in label_sets
        )

    def resolve(self, label_sets: Iterable[dict[str, str]]) -> None:
        """End the alerts now."""
        now = rfc3339(datetime.now(UTC))
        self._post({"labels": labels, "endsAt": now} for labels in label_sets)

    def _post(self, alerts: Iterable[dict[str, Any]]) -> None:
        httpx.post(f"{self.url}/api/v2/alerts", json=list(alerts), timeout=10).raise_for_status()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"Alertmanager ended:\n{self.log.read_text()[-4000:]}")
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/ready", timeout=2).status_code == 200
        return False
