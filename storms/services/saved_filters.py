"""Writing saved filters and a person's columns: everybody has their own; to share one takes a permission."""

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from storms.choices import AuditAction
from storms.models import AlertColumns, SavedFilter
from storms.services import audit

SHARE = "storms.share_savedfilter"
MAX_FILTERS = 100
"""Per person."""
MAX_NAME = 80
MAX_QUERY = 8_000


class FilterError(ValueError):
    """A change that is refused; the message says why."""


@transaction.atomic
def save_filter(*, owner: User, name: str, query: str, shared: bool) -> SavedFilter:
    """A new one, or a new meaning for the owner's of that name.

    Raises: FilterError.
    """
    _check(owner, name=name, query=query, shared=shared)
    # One row per person as a lock, so that the number of filters holds.
    User.objects.select_for_update(no_key=True).get(pk=owner.pk)
    known = SavedFilter.objects.filter(owner=owner, name=name).first()
    if known is None and SavedFilter.objects.filter(owner=owner).count() >= MAX_FILTERS:
        raise FilterError(f"You have {MAX_FILTERS} saved filters: delete one first.")
    row = known or SavedFilter(owner=owner, name=name)
    was_shared = row.shared
    row.query, row.shared, row.updated_at = query, shared, timezone.now()
    row.save()
    _tell_of_sharing(row, owner, was_shared)
    return row


@transaction.atomic
def edit_filter(*, saved: SavedFilter, actor: User, name: str, shared: bool) -> None:
    """Rename it, share it, or keep it for oneself; only its owner may, who stays the owner.

    Raises: FilterError.
    """
    _require_owner(saved, actor)
    _check(actor, name=name, query=saved.query, shared=shared and not saved.shared)
    was_shared = saved.shared
    saved.name, saved.shared, saved.updated_at = name, shared, timezone.now()
    try:
        with transaction.atomic():
            saved.save(update_fields=["name", "shared", "updated_at"])
    except IntegrityError:
        raise FilterError(f"You have another filter called “{name}”.") from None
    _tell_of_sharing(saved, actor, was_shared)


@transaction.atomic
def delete_filter(*, saved: SavedFilter, actor: User) -> None:
    """Its owner may, and whoever may share: a shared one would outlive its owner's interest.

    Raises: FilterError.
    """
    if not (saved.shared and actor.has_perm(SHARE)):
        _require_owner(saved, actor)
    if saved.shared:
        audit.record(action=AuditAction.FILTER_UNSHARED, actor=actor.get_username(), target=saved)
    saved.delete()


def keep_columns(*, user: User, columns: Sequence[str]) -> None:
    """What the person sees where the address names no columns."""
    AlertColumns.objects.update_or_create(user=user, defaults={"columns": list(columns)})


def _check(owner: User, *, name: str, query: str, shared: bool) -> None:
    if not name or len(name) > MAX_NAME or "\0" in name:
        raise FilterError(f"A filter needs a name, {MAX_NAME} characters at most.")
    if len(query) > MAX_QUERY:
        raise FilterError("This filter is too long to be saved.")
    if shared and not owner.has_perm(SHARE):
        raise FilterError("You may not share filters: save it for yourself.")


def _require_owner(saved: SavedFilter, actor: User) -> None:
    if saved.owner_id != actor.pk:
        raise FilterError(f"“{saved.name}” belongs to {saved.owner}: only its owner can change it.")


def _tell_of_sharing(saved: SavedFilter, actor: User, was_shared: bool) -> None:
    if saved.shared != was_shared:
        action = AuditAction.FILTER_SHARED if saved.shared else AuditAction.FILTER_UNSHARED
        audit.record(action=action, actor=actor.get_username(), target=saved, after={"query": saved.query})
