"""What an open storm's page asks the console for while its storm goes on: static/console/storm.js and the parts that
htmx loads, with their pauses."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import httpx

# As in static/console/storm.js, in seconds.
SHORTEST = 1.0
BY_COST = 10
RAREST = 30.0
SPREAD = 0.6


class StormPage:
    """One page: `hear` what its WebSocket says, and run `follow` beside it. `answers` are the seconds of each."""

    def __init__(self, client: httpx.AsyncClient, storm_id: str, longest: float) -> None:
        self.client, self.path, self.longest = client, f"/storms/{storm_id}/", longest
        self.changed = asyncio.Event()
        self.version = 0
        self.parts = {"resources/": 15.0, "breakdown/": 20.0}
        """Addresses below the page's, and the seconds from one request to the next."""
        self.asked = dict.fromkeys(self.parts, 0.0)
        self.answers: list[float] = []
        self.failed = 0

    def hear(self, text: str) -> None:
        message: dict[str, Any] = json.loads(text)
        storm = message["storms"][0] if message["type"] == "snapshot" else message.get("storm")
        if not storm:
            return
        self.version = storm["version"]
        if request := storm["remediation_request"]:
            compared = f"/remediation-requests/{request['id']}/"
            self.parts.setdefault(compared, 10.0)
            self.asked.setdefault(compared, 0.0)
        self.changed.set()

    async def follow(self) -> None:
        pause = 0.0
        while True:
            await self.changed.wait()
            self.changed.clear()
            await asyncio.sleep(SPREAD * random.random())
            took = await self._get("", {})
            for part, every in list(self.parts.items()):
                if time.monotonic() - self.asked[part] >= every:
                    self.asked[part] = time.monotonic()
                    await self._get(part, {"HX-Request": "true"})
            pause = min(max(2 * pause, SHORTEST), self.longest)
            await asyncio.sleep(max(pause, min(took * BY_COST, RAREST)) * random.uniform(0.8, 1.2))

    async def _get(self, part: str, headers: dict[str, str]) -> float:
        headers = headers | {"X-Console-Version": str(self.version)}
        began = time.perf_counter()
        try:
            answer = await self.client.get(part if part.startswith("/") else self.path + part, headers=headers)
            self.failed += answer.status_code != 200
        except httpx.TransportError:
            self.failed += 1
        took = time.perf_counter() - began
        self.answers.append(took)
        return took
