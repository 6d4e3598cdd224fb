"""`/metrics` says what the rows and the servers say, and docs/metrics.md lists every name."""

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
import yaml
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from ingestion import counting, daily, metrics
from ingestion.models import ReconcileRun
from stormconsole import pressure
from stormconsole.alive import KEY_PREFIX
from stormconsole.commands import PROJECT
from storms.models import Alert
from tests.factories import (
    make_alert,
    make_closed_storm,
    make_dead_letter,
    make_delivery,
    make_held_alert,
    make_receiver,
    make_request,
    make_storm,
)
from tests.harness.http import alert, payload

pytestmark = pytest.mark.django_db
RULES = PROJECT / "deploy" / "prometheus-rules.yaml"


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch, valkey: redis.Redis) -> None:
    monkeypatch.setattr(metrics, "FRESH_SECONDS", -1.0)


def scrape(**headers: str) -> dict[str, dict[tuple[str, ...], float]]:
    """{sample: {label values: value}}"""
    response = Client().get("/metrics", headers=headers)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            # The format sorts a sample's labels; here they are in the order of their family.
            known = metrics.FAMILIES.get(sample.name)
            labels = [sample.labels[name] for name in known.labels] if known else sample.labels.values()
            found.setdefault(sample.name, {})[tuple(labels)] = sample.value
    return found


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """{metric: (type, labels)}"""
    lines = (PROJECT / "docs/metrics.md").read_text().splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| `")]
    return {row[1].strip(" `"): (row[2].strip(), tuple(re.findall(r"`(\w+)`", row[3]))) for row in rows}


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    said = {
        name: ("counter" if family.is_counter else "gauge", family.labels) for name, family in metrics.FAMILIES.items()
    }
    said["stormconsole_webhook_duration_seconds"] = ("histogram", ("kind", "status"))
    assert documented() == said


def test_everything_documented_is_in_the_answer() -> None:
    now = timezone.now()
    receiver = make_receiver(name="prod", heartbeat_minutes=10)
    delivery = make_delivery(receiver=receiver, received_at=now)
    make_dead_letter(delivery=delivery, receiver=receiver, received_at=now)
    make_storm()
    make_held_alert()
    ReconcileRun.objects.create(
        state="done", finished_at=now, findings=[{"kind": "resource_extra", "result": "listed"}]
    )
    metrics.time_webhook("generic")(202)
    counting.count_ledger()
    daily.roll_up(now=now)

    names = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in scrape()}

    assert names == documented().keys()


def test_it_counts_what_the_ledger_says(console: Any) -> None:
    console.post(payload([alert(namespace="demo"), alert(namespace="demo")]))
    console.post("{}")
    daily.roll_up(now=timezone.now())

    found = scrape()

    assert found["stormconsole_deliveries_total"] == {(): 2}
    assert found["stormconsole_deliveries_refused_total"] == {(): 1}
    assert found["stormconsole_alerts_received_total"] == {(): 2}
    assert found["stormconsole_alerts_total"] == {("held",): 2}
    assert found["stormconsole_alerts_held"] == {(): 2}
    assert found["stormconsole_held_overdue_seconds"] == {(): 0}


def test_it_tells_whether_the_ledger_adds_up(console: Any, settings: Settings) -> None:
    settings.MAX_DEAD_LETTERS = 1
    bad = alert(namespace="demo") | {"labels": {"pod": 7}}
    console.post(payload([alert(namespace="demo"), bad, bad, bad]))
    counting.count_ledger()
    found = scrape()
    assert found["stormconsole_unaccounted_alerts"] == {(): 0}
    assert found["stormconsole_dead_letters_not_kept_total"] == {(): 2}

    Alert.objects.all().delete()
    counting.count_ledger()
    assert scrape()["stormconsole_unaccounted_alerts"] == {(): 1}


def test_it_measures_webhooks_by_kind_and_status(console: Any) -> None:
    before = scrape().get("stormconsole_webhook_duration_seconds_count", {})
    console.post(payload([alert(namespace="demo")]))
    console.post(payload([alert(namespace="demo")]), token="nobody's")

    after = scrape()["stormconsole_webhook_duration_seconds_count"]

    grown = {labels: count - before.get(labels, 0) for labels, count in after.items()}
    assert {labels: count for labels, count in grown.items() if count} == {
        ("alertmanager", "202"): 1,
        ("alertmanager", "401"): 1,
    }


def test_it_tells_of_storms() -> None:
    make_storm(firing_count=7)
    make_storm(firing_count=3, severity="warning", acknowledged_at=timezone.now())
    make_closed_storm(firing_count=2)
    make_closed_storm()

    found = scrape()

    assert found["stormconsole_storms"] == {
        ("open", "critical"): 1,
        ("open", "warning"): 1,
        ("settled", "critical"): 1,
    }
    assert found["stormconsole_storm_alerts_firing"] == {(): 12}
    assert found["stormconsole_storms_unacknowledged"] == {(): 1}


def test_it_tells_how_late_things_are() -> None:
    now = timezone.now()
    make_held_alert(received_at=now - timedelta(seconds=70))
    make_alert(disposition="deferred", received_at=now - timedelta(seconds=40))
    make_request(sync_state="failed", next_attempt_at=now - timedelta(seconds=300))
    make_request(sync_state="pending", next_attempt_at=now + timedelta(seconds=5))
    make_request(sync_state="rejected")

    found = scrape()

    assert found["stormconsole_held_overdue_seconds"][()] == pytest.approx(60, abs=20)
    assert found["stormconsole_deferred_age_seconds"][()] == pytest.approx(40, abs=20)
    assert found["stormconsole_requests_overdue_seconds"][()] == pytest.approx(300, abs=20)
    assert found["stormconsole_requests_unsynced"] == {("failed",): 1, ("pending",): 1, ("rejected",): 1}


