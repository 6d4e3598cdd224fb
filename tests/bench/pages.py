"""How long every page takes with many alerts: all pages that there are, found by their addresses, in a running console.

The time is from the request to the last byte of the answer, over one kept connection from the same machine: what the
server needs, and a millisecond or so. Pages are asked for in turn, so that a slow moment hits all of them alike. Beside
it stands the processor's time, of web processes and PostgreSQL together: it says what a page costs on a machine that
does something else as well.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean, median, quantiles
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import psutil

TARGET_MS = 100
METHOD_NOT_ALLOWED = 405
DOWNLOADS = re.compile(r"\.(csv|md|yaml|json)$")
"""No pages: whole exports, and what a page's script asks for after it is shown. Not held to the target."""
SKIPPED = ("login", "logout", "password", "single-sign-on", "schema", "docs", "healthz", "readyz", "admin")
EXPLORED = {
    "a namespace, 30 days": {"q": '{namespace="payments"}', "range": "30d"},
    "a common label, 30 days": {"q": '{team="data"}', "range": "30d"},
    "a label that nothing has": {"q": '{pod="no-such-pod"}', "range": "30d"},
    "a prefix": {"q": '{pod=~"api-.*", team!="edge"}', "range": "30d"},
    "a pattern for RE2": {"q": '{pod=~"(api|db)-[0-9a-f]{9}-.{5}"}', "range": "30d"},
    "a pattern that nothing has": {"q": '{pod=~"[x]{40}"}', "range": "30d"},
    "name and namespace": {"q": '{alertname="HighLatency", namespace="payments"}', "range": "30d"},
    "what fires": {"status": "firing", "range": "all"},
    "an outcome that is rare": {"outcome": "deferred", "range": "all"},
    "severity and receiver": {"severity": "critical", "receiver": "synthetic-alertmanager-us", "range": "30d"},
}


@dataclass(slots=True)
class Page:
    name: str
    url: str
    ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    status: int = 0
    size: int = 0
    errors: set[int] = field(default_factory=set)
    """Statuses of 400 and above that it answered with."""

    @property
    def is_page(self) -> bool:
        return not DOWNLOADS.search(self.url.partition("?")[0])

    @property
    def failure(self) -> str:
        """What is wrong with it, in words; "" where nothing is."""
        if self.errors:
            return f"FAILED {', '.join(map(str, sorted(self.errors)))} {self.url}"
        return "MISSED" if self.is_page and median(self.ms) >= TARGET_MS else ""


class Processor:
    """The processor's time of the web processes and of PostgreSQL below a supervisor, parallel workers included."""

    def __init__(self, supervisor: int) -> None:
        self._supervisor = psutil.Process(supervisor)

    def ms(self) -> float:
        return 1000 * sum(self._seconds(process) for process in self._supervisor.children(recursive=True))

    def _seconds(self, process: psutil.Process) -> float:
        try:
            command = " ".join(process.cmdline())
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        if "uvicorn" not in command and "multiprocessing" not in command and "postgres" not in command:
            return 0.0
        return used.user + used.system + (used.children_user + used.children_system if "-D" in command else 0.0)


def is_filled(port: int, session: str) -> bool:
    url = f"http://127.0.0.1:{port}/api/v1/alerts/?page_size=1"
    return bool(httpx.get(url, cookies={"sessionid": session}, timeout=60).raise_for_status().json()["results"])


def measure(port: int, supervisor: int, session: str, rounds: int) -> bool:
    """Print median and 95th percentile of each page, the slowest first. Whether all answered, and in time."""
    spent = Processor(supervisor)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", cookies={"sessionid": session}, timeout=120, follow_redirects=False
    ) as client:
        pages = asked_once(client)
        for _ in range(rounds):
            for page in pages:
                before = spent.ms()
                _ask(client, page)
                page.cpu_ms.append(spent.ms() - before)
    _print([page for page in pages if page.is_page], f"target {TARGET_MS} ms")
    print(f"\n{'what is downloaded, or asked for by a script':58}")
    _print([page for page in pages if not page.is_page], "")
    return not any(page.failure for page in pages)


