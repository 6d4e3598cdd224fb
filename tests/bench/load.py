"""A load generator that costs little beside what it measures: raw keep-alive sockets, bodies of fixed length."""

from __future__ import annotations

import multiprocessing
import socket
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool

ALERT = (
    '{"status":"firing","labels":{"alertname":"KubePodCrashLooping","namespace":"%s","severity":"warning",'
    '"cluster":"bench","job":"kube-state-metrics","container":"app","pod":"app-%012d"},"annotations":{"summary":'
    '"Pod is crash looping","description":"The container restarted five times in ten minutes.","runbook_url":'
    '"https://runbooks.example/KubePodCrashLooping"},"startsAt":"2026-01-01T00:00:00.000Z",'
    '"endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus.example/graph?g0.expr=x","fingerprint":"0"}'
)


@dataclass(frozen=True)
class Load:
    """requests: `alerts` new alerts a webhook, or GETs of `path` where alerts is 0, by clients * processes."""

    port: int
    token: str
    alerts: int
    seconds: float
    clients: int = 8
    processes: int = 2
    namespaces: int = 20
    path: str = "/api/v1/webhooks/alertmanager"
    group: str = "bench"


@dataclass
class Measured:
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        return sum(self.statuses.values()) / self.seconds

    def percentile(self, hundredth: int) -> float:
        """Milliseconds."""
        return statistics.quantiles(self.latencies, n=100)[hundredth - 1] * 1000


def run(load: Load) -> Measured:
    """Send for `load.seconds`, and add up what all clients saw."""
    total = Measured()
    with multiprocessing.get_context("spawn").Pool(load.processes) as pool:
        for part in pool.starmap(_process, [(load, number) for number in range(load.processes)]):
            total.statuses += part.statuses
            total.latencies += part.latencies
            total.seconds = max(total.seconds, part.seconds)
    return total


def _process(load: Load, number: int) -> Measured:
    each = load.clients // load.processes
    started = time.perf_counter()
    with ThreadPool(each) as pool:
        parts = pool.starmap(_client, [(load, number * each + client) for client in range(each)])
    measured = Measured(seconds=time.perf_counter() - started)
    for part in parts:
        measured.statuses += part.statuses
        measured.latencies += part.latencies
    return measured


def _client(load: Load, client: int) -> Measured:
    measured = Measured()
    serial = (time.time_ns() // 1_000_000 % 10_000) * 100_000_000 + client * 1_000_000
    with socket.create_connection(("127.0.0.1", load.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + load.seconds
        while (before := time.perf_counter()) < end:
            connection.sendall(_request(load, serial))
            measured.statuses[_status(connection)] += 1
            measured.latencies.append(time.perf_counter() - before)
            serial += max(load.alerts, 1)
    return measured


def _request(load: Load, serial: int) -> bytes:
    head = f"Host: 127.0.0.1:{load.port}\r\nAuthorization: Bearer {load.token}\r\n"
    if not load.alerts:
        return f"GET {load.path} HTTP/1.1\r\n{head}\r\n".encode()
    namespace = f"{load.group}-{serial // load.alerts % load.namespaces}"
    alerts = ",".join(ALERT % (namespace, serial + number) for number in range(load.alerts))
    body = f'{{"version":"4","truncatedAlerts":0,"alerts":[{alerts}]}}'
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"POST {load.path} HTTP/1.1\r\n{head}\r\n{body}".encode()


def _status(connection: socket.socket) -> int:
    """Read one whole response."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    missing = int(fields[b"content-length"]) - len(body)
    while missing > 0:
        missing -= len(_receive(connection))
    return int(head[9:12])


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(262_144)
    if not data:
        raise ConnectionError("the console closed the connection")
    return data
