"""What five hundred open pages cost: webhooks with and without them, in turn, on the same console.

Each viewer is a WebSocket of its own (the `websockets` library) that reads all it gets. The viewers and the load share
the machine with the console, so a fall of the rate has two parts; the CPU time that the console's own processes spend
on an alert has only the console's. Of one storm's page, each viewer also asks for all that the page's scripts ask for.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import httpx
import psutil

from tests.bench.load import Load, Measured, run
from tests.bench.storm_page import StormPage

UPDATES = ('{"type":"update"', '{"type":"storm"')
"""What such a frame begins with; a ping does not count as news."""
CLIENT_PROCESSES = 2


@dataclass
class Watched:
    """What the viewers of one round saw: seconds between two updates of a page, over all pages; the updates of each."""

    gaps: list[float] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)
    frames: int = 0
    size: int = 0
    lost: int = 0
    cpu: float = 0.0
    answers: list[float] = field(default_factory=list)
    failed: int = 0


@dataclass
class Round:
    viewers: int
    load: Measured
    watched: Watched
    web_cpu: float
    other_cpu: float
    web_rss: list[int]

    @property
    def alerts(self) -> int:
        return sum(self.load.statuses.values()) * ALERTS

    @property
    def rate(self) -> float:
        return self.alerts / self.load.seconds

    @property
    def web_ms(self) -> float:
        """CPU time of the web processes for an alert."""
        return self.web_cpu / self.alerts * 1000

    @property
    def all_ms(self) -> float:
        """The same of all processes of the console, PostgreSQL and Valkey with them."""
        return (self.web_cpu + self.other_cpu) / self.alerts * 1000


ALERTS = 50
"""In each webhook."""


@dataclass(frozen=True)
class Shown:
    """What the viewers look at: the first page, or one storm's, which is fetched anew every `longest` seconds."""

    storm_id: str = ""
    longest: float = 5.0

    @property
    def socket(self) -> str:
        return f"/ws/storms/{self.storm_id}/" if self.storm_id else "/ws/storms/"