def test_it_tells_of_receivers() -> None:
    now = timezone.now()
    prod, quiet = make_receiver(name="prod"), make_receiver(name="quiet", heartbeat_minutes=5)
    make_receiver(name="off", enabled=False, heartbeat_minutes=5)
    make_delivery(receiver=prod, received_at=now)
    make_delivery(receiver=quiet, received_at=now - timedelta(minutes=6))
    make_delivery(receiver=quiet, received_at=now, http_status=400)
    make_delivery(receiver=quiet, received_at=now, kind="replay")
    for reason in ("invalid", "invalid", "not_allowed"):
        make_dead_letter(delivery=make_delivery(receiver=prod, received_at=now), receiver=prod, reason=reason)

    found = scrape()

    assert found["stormconsole_receiver_silent"] == {("prod", "alertmanager"): 0, ("quiet", "alertmanager"): 1}
    last = found["stormconsole_receiver_last_accepted_timestamp_seconds"]
    assert last["prod", "alertmanager"] == pytest.approx(now.timestamp(), abs=0.01)
    assert last["quiet", "alertmanager"] == pytest.approx(now.timestamp() - 360, abs=0.01)
    assert found["stormconsole_dead_letters"] == {("prod", "invalid"): 2, ("prod", "not_allowed"): 1}


def test_it_tells_what_the_reconciler_left() -> None:
    now = timezone.now()
    findings = [
        {"kind": kind, "result": result}
        for kind, result in (("counts_differ", "repaired"), ("resource_extra", "listed"), ("store_other", "gone"))
    ]
    skipped = {"resources": "away"}
    ReconcileRun.objects.create(state="done", finished_at=now, findings=findings, skipped=skipped)
    ReconcileRun.objects.create(state="queued")

    found = scrape()

    assert found["stormconsole_reconcile_found"] == {("resource_extra",): 1}
    assert found["stormconsole_reconcile_skipped"] == {(): 1}
    assert found["stormconsole_reconcile_timestamp_seconds"][()] == pytest.approx(now.timestamp(), abs=0.01)


def test_it_tells_of_the_store(valkey: redis.Redis) -> None:
    now = valkey.time()[0]
    valkey.zadd(f"{KEY_PREFIX}worker", {"a:1": now, "b:1": now - 1, "c:1": now - 60})
    valkey.rpush("stormconsole.stormconsole", "one", "two")
    valkey.hset(pressure.KEY, "queue_full", 3)

    found = scrape()

    assert found["stormconsole_component_processes"] == {("worker",): 2, ("sweep",): 0, ("watch",): 0}
    assert found["stormconsole_queue_messages"] == {(): 2}
    assert found["stormconsole_shed_total"]["queue_full",] == 3
    assert found["stormconsole_up"] == {("postgresql",): 1, ("valkey",): 1}


def test_a_store_that_is_away_is_said_to_be_down(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = redis.Redis(port=1, socket_connect_timeout=1)
    monkeypatch.setattr("stormconsole.alive.store", lambda: nobody)

    found = scrape()

    assert found["stormconsole_up"] == {("postgresql",): 1, ("valkey",): 0}
    assert "stormconsole_queue_messages" not in found
    assert found["stormconsole_alerts_held"] == {(): 0}


def test_a_database_that_is_away_is_said_to_be_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(metrics, "_query", away)
    monkeypatch.setattr(metrics.connection, "close", lambda: None)

    found = scrape()

    assert found["stormconsole_up"] == {("postgresql",): 0, ("valkey",): 1}
    assert "stormconsole_alerts_held" not in found


def test_a_console_in_which_nothing_happened_yet_is_scraped() -> None:
    found = scrape()
    assert found["stormconsole_storms_unacknowledged"] == {(): 0}
    assert "stormconsole_deliveries_total" not in found


def test_hostile_names_are_escaped(valkey: redis.Redis) -> None:
    evil = 'a"} 1\nstormconsole_up{server="postgresql'
    make_receiver(name=evil)
    found = scrape()
    assert found["stormconsole_receiver_silent"] == {(evil, "alertmanager"): 0}
    assert found["stormconsole_up"]["postgresql",] == 1


def test_scrapes_in_a_row_share_one_reading(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Callable[[int], Any]
) -> None:
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 60.0)
    monkeypatch.setattr(metrics, "_last", (0.0, {}))
    with django_assert_num_queries(8):
        for _ in range(3):
            scrape()


def test_a_token_is_asked_for_where_one_is_set(settings: Settings) -> None:
    settings.METRICS_TOKEN = "s3cret"
    for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
        response = Client().get("/metrics", headers=headers)
        assert response.status_code == 401
        assert b"stormconsole_" not in response.content
    assert scrape(Authorization="Bearer s3cret")["stormconsole_info"]
    assert Client().post("/metrics").status_code == 405


def test_a_scraper_gets_open_metrics_if_it_asks() -> None:
    response = Client().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert response.content.endswith(b"# EOF\n")


# --- the rules


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_the_rules_are_whole_and_name_metrics_that_exist() -> None:
    known = {*documented(), *(f"stormconsole_webhook_duration_seconds_{end}" for end in ("bucket", "count", "sum"))}
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 10
    for rule in rules():
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        named = set(re.findall(r"stormconsole_\w+", rule["expr"]))
        assert named, rule["alert"]
        assert named <= known, rule["alert"]
        for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), (rule["alert"], label)
    # Where Prometheus' own tool is at hand it has the last word.
    if promtool := shutil.which("promtool"):
        done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
