"""Requests that the console makes to addresses which a person typed in: never to the inside, unless that is allowed.

    answer = outgoing.get("https://alertmanager.example/api/v2/alerts")

The name is looked up once and that very address is connected to, so a name cannot lead elsewhere a moment later (DNS
rebinding). No redirect is followed, no proxy of the environment is used, the answer is bounded in size and time.
`ALLOWED_OUTGOING` names what may be reached although it is inside, `OUTGOING_CREDENTIALS` what an origin is shown.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3
from django.conf import settings

from stormconsole.env import USUAL_PORTS, ascii_host, netloc_of
from storms.hostile import web_link

MAX_BYTES = 32 * 1024 * 1024
TIMEOUT_SECONDS = 10.0
OWN_HEADERS = {"User-Agent": "stormconsole", "Accept": "application/json"}
_NAT64 = ip_network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class OutgoingRefused(ValueError):
    """The address may not be asked; the message says why and what to set."""


class OutgoingFailed(Exception):
    """It was asked, and did not answer, or not as it should."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes: the name that was typed in, and the one address that is connected to."""

    scheme: str
    host: str
    port: int
    target: str
    address: str

    @property
    def netloc(self) -> str:
        return netloc_of(self.scheme, self.host, self.port)

    @property
    def credentials(self) -> dict[str, str]:
        """The Authorization header for this very origin, if there is one; a redirect would not be followed with it."""
        value = settings.OUTGOING_CREDENTIALS.get(f"{self.scheme}://{self.netloc}")
        return {"Authorization": value} if value else {}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def destination(url: str) -> Destination:
    """Look the address up and check it.

    Raises: OutgoingRefused.
    """
    if not web_link(url):
        raise OutgoingRefused("It is no web address: http://... or https://..., without a user name.")
    parts = urlsplit(url.strip())
    port = parts.port or USUAL_PORTS[parts.scheme]
    host = parts.hostname or ""
    try:
        host = ascii_host(host)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OutgoingRefused(f"{host} cannot be looked up: {error}.") from error
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    inside = [address for address in addresses if not _may_be_reached(host, address)]
    if inside or not addresses:
        found_at = ", ".join(sorted(set(map(str, inside))))
        what = "an internal address" if found_at == host else f"the internal address {found_at}"
        raise OutgoingRefused(
            f"{host} is {what}: name it, or its network, in ALLOWED_OUTGOING if the console may ask it."
        )
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
    return Destination(parts.scheme, host, port, target, str(addresses[0]))


def get(
    url: str,
    *,
    timeout: float = TIMEOUT_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> Answer:
    """GET without redirects; whatever the status is.

    Args:
        timeout: seconds for all of it, from the connection to the last byte.

    Raises: OutgoingRefused, OutgoingFailed.
    """
    to = destination(url)
    until = time.monotonic() + timeout
    connections: list[urllib3.connection.HTTPConnection] = []
    # A server that sends a byte now and then never keeps a single read waiting for long.
    alarm = threading.Timer(timeout, _hang_up, [connections])
    alarm.daemon = True
    alarm.start()
    try:
        with _pool(to, timeout, connections) as pool:
            response = pool.request(
                "GET",
                to.target,
                headers=OWN_HEADERS | {"Host": to.netloc} | to.credentials,
                redirect=False,
                retries=False,
                preload_content=False,
            )
            body = _read(response, max_bytes, until)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        said = f"nothing whole within {timeout:g} s" if time.monotonic() >= until else error
        raise OutgoingFailed(f"{to.netloc} did not answer: {said}") from error
    finally:
        alarm.cancel()
    if body is None:
        raise OutgoingFailed(
            f"{to.netloc} answered with more than {max_bytes} bytes, or not whole within {timeout:g} s."
        )
    return Answer(response.status, dict(response.headers), body)


def _hang_up(connections: list[urllib3.connection.HTTPConnection]) -> None:
    for connection in connections:
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)


def _read(response: urllib3.BaseHTTPResponse, max_bytes: int, until: float) -> bytes | None:
    """None if it is too much, or takes too long: a byte now and then is no answer."""
    body = bytearray()
    while piece := response.read1(64 * 1024, decode_content=True):
        body += piece
        if len(body) > max_bytes or time.monotonic() > until:
            return None
    # Hung up on, an answer without a length ends like a whole one.
    return bytes(body) if time.monotonic() < until else None


def _pool(
    to: Destination, timeout: float, connections: list[urllib3.connection.HTTPConnection]
) -> urllib3.HTTPConnectionPool:
    """Its connections are put into `connections` before they connect."""
    limits = urllib3.Timeout(connect=timeout, read=timeout)
    if to.scheme == "http":
        pool = urllib3.HTTPConnectionPool(to.address, to.port, timeout=limits, maxsize=1)
    else:
        # Connected to by its number, but the certificate is the name's.
        pool = urllib3.HTTPSConnectionPool(
            to.address, to.port, timeout=limits, maxsize=1, server_hostname=to.host, assert_hostname=to.host
        )
    connect: Any = pool.ConnectionCls

    def watched(*arguments: Any, **options: Any) -> Any:
        connections.append(connect(*arguments, **options))
        return connections[-1]

    pool.ConnectionCls = watched  # type: ignore[assignment]
    return pool


def _may_be_reached(host: str, address: Address) -> bool:
    if host in settings.ALLOWED_OUTGOING:
        return True
    real = _unwrapped(address)
    for allowed in settings.ALLOWED_OUTGOING:
        try:
            if real in ip_network(allowed, strict=False):
                return True
        except (ValueError, TypeError):
            continue  # a name, or a network of the other version
    return real.is_global and not real.is_multicast


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address
