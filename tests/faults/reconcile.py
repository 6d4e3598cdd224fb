"""The ledger, the rows and the API server against what the sender knows: nothing lost, made twice, or stuck."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.faults.load import Group, Load
from tests.faults.rig import FALLBACK, Rig
from tests.harness.kube import RESOURCES

ORIGIN = "stormconsole.io/origin-namespace"
DONE = ("applied", "skipped")

# One statement, so one snapshot; spelled out here, so that the product's own sum is not its own witness.
_LEDGER = """
select coalesce(sum(d.received), 0)::int,
    coalesce(sum((select sum(value::int) from jsonb_each_text(d.outcomes))), 0)::int,
    (select coalesce(sum(occurrences + resolutions), 0)::int from storms_alert)
from ingestion_delivery d
"""
_ALERTS = """
select labels->>'pod', namespace, id, disposition, status, storm_id from storms_alert where namespace = any(%s)
"""
_STORMS = """
select id, group_labels->>'namespace', state, alert_count from storms_storm
where group_labels->>'namespace' = any(%s)
"""
_REQUESTS = """
select id, sync_state, desired_version, applied_version, superseded_by_id, last_error
from storms_remediationrequest where id = any(%s)
"""


@dataclass(slots=True)
class Rows:
    """What PostgreSQL says of one run's namespaces."""

    alerts: list[tuple[str, str, UUID, str, str, UUID | None]]
    storms: list[tuple[UUID, str, str, int]]
    requests: dict[UUID, tuple[Any, ...]]


@dataclass(slots=True)
class Verdict:
    """lost: acknowledged episodes that are nowhere, or in no storm and no resource; problems: all of it, in words."""

    lost: int = 0
    duplicated_storms: int = 0
    duplicated_resources: int = 0
    problems: list[str] = field(default_factory=list)

    def must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.problems.append(otherwise)


def read_rows(rig: Rig, load: Load) -> Rows:
    namespaces = [group.namespace for group in load.groups]
    with rig.db() as connection:
        alerts = connection.execute(_ALERTS, [namespaces]).fetchall()
        storms = connection.execute(_STORMS, [namespaces]).fetchall()
        ids = [row[2] for row in alerts] + [row[0] for row in storms]
        requests = {row[0]: row for row in connection.execute(_REQUESTS, [ids]).fetchall()}
    return Rows(alerts, storms, requests)


def unsettled(rows: Rows, load: Load) -> list[str]:
    """What is still to happen, in words; [] when the console has nothing left to do."""
    waiting = Counter(row[3] for row in rows.alerts if row[3] in ("held", "deferred"))
    words = [f"{count} alerts {disposition}" for disposition, count in waiting.items()]
    behind = [row for row in rows.requests.values() if row[1] not in DONE or (row[2] > row[3] and row[1] != "skipped")]
    if behind:
        words.append(f"{len(behind)} requests not applied ({behind[0][1]}: {behind[0][5] or 'no error'})"[:300])
    missing = [row[0] for row in rows.storms if row[0] not in rows.requests]
    words += [f"storm {storm} has no request" for storm in missing]
    members = Counter(row[5] for row in rows.alerts if row[5])
    words += [
        f"storm {row[0]} counts {row[3]} of {members[row[0]]}" for row in rows.storms if row[3] != members[row[0]]
    ]
    recorded = len(rows.alerts)
    if recorded < load.acknowledged:
        words.append(f"{recorded} of {load.acknowledged} acknowledged episodes recorded")
    return words


def judge(rig: Rig, rows: Rows, load: Load) -> Verdict:
    """Once everything is settled."""
    verdict = Verdict()
    # Only here: it is of all runs on this rig, and would be the heaviest query of each look.
    with rig.db() as connection:
        [(received, answered, recorded)] = connection.execute(_LEDGER).fetchall()
    verdict.must(received == answered == recorded, f"the ledger: {received} in, {answered} told, {recorded} in rows")
    verdict.must(rig.api("status/")["unaccounted"] == 0, "the console itself reports unaccounted alerts")
    verdict.must(not load.refused, f"refused: {load.refused[:3]}")
    verdict.must(not load.unacknowledged, f"{load.unacknowledged} alerts were never acknowledged")
    for group in load.groups:
        _judge_group(rig, rows, group, verdict)
    return verdict


