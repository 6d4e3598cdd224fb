"""The console's navigation: the pages that exist and that this person may see."""

from dataclasses import dataclass
from functools import cache

from django.http import HttpRequest
from django.urls import NoReverseMatch, resolve, reverse

from stormconsole.accounts.services import may_enter_admin
from storms.pages.decorators import permission_of


@dataclass(frozen=True)
class Entry:
    """One link. `key` follows `g` on the keyboard; `current` is for `aria-current`: "page", "true" (below it) or ""."""

    title: str
    url: str
    key: str
    current: str = ""


PAGES = (
    ("now", "Now", "n"),
    ("alerts", "Alerts", "a"),
    ("silences", "Silences", "l"),
    ("history", "History", "h"),
    ("system", "System", "s"),
)
"""URL name, title, key."""


def navigation(request: HttpRequest) -> list[Entry]:
    """The links for this request's user, none without a login."""
    if not request.user.is_authenticated:
        return []
    entries = []
    for name, title, key in PAGES:
        found = _page(name)
        if found and request.user.has_perm(found[1]):
            entries.append(Entry(title, found[0], key, _current(request.path, found[0])))
    if may_enter_admin(request.user):
        entries.append(Entry("Admin", reverse("admin:index"), "d"))
    entries.append(Entry("API", reverse("docs"), "i", _current(request.path, reverse("docs"))))
    return entries


@cache
def _page(name: str) -> tuple[str, str] | None:
    """The address of a page and the permission that its view asks for, or None where there is no such page."""
    try:
        url = reverse(name)
    except NoReverseMatch:
        return None
    return url, permission_of(resolve(url).func)


def _current(path: str, url: str) -> str:
    if path == url:
        return "page"
    # Everything is below "/"; what belongs to the first page are the storms.
    return "true" if path.startswith("/storms/" if url == "/" else url) else ""
