"""Synthetic rows hold what real ones would: identities, sums, states. Drawn small here, the statements are the same."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count, F, Q
from django.utils import timezone

from ingestion import fingerprint, ledger
from ingestion.models import DeadLetter, Delivery
from storms import policies, rules
from storms.models import Alert, RemediationRequest, Storm
from storms.services.refresh import dirty_storms
from storms.services.releasing import adopt_stragglers
from tests.factories import make_alert

pytestmark = pytest.mark.django_db

ALERTS, STORMS, DAYS = 6_000, 40, 10


def seed(**options: Any) -> str:
    output = StringIO()
    call_command("seed", **{"alerts": ALERTS, "storms": STORMS, "days": DAYS} | options, stdout=output)
    return output.getvalue()


def empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
        cursor.execute("truncate storms_alert, storms_storm, ingestion_delivery cascade")
        cursor.execute("set constraints all deferred")


def test_it_makes_as_many_as_were_asked_for() -> None:
    text = seed()

    assert Alert.objects.count() == ALERTS
    assert Storm.objects.count() == STORMS
    assert "SYNTHETIC" in text
    oldest = Alert.objects.earliest("received_at")
    assert timedelta(days=DAYS - 1) < timezone.now() - oldest.received_at < timedelta(days=DAYS, minutes=1)
    assert not Alert.objects.filter(received_at__gt=timezone.now()).exists()


def test_the_ledger_adds_up() -> None:
    seed()

    totals = ledger.totals()
    assert totals["unaccounted"] == 0
    assert totals["received"] > ALERTS
    assert totals["dead_letters"] == DeadLetter.objects.count() > 0
    assert all(delivery.unaccounted == 0 for delivery in Delivery.objects.all())
    named = set(Alert.objects.values_list("delivery_id", flat=True))
    assert named <= set(Delivery.objects.values_list("id", flat=True))


def test_a_storm_counts_its_alerts_and_was_opened_by_the_one_at_the_threshold() -> None:
    seed()

    counted = Storm.objects.annotate(
        members=Count("alerts"), fire=Count("alerts", filter=Q(alerts__status="firing"))
    ).filter(alert_count=F("members"), firing_count=F("fire"), resolved_count=F("members") - F("fire"))
    assert counted.count() == STORMS
    for storm in Storm.objects.all():
        opener = Alert.objects.get(id=storm.opened_by)
        assert (opener.outcome, opener.storm_id, opener.decided_at) == ("storm_opened", storm.id, storm.opened_at)
        assert sum(name["count"] for name in storm.alert_names) == storm.alert_count >= storm.threshold
        assert set(storm.alerts.values_list("group_key", flat=True)) == {storm.group_key}
        assert storm.remediation_request.name == f"storm-{storm.id}"
    assert Storm.objects.filter(state="open").count() == 1


def test_nothing_that_a_storm_would_have_taken_in_is_left_outside() -> None:
    seed()

    assert adopt_stragglers() == []
    with connection.cursor() as cursor:
        cursor.execute("""
            select count(*) from storms_alert a join storms_storm s on s.group_key = a.group_key
            where a.storm_id is null and a.decided_at > s.opened_at - s.window_seconds * interval '1 second'
              and a.decided_at <= coalesce(s.closed_at, now())
        """)
        assert cursor.fetchone() == (0,)
        cursor.execute("""
            select count(*) from storms_storm a join storms_storm b on a.group_key = b.group_key and a.id <> b.id
                and a.opened_at <= b.opened_at and coalesce(a.closed_at, now()) > b.opened_at
        """)
        assert cursor.fetchone() == (0,)


def test_identities_and_classes_are_those_that_ingestion_gives() -> None:
    seed()

    policy_set, rule_set = policies.reload(), rules.current()
    for alert in Alert.objects.order_by("id")[:200]:
        assert alert.fingerprint == fingerprint.fingerprint(alert.labels)
        assert alert.id == fingerprint.episode_id(alert.fingerprint, alert.starts_at)
        policy = policy_set.choose(alert.labels)
        assert alert.policy_id == policy.id
        assert alert.group_labels == policy.group(alert.labels)
        assert alert.group_key == policies.group_key(policy.id, alert.group_labels)
        found = rule_set.classify(alert.labels)
        assert (alert.severity, alert.environment, alert.priority) == (
            found.severity,
            found.environment,
            found.priority,
        )


def test_who_has_a_resource_is_who_would_have_one() -> None:
    seed()

    assert not Alert.objects.filter(disposition="individual", remediation_request__isnull=True).exists()
    with_own = Alert.objects.filter(remediation_request__isnull=False)
    assert not with_own.exclude(Q(disposition="individual") | Q(outcome="individual")).exists()
    assert (
        not RemediationRequest.objects.exclude(sync_state="collected")
        .filter(Q(alert__status="resolved") | Q(storm__state="closed", storm__firing_count=0))
        .exists()
    )
    assert dirty_storms() == []


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    seed(alerts=900, storms=5)
    first = list(Alert.objects.order_by("fingerprint").values_list("fingerprint", flat=True))
    empty()
    seed(alerts=900, storms=5)
    again = list(Alert.objects.order_by("fingerprint").values_list("fingerprint", flat=True))
    empty()
    seed(alerts=900, storms=5, seed=2)
    other = list(Alert.objects.order_by("fingerprint").values_list("fingerprint", flat=True))

    assert first == again != other


def test_it_refuses_a_database_with_alerts_unless_forced() -> None:
    make_alert()

    with pytest.raises(CommandError, match="has alerts already"):
        seed()
    assert Alert.objects.count() == 1
    seed(alerts=100, storms=2, force=True)
    seed(alerts=100, storms=2, force=True, seed=2)
    assert Alert.objects.count() == 201
    assert Storm.objects.filter(state="open").count() == 1


@pytest.mark.parametrize("options", [{"alerts": 0}, {"days": 0}, {"alerts": 100, "storms": 50}])
def test_it_says_what_it_can_do(options: dict[str, int]) -> None:
    with pytest.raises(CommandError, match="--alerts from 1"):
        seed(**options)
