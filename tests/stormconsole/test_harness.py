"""The tests' own tools: a stack that is killed and restarted, Alertmanager, waiting, REQUIRE_ALL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import redis
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.utils import timezone

from ingestion.models import Delivery
from stormconsole.commands import PROJECT
from storms.models import Alert, AuditEntry, ConfigGeneration, Storm, StormPolicy
from tests.factories import make_alert, make_event, make_storm
from tests.harness import database
from tests.harness.alertmanager import Alertmanager
from tests.harness.http import WEBHOOK, alert, outcomes, payload, post_many, resolved, statuses
from tests.harness.stack import Stack
from tests.harness.wait import wait_until

SKIPPING = """
import pytest

def test_skips():
    pytest.skip("needs a moon")

@pytest.mark.skipif(True, reason="needs two moons")
def test_is_skipped(): ...

@pytest.mark.xfail(reason="known", strict=True)
def test_fails_as_expected():
    raise ValueError
"""


def test_a_stack_over_kills_and_restarts(stack_factory: Callable[..., Stack]) -> None:
    stack = stack_factory(web=2)
    token = stack.token()
    alerts = [alert(namespace="shop") for _ in range(6)]
    answers = post_many(stack.urls, token, [payload([item]) for item in alerts], concurrency=6)
    assert statuses(answers) == {202: 6}
    assert outcomes(answers) == {"held": 6}

    stack.kill("web-1", signal.SIGKILL)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{stack.urls[1]}/healthz")
    stack.restart("web-1")
    stack.valkey.kill()
    stack.valkey.start(empty=True)
    assert redis.Redis.from_url(stack.valkey.url).ping()
    stack.wait_ready()

    again = post_many(stack.urls[1], token, [payload([*alerts, resolved(alerts[0])])])
    assert outcomes(again) == {"duplicate": 6, "resolved": 1}
    assert stack.query("select count(*) from storms_alert") == [(6,)]


def test_stacks_share_nothing(stack_factory: Callable[..., Stack]) -> None:
    one, other = (stack_factory(worker=False, sweep=False) for _ in range(2))
    post_many(one.url, one.token(), [payload([alert()])])
    assert one.query("select count(*) from storms_alert") == [(1,)]
    assert other.query("select count(*) from storms_alert") == [(0,)]
    assert redis.Redis.from_url(other.valkey.url).dbsize() == 0


@pytest.mark.django_db(transaction=True)
def test_a_test_that_commits_leaves_the_database_as_it_was() -> None:
    """Whatever it made, changed or deleted; a generation is never taken back."""
    policies, permissions = list(StormPolicy.objects.values()), set(Permission.objects.values_list())
    generation = ConfigGeneration.objects.get().value
    storm = make_storm()
    make_alert(storm=storm)
    make_event(storm)
    AuditEntry.objects.create(at=storm.opened_at, actor="root", action="tried")
    StormPolicy.objects.update(threshold=3)
    ContentType.objects.all().delete()
    assert not Permission.objects.exists()

    database.restore()

    assert not any(model.objects.exists() for model in (Storm, Alert, AuditEntry))
    assert list(StormPolicy.objects.values()) == policies
    assert set(Permission.objects.values_list()) == permissions
    assert ConfigGeneration.objects.get().value > generation


@pytest.mark.django_db(transaction=True)
def test_so_does_one_that_wrote_a_lot() -> None:
    refused = {"received_at": timezone.now(), "http_status": 400, "body_bytes": 9, "error": "e" * 500}
    Delivery.objects.bulk_create(Delivery(id=uuid4(), **refused) for _ in range(3000))
    database.restore()
    with connection.cursor() as cursor:
        cursor.execute("select pg_relation_size('ingestion_delivery')")
        assert cursor.fetchone() == (0,)


def test_a_component_that_dies_at_its_start_is_told_with_its_log() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with 1:.*REMEDIATION_NAMESPACE: expected a namespace"):
        Stack(env={"REMEDIATION_NAMESPACE": "Not A Namespace"}).__enter__()


def test_alertmanager_delivers_and_resolves(stack_factory: Callable[..., Stack], tmp_path: Path) -> None:
    stack = stack_factory(worker=False)
    label_sets = [{"alertname": "Down", "namespace": "shop", "pod": f"web-{n}"} for n in range(3)]
    firing = "select count(*) from storms_alert where status = 'firing'"
    gone = "select count(*) from storms_alert where status = 'resolved'"
    with Alertmanager(tmp_path / "alertmanager", stack.url + WEBHOOK, stack.token()) as alertmanager:
        alertmanager.fire(label_sets)
        wait_until(lambda: stack.query(firing) == [(3,)], 20, "three firing alerts")
        alertmanager.resolve(label_sets)
        wait_until(lambda: stack.query(gone) == [(3,)], 20, "three resolved alerts")


def test_wait_until_gives_the_last_reason() -> None:
    def condition() -> bool:
        raise AssertionError("the cat is asleep")

    with pytest.raises(AssertionError, match="not within 0 s: the cat wakes: the cat is asleep"):
        wait_until(condition, 0, "the cat wakes")


@pytest.mark.parametrize(
    ("require_all", "summary"), [("0", "2 skipped, 1 xfailed"), ("1", "1 failed, 1 xfailed, 1 error")]
)
def test_require_all_makes_a_skip_a_failure(tmp_path: Path, require_all: str, summary: str) -> None:
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    options = f"-q -p tests.plugin -p no:cacheprovider -p no:xdist --rootdir={tmp_path} --ds=stormconsole.settings"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(PROJECT / "pyproject.toml"), *options.split(), str(tmp_path)],
        cwd=PROJECT,
        env=os.environ | {"REQUIRE_ALL": require_all},
        capture_output=True,
        text=True,
        check=False,
    )
    assert summary in done.stdout, done.stdout + done.stderr
    assert ("REQUIRE_ALL=1: Skipped: needs a moon" in done.stdout) == (require_all == "1")
