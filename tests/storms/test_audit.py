"""Every action leaves an entry: who, what, from where, before and after; and nobody changes one."""

import getpass
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from ingestion.dead_letter_services import discard_all
from ingestion.models import DeadLetter, Receiver, Silence
from ingestion.services import create_receiver, delete_receiver, edit_receiver, rotate_token
from ingestion.silence_services import create_silence, expire_silence
from stormconsole.first_start import _make_administrator
from storms.api_tokens import create_api_token, revoke_api_token
from storms.choices import AuditAction
from storms.models import AuditEntry, SeverityRule, StormPolicy
from storms.services import audit, operators
from storms.services.policies import delete_policy, restore_policy, save_policy
from tests.factories import (
    make_admin,
    make_alert,
    make_dead_letter,
    make_delivery,
    make_policy,
    make_receiver,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db
ADDRESS = "203.0.113.9"
API = "/api/v1/"


def entries() -> list[tuple[str, str, str]]:
    """(actor, action, target), the oldest first."""
    return list(AuditEntry.objects.order_by("id").values_list("actor", "action", "target_name"))


def last() -> AuditEntry:
    return AuditEntry.objects.latest("id")


@pytest.fixture
def admin() -> Client:
    client = Client(REMOTE_ADDR=ADDRESS)
    client.force_login(make_admin("ada"))
    AuditEntry.objects.all().delete()
    return client


# --- what is recorded


def test_what_operators_do_to_a_storm() -> None:
    storm = make_storm(group_labels={"namespace": "payments"})
    operators.acknowledge(storm_id=storm.id, actor="ada")
    operators.acknowledge(storm_id=storm.id, actor="bob")
    operators.assign(storm_id=storm.id, assignee="bob", actor="ada")
    operators.assign(storm_id=storm.id, assignee="eve", actor="bob")
    operators.add_note(storm_id=storm.id, text="rolled back", actor="bob")

    assert [entry[:2] for entry in entries()] == [
        ("ada", "storm.acknowledged"),
        ("ada", "storm.assigned"),
        ("bob", "storm.assigned"),
        ("bob", "storm.noted"),
    ]
    assigned = AuditEntry.objects.get(actor="bob", action="storm.assigned")
    assert (assigned.before, assigned.after) == ({"assignee": "bob"}, {"assignee": "eve"})
    assert (assigned.target_type, assigned.target_id) == ("storm", str(storm.id))
    assert assigned.target_name.startswith("namespace=payments")
    assert last().detail == "rolled back"


def test_closing_splitting_and_merging(valkey: Any) -> None:
    policy = make_policy()
    one, two = make_storm(policy=policy), make_storm(policy=policy)
    alerts = [make_alert(storm=one) for _ in range(2)]

    operators.split(alert_id=alerts[0].id, actor="ada")
    assert (last().action, last().before, last().after) == ("alert.split", {"storm": str(one.id)}, {"storm": None})

    operators.merge(storm_id=one.id, into=two.id, actor="ada")
    assert last().action == "storm.merged"
    assert last().after == {"state": "closed", "merged_into": str(two.id)}

    operators.close(storm_id=two.id, comment="a false alarm", actor="bob")
    assert (last().actor, last().action, last().detail) == ("bob", "storm.closed", "a false alarm")
    assert (last().before, last().after) == ({"state": "open"}, {"state": "closed", "close_reason": "operator"})


def test_a_policy_s_life() -> None:
    policy = save_policy(policy=StormPolicy(name="checkout", matchers='team="checkout"'), actor="ada")
    policy.threshold = 25
    save_policy(policy=policy, actor="bob")
    assert (last().before, last().after) == ({"threshold": 10}, {"threshold": 25})
    restore_policy(policy=policy, version=1, actor="ada")
    assert last().detail == "version 3, as version 1 was"
    delete_policy(policy=policy, actor="ada")
    assert last().before["matchers"] == 'team="checkout"'
    assert entries() == [
        ("ada", "policy.created", "checkout"),
        ("bob", "policy.edited", "checkout"),
        ("ada", "policy.restored", "checkout"),
        ("ada", "policy.deleted", "checkout"),
    ]


def test_a_receiver_s_life_without_its_token() -> None:
    receiver, token = create_receiver(name="edge", kind="generic", actor="ada")
    edit_receiver(receiver=receiver, actor="bob", enabled=False, name="edge")
    assert (last().before, last().after) == ({"enabled": True}, {"enabled": False})
    new_token = rotate_token(receiver=receiver, actor="ada")
    delete_receiver(receiver=receiver, actor="ada")
    assert entries() == [
        ("ada", "receiver.created", "edge"),
        ("bob", "receiver.edited", "edge"),
        ("ada", "receiver.token_rotated", "edge"),
        ("ada", "receiver.deleted", "edge"),
    ]
    everything = str(list(AuditEntry.objects.values()))
    for secret in (token, new_token, receiver.token_hash):
        assert secret not in everything


def test_silences_and_api_tokens() -> None:
    silence = create_silence(silence=Silence(matchers='namespace="demo"', comment="migration"), author="ada")
    expire_silence(silence=silence, actor="bob")
    row, _ = create_api_token(user=make_user("carol"), actor="ada")
    revoke_api_token(token=row, actor="ada")
    assert [entry[:2] for entry in entries()] == [
        ("ada", "silence.created"),
        ("bob", "silence.ended"),
        ("ada", "api_token.created"),
        ("ada", "api_token.revoked"),
    ]
    created = AuditEntry.objects.earliest("id")
    assert (created.after["matchers"], created.detail) == ('namespace="demo"', "migration")


def test_rules_and_people_edited_in_the_admin(admin: Client) -> None:
    admin.post(reverse("admin:storms_severityrule_add"), {"value": "sev9", "severity": "info"})
    rule = SeverityRule.objects.get(value="sev9")
    admin.post(reverse("admin:storms_severityrule_change", args=[rule.pk]), {"value": "sev9", "severity": "critical"})
    assert (last().before, last().after) == ({"severity": "info"}, {"severity": "critical"})
    admin.post(reverse("admin:storms_severityrule_delete", args=[rule.pk]), {"post": "yes"})

    admin.post(reverse("admin:auth_group_add"), {"name": "night shift"})
    group = last().target_id
    person = make_user("bob")
    form = {"username": "bob", "is_active": "on", "groups": [group], "date_joined_0": "2026-01-01"}
    admin.post(reverse("admin:auth_user_change", args=[person.pk]), form | {"date_joined_1": "00:00:00"})
    assert last().action == "access.edited"
    assert (last().before["groups"], last().after["groups"]) == ([], ["night shift"])
    password = "correct horse battery staple"
    new = {"usable_password": "true", "password1": password, "password2": password}
    admin.post(reverse("admin:auth_user_password_change", args=[person.pk]), new)

    assert entries() == [
        ("ada", "rule.created", "sev9 is info"),
        ("ada", "rule.edited", "sev9 is critical"),
        ("ada", "rule.deleted", "sev9 is critical"),
        ("ada", "access.created", "night shift"),
        ("ada", "access.edited", "bob"),
        ("ada", "password.changed", "bob"),
    ]
    assert "password" not in str(list(AuditEntry.objects.values("before", "after")))


def test_who_is_deleted_loses_tokens_not_without_a_word(admin: Client) -> None:
    person = make_user("bob")
    create_api_token(user=person, name="night script")
    AuditEntry.objects.all().delete()
    admin.post(reverse("admin:auth_user_delete", args=[person.pk]), {"post": "yes"})
    assert [entry[:2] for entry in entries()] == [("ada", "api_token.revoked"), ("ada", "access.deleted")]


def test_the_first_start_s_administrator_has_an_entry() -> None:
    assert _make_administrator()
    assert entries() == [("", "access.created", "admin")]


def test_who_is_made_an_administrator_on_the_command_line_has_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    make_admin("before")
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "correct horse battery")
    call_command("createsuperuser", "--no-input", "--username", "root", "--email", "root@example.com", verbosity=0)
    assert entries() == [("", "access.created", "root")]
    assert (last().via, last().after) == ("command line", {"is_superuser": True})
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "staple battery horse")
    call_command("changepassword", "root", stdout=StringIO())
    assert entries()[1:] == [("", "password.changed", "root")]
    assert User.objects.get(username="root").check_password("staple battery horse")


