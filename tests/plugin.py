"""Loaded with `-p tests.plugin`: real PostgreSQL and Valkey for the session, before Django reads its settings.

- `TEST_DATABASE_URL`, `TEST_REDIS_URL`: use these servers instead of embedded ones.
- `REQUIRE_ALL=1`: a skipped test is a failed one (`.ci/run` sets it).
- Under pytest-xdist every worker has servers of its own, the controller none.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from stormconsole.embedded import EmbeddedPostgres, EmbeddedValkey

FOREIGN = (
    *("ALLOWED_HOSTS", "DATABASE_URL_FILE", "DEBUG", "EXPECTED_COMPONENTS", "HOST", "HTTPS", "KUBECONFIG"),
    *("KUBERNETES_IN_CLUSTER", "KUBERNETES_SERVICE_HOST", "LOG_FORMAT", "LOG_LEVEL", "MAX_BODY_BYTES", "PORT"),
    *("PUBLIC_URL", "REDIS_URL_FILE", "REMEDIATION_NAMESPACE", "SECRET_KEY_FILE", "WEB_CONCURRENCY", "WEB_THREADS"),
)
"""Variables of the developer's shell that must not leak into the tests."""


class Session:
    """The servers and the scratch directory of this pytest process."""

    def __init__(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="stormconsole-test-"))
        # Not 0700: run as root, PostgreSQL is another user. What is private inside has modes of its own.
        self.scratch.chmod(0o711)
        self.postgres: EmbeddedPostgres | None = None
        self.valkey: EmbeddedValkey | None = None

    def start(self) -> None:
        if not os.environ.get("TEST_DATABASE_URL"):
            self.postgres = EmbeddedPostgres(self.scratch / "postgres", durable=False, max_connections=300).start()
        if not os.environ.get("TEST_REDIS_URL"):
            self.valkey = EmbeddedValkey(self.scratch / "valkey", persistent=False).start()

    def stop(self) -> None:
        """Nothing is kept, so nothing has to be flushed. A second call does nothing."""
        for server in (self.valkey, self.postgres):
            if server:
                server.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def database_url(self) -> str:
        return self.postgres.url("stormconsole") if self.postgres else os.environ["TEST_DATABASE_URL"]

    def redis_url(self) -> str:
        """Of a given server each xdist worker takes the database of its number: gw0 0, gw1 1, ..."""
        if self.valkey:
            return self.valkey.url
        number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        return os.environ["TEST_REDIS_URL"].rsplit("/", 1)[0] + f"/{number}"


_session: Session | None = None
failed = pytest.StashKey[bool]()
"""On a test's item: whether its set-up or its body failed, for fixtures that then show their logs."""


def session() -> Session:
    """The running session. Raises RuntimeError outside of one, as in the xdist controller."""
    if _session is None:
        raise RuntimeError("the test servers are not running in this process")
    return _session


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    """A wrapper, to come before pytest-django, which loads the settings in the same hook."""
    global _session
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ["SECRET_KEY"] = secrets.token_urlsafe(48)
    if _runs_no_tests(early_config):
        os.environ |= {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
        return (yield)
    _session = Session()
    # Also when pytest is interrupted before it is configured; a SIGKILL is the kernel's business (embedded.py).
    atexit.register(_session.stop)
    _session.start()
    os.environ |= {"DATABASE_URL": _session.database_url(), "REDIS_URL": _session.redis_url()}
    return (yield)


def pytest_unconfigure() -> None:
    if _session:
        _session.stop()


def pytest_report_header() -> str:
    if _session is None:
        return "servers: none in this process"
    return f"servers: {os.environ['DATABASE_URL']} {os.environ['REDIS_URL']}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    item.stash[failed] = item.stash.get(failed, False) or report.failed
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With REQUIRE_ALL=1 turn a skip into a failure that gives the reason. An expected failure is no skip."""
    if os.environ.get("REQUIRE_ALL") != "1" or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"REQUIRE_ALL=1: {reason}"


def _runs_no_tests(config: pytest.Config) -> bool:
    """True for the controller of xdist, whose workers do the work."""
    distributed = bool(getattr(config.known_args_namespace, "numprocesses", None))
    return distributed and "PYTEST_XDIST_WORKER" not in os.environ
