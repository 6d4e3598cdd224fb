"""The frame around every page: the navigation, light or dark."""

import re

import pytest
from django.test import Client

from stormconsole.theme import MEDIA
from storms.pages import navigation
from tests.factories import make_admin, make_user

pytestmark = pytest.mark.django_db


def links(client: Client) -> list[str]:
    nav = re.search(r"<nav aria-label=\"Console\">(.*?)</nav>", client.get("/").content.decode(), re.DOTALL)
    assert nav
    return re.findall(r">(\w+)</a>", nav.group(1))


def test_it_leads_to_every_page_that_there_is(client: Client) -> None:
    client.force_login(make_admin())
    there_are = [title for name, title, _ in navigation.PAGES if navigation._page(name)]
    assert links(client) == [*there_are, "Admin", "API"]
    assert links(client)[0] == "Now"


def test_it_shows_only_what_a_person_may_see(client: Client) -> None:
    client.force_login(make_user("eve", "storms.view_storm"))
    assert "Now" in links(client)
    assert not {"Alerts", "Admin"} & set(links(client))


def test_a_page_that_does_not_exist_yet_is_no_link(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(navigation, "PAGES", (("now", "Now", "n"), ("no-such-page", "Moon", "m")))
    client.force_login(make_admin())
    assert links(client) == ["Now", "Admin", "API"]


@pytest.mark.parametrize(
    ("path", "url", "current"),
    [("/", "/", "page"), ("/storms/5/", "/", "true"), ("/alerts/", "/", ""), ("/alerts/5/", "/alerts/", "true")],
)
def test_it_marks_where_one_is(path: str, url: str, current: str) -> None:
    assert navigation._current(path, url) == current


def test_the_colours_follow_the_system_until_chosen(client: Client) -> None:
    client.force_login(make_admin())
    assert f'media="{MEDIA["system"]}"' in client.get("/").content.decode()
    answer = client.post("/theme/", {"theme": "dark", "next": "/?page=2"})
    assert (answer.status_code, answer["Location"]) == (302, "/?page=2")
    seen = client.get("/").content.decode()
    assert '<html lang="en" data-theme="dark">' in seen
    assert f'media="{MEDIA["dark"]}"' in seen
    assert re.search(r'value="dark" aria-pressed="true"', seen)


@pytest.mark.parametrize("theme", ["", "pink", '"><script>'])
def test_an_unknown_choice_changes_nothing(client: Client, theme: str) -> None:
    client.force_login(make_admin())
    assert "theme" not in client.post("/theme/", {"theme": theme}).cookies
    client.cookies["theme"] = theme
    assert '<html lang="en" data-theme="system">' in client.get("/").content.decode()


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_choosing_colours_leads_to_no_other_site(client: Client, elsewhere: str) -> None:
    assert client.post("/theme/", {"theme": "dark", "next": elsewhere})["Location"] == "/"
