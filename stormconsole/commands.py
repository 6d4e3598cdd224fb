"""The command line of every long-running process, in one place.

`make run`, docker-compose.yml and the tests all start `python -m stormconsole.run <name>`, which becomes (exec) the
command below. Standard library only: this runs before anything is configured.
"""

import os
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
COMPONENTS = ("web", "worker", "sweep", "watch")
STACK_FILE = "stack.json"
"""In the data directory while a console runs: its address, pids and settings."""

HEARTBEATS = ("worker", "sweep", "watch")
"""The components that the web process only knows by their heartbeats."""


def command_line(name: str, env: Mapping[str, str]) -> list[str]:
    """The argument vector of component `name`, or of the one-shot `migrate`. Raises KeyError for another name."""
    return {
        "web": lambda: _web(env),
        "worker": lambda: _worker(env),
        "sweep": lambda: manage("sweep"),
        "watch": lambda: manage("watch"),
        "migrate": lambda: manage("migrate", "--no-input"),
    }[name]()


def manage(*arguments: str) -> list[str]:
    return [sys.executable, str(PROJECT / "manage.py"), *arguments]


def become(command: list[str]) -> None:
    """Replace this process, so that signals and the exit code are the command's own."""
    os.chdir(PROJECT)
    os.execv(command[0], command)  # noqa: S606


def _web(env: Mapping[str, str]) -> list[str]:
    options = {
        "host": env.get("HOST", "127.0.0.1"),
        "port": env.get("PORT", "8000"),
        "workers": env.get("WEB_CONCURRENCY", "2"),
        "log-level": "warning",
        # Browsers hold WebSockets open for ever: a stop must not wait for them.
        "timeout-graceful-shutdown": "3",
        # Deadlines and a limit of connections (see there).
        "http": "stormconsole.edge:GuardedHTTP",
        # Pages send next to nothing over their WebSocket.
        "ws-max-size": "65536",
        # Above the 60 s of common load balancers, which must be the ones to close an idle connection.
        "timeout-keep-alive": "75",
        # The same text goes to every open page; to compress it for each would cost more than all the rest.
        "ws-per-message-deflate": "false",
    }
    flags = [argument for key, value in options.items() for argument in (f"--{key}", value)]
    # Whose X-Forwarded-For and -Proto are believed; without any, nobody's (uvicorn would believe this machine).
    proxies = _trusted_proxies(env)
    flags += ["--forwarded-allow-ips", ",".join(proxies)] if proxies else ["--no-proxy-headers"]
    return [sys.executable, "-m", "uvicorn", "stormconsole.asgi:application", "--no-access-log", *flags]


def _trusted_proxies(env: Mapping[str, str]) -> list[str]:
    proxies = [item.strip() for item in env.get("TRUSTED_PROXIES", "").split(",") if item.strip()]
    for proxy in proxies:
        try:
            # "*" is none either: everybody could then write who they are.
            ip_network(proxy)
        except ValueError as error:
            sys.exit(f"stormconsole: TRUSTED_PROXIES: expected addresses and networks, such as 10.0.0.0/8: {error}")
    return proxies


def _worker(env: Mapping[str, str]) -> list[str]:
    # Threads: the task waits for the Kubernetes API, and a thread costs no second copy of Django.
    options = ["--pool", "threads", "--concurrency", env.get("WORKER_CONCURRENCY", "8")]
    options += ["--loglevel", env.get("LOG_LEVEL", "INFO"), "--without-gossip", "--without-mingle"]
    # Root in a container is common, and messages are JSON: Celery's ten lines about it say nothing new at each start.
    python = [sys.executable, "-W", "ignore:You're running the worker with superuser privileges"]
    return [*python, "-m", "celery", "--quiet", "-A", "stormconsole", "worker", *options]
