"""Answers that all readers of a storm are given alike: in an incident many look at one page, and it goes on changing.

A part of a page that names the version its reader has heard of (`VERSION_HEADER`) is made once for all who may see the
same. The answer names its own version. It may be an earlier one than was asked for as long as the making was a small
part of the time since (`BY_COST`), unless the reader says `Cache-Control: no-cache`; static/console/storm.js asks again
for what it lacks. So readers cost a bounded share of a process, however many they are and however large their storm is.

The view sees no person, only what may be seen, so that nothing of one reader can come to another; storm.js puts in what
is the reader's own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from threading import Lock
from typing import Any

from django.http import HttpRequest, HttpResponse

from stormconsole.accounts.services import may_enter_admin
from storms.live import read_version
from storms.pages.parts import VERSION_HEADER

MAX_AGE_SECONDS = 30.0
"""Versions fall when a database is set back; and what no version tells must not stay."""
BY_COST = 20
MAX_LATE_SECONDS = 10.0
"""How many times the time that it took an answer may be late, and its end."""
MAX_BYTES = 16 * 1024 * 1024
"""Of all kept answers of a process; the one that was not asked for the longest goes first."""
PATIENCE_SECONDS = 2.0
"""How long a thread waits for another that makes the same answer; then it makes one itself."""

SHELF_BYTES = 1024
"""What one takes up with no answer in it."""

View = Callable[..., HttpResponse]
Key = tuple[str, "Reader"]
"""Path with query, and who reads."""


@dataclass(frozen=True, slots=True)
class Reader:
    """In the place of a user: what may be seen, and nobody's name."""

    permissions: frozenset[str]
    is_staff: bool
    is_active: bool = True
    is_authenticated: bool = True

    def has_perm(self, permission: str, obj: object = None) -> bool:
        return permission in self.permissions

    def has_module_perms(self, app: str) -> bool:
        return any(permission.startswith(f"{app}.") for permission in self.permissions)

    def get_all_permissions(self) -> frozenset[str]:
        return self.permissions

    def get_username(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Answer:
    """`made_at` and `cost` in seconds of the monotonic clock."""

    version: int
    made_at: float
    cost: float
    content: bytes
    content_type: str


@dataclass(slots=True)
class Shelf:
    """One kind of answer to one kind of reader: the latest, and a lock for who makes the next."""

    key: Key
    making: Lock = field(default_factory=Lock)
    latest: Answer | None = None

    def answer(self, version: int, *, may_be_late: bool) -> Answer | None:
        """One that a reader who has heard of this version may be given."""
        found = self.latest
        if found is None:
            return None
        late = min(BY_COST * found.cost, MAX_LATE_SECONDS) if may_be_late else 0
        end = MAX_AGE_SECONDS if found.version >= version else late
        return found if time.monotonic() - found.made_at < end else None

    def size(self) -> int:
        return SHELF_BYTES + len(self.key[0]) + (len(self.latest.content) if self.latest else 0)


class Shelves:
    """Those of this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Shelf] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Shelf:
        with self._lock:
            shelf = self._kept.setdefault(key, Shelf(key))
            self._kept.move_to_end(key)
            return shelf

    def size(self) -> int:
        return sum(shelf.size() for shelf in list(self._kept.values()))

    def bound(self) -> None:
        """Threads that hold a shelf which goes still get its answer."""
        with self._lock:
            size = self.size()
            while size > MAX_BYTES:
                size -= self._kept.popitem(last=False)[1].size()


shelves = Shelves()


def shared(view: View) -> View:
    """For a view below `console_page`, which has checked the person; the view sees path, query and permissions."""

    @wraps(view)
    def share(request: HttpRequest, **ids: Any) -> HttpResponse:
        version = _version(request)
        if version is None:
            return view(request, **ids)
        reader = Reader(frozenset(request.user.get_all_permissions()), may_enter_admin(request.user))
        shelf, may_be_late = shelves.get((request.get_full_path(), reader)), not _insists(request)
        answer = shelf.answer(version, may_be_late=may_be_late)
        if answer is None:
            is_mine = shelf.making.acquire(timeout=PATIENCE_SECONDS)
            try:
                answer = shelf.answer(version, may_be_late=may_be_late)
                answer = answer or _make(shelf, view, _alike(request, reader), ids)
            finally:
                if is_mine:
                    shelf.making.release()
                shelves.bound()
        headers = {VERSION_HEADER: str(answer.version)}
        return HttpResponse(answer.content, content_type=answer.content_type, headers=headers)

    return share


def _version(request: HttpRequest) -> int | None:
    text = request.headers.get(VERSION_HEADER, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _insists(request: HttpRequest) -> bool:
    return request.headers.get("Cache-Control") == "no-cache"


def _make(shelf: Shelf, view: View, request: HttpRequest, ids: dict[str, Any]) -> Answer:
    # Read first: what the view reads after it is this version or a later one.
    began, version = time.monotonic(), read_version()
    response = view(request, **ids)
    cost = time.monotonic() - began
    shelf.latest = answer = Answer(version, began, cost, response.content, response.headers["Content-Type"])
    return answer


def _alike(request: HttpRequest, reader: Reader) -> HttpRequest:
    """The request as any of these readers could have made it: no cookie, no session, no name."""
    alike = HttpRequest()
    alike.method, alike.path, alike.path_info = "GET", request.path, request.path_info
    alike.GET, alike.resolver_match = request.GET, request.resolver_match
    kept = ("SERVER_NAME", "SERVER_PORT", "QUERY_STRING", "HTTP_HX_REQUEST", "HTTP_X_CONSOLE_VERSION")
    alike.META = {name: request.META[name] for name in kept if name in request.META}
    alike.user = reader  # type: ignore[assignment]
    return alike
