"""A container's health check, without curl: `python -m stormconsole.probe /healthz`, or `... probe worker`.

A path is asked of the web process on PORT. A component's name looks for a recent heartbeat of a process of this host.
Exit code 0 when healthy, else 1 with the reason on standard error.
"""

import os
import socket
import sys
import urllib.request

import redis

from stormconsole import env
from stormconsole.alive import ALIVE_SECONDS, KEY_PREFIX


def main(subject: str) -> str:
    """What is wrong, or nothing."""
    try:
        return _page(subject) if subject.startswith("/") else _heartbeat(subject)
    except (OSError, redis.RedisError) as error:
        return f"{type(error).__name__}: {error}"


def _page(path: str) -> str:
    # The first allowed host: Django answers 400 to any other name.
    host = next((name for name in env.names("ALLOWED_HOSTS") if not name.startswith((".", "*"))), "localhost")
    url = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=4) as response:
        return "" if response.status == 200 else f"HTTP {response.status}"


def _heartbeat(component: str) -> str:
    store = redis.Redis.from_url(env.redis_url("REDIS_URL", ""), socket_timeout=4, decode_responses=True)
    now = store.time()[0]
    members = store.zrangebyscore(KEY_PREFIX + component, now - ALIVE_SECONDS, "+inf")
    mine = [member for member in members if str(member).rpartition(":")[0] == socket.gethostname()]
    return "" if mine else f"no heartbeat of {component} on this host in {ALIVE_SECONDS} s"


if __name__ == "__main__":
    reason = main(sys.argv[1])
    if reason:
        sys.exit(reason)