def test_many_dead_letters_at_once_are_named(admin: Client) -> None:
    letters = [make_dead_letter(delivery=make_delivery()) for _ in range(3)]
    discard_all(letters=DeadLetter.objects.all(), comment="a test of the sender", actor="ada")
    assert last().after == {"discarded": 3, "letters": [str(letter.id) for letter in letters]}


def test_logins_and_failed_ones_tell_the_address_and_never_the_password() -> None:
    person = make_user("ada", is_staff=True)
    person.set_password("correct horse")
    person.save()
    client = Client(REMOTE_ADDR=ADDRESS)
    for password in ("hunter2", "correct horse"):
        client.post(reverse("login"), {"username": "ada", "password": password})
    client.post(reverse("logout"))

    assert [entry[:2] for entry in entries()] == [("ada", "login.failed"), ("ada", "login"), ("ada", "logout")]
    assert set(AuditEntry.objects.values_list("remote_addr", "via")) == {(ADDRESS, "web")}
    assert "hunter2" not in str(list(AuditEntry.objects.values()))


# --- from where


def test_the_way_in_is_told_the_api_token_by_its_name() -> None:
    storm = make_storm()
    _, token = create_api_token(user=make_admin("ada"), name="night script")
    client = Client(headers={"Authorization": f"Bearer {token}"}, REMOTE_ADDR=ADDRESS)
    assert client.post(f"{API}storms/{storm.id}/acknowledge/").status_code == 200
    assert (last().actor, last().via, last().remote_addr) == ("ada", "API token night script", ADDRESS)

    rotate_token(receiver=make_receiver())
    assert (last().actor, last().via, last().remote_addr) == ("", "command line", None)


