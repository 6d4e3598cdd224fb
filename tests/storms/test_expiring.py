"""Alerts that end without a word."""

from datetime import timedelta

from django.utils import timezone

from storms.models import Alert, RemediationRequest
from storms.services.expiring import expire_alerts
from storms.services.refresh import refresh_storm
from storms.services.releasing import release_due_alerts
from tests.harness.http import alert, payload


def test_an_event_that_is_not_repeated_is_over(console, clock, settings):
    settings.EVENT_EXPIRY_MINUTES = 60
    console.post(payload([alert(namespace="demo") for _ in range(10)]))
    console.post(payload([alert(namespace="other")]))
    release_due_alerts(now=clock.advance(10))
    RemediationRequest.objects.update(sync_state="applied", applied_version=1)
    console.post(payload([alert(namespace="held")]))
    Alert.objects.exclude(namespace="demo", id=Alert.objects.filter(namespace="demo")[0].id).update(
        source="kubernetes-event"
    )

    assert expire_alerts(now=timezone.now() + timedelta(minutes=59)) == []
    assert len(expire_alerts(now=timezone.now() + timedelta(minutes=61))) == 11

    assert Alert.objects.get(namespace="held").disposition == "resolved_while_held"
    assert RemediationRequest.objects.get(alert__namespace="other").sync_state == "pending"
    storm = RemediationRequest.objects.get(kind="storm").storm
    assert storm is not None
    facts = refresh_storm(storm_id=storm.id)
    assert facts is not None
    # The tenth came from Alertmanager, which will say when it ends.
    assert (facts.firing_count, facts.resolved_count) == (1, 9)


def test_it_can_be_switched_off(console, settings):
    settings.EVENT_EXPIRY_MINUTES = 0
    console.post(payload([alert()]))
    Alert.objects.update(source="kubernetes-event")
    assert expire_alerts(now=timezone.now() + timedelta(days=9)) == []