def _judge_group(rig: Rig, rows: Rows, group: Group, verdict: Verdict) -> None:
    alerts = [row for row in rows.alerts if row[1] == group.namespace]
    pods = Counter(row[0] for row in alerts)
    missing = group.acknowledged - pods.keys()
    verdict.lost += len(missing)
    verdict.must(not missing, f"{group.namespace}: {len(missing)} acknowledged episodes are in no row")
    verdict.must(not pods.keys() - group.alerts.keys(), f"{group.namespace}: rows that nobody sent")
    verdict.must(max(pods.values(), default=0) <= 1, f"{group.namespace}: an episode has two rows")
    verdict.must(group.outcomes["storm_opened"] <= 1, f"{group.namespace}: storm_opened was answered twice")
    told = {row[0] for row in alerts if row[4] == "resolved"}
    verdict.must(told == group.resolved, f"{group.namespace}: {len(told)} resolved of {len(group.resolved)}")
    resources = resources_of(rig, group.namespace)
    if group.is_storm:
        _judge_storm(rows, group, alerts, resources, verdict)
    else:
        _judge_few(group, alerts, resources, verdict)


def _judge_storm(
    rows: Rows, group: Group, alerts: list[tuple[Any, ...]], resources: list[dict[str, Any]], verdict: Verdict
) -> None:
    storms = [row for row in rows.storms if row[1] == group.namespace]
    if len(storms) != 1:
        verdict.duplicated_storms += max(len(storms) - 1, 0)
        verdict.problems.append(f"{group.namespace}: {len(storms)} storms")
    outside = [row for row in alerts if row[3] != "member" or row[5] is None]
    verdict.lost += len(outside)
    verdict.must(not outside, f"{group.namespace}: outside of the storm: {Counter(row[3] for row in outside)}")
    active = [item for item in resources if not item["spec"].get("supersededBy")]
    if len(active) != 1:
        verdict.duplicated_resources += max(len(active) - 1, 0)
        names = [item["metadata"]["name"][:12] for item in active]
        verdict.problems.append(f"{group.namespace}: {len(active)} active resources {names}")
    for item in active:
        spec = item["spec"].get("storm") or {}
        counts = (spec.get("alertCount"), spec.get("firingCount"), spec.get("resolvedCount"))
        total, over = len(group.acknowledged), len(group.resolved)
        verdict.must(counts == (total, total - over, over), f"{group.namespace}: counts {counts}, not {total}/{over}")


def _judge_few(group: Group, alerts: list[tuple[Any, ...]], resources: list[dict[str, Any]], verdict: Verdict) -> None:
    verdict.must(
        {row[3] for row in alerts} <= {"individual", "resolved_while_held"},
        f"{group.namespace}: {Counter(row[3] for row in alerts)}",
    )
    wanted = Counter(f"alert-{row[2]}" for row in alerts if row[3] == "individual")
    found = Counter(item["metadata"]["name"] for item in resources)
    absent, doubled = wanted - found, found - wanted
    verdict.lost += sum(absent.values())
    verdict.duplicated_resources += sum(doubled.values())
    verdict.must(not absent, f"{group.namespace}: {sum(absent.values())} resources are not in the cluster")
    verdict.must(not doubled, f"{group.namespace}: {sum(doubled.values())} resources too many")


def resources_of(rig: Rig, namespace: str) -> list[dict[str, Any]]:
    """Those in the namespace, and those of it that live in the fallback namespace."""
    found = rig.kube.resources(namespace)
    answer = rig.kube.admin.get(
        f"{RESOURCES}/namespaces/{FALLBACK}/remediationrequests", params={"labelSelector": f"{ORIGIN}={namespace}"}
    )
    answer.raise_for_status()
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in [*found, *answer.json()["items"]]:
        by_name[item["metadata"]["name"]].append(item)
    return [item for items in by_name.values() for item in items]