def asked_once(client: httpx.Client) -> list[Page]:
    """Every page, after one request that is not measured: of what only posts go to that is the last one."""
    pages = list(_pages(client))
    for page in pages:
        _ask(client, page)
        page.ms.clear()
    return [page for page in pages if page.status != METHOD_NOT_ALLOWED]


def _print(pages: list[Page], target: str) -> None:
    titles = f"{'median ms':>10}{'p95 ms':>9}{'CPU ms':>8}{'KiB':>7}"
    print(f"{'':58}{titles}  {target}")
    for page in sorted(pages, key=lambda page: -median(page.ms)):
        p95 = quantiles(page.ms, n=20)[-1] if len(page.ms) > 1 else page.ms[0]
        numbers = f"{median(page.ms):10.0f}{p95:9.0f}{mean(page.cpu_ms):8.0f}{page.size / 1024:7.0f}"
        print(f"{page.name[:57]:58}{numbers}  {page.failure or ('ok' if target else '')}")


def _ask(client: httpx.Client, page: Page) -> None:
    started = time.perf_counter()
    answer = client.get(page.url)
    page.ms.append((time.perf_counter() - started) * 1000)
    page.status, page.size = answer.status_code, len(answer.content)
    if page.status >= 400:
        page.errors.add(page.status)


def _pages(client: httpx.Client) -> Iterator[Page]:
    """Every address that can be asked for; what only posts go to among them."""
    values = _examples(client)
    for name, pattern in _patterns():
        wanted = re.findall(r"<(?:\w+:)?(\w+)>", pattern)
        if all(value in values for value in wanted):
            url = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: quote(str(values[found[1]])), pattern)
            yield Page(f"{name}  /{pattern}"[:57], f"/{url}")
    for title, params in EXPLORED.items():
        query = urlencode(params)
        yield Page(f"alerts: {title}", f"/alerts/?{query}")
        yield Page(f"histogram: {title}", f"/alerts/histogram.json?{query}")
    yield Page("alerts API: matchers", f"/api/v1/alerts/?{urlencode({'matchers': EXPLORED['a prefix']['q']})}")
    yield from _admin(client)


def _examples(client: httpx.Client) -> dict[str, Any]:
    """Values for the parameters of addresses: of the biggest storm that one page of the API lists."""

    def rows(path: str, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get(f"/api/v1/{path}/", params=params).raise_for_status().json()["results"]
        return found

    storm = max(rows("storms", page_size=500), key=lambda row: row["alert_count"])
    alert = rows("alerts", page_size=1, storm=storm["id"])[0]
    print(f"the storm has {storm['alert_count']} alerts")
    letters = rows("dead-letters", page_size=1)
    return {
        "storm_id": storm["id"],
        "alert_id": alert["id"],
        "rr_id": storm["id"],
        "delivery_id": alert["delivery_id"],
        **({"letter_id": letters[0]["id"]} if letters else {}),
    }


def _patterns() -> Iterator[tuple[str, str]]:
    """(name, pattern) of the pages and of the API's lists."""
    from django.urls import URLPattern, URLResolver, get_resolver

    def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, str]]:
        for entry in resolver.url_patterns:
            pattern = prefix + str(entry.pattern)
            if isinstance(entry, URLResolver):
                if not pattern.startswith(("admin/", "api/v1/webhooks")):
                    yield from walk(entry, pattern)
            elif isinstance(entry, URLPattern) and not (entry.name or "").startswith(SKIPPED):
                yield entry.name or "", pattern.replace("^", "").replace(r"\Z", "").removesuffix("$")

    for name, pattern in walk(get_resolver(), ""):
        is_list = pattern.startswith("api/") and not re.search(r"[(<]", pattern)
        if is_list or not pattern.startswith("api/"):
            yield name, pattern


def _admin(client: httpx.Client) -> Iterator[Page]:
    """The dashboard, every list, and the first row of each."""
    from django.contrib import admin

    yield Page("admin", "/admin/")
    for model in admin.site._registry:
        label = f"{model._meta.app_label}/{model._meta.model_name}"
        yield Page(f"admin list  {label}", f"/admin/{label}/")
        listed = client.get(f"/admin/{label}/").text
        if first := re.search(rf'href="(/admin/{label}/[^"/]+/change/)', listed):
            yield Page(f"admin page  {label}", first[1])
