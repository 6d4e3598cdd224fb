"""Typed readers of environment variables: a wrong value stops the start and names the variable."""

import re
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

USUAL_PORTS = {"http": 80, "https": 443}
DEVIATIONS = set("\u00df\u03c2\u200c\u200d")
"""Unicode Technical Standard 46, section 7: the letters of which IDNA's two versions make different names."""
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_env = environ.Env()


def _read(name: str, read: Callable[[], T], expected: str) -> T:
    try:
        return read()
    except (OSError, ValueError, TypeError, KeyError, environ.ImproperlyConfigured) as error:
        raise ImproperlyConfigured(f"{name}: {expected} ({error})") from error


def text(name: str, default: str = "") -> str:
    return _env.str(name, default=default).strip()


def boolean(name: str, default: bool) -> bool:
    value = text(name, str(default)).lower()
    if value not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ImproperlyConfigured(f"{name}: expected true or false, got {value!r}")
    return value in {"1", "true", "yes", "on"}


def integer(name: str, default: int, *, minimum: int, maximum: int) -> int:
    value = _read(name, lambda: int(text(name, str(default))), "expected a whole number")
    if not minimum <= value <= maximum:
        raise ImproperlyConfigured(f"{name}: expected a number from {minimum} to {maximum}, got {value}")
    return value


def names(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def pairs(name: str) -> list[tuple[str, str]]:
    """A comma-separated list of `left=right`; the last `=` divides."""
    found = [tuple(part.strip() for part in item.rpartition("=")[::2]) for item in names(name)]
    if any(not left or not right for left, right in found):
        raise ImproperlyConfigured(f"{name}: expected left=right, separated by commas")
    return [(left, right) for left, right in found]


def choice(name: str, default: str, allowed: set[str]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name}: expected one of {', '.join(sorted(allowed))}, got {value!r}")
    return value


def secret(name: str, default: str = "") -> str:
    """The variable, or the content of the file that `NAME_FILE` points at."""
    path = text(f"{name}_FILE")
    if not path:
        return text(name, default)
    return _read(f"{name}_FILE", lambda: Path(path).read_text().strip(), "expected a readable file")


def credentials(name: str) -> dict[str, str]:
    """{origin: value of the Authorization header}; one `https://host:port Bearer ...` a line, or between commas."""
    found: dict[str, str] = {}
    for line in secret(name).replace(",", "\n").splitlines():
        if not line.strip():
            continue
        address, *value = line.split(maxsplit=1)
        origin = origin_of(address)
        if not origin or not value or not value[0].isascii():
            # The line itself may hold a secret.
            raise ImproperlyConfigured(f"{name}: expected lines such as https://host:port Bearer TOKEN, without a path")
        found[origin] = value[0].strip()
    return found


def origin_of(address: str) -> str:
    """`https://host` or `https://host:port`, without the usual port, in lower case; "" if it is not an origin alone."""
    try:
        parts = urlsplit(address)
        port = parts.port
        host = ascii_host(parts.hostname or "")
    except ValueError:
        return ""
    scheme = parts.scheme
    if scheme not in USUAL_PORTS or not host or parts.path not in {"", "/"} or parts.query or "@" in parts.netloc:
        return ""
    return f"{scheme}://{netloc_of(scheme, host, port)}"


def ascii_host(host: str) -> str:
    """A host's name as name servers know it: lower case, IDNA, without the root's dot.

    Raises: UnicodeError (a ValueError) for a name that none could know, and for one that IDNA of 2003, which Python
        has, and that of 2008 take for two different hosts.
    """
    host = host.lower()
    if DEVIATIONS & set(host):
        raise UnicodeError("it has a letter that stands for two hosts: write it as xn--...")
    return (host if host.isascii() else host.encode("idna").decode()).rstrip(".")


def hosts(name: str) -> list[str]:
    """A comma-separated list of hosts' names, addresses and networks; names as `ascii_host` spells them."""
    return [
        _read(name, partial(_host, item), f"expected hosts, addresses and networks, got {item!r}")
        for item in names(name)
    ]


def _host(item: str) -> str:
    if "/" in item:
        return str(ip_network(item, strict=False))
    if ":" in item:
        return str(ip_address(item))
    host = ascii_host(item)
    if not _HOST.fullmatch(host):
        raise ValueError("a name of letters, digits, hyphens and dots")
    return host


def netloc_of(scheme: str, host: str, port: int | None) -> str:
    """`host` or `host:port`, an IPv6 address in brackets; without the usual port."""
    host = f"[{host}]" if ":" in host else host
    return host if port in {None, USUAL_PORTS[scheme]} else f"{host}:{port}"


def database(name: str, default: str) -> dict[str, Any]:
    url = secret(name, default)
    config: dict[str, Any] = _read(name, lambda: dict(_env.db_url_config(url)), "expected postgresql://...")
    if config.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"{name}: expected postgresql://..., stormconsole needs PostgreSQL")
    return config


def redis_url(name: str, default: str) -> str:
    url = secret(name, default)
    if not url.startswith(("redis://", "rediss://")):
        raise ImproperlyConfigured(f"{name}: expected redis://host:port/number, rediss:// for TLS")
    return url


def namespace(name: str, default: str) -> str:
    """A Kubernetes namespace: an RFC 1123 label."""
    import re

    value = text(name, default)
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
        raise ImproperlyConfigured(f"{name}: expected a namespace (a-z, 0-9, '-', at most 63), got {value!r}")
    return value