class Console:
    """The processes of a running console, by what they do."""

    def __init__(self, pid: int) -> None:
        self.tree = [process for process in psutil.Process(pid).children(recursive=True) if process.is_running()]
        uvicorn = [process for process in self.tree if "uvicorn" in _command(process)]
        self.web = uvicorn + [child for process in uvicorn for child in process.children(recursive=True)]
        self.web = list({process.pid: process for process in self.web}.values())
        known = {process.pid for process in self.web}
        self.others = [process for process in self.tree if process.pid not in known]

    def cpu(self) -> tuple[float, float]:
        """CPU seconds so far of the web processes, and of all others (PostgreSQL's backends come and go)."""
        return _cpu(self.web), _cpu(self.others)

    def web_rss(self) -> list[int]:
        """MiB of each web process, the biggest first."""
        return sorted((process.memory_info().rss >> 20 for process in self.web), reverse=True)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _cpu(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def measure(
    port: int,
    token: str,
    pid: int,
    session: str,
    *,
    viewers: int,
    seconds: float,
    rounds: int,
    storm_pause: float = 0.0,
) -> None:
    """Print a line for each round, and what the rounds come to; web ms and all ms are CPU milliseconds for an alert.

    With a `storm_pause` all viewers look at one of the storms that all rounds feed, and fetch it every so many seconds.
    """
    run(Load(port, token, ALERTS, 3, group="warm"))
    shown = Shown(_a_storm(port, session), storm_pause) if storm_pause else Shown()
    plan = [0, viewers, viewers, 0] * ((rounds + 1) // 2)
    print(f"{'viewers':>8}{'alerts/s':>10}{'p50 ms':>8}{'p99 ms':>8}{'web ms':>9}{'all ms':>9}  RSS of the web, MiB")
    done = []
    for number, count in enumerate(plan):
        group = "warm" if shown.storm_id else f"round{number}"
        done.append(_round(port, token, Console(pid), session, count, seconds, group, shown))
        _print_round(done[-1])
    _print_summary(done, viewers)


def _a_storm(port: int, session: str) -> str:
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/storms/", cookies={"sessionid": session})
    return str(answer.raise_for_status().json()["results"][0]["id"])


def _round(
    port: int, token: str, console: Console, session: str, viewers: int, seconds: float, group: str, shown: Shown
) -> Round:
    with Audience(port, session, viewers, shown) as audience:
        before = console.cpu()
        audience.start()
        load = run(Load(port, token, ALERTS, seconds, group=group))
        watched = audience.stop()
        web, other = (after - earlier for after, earlier in zip(console.cpu(), before, strict=True))
        return Round(viewers, load, watched, web, other, console.web_rss())


class Audience:
    """Viewers in processes of their own: connected on entry, counting from `start` to `stop`."""

    def __init__(self, port: int, session: str, viewers: int, shown: Shown) -> None:
        self.shares = [viewers // CLIENT_PROCESSES] * CLIENT_PROCESSES if viewers else []
        self.port, self.session, self.shown = port, session, shown
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []

    def __enter__(self) -> Audience:
        context = multiprocessing.get_context("spawn")
        for share in self.shares:
            ours, theirs = context.Pipe()
            process = context.Process(target=_viewers, args=(self.port, self.session, share, self.shown, theirs))
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)
        for pipe in self.pipes:
            assert pipe.recv() == "connected"
        return self

    def start(self) -> None:
        for pipe in self.pipes:
            pipe.send("start")

    def stop(self) -> Watched:
        total = Watched()
        for pipe in self.pipes:
            pipe.send("stop")
        for pipe in self.pipes:
            part: Watched = pipe.recv()
            total.gaps += part.gaps
            total.updates += part.updates
            total.frames += part.frames
            total.size += part.size
            total.lost += part.lost
            total.cpu += part.cpu
            total.answers += part.answers
            total.failed += part.failed
        return total

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.join(20)
            process.kill()


def _viewers(port: int, session: str, number: int, shown: Shown, pipe: Connection) -> None:
    import uvloop

    uvloop.run(_watch(port, session, number, shown, pipe))


async def _watch(port: int, session: str, number: int, shown: Shown, pipe: Connection) -> None:
    from websockets.asyncio.client import connect

    watched = Watched(updates=[0] * number)
    counting = False
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", cookies={"sessionid": session}, timeout=60)
    pages = [StormPage(client, shown.storm_id, shown.longest) for _ in range(number if shown.storm_id else 0)]

    async def view(place: int) -> None:
        headers = {"Cookie": f"sessionid={session}"}
        address = f"ws://127.0.0.1:{port}{shown.socket}"
        async with connect(
            address, origin=f"http://127.0.0.1:{port}", additional_headers=headers, compression=None, open_timeout=60
        ) as socket:
            await socket.recv()
            ready.release()
            last = 0.0
            async for message in socket:
                now = time.perf_counter()
                if not counting:
                    continue
                if pages:
                    pages[place].hear(str(message))
                watched.frames += 1
                watched.size += len(message)
                if message.startswith(UPDATES):
                    watched.updates[place] += 1
                    if last:
                        watched.gaps.append(now - last)
                    last = now
        watched.lost += counting

    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(view(place)) for place in range(number)]
    tasks += [asyncio.create_task(page.follow()) for page in pages]
    for _ in range(number):
        await ready.acquire()
    pipe.send("connected")
    await asyncio.to_thread(pipe.recv)
    cpu, counting = time.process_time(), True
    await asyncio.to_thread(pipe.recv)
    counting = False
    watched.cpu = time.process_time() - cpu
    watched.answers = [took for page in pages for took in page.answers]
    watched.failed = sum(page.failed for page in pages)
    pipe.send(watched)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.aclose()


def _print_round(done: Round) -> None:
    rss = " ".join(map(str, done.web_rss[:3]))
    print(
        f"{done.viewers:8}{done.rate:10.0f}{done.load.percentile(50):8.1f}{done.load.percentile(99):8.1f}"
        f"{done.web_ms:9.3f}{done.all_ms:9.3f}  {rss}"
    )


def _print_summary(rounds: list[Round], viewers: int) -> None:
    without, with_ = ([done for done in rounds if bool(done.viewers) is watched] for watched in (False, True))

    def ratio(value: Callable[[Round], float]) -> float:
        return statistics.median(map(value, with_)) / statistics.median(map(value, without))

    gaps = sorted(gap for done in with_ for gap in done.watched.gaps)
    seconds = sum(done.load.seconds for done in with_)
    console = sum(done.web_cpu + done.other_cpu for done in with_)
    clients = sum(done.watched.cpu for done in with_)
    print(f"with {viewers} viewers against none, medians of {len(with_)} rounds each")
    print(f"  alerts/s                       {ratio(lambda done: done.rate):.3f}")
    print(f"  web CPU for an alert           {ratio(lambda done: done.web_ms):.3f}")
    print(f"  the whole console's CPU for it {ratio(lambda done: done.all_ms):.3f}")
    print(
        f"  the viewers' own CPU           {clients / seconds:.2f} cores, {clients / (clients + console):.0%} of both"
    )
    updates = [count for done in with_ for count in done.watched.updates]
    each = f"{sum(updates) / viewers / seconds:.2f}/s"
    print(f"  updates to each viewer         {each}, {min(updates)} to {max(updates)} in a round")
    print(f"  sent                           {sum(done.watched.size for done in with_) / seconds / 1e6:.1f} MB/s")
    if answers := sorted(took for done in with_ for took in done.watched.answers):
        failed = sum(done.watched.failed for done in with_)
        each = f"{len(answers) / seconds:.1f}/s"
        print(f"  asked by their pages           {each}, seconds {_percentiles(answers)}; {failed} failed")
    print(f"  seconds between updates        {_percentiles(gaps)}; {sum(done.watched.lost for done in with_)} cut off")


def _percentiles(gaps: list[float]) -> str:
    if not gaps:
        return "no updates"
    at = {name: gaps[min(int(len(gaps) * share), len(gaps) - 1)] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return ", ".join(f"{name} {value:.2f}" for name, value in at.items()) + f", longest {gaps[-1]:.2f}"
