"""Answers that all readers of a storm are given alike: in an incident many look at one page, and it goes on changing.

A part of a page that names the version its reader has heard of (`VERSION_HEADER`) is made once for all who may see the
same. The answer names its own version. It may be an earlier one than was asked for as long as the making was a small
part of the time since (`BY_COST`), unless the reader says `Cache-Control: no-cache`, but never an earlier one than the
reader has on the screen (`HELD_HEADER`). static/console/storm.js asks again for what it lacks. So readers cost a part
of a process that is bounded, however many they are and however large their storm is.

The view sees no person, only what may be seen, so that nothing of one reader can come to another; storm.js puts in what
is the reader's own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from threading import Lock, Semaphore
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.request import HttpHeaders
from django.middleware.csrf import get_token

from stormconsole.accounts.services import may_enter_admin
from storms.live import read_version
from storms.pages.parameters import whole_number
from storms.pages.parts import HELD_HEADER, VERSION_HEADER

MAX_AGE_SECONDS = 30.0
"""Versions fall when a database is set back; and what no version tells must not stay."""
BY_COST = 20
MAX_LATE_SECONDS = 10.0
"""How many times the time that it took an answer may be late, and its end."""
MAX_BYTES = 16 * 1024 * 1024
"""Of all kept answers of a process; the one that was not asked for the longest goes first."""
PATIENCE_SECONDS = 2.0
PATIENT = 2
"""How long a thread waits for another that makes the same answer, and how many may while there is a late one to give:
webhooks need the threads."""

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


@dataclass(frozen=True, slots=True)
class Wish:
    """What the reader has heard of, what is on the screen, and whether a late answer will not do."""

    version: int
    held: int
    insists: bool


@dataclass(slots=True)
class Shelf:
    """One kind of answer to one kind of reader: the latest, and a lock for who makes the next."""

    key: Key
    making: Lock = field(default_factory=Lock)
    patient: Semaphore = field(default_factory=lambda: Semaphore(PATIENT))
    latest: Answer | None = None

    def answer(self, wish: Wish) -> Answer | None:
        """One that is good enough for the wish."""
        found = self.late(wish)
        if found is None or found.version >= wish.version:
            return found
        is_soon = not wish.insists and _age(found) < min(BY_COST * found.cost, MAX_LATE_SECONDS)
        return found if is_soon else None

    def late(self, wish: Wish) -> Answer | None:
        """One for who would have to wait."""
        found = self.latest
        usable = found is not None and found.version >= wish.held and _age(found) < MAX_AGE_SECONDS
        return found if usable else None

    def put(self, answer: Answer) -> None:
        """Two may have made one, and the earlier one have taken longer."""
        found = self.latest
        if found is None or found.version <= answer.version or _age(found) >= MAX_AGE_SECONDS:
            self.latest = answer

    def size(self) -> int:
        return SHELF_BYTES + len(self.key[0]) + (len(self.latest.content) if self.latest else 0)


def _age(answer: Answer) -> float:
    return time.monotonic() - answer.made_at


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

    def all(self) -> list[Shelf]:
        return list(self._kept.values())

    def size(self) -> int:
        return sum(shelf.size() for shelf in self.all())

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
        wish = _wish(request)
        if wish is None:
            return view(request, **ids)
        reader = Reader(frozenset(request.user.get_all_permissions()), may_enter_admin(request.user))
        shelf = shelves.get((request.get_full_path(), reader))
        answer = shelf.answer(wish) or _wait_or_make(shelf, wish, lambda: view(_alike(request, reader), **ids))
        response = HttpResponse(answer.content, content_type=answer.content_type)
        response.headers[VERSION_HEADER] = str(answer.version)
        # The page may be older than this login.
        response.headers["X-CSRFToken"] = get_token(request)
        return response

    return share


def _wish(request: HttpRequest) -> Wish | None:
    version = whole_number(request.headers.get(VERSION_HEADER, ""))
    if version is None:
        return None
    insists = request.headers.get("Cache-Control") == "no-cache"
    return Wish(version, whole_number(request.headers.get(HELD_HEADER, "")) or 0, insists)


def _wait_or_make(shelf: Shelf, wish: Wish, make: Callable[[], HttpResponse]) -> Answer:
    is_mine = shelf.making.acquire(blocking=False)
    try:
        if not is_mine:
            waits = wish.insists and shelf.patient.acquire(blocking=False)
            try:
                if not waits and (late := shelf.late(wish)):
                    return late
                is_mine = shelf.making.acquire(timeout=PATIENCE_SECONDS)
            finally:
                if waits:
                    shelf.patient.release()
        found = shelf.answer(wish) or (None if is_mine else shelf.late(wish))
        return found or _make(shelf, make)
    finally:
        if is_mine:
            shelf.making.release()


def _make(shelf: Shelf, make: Callable[[], HttpResponse]) -> Answer:
    try:
        # Read first: what the view reads after it is this version or a later one.
        began, version = time.monotonic(), read_version()
        response = make()
        cost = time.monotonic() - began
        answer = Answer(version, began, cost, response.content, response.headers["Content-Type"])
        shelf.put(answer)
        return answer
    finally:
        shelves.bound()  # a shelf that stays empty takes room too


def _alike(request: HttpRequest, reader: Reader) -> HttpRequest:
    """The request as any of these readers could have made it: no cookie, no session, no name."""
    alike = HttpRequest()
    alike.method, alike.path, alike.path_info = "GET", request.path, request.path_info
    alike.GET, alike.resolver_match = request.GET, request.resolver_match
    kept = ("SERVER_NAME", "SERVER_PORT", "QUERY_STRING", "HTTP_HX_REQUEST", HttpHeaders.to_wsgi_name(VERSION_HEADER))
    alike.META = {name: request.META[name] for name in kept if name in request.META}
    alike.user = reader  # type: ignore[assignment]
    return alike
