"""What each role may do: as docs/roles.md says it, on the pages, in the API and in the admin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO

import pytest
from django.contrib.auth.models import AbstractUser, Group, Permission, User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from stormconsole.accounts import roles
from stormconsole.accounts.services import create_user, grant_roles, may_enter_admin, set_roles
from stormconsole.commands import PROJECT
from storms.api_tokens import create_api_token
from storms.models import AuditEntry
from tests.factories import make_alert, make_dead_letter, make_policy, make_storm, make_user

pytestmark = pytest.mark.django_db


def person(role: str) -> AbstractUser:
    user = make_user(role)
    set_roles(user=user, names=[role])
    return User.objects.get(pk=user.pk)


def browser(role: str) -> Client:
    client = Client()
    client.force_login(person(role), backend="django.contrib.auth.backends.ModelBackend")
    return client


def documented() -> Iterator[tuple[str, set[str]]]:
    """(permission, the roles that have it) of every row of the table in docs/roles.md."""
    text = (PROJECT / "docs" / "roles.md").read_text()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 2 + len(roles.ROLES) or not cells[1].startswith("`"):
            continue
        having = {role for role, cell in zip(roles.ROLES, cells[2:], strict=True) if cell == "yes"}
        for permission in re.findall(r"`([a-z_]+\.[a-z_]+)`", cells[1]):
            yield permission, having


def test_the_table_says_what_each_role_may_do() -> None:
    table = dict(documented())
    people = {role: person(role) for role in roles.ROLES}
    for permission, having in table.items():
        assert {role for role, user in people.items() if user.has_perm(permission)} == having, permission
    given = {name for role in roles.ROLES for name in roles.granted(role)}
    assert given <= set(table)


def test_an_administrator_may_do_everything_that_there_is_to_do() -> None:
    administrator = person(roles.ADMINISTRATOR)
    permissions = Permission.objects.filter(content_type__app_label__in=roles.ADMINISTERED)
    names = permissions.values_list("content_type__app_label", "codename")
    assert administrator.get_all_permissions() == {f"{app}.{codename}" for app, codename in names}


def test_every_named_permission_exists() -> None:
    for role in roles.ROLES[:-1]:
        group = Group.objects.get(name=role)
        assert {f"{p.content_type.app_label}.{p.codename}" for p in group.permissions.all()} == roles.granted(role)


def test_the_groups_are_there_again_after_the_next_migrate() -> None:
    Group.objects.get(name=roles.VIEWER).delete()
    Group.objects.get(name=roles.OPERATOR).permissions.clear()
    Group.objects.get(name=roles.TUNER).permissions.add(Permission.objects.get(codename="add_user"))
    grant_roles()
    test_every_named_permission_exists()


# --- on the pages, in the API, in the admin


@pytest.mark.parametrize("role", roles.ROLES)
def test_every_role_sees_the_pages(role: str) -> None:
    client, storm = browser(role), make_storm()
    alert = make_alert(storm=storm)
    for path in ("/", f"/storms/{storm.id}/", f"/alerts/{alert.id}/", "/api/v1/storms/", "/api/v1/alerts/"):
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("operator", 302), ("tuner", 302)])
def test_operators_act_on_storms_and_viewers_do_not(role: str, status: int) -> None:
    storm = make_storm()
    assert browser(role).post(f"/storms/{storm.id}/acknowledge/").status_code == status
    storm.refresh_from_db()
    assert bool(storm.acknowledged_at) == (status == 302)


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("operator", 200)])
def test_a_token_may_do_what_its_person_may(role: str, status: int) -> None:
    _, token = create_api_token(user=person(role), actor=role)
    storm = make_storm()
    client = Client(headers={"Authorization": f"Bearer {token}"})
    assert client.get("/api/v1/storms/").status_code == 200
    answer = client.post(f"/api/v1/storms/{storm.id}/acknowledge/", {}, content_type="application/json")
    assert answer.status_code == status


SILENCE, RECEIVER, POLICY = "ingestion_silence_add", "ingestion_receiver_add", "storms_stormpolicy_add"
RULE, USER, TOKEN = "storms_severityrule_add", "auth_user_add", "storms_apitoken_add"


@pytest.mark.parametrize(
    ("role", "seen", "hidden"),
    [
        ("operator", [SILENCE], [POLICY, RULE, USER, RECEIVER, TOKEN]),
        ("tuner", [SILENCE, POLICY, RULE], [USER, RECEIVER, TOKEN]),
        ("administrator", [SILENCE, POLICY, RULE, USER, RECEIVER, TOKEN], []),
    ],
)
def test_each_role_finds_its_own_in_the_admin(role: str, seen: list[str], hidden: list[str]) -> None:
    client = browser(role)
    assert client.get(reverse("admin:index")).status_code == 200
    for name in seen:
        assert client.get(reverse(f"admin:{name}")).status_code == 200, name
    for name in hidden:
        assert client.get(reverse(f"admin:{name}")).status_code == 403, name


def test_a_viewer_has_no_business_in_the_admin() -> None:
    client = browser("viewer")
    assert client.get(reverse("admin:index"), follow=True).status_code == 403
    seen = client.get("/").content.decode()
    assert reverse("admin:index") not in seen
    make_dead_letter()
    assert client.get(reverse("admin:ingestion_deadletter_changelist"), follow=True).status_code == 403


def test_a_tuner_edits_a_policy() -> None:
    policy = make_policy(threshold=10)
    client = browser("tuner")
    page = client.get(reverse("admin:storms_stormpolicy_change", args=[policy.pk]))
    assert page.status_code == 200
    form = page.context["adminform"].form
    sent = {name: form[name].value() for name in form.fields} | {"threshold": 20}
    sent = {name: "" if value is None else value for name, value in sent.items()}
    sent["group_by"] = ",".join(policy.group_by)
    client.post(reverse("admin:storms_stormpolicy_change", args=[policy.pk]), sent)
    policy.refresh_from_db()
    assert policy.threshold == 20


def test_who_was_deactivated_is_out_at_once() -> None:
    client = browser("administrator")
    User.objects.update(is_active=False)
    assert client.get("/").status_code == 302
    assert not may_enter_admin(User.objects.get())


# --- an administrator is no superuser


def test_an_administrator_makes_no_superuser_and_edits_none() -> None:
    client, root = browser("administrator"), User.objects.create_superuser("root")
    page = client.get(reverse("admin:auth_user_change", args=[root.pk]))
    assert page.status_code == 200
    assert "adminform" in page.context
    assert not page.context["has_change_permission"]
    somebody = make_user("somebody")
    form = client.get(reverse("admin:auth_user_change", args=[somebody.pk])).context["adminform"].form
    assert not {"is_superuser", "user_permissions"} & set(form.fields)
    password = reverse("admin:auth_user_password_change", args=[root.pk])
    assert client.post(password, {"password1": "correct horse", "password2": "correct horse"}).status_code == 403
    assert client.post(reverse("admin:auth_user_delete", args=[root.pk]), {"post": "yes"}).status_code == 403
    root.refresh_from_db()
    assert not root.has_usable_password()


def test_an_administrator_takes_no_token_of_a_superuser() -> None:
    client, root = browser("administrator"), User.objects.create_superuser("root")
    page = client.get(reverse("admin:storms_apitoken_add"))
    owners = page.context["adminform"].form.fields["user"].queryset
    assert root not in owners
    assert User.objects.get(username="administrator") in owners


# --- manage.py create_user


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("create_user", *arguments, stdout=out)
    return out.getvalue().strip()


def test_the_command_makes_an_account_that_can_log_in() -> None:
    password = run("grace", "--role", "operator", "--email", "grace@example.com")
    client = Client()
    answer = client.post(reverse("login"), {"username": "grace", "password": password})
    assert answer.status_code == 302
    user = User.objects.get(username="grace")
    assert (user.email, [group.name for group in user.groups.all()]) == ("grace@example.com", ["operator"])
    entry = AuditEntry.objects.get(action="access.created")
    assert (entry.target_name, entry.via, entry.after) == ("grace", "command line", {"groups": ["operator"]})


def test_the_command_takes_a_password_and_prints_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("correct horse battery\n"))
    assert run("grace", "--role", "viewer", "--password-stdin") == ""
    assert User.objects.get(username="grace").check_password("correct horse battery")


@pytest.mark.parametrize(("given", "problem"), [("", "no password"), ("short", "too short"), ("12345678901", "common")])
def test_the_command_refuses_a_bad_password(given: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(f"{given}\n"))
    with pytest.raises(CommandError, match=problem):
        run("grace", "--role", "viewer", "--password-stdin")
    assert not User.objects.exists()


def test_a_name_is_taken_once() -> None:
    create_user(username="grace", role="viewer")
    with pytest.raises(ValidationError, match="already exists"):
        create_user(username="grace", role="operator")


def test_a_role_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="no role king"):
        set_roles(user=make_user(), names=["king"])


def test_another_role_takes_the_place_of_the_first_and_other_groups_stay() -> None:
    user = make_user()
    user.groups.add(Group.objects.create(name="night shift"))
    set_roles(user=user, names=["viewer"])
    set_roles(user=user, names=["operator"])
    assert {group.name for group in user.groups.all()} == {"night shift", "operator"}
