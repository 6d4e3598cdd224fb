"""The sums that the product is measured by, on real processes and a real API server."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Console, describe
from tests.harness.alertmanager import Alertmanager
from tests.harness.http import WEBHOOK, alert, outcomes, payload, post_many, statuses
from tests.harness.wait import wait_until

pytestmark = pytest.mark.slow


def burst(namespace: str, count: int) -> list[dict[str, Any]]:
    return [alert(namespace=namespace) for _ in range(count)]


def test_fifteen_concurrent_alerts_are_one_storm_and_one_resource(console: Console) -> None:
    namespace = console.kube.new_namespace()
    other = console.kube.new_namespace("other")
    in_between = burst(other, 3)
    alerts = burst(namespace, 15)
    alerts[5:5], alerts[9:9], alerts[12:12] = in_between[:1], in_between[1:2], in_between[2:]

    answers = console.send(alerts)

    ours = [a for a in answers if a.body["results"][0]["group"] == {"namespace": namespace}]
    assert statuses(ours) == {201: 1, 202: 14}, describe(answers)
    assert outcomes(ours) == {"held": 9, "storm_opened": 1, "aggregated": 5}
    resource = console.await_storm(namespace, 15)
    storm = resource["spec"]["storm"]
    assert len(storm["affectedResources"]) == storm["affectedResourcesTotal"] == 15
    assert storm["firingCount"] == 15
    assert not storm.get("truncated")
    assert len(console.resources(namespace)) == 1
    # The three of the other namespace stay what they are: held, then one request each.
    theirs = [a for a in answers if a.body["results"][0]["group"] == {"namespace": other}]
    assert outcomes(theirs) == {"held": 3}
    assert console.resources(other) == []
    wait_until(lambda: len(console.resources(other)) == 3, 20, "the release of three held alerts")
    late = console.rows(
        "select extract(epoch from r.created_at - a.release_at) from storms_remediationrequest r"
        " join storms_alert a on a.id = r.alert_id where a.namespace = %s",
        other,
    )
    assert all(0 <= seconds < 1 for [seconds] in late), late
    assert [item["spec"]["isStorm"] for item in console.resources(other)] == [False] * 3
    assert len(console.resources(namespace)) == 1
    assert console.unaccounted() == 0


def test_immediate_mode_leaves_one_active_resource(console: Console) -> None:
    namespace = console.kube.new_namespace("now")
    console.policy(namespace, hold_seconds=0)

    answers = console.send(burst(namespace, 15))

    assert statuses(answers) == {201: 10, 202: 5}, describe(answers)
    assert outcomes(answers) == {"individual": 9, "storm_opened": 1, "aggregated": 5}
    resource = console.await_storm(namespace, 15)
    superseded = [item for item in console.resources(namespace) if item["spec"].get("supersededBy")]
    assert {item["spec"]["supersededBy"] for item in superseded} <= {resource["metadata"]["name"]}
    assert console.unaccounted() == 0


def test_exactly_one_request_opens_each_of_fifty_storms(console: Console) -> None:
    for number in range(50):
        answers = console.send(burst(f"race-{number}", 15))

        assert outcomes(answers) == {"held": 9, "storm_opened": 1, "aggregated": 5}, describe(answers)

    opened = console.rows(
        "select s.group_labels->>'namespace', count(*) from storms_storm s"
        " where s.group_labels->>'namespace' like %s group by 1",
        "race-%",
    )
    assert len(opened) == 50
    assert {count for _, count in opened} == {1}
    wait_until(
        lambda: (
            console.rows(
                "select distinct s.alert_count from storms_storm s where s.group_labels->>'namespace' like %s", "race-%"
            )
            == [(15,)]
        ),
        30,
        "every storm counts fifteen alerts",
    )
    assert console.unaccounted() == 0


def test_the_same_group_from_two_replicas_at_once_counts_once(console: Console) -> None:
    namespace = console.kube.new_namespace("replica")
    group = burst(namespace, 12)
    replica = console.stack.token()

    first, second = post_many(console.stack.urls, console.token, [payload(group)] * 2, concurrency=2)
    [third] = post_many(console.stack.url, replica, [payload(group)])

    told = Counter(r["outcome"] for answer in (first, second) for r in answer.body["results"])
    assert told == {"held": 9, "storm_opened": 1, "aggregated": 2, "duplicate": 12}
    assert outcomes([third]) == {"duplicate": 12}
    storm = console.await_storm(namespace, 12)
    assert storm["spec"]["deduplication"]["occurrenceCount"] >= 12
    assert console.unaccounted() == 0


def test_two_thousand_alerts_are_one_bounded_resource(console: Console) -> None:
    namespace = console.kube.new_namespace("big")
    started = datetime.now(UTC)

    console.send(burst(namespace, 2000), concurrency=4, batch=4)

    resource = console.await_storm(namespace, 2000, timeout=40)
    seconds = (datetime.now(UTC) - started).total_seconds()
    storm = resource["spec"]["storm"]
    assert len(storm["affectedResources"]) == 500
    assert (storm["affectedResourcesTotal"], storm["truncated"]) == (2000, True)
    assert len(json.dumps(resource)) < 512 * 1024
    # The API server raises the generation with every apply that changes the spec, and each of these changed a count.
    assert resource["metadata"]["generation"] <= seconds + 2
    assert console.unaccounted() == 0


def test_a_real_alertmanager_makes_ten_storms_that_close_when_it_resolves(console: Console, tmp_path: Path) -> None:
    namespaces = [console.kube.new_namespace("am") for _ in range(10)]
    labels = [
        {"alertname": "PodCrashLooping", "namespace": namespace, "pod": f"pod-{n}", "severity": "warning"}
        for namespace in namespaces
        for n in range(30)
    ]
    with Alertmanager(tmp_path, console.stack.url + WEBHOOK, console.token) as alertmanager:
        alertmanager.fire(labels)
        for namespace in namespaces:
            console.await_storm(namespace, 30, timeout=30)

        alertmanager.resolve(labels)

        for namespace in namespaces:
            wait_until(lambda namespace=namespace: resolved_storm(console, namespace), 30, f"{namespace} resolves")
    reasons = console.rows(
        "select close_reason, count(*) from storms_storm where group_labels->>'namespace' like %s group by 1", "am-%"
    )
    assert reasons == [("resolved", 10)]
    assert console.unaccounted() == 0


def resolved_storm(console: Console, namespace: str) -> bool:
    [resource] = console.resources(namespace)
    storm = resource["spec"]["storm"]
    assert (storm["state"], storm.get("closeReason"), storm["firingCount"]) == ("closed", "resolved", 0), storm["state"]
    return bool(storm["resolvedCount"] == 30)


def test_an_operators_phase_is_mirrored(console: Console) -> None:
    namespace = console.kube.new_namespace("phase")
    console.send(burst(namespace, 10))
    resource = console.await_storm(namespace, 10)

    console.kube.set_status(namespace, resource["metadata"]["name"], "Processing", "restarting pods")

    storm_id = resource["metadata"]["name"].removeprefix("storm-")
    wait_until(
        lambda: console.api(f"remediation-requests/{storm_id}/")["phase"] == "Processing", 10, "the mirrored phase"
    )
    kinds = [kind for [kind] in console.rows("select kind from storms_stormevent where storm_id = %s", storm_id)]
    assert "phase_changed" in kinds


def test_a_namespace_that_the_cluster_does_not_have_falls_back(console: Console) -> None:
    console.send(burst("not-in-the-cluster", 10))

    def moved() -> dict[str, Any]:
        [found] = [
            item
            for item in console.resources("stormconsole")
            if item["metadata"].get("labels", {}).get("stormconsole.io/origin-namespace") == "not-in-the-cluster"
        ] or [None]
        assert found is not None
        return found

    assert wait_until(moved, 20, "the resource in the fallback namespace")["spec"]["storm"]["alertCount"] == 10
