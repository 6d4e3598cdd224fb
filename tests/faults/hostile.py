"""Senders that mean harm, for minutes: `python -m tests.faults.hostile --minutes 5`.

One web process with its usual limits gets, all at once and again and again: bodies of 10 MiB, 100,000 alerts in one
payload, 1,000 idle connections, senders of one byte a second, JSON bombs, gzip bombs, guessed tokens, endless heads;
and beside them one honest sender. Every few seconds it prints the process's resident memory and how many honest alerts
were taken in. It fails if the process restarts, if an honest webhook that was answered 2xx is not stored, if honest
senders are starved, or if memory, median or peak, is above that of the half before by more than a fifth: bounded and
flat is the promise, not a number of mebibytes, which depends on the machine.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import secrets
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import psutil

from tests import plugin
from tests.harness.http import WEBHOOK, alert, payload
from tests.harness.stack import Stack

MIB = 1024 * 1024
IDLE = 1000
SLOW = 50
GROWTH = 1.2
"""How far the last half's memory, median and peak, may be above that of the half before."""


class Attack:
    """Threads that each do one hostile thing until they are told to stop."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.headers = {"Authorization": f"Bearer {stack.token()}", "Content-Type": "application/json"}
        self.ended = threading.Event()
        self.answers: Counter[tuple[str, int | str]] = Counter()
        self.honest: list[str] = []
        """Deliveries that the honest sender was told are stored."""
        self.honest_refused = 0
        self.threads = [
            threading.Thread(target=self._again_and_again, args=(work,), name=work.__name__, daemon=True)
            for work in (
                self.large, self.many_alerts, self.idle, self.slow, self.bombs, self.gzip_bombs, self.strangers,
                self.endless_heads, self.honest_sender,
            )
        ]  # fmt: skip

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(120)

    def _again_and_again(self, work: Callable[[], None]) -> None:
        while not self.ended.is_set():
            try:
                work()
            except (OSError, httpx.HTTPError) as error:
                self.answers[work.__name__, type(error).__name__] += 1

    def _post(self, name: str, content: bytes, **headers: str) -> httpx.Response:
        answer = httpx.post(self.stack.url + WEBHOOK, content=content, headers=self.headers | headers, timeout=120)
        self.answers[name, answer.status_code] += 1
        return answer

    def honest_sender(self) -> None:
        body = json.dumps(payload([alert(namespace="honest")])).encode()
        answer = self._post("honest", body)
        if answer.is_success:
            self.honest.append(answer.json()["deliveryId"])
        else:
            self.honest_refused += 1
        self.ended.wait(0.1)

    def large(self) -> None:
        big = [alert(namespace="large", annotations={f"a{n}": "x" * 6400 for n in range(8)}) for _ in range(200)]
        self._post("large", json.dumps(payload(big)).encode())
        self.ended.wait(2)

    def many_alerts(self) -> None:
        """The same 100,000 each time: only their number is hostile, and the disk is not what is tested."""
        template = '{{"status":"firing","labels":{{"alertname":"m","i":"{}"}},"startsAt":"2026-11-25T10:00:00Z"}}'
        body = '{"alerts":[' + ",".join(template.format(number) for number in range(100_000)) + "]}"
        assert len(body) < 10 * MIB
        self._post("many_alerts", body.encode())
        self.ended.wait(5)

    def idle(self) -> None:
        with ExitStack() as stack:
            for _ in range(IDLE):
                stack.enter_context(socket.create_connection(("127.0.0.1", self.stack.ports[0]), timeout=10))
            self.answers["idle", "opened"] += IDLE
            self.ended.wait(8)

    def slow(self) -> None:
        lines = [f"POST {WEBHOOK} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 1000000"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        with ExitStack() as stack:
            senders = []
            for _ in range(SLOW):
                senders.append(stack.enter_context(socket.create_connection(("127.0.0.1", self.stack.ports[0]), 10)))
                senders[-1].sendall(head)
            for _ in range(15):
                for sender in senders:
                    with suppress(OSError):
                        sender.sendall(b"x")
                self.ended.wait(1)
        self.answers["slow", "opened"] += SLOW

    def bombs(self) -> None:
        deep = 1_000_000
        for body in (
            b"[" * deep,
            b'{"alerts":' + b"[" * deep + b"]" * deep + b"}",
            b'{"alerts":[{"status":"firing","labels":{"a":"b"},"startsAt":' + b"9" * deep + b"}]}",
            b'{"alerts":[' + b'{"a":1,"a":' * 1000 + b"1" + b"}" * 1000 + b"]}",
            b'{"alerts":[{"labels":{"a":"' + b"\xff" * deep + b'"}}]}',
            b"\x00" * deep,
        ):
            self._post("bombs", body)

    def gzip_bombs(self) -> None:
        self._post("gzip_bombs", gzip.compress(b" " * (200 * MIB), 1), **{"Content-Encoding": "gzip"})
        self.ended.wait(0.5)

    def strangers(self) -> None:
        self._post("strangers", b"{}", Authorization="Bearer scr_guessed")

    def endless_heads(self) -> None:
        with socket.create_connection(("127.0.0.1", self.stack.ports[0]), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            for number in itertools.count():
                connection.sendall(b"x-%d: " % number + b"y" * 8000 + b"\r\n")
                if self.ended.is_set():
                    return


@contextmanager
def servers() -> Iterator[None]:
    """PostgreSQL and Valkey, as pytest starts them for its session."""
    plugin._session = session = plugin.Session()
    session.start()
    os.environ |= {"DATABASE_URL": session.database_url(), "REDIS_URL": session.redis_url()}
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(48))
    try:
        yield
    finally:
        session.stop()


def resident(stack: Stack) -> int:
    """Bytes of the web process; its children are counted with it."""
    process = psutil.Process(stack.processes["web-0"].pid)
    return int(process.memory_info().rss + sum(child.memory_info().rss for child in process.children(recursive=True)))


def run(minutes: float, every: float) -> int:
    with Stack(worker=False, sweep=False) as stack:
        pid = stack.processes["web-0"].pid
        attack = Attack(stack)
        print(f"at rest: {resident(stack) / MIB:.0f} MiB", flush=True)
        attack.start()
        samples = watch(stack, attack, minutes * 60, every)
        attack.stop()
        return report(stack, attack, samples, restarted=stack.processes["web-0"].pid != pid)


def watch(stack: Stack, attack: Attack, seconds: float, every: float) -> list[float]:
    samples, started, shown = [], time.monotonic(), 0.0
    while (passed := time.monotonic() - started) < seconds:
        samples.append(resident(stack) / MIB)
        if passed >= shown:
            shown += every
            print(f"{passed:5.0f} s  {samples[-1]:6.0f} MiB  {len(attack.honest):6} honest alerts", flush=True)
        time.sleep(0.25)
    return samples


def report(stack: Stack, attack: Attack, samples: list[float], *, restarted: bool) -> int:
    for (name, answer), count in sorted(attack.answers.items(), key=str):
        print(f"  {name:14} {answer!s:16} {count}")
    warm = samples[len(samples) // 5 :]
    half = max(len(warm) // 2, 1)
    first, last = statistics.median(warm[:half]), statistics.median(warm[-half:])
    peaks = max(warm[:half]), max(warm[-half:])
    print(f"memory after the first fifth, median of a half each: {first:.0f} and {last:.0f} MiB, {last / first:.2f}")
    print(f"peaks: {peaks[0]:.0f} and {peaks[1]:.0f} MiB, {peaks[1] / peaks[0]:.2f}")
    stored = stack.query("select count(*) from ingestion_delivery where id = any(%s::uuid[])", attack.honest)[0][0]
    print(f"honest: {len(attack.honest)} taken in, {attack.honest_refused} refused; {stored} in the ledger")
    wrong = {
        "the web process was restarted": restarted,
        "an acknowledged webhook is not stored": stored != len(attack.honest),
        "honest senders were starved": len(attack.honest) < len(samples) // 40,
        "memory grows": last > first * GROWTH or peaks[1] > peaks[0] * GROWTH,
        "an error of the console's own": any(answer == 500 for _, answer in attack.answers),
    }
    for what in (what for what, is_wrong in wrong.items() if is_wrong):
        print(f"FAILED: {what}")
    return int(any(wrong.values()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hostile", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--every", type=float, default=10, help="seconds between two lines")
    arguments = parser.parse_args()
    with servers():
        return run(arguments.minutes, arguments.every)


if __name__ == "__main__":
    sys.exit(main())
