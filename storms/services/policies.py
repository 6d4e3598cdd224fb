"""Writing policies: every save is a version that can be restored, and a catch-all is always left."""

import logging
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from storms.choices import AuditAction
from storms.matchers import MatcherError, parse_matchers
from storms.models import PolicyVersion, StormPolicy
from storms.services import audit

logger = logging.getLogger(__name__)

VERSIONED = (
    "name",
    "enabled",
    "matchers",
    "priority",
    "group_by",
    "threshold",
    "window_seconds",
    "hold_seconds",
    "quiet_seconds",
    "max_duration_seconds",
    "reopen_seconds",
    "count_flapping_once",
    "owner_note",
)
"""The fields that a version keeps: all that an operator can edit."""


class PolicyError(ValueError):
    """A change that is refused, as one that would leave alerts without a policy; the message says what to do first."""


@transaction.atomic
def save_policy(*, policy: StormPolicy, actor: str, restored_from: int | None = None) -> StormPolicy:
    """Insert or update the policy; `version` rises with every save, which is kept as a PolicyVersion.

    Raises PolicyError when no enabled policy without matchers would be left.
    """
    _lock_policies()
    stored = StormPolicy.objects.filter(pk=policy.pk).first() if policy.pk else None
    if stored is not None:
        _keep_version(stored)
    before = version_fields(stored) if stored is not None else {}
    policy.version = stored.version + 1 if stored is not None else 1
    policy.updated_at = timezone.now()
    policy.save()
    _require_catch_all(_enabled_matchers())
    fields = version_fields(policy)
    PolicyVersion.objects.create(
        policy=policy,
        version=policy.version,
        at=policy.updated_at,
        actor=actor,
        fields=fields,
        changes=changed_fields(before, fields) if stored is not None else {},
        restored_from=restored_from,
    )
    audit.record(
        action=_audited(stored is not None, restored_from),
        actor=actor,
        target=policy,
        detail=f"version {policy.version}" + (f", as version {restored_from} was" if restored_from else ""),
        **audit.changed(before, fields),
    )
    logger.info("policy %s saved as version %s by %s", policy.name, policy.version, actor)
    return policy


@transaction.atomic
def restore_policy(*, policy: StormPolicy, version: int, actor: str) -> StormPolicy:
    """Save the policy as it was in that version, as a new one.

    Raises PolicyError if there is no such version, or it cannot be had any more: its name is taken, it is no longer
    valid, or no enabled policy without matchers would be left.
    """
    _lock_policies()
    kept = PolicyVersion.objects.filter(policy=policy, version=version).first()
    current = StormPolicy.objects.filter(pk=policy.pk).first()
    if kept is None or current is None:
        raise PolicyError(f"{policy.name} has no version {version}.")
    for name in VERSIONED:
        # A field that came later keeps its value: the version says nothing of it.
        if name in kept.fields:
            setattr(current, name, kept.fields[name])
    try:
        current.full_clean()
    except ValidationError as error:
        problems = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items())
        raise PolicyError(f"Version {version} cannot be restored: {problems}") from error
    return save_policy(policy=current, actor=actor, restored_from=version)


def version_fields(policy: StormPolicy) -> dict[str, Any]:
    """{field: value} of all that a version keeps; JSON's types."""
    return {name: getattr(policy, name) for name in VERSIONED}


def changed_fields(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """{field: [before, after]} of those that differ."""
    return {name: [before.get(name), value] for name, value in after.items() if before.get(name) != value}


def check_policy(policy: StormPolicy) -> None:
    """Raise PolicyError if saving `policy` would be refused as things stand; `save_policy` has the last word."""
    others = StormPolicy.objects.exclude(pk=policy.pk).filter(enabled=True).values_list("matchers", flat=True)
    _require_catch_all([*others, policy.matchers] if policy.enabled else list(others))


@transaction.atomic
def delete_policy(*, policy: StormPolicy, actor: str) -> None:
    """Delete the policy; its storms stay, with its name.

    Raises PolicyError when no enabled policy without matchers would be left.
    """
    _lock_policies()
    name = policy.name
    # Before it loses its key; it is rolled back with the deletion.
    audit.record(action=AuditAction.POLICY_DELETED, actor=actor, target=policy, before=version_fields(policy))
    StormPolicy.objects.filter(pk=policy.pk).delete()
    _require_catch_all(_enabled_matchers())
    logger.info("policy %s deleted by %s", name, actor)


def _audited(existed: bool, restored_from: int | None) -> AuditAction:
    if restored_from is not None:
        return AuditAction.POLICY_RESTORED
    return AuditAction.POLICY_EDITED if existed else AuditAction.POLICY_CREATED


def _keep_version(stored: StormPolicy) -> None:
    """What is about to be replaced can be restored even if it was written past this service."""
    PolicyVersion.objects.get_or_create(
        policy=stored,
        version=stored.version,
        defaults={"at": stored.updated_at, "fields": version_fields(stored)},
    )


def _lock_policies() -> None:
    """One writer at a time: two could each take away the other's last catch-all."""
    list(StormPolicy.objects.select_for_update().order_by("pk").values_list("pk", flat=True))


def _enabled_matchers() -> list[str]:
    return list(StormPolicy.objects.filter(enabled=True).values_list("matchers", flat=True))


def _require_catch_all(enabled: list[str]) -> None:
    if not any(_takes_all(matchers) for matchers in enabled):
        raise PolicyError(
            "This is the last enabled policy without matchers: without it some alerts would have no policy. "
            "Enable or add another one without matchers first."
        )


def _takes_all(matchers: str) -> bool:
    try:
        return parse_matchers(matchers) == ()
    except MatcherError:  # written past the form: such a policy gets nothing
        return False
