"""Arrivals, re-sends, resolutions, closes, merges, splits, silences, policy edits, lost stores and time, in any order:
after every step the invariants of the design hold."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, F, Q, Sum
from django_redis import get_redis_connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ingestion.ledger import DeliveryRecord, Receipt, totals
from ingestion.models import Receiver
from ingestion.normalise import incoming_alert
from ingestion.services import create_receiver
from storms import policies
from storms.incoming import IncomingAlert
from storms.models import Alert, RemediationRequest, Storm
from storms.services import operators
from storms.services.closing import close_due_storms
from storms.services.intake import Origin, take_in
from storms.services.operators import OperatorError
from storms.services.policies import save_policy
from storms.services.refresh import refresh_storm
from storms.services.releasing import adopt_stragglers, release_due_alerts
from tests.harness.examples import examples
from tests.harness.webhook import Clock, forget_caches

TABLES = "storms_alert, storms_storm, storms_remediationrequest, storms_stormevent, ingestion_delivery"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Life(RuleBasedStateMachine):
    """Small numbers, so that thresholds, windows and quiet times are met all the time."""

    episodes = Bundle("episodes")
    receiver: Receiver

    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute(f"truncate {TABLES} cascade")
        get_redis_connection("default").flushdb()
        forget_caches()
        self.freeze = ExitStack()
        self.clock = Clock(self.freeze)
        self.silenced: set[str] = set()
        self.sent: Counter[uuid.UUID] = Counter()
        self.answered: Counter[str] = Counter()
        self.serial = 0
        self.edit(3, 2)

    def teardown(self) -> None:
        self.freeze.close()

    @rule(target=episodes, group=st.sampled_from("ab"), pod=st.integers(0, 5))
    def fire(self, group: str, pod: int) -> IncomingAlert:
        self.serial += 1
        return self.send(self.episode(group, pod, self.serial, firing=True))[0]

    @rule(group=st.sampled_from("ab"), size=st.integers(2, 6))
    def fire_batch(self, group: str, size: int) -> None:
        self.serial += 1
        self.send(*(self.episode(group, 10 + pod, self.serial, firing=True) for pod in range(size)))

    @rule(episode=episodes)
    def send_again(self, episode: IncomingAlert) -> None:
        self.send(episode)

    @rule(episode=episodes)
    def resolve(self, episode: IncomingAlert) -> None:
        pod, group = int(episode.labels["pod"]), episode.labels["namespace"]
        serial = int((episode.starts_at - START).total_seconds())
        self.send(self.episode(group, pod, serial, firing=False))

    @rule(seconds=st.sampled_from([0.5, 2, 6, 11, 45]))
    def wait_and_sweep(self, seconds: float) -> None:
        now = self.clock.advance(seconds)
        for storm_id in Storm.objects.values_list("id", flat=True):
            refresh_storm(storm_id=storm_id)
        adopt_stragglers()
        release_due_alerts(now=now)
        close_due_storms(now=now)

    @rule(seconds=st.sampled_from([1, 12, 50]))
    def time_passes_without_a_sweep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def the_store_loses_everything(self) -> None:
        get_redis_connection("default").flushdb()

    @rule(which=st.integers(0, 3))
    def a_person_closes(self, which: int) -> None:
        if storm := self.pick(Storm.objects.filter(state="open"), which):
            operators.close(storm_id=storm.id, comment="drill", actor="ada")

    @rule(which=st.integers(0, 20))
    def a_person_splits(self, which: int) -> None:
        if member := self.pick(Alert.objects.filter(disposition="member"), which):
            self.allow(lambda: operators.split(alert_id=member.id, actor="ada"))

    @rule(turn=st.booleans())
    def a_person_merges(self, turn: bool) -> None:
        pair = list(Storm.objects.filter(state="open").order_by("id")[:2])
        if len(pair) == 2:
            source, target = pair if turn else reversed(pair)
            self.allow(lambda: operators.merge(storm_id=source.id, into=target.id, actor="ada"))

    @rule(threshold=st.integers(1, 4), hold=st.sampled_from([0, 2]), reopen=st.sampled_from([0, 20]))
    def edit(self, threshold: int, hold: int, reopen: int = 0) -> None:
        policy = policies._restore_default()
        policy.threshold, policy.hold_seconds, policy.reopen_seconds = threshold, hold, reopen
        policy.window_seconds, policy.quiet_seconds, policy.max_duration_seconds = 10, 10, 40
        save_policy(policy=policy, actor="ada")

    @rule(group=st.sampled_from("ab"))
    def silence_or_end_it(self, group: str) -> None:
        self.silenced ^= {group}

    @invariant()
    def at_most_one_open_storm_a_group(self) -> None:
        groups = Storm.objects.filter(state="open").values("group_key").annotate(n=Count("id"))
        assert all(row["n"] == 1 for row in groups)

    @invariant()
    def every_alert_has_one_outcome_and_the_ledger_agrees(self) -> None:
        assert totals()["unaccounted"] == 0
        assert sum(self.answered.values()) == sum(self.sent.values()) == totals()["received"]

    @invariant()
    def no_episode_is_counted_twice(self) -> None:
        assert set(Alert.objects.values_list("id", flat=True)) == set(self.sent)
        counted = Alert.objects.aggregate(n=Sum(F("occurrences") + F("resolutions")))["n"] or 0
        assert counted == sum(self.sent.values())

    @invariant()
    def members_add_up(self) -> None:
        assert not Alert.objects.filter(Q(disposition="member") ^ Q(storm__isnull=False)).exists()
        late = Alert.objects.filter(storm__state="closed", decided_at__gt=F("storm__closed_at"))
        assert not late.exclude(storm__merged__isnull=False).exists()
        for storm in Storm.objects.annotate(members=Count("alerts")):
            facts = refresh_storm(storm_id=storm.id)
            assert facts is not None or storm.state == "open"
            if facts is not None:
                assert facts.alert_count == facts.firing_count + facts.resolved_count == storm.members

    @invariant()
    def every_storm_and_individual_has_one_request(self) -> None:
        requests = set(RemediationRequest.objects.filter(kind="storm").values_list("id", flat=True))
        assert requests == set(Storm.objects.values_list("id", flat=True))
        lonely = Alert.objects.filter(disposition="individual", remediation_request__isnull=True)
        assert not lonely.exists()
        active = Alert.objects.filter(disposition="member", remediation_request__superseded_by__isnull=True)
        assert not active.filter(remediation_request__isnull=False).exists()

    @invariant()
    def nothing_is_held_past_its_release_after_a_sweep(self) -> None:
        release_due_alerts(now=self.clock.now)
        assert not Alert.objects.filter(disposition="held", release_at__lte=self.clock.now).exists()

    def episode(self, group: str, pod: int, serial: int, *, firing: bool) -> IncomingAlert:
        return incoming_alert(
            firing=firing,
            labels={"alertname": "A", "namespace": group, "pod": str(pod)},
            annotations={},
            starts_at=START + timedelta(seconds=serial),
            ends_at=None,
            generator_url="",
        )

    def send(self, *alerts: IncomingAlert) -> tuple[IncomingAlert, ...]:
        receipt = Receipt(uuid.uuid4(), "alertmanager", datetime.now(UTC), None)
        intake = take_in(
            alerts=list(enumerate(alerts)),
            origin=Origin(
                receiver="life",
                kind="alertmanager",
                delivery_id=receipt.id,
                received_at=receipt.received_at,
                still_valid=lambda: None,
                silence_of=lambda labels: 1 if labels["namespace"] in self.silenced else None,
            ),
            companion=DeliveryRecord(
                receipt=receipt, receiver_id=self.receiver.id, content=None, rejected=[], truncated_alerts=0
            ),
        )
        assert len(intake.results) == len(alerts)
        self.sent.update(alert.id for alert in alerts)
        self.answered.update(result.outcome for result in intake.results)
        return alerts

    def pick(self, rows: Any, which: int) -> Any:
        found = list(rows.order_by("id"))
        return found[which % len(found)] if found else None

    def allow(self, work: Any) -> None:
        with contextlib.suppress(OperatorError):
            work()


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.django_db(transaction=True)
def test_the_invariants_hold_whatever_happens_in_whatever_order(valkey):
    Life.receiver, _ = create_receiver(name="life", kind="alertmanager")
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples(25), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
