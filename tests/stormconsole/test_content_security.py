"""The content security policy of every kind of page. That pages keep it, tests/browser/test_every_page.py shows."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from tests.factories import make_admin

pytestmark = pytest.mark.django_db


def policy(client: Client, path: str) -> dict[str, list[str]]:
    header = client.get(path)["Content-Security-Policy"]
    return {name: sources for name, *sources in (part.split() for part in header.split(";"))}


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


@pytest.mark.parametrize("path", ["/", "/password/", "/api/docs/", "/nothing/"])
def test_a_page_loads_its_own_files_and_nothing_else(path: str, admin: Client) -> None:
    assert policy(admin, path) == {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }


def test_the_login_page_has_it_too(client: Client) -> None:
    assert policy(client, "/login/")["script-src"] == ["'self'"]


@pytest.mark.parametrize("name", ["index", "storms_storm_changelist", "storms_stormpolicy_add"])
def test_the_admin_evaluates_and_still_runs_nothing_inline(name: str, admin: Client) -> None:
    admins = policy(admin, reverse(f"admin:{name}"))
    pages = policy(admin, "/")
    assert admins.pop("script-src") == ["'self'", "'unsafe-eval'"]
    assert admins.pop("style-src-attr") == ["'unsafe-inline'"]
    assert admins == {name: sources for name, sources in pages.items() if name != "script-src"}


def test_the_admin_s_colours_are_a_style_sheet(admin: Client) -> None:
    page = admin.get(reverse("admin:index")).content.decode()
    assert "<style" not in page
    address = re.search(r'href="(/admin/colours\.css\?\w+)"', page)
    assert address
    sheet = Client().get(address.group(1))
    assert sheet["Content-Type"] == "text/css"
    assert "--color-primary-600: " in sheet.content.decode()
    assert "max-age=31536000" in sheet["Cache-Control"]
