"""The way in and out, and who tries too often."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from stormconsole import pressure
from stormconsole.accounts.throttle import ADDRESS_FACTOR
from storms import signals
from storms.models import AuditEntry

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
LIMIT = 5


@pytest.fixture(autouse=True)
def _cheap_passwords(settings: object) -> None:
    """The real hash takes longer than all of a test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password=PASSWORD)


def log_in(client: Client, username: str = "ada", password: str = PASSWORD, **more: str) -> int:
    return client.post(reverse("login"), {"username": username, "password": password} | more).status_code


def fail(times: int, *, username: str = "ada", address: str = "127.0.0.1") -> list[int]:
    client = Client(REMOTE_ADDR=address)
    return [log_in(client, username, "wrong") for _ in range(times)]


def test_a_login_leads_to_where_one_wanted_to_go(ada: User, client: Client) -> None:
    wanted = client.get("/")
    assert wanted["Location"] == "/login/?next=/"
    answer = client.post(reverse("login"), {"username": "ada", "password": PASSWORD, "next": "/alerts/7/"})
    assert (answer.status_code, answer["Location"]) == (302, "/alerts/7/")


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_a_login_leads_to_no_other_site(ada: User, client: Client, elsewhere: str) -> None:
    answer = client.post(reverse("login"), {"username": "ada", "password": PASSWORD, "next": elsewhere})
    assert answer["Location"] == "/"


def test_a_wrong_password_says_no_more_than_that_it_was_wrong(ada: User, client: Client) -> None:
    for username in ("ada", "nobody"):
        seen = client.post(reverse("login"), {"username": username, "password": "wrong"})
        assert seen.status_code == 200
        assert "Please enter a correct username and password." in seen.content.decode()
        assert "wrong" not in seen.content.decode()


def test_the_admin_has_the_same_door(ada: User, client: Client) -> None:
    assert client.get("/admin/", follow=True).redirect_chain[-1] == ("/login/?next=/admin/", 302)
    assert client.get("/admin/login/?next=/admin/auth/user/")["Location"] == "/login/?next=/admin/auth/user/"


def test_who_is_logged_in_is_led_on_and_out_again(ada: User, client: Client) -> None:
    assert log_in(client) == 302
    assert client.get(reverse("login"))["Location"] == "/"
    assert client.get(reverse("logout")).status_code == 405
    assert client.post(reverse("logout"))["Location"] == "/login/"
    assert client.get("/")["Location"] == "/login/?next=/"


# --- too many


def test_after_too_many_failures_not_even_the_right_password_is_taken(ada: User, client: Client) -> None:
    assert fail(LIMIT) == [200] * (LIMIT - 1) + [429]
    answer = client.post(reverse("login"), {"username": "ada", "password": PASSWORD})
    assert answer.status_code == 429
    assert answer["Retry-After"] == "900"
    seen = answer.content.decode()
    assert "Too many failed logins." in seen
    assert "15 minutes" in seen
    assert client.get("/").status_code == 302


def test_guessing_does_not_fill_the_audit(ada: User, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(LIMIT + 5)
    failed = AuditEntry.objects.filter(action="login.failed")
    assert failed.count() == LIMIT, "whoever is locked out leaves no more entries"
    monkeypatch.setattr(signals._failures, "most", LIMIT + 2)
    for n in range(6):
        fail(1, username=f"nobody-{n}")
    assert failed.count() == LIMIT + 2
    assert pressure._counts["login"] >= 9


def test_after_the_wait_it_is(ada: User, client: Client) -> None:
    fail(LIMIT)
    with time_machine.travel(timezone.now() + timedelta(minutes=14)):
        assert log_in(client) == 429
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert log_in(client) == 302


def test_an_account_that_does_not_exist_is_locked_alike(client: Client) -> None:
    assert fail(LIMIT, username="nobody")[-1] == 429


def test_from_elsewhere_the_person_still_gets_in(ada: User) -> None:
    """Else anybody could lock anybody out."""
    fail(LIMIT, address="203.0.113.9")
    assert log_in(Client(REMOTE_ADDR="203.0.113.10")) == 302


def test_one_password_tried_on_many_accounts_is_noticed_too(ada: User) -> None:
    for number in range(LIMIT * ADDRESS_FACTOR - 1):
        assert fail(1, username=f"user-{number}", address="203.0.113.9") == [200]
    assert fail(1, username="one-more", address="203.0.113.9") == [429]
    assert log_in(Client(REMOTE_ADDR="203.0.113.9")) == 429
    assert log_in(Client(REMOTE_ADDR="203.0.113.10")) == 302


def test_a_success_forgets_the_failures_before(ada: User, client: Client) -> None:
    for _ in range(2):
        assert fail(LIMIT - 1) == [200] * (LIMIT - 1)
        assert log_in(client) == 302


def test_a_header_does_not_make_another_address(ada: User) -> None:
    for number in range(LIMIT):
        client = Client(headers={"X-Forwarded-For": f"198.51.100.{number}"})
        status = log_in(client, password="wrong")
    assert status == 429


def test_failures_are_in_the_audit(ada: User) -> None:
    fail(2, address="203.0.113.9")
    failed = AuditEntry.objects.filter(action="login.failed")
    assert [(entry.actor, entry.remote_addr) for entry in failed] == [("ada", "203.0.113.9")] * 2


# --- another password


def change(client: Client, **fields: str) -> str:
    answer = client.post(reverse("password"), fields, follow=True)
    return answer.content.decode()


def test_a_new_password_is_audited_and_ends_other_sessions(ada: User, client: Client) -> None:
    other = Client()
    assert (log_in(client), log_in(other)) == (302, 302)
    seen = client.post(
        reverse("password"),
        {"old_password": PASSWORD, "new_password1": "staple 12 gauge", "new_password2": "staple 12 gauge"},
    )
    assert seen.status_code == 302
    assert AuditEntry.objects.latest("id").action == "password.changed"
    assert client.get(reverse("password")).status_code == 200
    assert other.get(reverse("password")).status_code == 302


def test_a_new_password_needs_the_old_one(ada: User, client: Client) -> None:
    log_in(client)
    seen = change(client, old_password="wrong", new_password1="staple 12 gauge", new_password2="staple 12 gauge")
    assert "It was not changed" in seen
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_who_has_no_password_changes_none(client: Client) -> None:
    client.force_login(User.objects.create_user("sso"), backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(reverse("password")).status_code == 403
    assert reverse("password") not in client.get("/").content.decode()
