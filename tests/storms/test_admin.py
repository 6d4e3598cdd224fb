"""The admin: every page opens with and without rows, what the system writes cannot be written, secrets show once."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from ingestion.models import DeadLetter, Delivery, Receiver
from stormconsole.tokens import hash_token
from storms.models import Alert, ApiToken, RemediationRequest, Storm, StormEvent, StormPolicy
from tests.factories import (
    NOW,
    make_admin,
    make_alert,
    make_closed_storm,
    make_dead_letter,
    make_delivery,
    make_event,
    make_held_alert,
    make_policy,
    make_receiver,
    make_request,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db

SYSTEM_WRITTEN = [Storm, Alert, RemediationRequest, StormEvent, Delivery, DeadLetter]
WRITABLE = [StormPolicy, Receiver, ApiToken]
POLICY = {
    "name": "checkout",
    "enabled": "on",
    "owner_note": "",
    "matchers": 'team="checkout"',
    "priority": "0",
    "group_by": "namespace, cluster",
    "threshold": "25",
    "window_seconds": "60",
    "hold_seconds": "0",
    "quiet_seconds": "300",
    "max_duration_seconds": "14400",
}


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def url(model: Any, view: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}", args=arguments)


def text(response: Any) -> str:
    return str(response.content.decode())


def one_of_each(number: int = 0) -> None:
    """A row of every kind, tied together as in real life; the timestamps are spread over days."""
    at = NOW + timedelta(days=number)
    policy, receiver = make_policy(), make_receiver()
    storm = make_storm(policy=policy, opened_at=at)
    make_event(storm)
    request = make_request(storm=storm, phase="Failed", last_error="denied", sync_state="failed")
    make_alert(storm=storm, policy=policy, received_at=at)
    make_request(alert=make_alert(received_at=at), superseded_by=request)
    make_request(alert=make_held_alert(received_at=at), sync_state="pending", manifest=None, applied_at=None)
    make_closed_storm(previous=storm, opened_at=at)
    make_dead_letter(delivery=make_delivery(receiver=receiver, received_at=at), receiver=receiver)
    make_delivery(http_status=503, error="PostgreSQL is unreachable", received_at=at)
    ApiToken.objects.create(user=make_user(f"user-{receiver.pk}"), token_hash=hash_token(receiver.name))


@pytest.mark.parametrize("model", SYSTEM_WRITTEN + WRITABLE)
def test_a_list_opens_empty(admin: Client, model: Any) -> None:
    assert admin.get(url(model, "changelist")).status_code == 200


@pytest.mark.parametrize("model", SYSTEM_WRITTEN + WRITABLE)
def test_a_list_and_its_rows_open(admin: Client, model: Any) -> None:
    one_of_each()
    assert admin.get(url(model, "changelist")).status_code == 200
    assert admin.get(url(model, "changelist"), {"q": "payments"}).status_code == 200
    for row in model.objects.all():
        assert admin.get(url(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", SYSTEM_WRITTEN + WRITABLE)
def test_a_list_takes_as_many_queries_for_ten_rows_as_for_one(admin: Client, model: Any) -> None:
    one_of_each()
    few = count_queries(lambda: admin.get(url(model, "changelist")))
    for number in range(1, 6):
        one_of_each(number)
    many = count_queries(lambda: admin.get(url(model, "changelist")))
    assert many <= few
    assert many <= 10


def count_queries(call: Callable[[], Any]) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        assert call().status_code == 200
    return len(queries)


@pytest.mark.parametrize("model", SYSTEM_WRITTEN)
def test_what_the_system_writes_is_read_only_for_a_superuser_too(admin: Client, model: Any) -> None:
    one_of_each()
    row = model.objects.first()
    before = model.objects.filter(pk=row.pk).values().get()
    assert admin.get(url(model, "add")).status_code == 403
    assert admin.post(url(model, "add"), {}).status_code == 403
    assert admin.post(url(model, "change", row.pk), {"message": "x", "name": "x"}).status_code == 403
    assert admin.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    body = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    admin.post(url(model, "changelist"), body)
    assert model.objects.filter(pk=row.pk).values().get() == before


def test_alert_storm_resource_and_page_lead_to_each_other(admin: Client) -> None:
    storm = make_storm()
    request = make_request(storm=storm)
    alert = make_alert(storm=storm)
    seen = text(admin.get(url(Alert, "change", alert.pk)))
    assert url(Storm, "change", storm.pk) in seen
    assert reverse("alert", args=[alert.pk]) in seen
    seen = text(admin.get(url(Storm, "change", storm.pk)))
    assert url(RemediationRequest, "change", request.pk) in seen
    assert f"{url(Alert, 'changelist')}?storm__id__exact={storm.pk}" in seen
    assert reverse("storm", args=[storm.pk]) in seen
    seen = text(admin.get(url(RemediationRequest, "change", request.pk)))
    assert url(Storm, "change", storm.pk) in seen
    assert reverse("remediationrequest-manifest", args=[request.pk]) in seen
    members = admin.get(f"{url(Alert, 'changelist')}?storm__id__exact={storm.pk}")
    assert url(Alert, "change", alert.pk) in text(members)


def test_a_delivery_leads_to_the_alerts_it_brought(admin: Client) -> None:
    delivery = make_delivery()
    ours, other = make_alert(delivery_id=delivery.id), make_alert()
    link = f"{url(Alert, 'changelist')}?delivery_id={delivery.pk}"
    assert link in text(admin.get(url(Delivery, "change", delivery.pk)))
    seen = text(admin.get(link))
    assert url(Alert, "change", ours.pk) in seen
    assert url(Alert, "change", other.pk) not in seen


def test_hostile_text_is_text(admin: Client) -> None:
    evil = "<script>alert(1)</script>"
    storm = make_storm(group_labels={"namespace": evil}, alert_names=[{"name": evil, "count": 1}])
    make_event(storm, message=evil)
    request = make_request(storm=storm, last_error=evil, phase_message=evil, manifest={"spec": evil})
    labels = {"alertname": evil, evil: evil}
    alert = make_alert(storm=storm, labels=labels, annotations={evil: evil}, generator_url="javascript:alert(1)")
    letter = make_dead_letter(raw=f'"{evil}"', error=evil, pointer=evil)
    pages = [url(model, "changelist") for model in SYSTEM_WRITTEN]
    pages += [url(row.__class__, "change", row.pk) for row in (storm, request, alert, letter)]
    for page in pages:
        seen = text(admin.get(page))
        assert evil not in seen, page
        assert 'href="javascript:' not in seen, page


# --- policies


def test_a_policy_is_saved_through_its_service(admin: Client) -> None:
    assert admin.post(url(StormPolicy, "add"), POLICY).status_code == 302
    policy = StormPolicy.objects.get(name="checkout")
    assert (policy.version, policy.group_by, policy.hold_seconds) == (1, ["namespace", "cluster"], 0)
    assert admin.post(url(StormPolicy, "change", policy.pk), POLICY | {"threshold": "5"}).status_code == 302
    policy.refresh_from_db()
    assert (policy.version, policy.threshold) == (2, 5)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("matchers", "nonsense", "cannot read"),
        ("matchers", 'a=~"("', "is no RE2 regular expression"),
        ("group_by", "not-a-label", "is no label name"),
        ("group_by", "a, a", "a label is named twice"),
        ("threshold", "0", "greater than or equal to 1"),
        ("hold_seconds", "4000", "less than or equal to 3600"),
        ("name", "default", "already exists"),
    ],
)
def test_a_policy_is_validated(admin: Client, field: str, value: str, error: str) -> None:
    response = admin.post(url(StormPolicy, "add"), POLICY | {field: value})
    assert response.status_code == 200
    assert error in text(response)
    assert StormPolicy.objects.count() == 1


def test_the_last_catch_all_policy_stays(admin: Client) -> None:
    last = StormPolicy.objects.get()
    other = make_policy()
    change = url(StormPolicy, "change", last.pk)
    refusal = "last enabled policy without matchers"

    assert refusal in text(admin.post(change, POLICY | {"name": "default", "matchers": 'a="b"'}))
    response = admin.post(change, {k: v for k, v in POLICY.items() if k != "enabled"} | {"name": "d", "matchers": ""})
    assert response.status_code == 200
    assert refusal in text(response)
    assert refusal in text(admin.post(url(StormPolicy, "delete", last.pk), {"post": "yes"}, follow=True))
    for action in ("disable", "delete_selected"):
        body = {"action": action, "_selected_action": [other.pk, last.pk], "post": "yes"}
        assert refusal in text(admin.post(url(StormPolicy, "changelist"), body, follow=True))

    # Refused as a whole: the other one was not disabled or deleted on the way, and no log says so.
    assert StormPolicy.objects.filter(enabled=True, version=1).count() == 2
    assert LogEntry.objects.count() == 0


def test_policies_are_enabled_and_disabled_in_bulk(admin: Client) -> None:
    policies = [make_policy(), make_policy(enabled=False)]
    keys = [policy.pk for policy in policies]
    for action, enabled in (("disable", False), ("enable", True)):
        admin.post(url(StormPolicy, "changelist"), {"action": action, "_selected_action": keys})
        assert set(StormPolicy.objects.filter(pk__in=keys).values_list("enabled", flat=True)) == {enabled}
    # The second was disabled before: only its enabling was a change.
    assert [StormPolicy.objects.get(pk=key).version for key in keys] == [3, 2]


def test_a_policy_is_deleted_and_its_storms_stay(admin: Client) -> None:
    policy = make_policy()
    storm = make_storm(policy=policy, policy_name=policy.name)
    admin.post(url(StormPolicy, "delete", policy.pk), {"post": "yes"})
    storm.refresh_from_db()
    assert (storm.policy, storm.policy_name) == (None, policy.name)


# --- secrets


def shown_token(response: Any) -> str:
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    match = re.search(r'<pre id="token"[^>]*>([^<]+)</pre>', text(response))
    assert match
    return match[1]


def test_a_new_receiver_s_token_is_shown_once(admin: Client) -> None:
    response = admin.post(url(Receiver, "add"), {"name": "prod", "kind": "alertmanager", "enabled": "on"})
    token = shown_token(response)
    receiver = Receiver.objects.get()
    assert receiver.token_hash == hash_token(token)
    assert "http://testserver/api/v1/webhooks/alertmanager" in text(response)
    for page in (url(Receiver, "changelist"), url(Receiver, "change", receiver.pk)):
        assert token not in text(admin.get(page))
    assert token not in str(dict(admin.session)) + str(admin.cookies)


def test_a_receiver_s_token_is_rotated(admin: Client) -> None:
    receiver = make_receiver()
    body = {"action": "rotate", "_selected_action": [receiver.pk]}
    first = shown_token(admin.post(url(Receiver, "changelist"), body))
    form = {"name": "renamed", "enabled": "on", "ingestion_receiver_save_and_rotate": "1"}
    second = shown_token(admin.post(url(Receiver, "change", receiver.pk), form))
    assert first != second
    receiver.refresh_from_db()
    assert (receiver.name, receiver.token_hash) == ("renamed", hash_token(second))


def test_tokens_are_rotated_one_at_a_time(admin: Client) -> None:
    receivers = [make_receiver(), make_receiver()]
    body = {"action": "rotate", "_selected_action": [receiver.pk for receiver in receivers]}
    assert "Choose one receiver" in text(admin.post(url(Receiver, "changelist"), body, follow=True))
    assert {r.token_hash for r in Receiver.objects.all()} == {r.token_hash for r in receivers}


def test_a_change_of_a_receiver_keeps_its_token(admin: Client) -> None:
    receiver = make_receiver()
    assert admin.post(url(Receiver, "change", receiver.pk), {"name": "new"}).status_code == 302
    stored = Receiver.objects.get()
    assert (stored.name, stored.enabled, stored.token_hash) == ("new", False, receiver.token_hash)


def test_rotating_needs_the_right_to_change(client: Client) -> None:
    receiver = make_receiver()
    client.force_login(make_user("viewer", "ingestion.view_receiver", is_staff=True))
    client.post(url(Receiver, "changelist"), {"action": "rotate", "_selected_action": [receiver.pk]})
    form = {"name": "x", "ingestion_receiver_save_and_rotate": "1"}
    assert client.post(url(Receiver, "change", receiver.pk), form).status_code == 403
    assert Receiver.objects.get().token_hash == receiver.token_hash


def test_an_api_token_is_shown_once_and_belongs_to_whom_it_names(admin: Client) -> None:
    user = make_user("robot")
    token = shown_token(admin.post(url(ApiToken, "add"), {"name": "ci", "user": user.pk}))
    row = ApiToken.objects.get()
    assert (row.user, row.token_hash) == (user, hash_token(token))


def test_who_is_no_superuser_makes_tokens_for_themselves_only(client: Client) -> None:
    boss = make_admin("boss")
    theirs = ApiToken.objects.create(user=boss, token_hash="0" * 64)
    rights = [f"storms.{verb}_apitoken" for verb in ("add", "view", "delete")]
    client.force_login(make_user("staff", *rights, is_staff=True))
    shown_token(client.post(url(ApiToken, "add"), {"name": "mine", "user": boss.pk}))
    assert ApiToken.objects.get(name="mine").user.get_username() == "staff"
    assert client.get(url(ApiToken, "change", theirs.pk)).status_code == 302
    client.post(url(ApiToken, "delete", theirs.pk), {"post": "yes"})
    assert ApiToken.objects.filter(pk=theirs.pk).exists()
