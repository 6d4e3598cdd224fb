"""Who may watch live updates: asked when a page connects, and again for all open pages together."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, get_user_model
from django.utils import timezone
from django.utils.crypto import constant_time_compare

VIEW = "storms.view_storm"
# Its `with_perm` finds the holders of a permission in one query; groups and single permissions both count.
BACKEND = "django.contrib.auth.backends.ModelBackend"
UNAUTHENTICATED = 4401
FORBIDDEN = 4403


@dataclass(frozen=True, slots=True)
class Watcher:
    """An open page's session: it ends with a logout, a changed password, and with its user's rights."""

    user_id: Any
    session_key: str
    session_hash: str


def watcher_of(scope: Any) -> Watcher | None:
    """The watcher of a WebSocket's scope; None if nobody is logged in."""
    user, session = scope.get("user"), scope.get("session")
    if user is None or not user.is_authenticated or not session.session_key:
        return None
    return Watcher(user.pk, session.session_key, session.get(HASH_SESSION_KEY, ""))


def refused(watchers: Iterable[Watcher]) -> dict[Watcher, int]:
    """The close codes of those that may not watch (any more). Three queries, however many there are."""
    watchers = set(watchers)
    ids = {watcher.user_id for watcher in watchers}
    users = {user.pk: user for user in get_user_model().objects.filter(pk__in=ids, is_active=True)}
    holders = get_user_model().objects.with_perm(VIEW, backend=BACKEND)
    allowed = set(holders.filter(pk__in=ids).values_list("pk", flat=True))
    alive = _alive({watcher.session_key for watcher in watchers})
    codes = {}
    for watcher in watchers:
        user = users.get(watcher.user_id)
        if user is None or watcher.session_key not in alive or not _holds(watcher, user):
            codes[watcher] = UNAUTHENTICATED
        elif user.pk not in allowed:
            codes[watcher] = FORBIDDEN
    return codes


def _holds(watcher: Watcher, user: Any) -> bool:
    return constant_time_compare(watcher.session_hash, user.get_session_auth_hash())


def _alive(keys: set[str]) -> set[str]:
    store = import_module(settings.SESSION_ENGINE).SessionStore
    if not hasattr(store, "get_model_class"):
        return {key for key in keys if store().exists(key)}
    rows = store.get_model_class().objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return set(rows.values_list("session_key", flat=True))
