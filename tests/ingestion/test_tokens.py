"""A receiver's token: rotated with an overlap, refused at once when asked, and who still uses the old one."""

from datetime import timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Delivery, Receiver
from ingestion.services import edit_receiver, revoke_old_token, rotate_token
from stormconsole.tokens import hash_token
from storms.api_tokens import create_api_token, rotate_api_token
from storms.models import AuditEntry
from tests.factories import make_admin, make_user
from tests.harness.http import alert, payload


def receiver() -> Receiver:
    return Receiver.objects.get(name="test")


def status(console, token=None):
    return console.post(payload([alert(namespace="payments")]), token=token).status_code


def test_the_old_token_goes_on_for_the_chosen_time(console):
    with time_machine.travel(timezone.now(), tick=False) as clock:
        new = rotate_token(receiver=receiver(), overlap=timedelta(hours=2))
        assert (status(console), status(console, new)) == (202, 202)
        clock.shift(timedelta(hours=2) - timedelta(seconds=1))
        assert (status(console), status(console, new)) == (202, 202)
        clock.shift(timedelta(seconds=1))
        assert (status(console), status(console, new)) == (401, 202)


def test_it_goes_on_for_a_day_unless_asked_otherwise(console):
    rotate_token(receiver=receiver())
    until = receiver().previous_token_until - timezone.now()
    assert timedelta(hours=23, minutes=59) < until <= timedelta(hours=24)


def test_it_is_refused_at_once_when_asked(console):
    new = rotate_token(receiver=receiver())
    assert status(console) == 202
    assert revoke_old_token(receiver=receiver(), actor="ada")
    assert (status(console), status(console, new)) == (401, 202)
    assert not revoke_old_token(receiver=receiver(), actor="ada")
    assert AuditEntry.objects.filter(action="receiver.token_revoked", actor="ada").count() == 1


def test_a_second_rotation_ends_the_first_token(console):
    second = rotate_token(receiver=receiver())
    third = rotate_token(receiver=receiver())
    assert (status(console), status(console, second), status(console, third)) == (401, 202, 202)


def test_a_disabled_receiver_s_tokens_are_refused_both(console):
    new = rotate_token(receiver=receiver())
    edit_receiver(receiver=receiver(), enabled=False)
    assert (status(console), status(console, new)) == (401, 401)


def test_the_ledger_says_who_still_uses_the_old_token(console, client):
    new = rotate_token(receiver=receiver())
    status(console, new)
    client.force_login(make_admin())
    page = reverse("admin:ingestion_receiver_change", args=[receiver().pk])
    assert "not used since" in client.get(page).content.decode()

    status(console)
    console.post("not JSON")

    assert list(Delivery.objects.order_by("received_at").values_list("http_status", "old_token")) == [
        (202, False),
        (202, True),
        (400, True),
    ]
    assert "used last" in client.get(page).content.decode()


def test_only_hashes_are_stored(console):
    new = rotate_token(receiver=receiver())
    stored = str(list(Receiver.objects.values()))
    assert console.token not in stored
    assert new not in stored
    assert (receiver().token_hash, receiver().previous_token_hash) == (hash_token(new), hash_token(console.token))


@pytest.mark.parametrize(("hours", "old"), [("48", 202), ("0", 401), ("", 202)])
def test_the_admin_rotates_with_a_choice(console, client, hours, old):
    client.force_login(make_admin())
    form = {"name": "test", "enabled": "on", "old_token_hours": hours, "ingestion_receiver_save_and_rotate": "1"}
    page = client.post(reverse("admin:ingestion_receiver_change", args=[receiver().pk]), form)
    assert "scr_" in page.content.decode()
    assert status(console) == old


def test_the_admin_refuses_the_old_one_now(console, client):
    rotate_token(receiver=receiver())
    client.force_login(make_admin())
    form = {"name": "test", "enabled": "on", "ingestion_receiver_save_and_refuse_old_token": "1"}
    assert client.post(reverse("admin:ingestion_receiver_change", args=[receiver().pk]), form).status_code == 302
    assert status(console) == 401


def test_the_command_prints_the_new_token_alone(console, capsys):
    call_command("rotate_token", "test", "--overlap-hours", "0")
    assert (status(console), status(console, capsys.readouterr().out.strip())) == (401, 202)
    with pytest.raises(CommandError, match="no receiver"):
        call_command("rotate_token", "nobody")


# --- API tokens


def api(client, token):
    return client.get("/api/v1/storms/", headers={"Authorization": f"Bearer {token}"}).status_code


@pytest.mark.django_db
def test_an_api_token_is_rotated_with_an_overlap(client):
    row, old = create_api_token(user=make_user("ada", "storms.view_storm"), name="script")
    with time_machine.travel(timezone.now(), tick=False) as clock:
        _, new = rotate_api_token(token=row, overlap=timedelta(hours=1), actor="ada")
        assert (api(client, old), api(client, new)) == (200, 200)
        clock.shift(timedelta(hours=1))
        assert (api(client, old), api(client, new)) == (401, 200)


@pytest.mark.django_db
def test_an_api_token_may_expire_and_a_rotation_does_not_prolong_it(client):
    ends = timezone.now() + timedelta(minutes=5)
    row, old = create_api_token(user=make_user("ada", "storms.view_storm"), expires_at=ends)
    made, new = rotate_api_token(token=row, actor="ada")
    row.refresh_from_db()
    assert row.expires_at == made.expires_at == ends
    with time_machine.travel(ends):
        assert api(client, old) == api(client, new) == 401


@pytest.mark.django_db
def test_the_admin_rotates_an_api_token(client):
    client.force_login(make_admin("root"))
    row, old = create_api_token(user=make_user("ada", "storms.view_storm"), name="script")
    form = {"action": "rotate", "_selected_action": [row.pk]}
    page = client.post(reverse("admin:storms_apitoken_changelist"), form).content.decode()
    assert "scapi_" in page
    assert api(client, old) == 200
