"""What scripts get that ask in the background: no login page where a part should be, and words for what was refused."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.factories import make_admin, make_storm, make_user

pytestmark = pytest.mark.django_db

PARTS = ["/alerts/?q=a", "/history/", "/system/", "/silences/preview/", "/receivers/heard/", "/alerts/histogram.json"]


def asking(page: str) -> dict[str, str]:
    return {"HX-Request": "true", "HX-Current-URL": page}


@pytest.mark.parametrize("part", PARTS)
def test_who_is_logged_out_is_led_to_the_login_and_back_to_the_page(client: Client, part: str) -> None:
    answer = client.get(part, headers=asking("http://testserver/alerts/?range=7d&status=firing#rows"))
    assert (answer.status_code, answer.content) == (401, b"")
    assert answer["HX-Redirect"] == "/login/?next=/alerts/%3Frange%3D7d%26status%3Dfiring"
    assert "no-store" in answer["Cache-Control"]


def test_so_is_who_sends_a_form_with_or_without_the_cookie_that_it_is_checked_by() -> None:
    acknowledge = f"/storms/{make_storm().id}/acknowledge/"
    for client in (Client(), Client(enforce_csrf_checks=True)):
        answer = client.post(acknowledge, headers=asking("http://testserver/"))
        assert (answer.status_code, answer["HX-Redirect"]) == (401, "/login/?next=/")


@pytest.mark.parametrize(
    ("page", "next_"), [("", "/"), ("http://[", "/"), ("https://evil.example//evil.example/", "//evil.example/")]
)
def test_an_address_that_is_none_of_ours_does_no_harm(client: Client, page: str, next_: str) -> None:
    # The login itself follows no `next` to another site (test_login.py).
    assert client.get("/system/", headers=asking(page))["HX-Redirect"] == f"/login/?next={next_}"


def test_a_person_is_still_redirected_and_refused_with_pages(client: Client) -> None:
    assert client.get("/system/").status_code == 302
    client.force_login(make_user("nobody"))
    assert "You may not see this." in client.get("/system/").content.decode()


def test_who_may_not_gets_403_and_not_the_login(client: Client) -> None:
    client.force_login(make_user("nobody"))
    assert client.get("/system/", headers=asking("http://testserver/system/")).status_code == 403


def test_a_form_of_an_earlier_login_is_refused_in_words() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_admin())
    acknowledge = f"/storms/{make_storm().id}/acknowledge/"
    answer = client.post(acknowledge, headers=asking("http://testserver/"))
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("This page is from before you logged in anew")
    assert "This form was too old." in client.post(acknowledge).content.decode()