def test_the_entry_goes_with_a_change_that_is_rolled_back() -> None:
    storm = make_storm()
    with transaction.atomic():
        operators.assign(storm_id=storm.id, assignee="bob", actor="ada")
        transaction.set_rollback(True)
    assert entries() == []


# --- reading it


def test_the_api_lists_it_to_those_who_may(client: Client) -> None:
    audit.record(action=AuditAction.STORM_CLOSED, actor="ada", detail="=1+1")
    audit.record(action=AuditAction.LOGGED_IN, actor="bob")

    _, token = create_api_token(user=make_user("eve", "storms.view_storm"))
    assert client.get(f"{API}audit/", headers={"Authorization": f"Bearer {token}"}).status_code == 403
    _, token = create_api_token(user=make_user("auditor", "storms.view_auditentry"))
    headers = {"Authorization": f"Bearer {token}"}
    rows = client.get(f"{API}audit/", {"actor": "ada"}, headers=headers).json()["results"]
    assert [(row["actor"], row["action"], row["detail"]) for row in rows] == [("ada", "storm.closed", "=1+1")]
    asked = {"action": ["login", "logout"], "at_after": "2026-01-01T00:00:00Z"}
    assert len(client.get(f"{API}audit/", asked, headers=headers).json()["results"]) == 1
    assert client.get(f"{API}audit/", {"remote_addr": "nonsense"}, headers=headers).status_code == 400
    _, token = create_api_token(user=make_admin("root"))
    assert client.post(f"{API}audit/", headers={"Authorization": f"Bearer {token}"}).status_code == 405


def test_it_is_read_only_in_the_admin(admin: Client) -> None:
    audit.record(action=AuditAction.STORM_CLOSED, actor="ada", target=make_storm(), detail="<script>alert(1)</script>")
    page = admin.get(reverse("admin:storms_auditentry_changelist")).content.decode()
    assert "Storm closed" in page
    assert "<script>alert(1)" not in page
    entry = admin.get(reverse("admin:storms_auditentry_change", args=[last().pk]))
    assert entry.status_code == 200
    assert admin.post(reverse("admin:storms_auditentry_delete", args=[last().pk]), {"post": "yes"}).status_code == 403
    assert admin.get(reverse("admin:storms_auditentry_add")).status_code == 403


def test_no_entry_is_ever_changed() -> None:
    audit.record(action=AuditAction.STORM_CLOSED, actor="ada")
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        AuditEntry.objects.update(actor="eve")
    with connection.cursor() as cursor, pytest.raises(DatabaseError), transaction.atomic():
        cursor.execute("update storms_auditentry set actor = 'eve'")
    assert entries()[0][0] == "ada"


def test_a_hostile_name_is_kept_as_text() -> None:
    audit.record(action=AuditAction.LOGIN_FAILED, actor="x" * 400 + "\x00", detail="a\x00b")
    assert (last().actor, last().detail) == ("x" * 150, "ab")


def test_reading_receivers_writes_nothing(admin: Client) -> None:
    make_receiver()
    admin.get(reverse("admin:ingestion_receiver_changelist"))
    admin.get(reverse("admin:ingestion_receiver_change", args=[Receiver.objects.get().pk]))
    assert entries() == []
