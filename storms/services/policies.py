"""Writing policies: every change raises the version, and a catch-all is always left."""

import logging

from django.db import transaction
from django.utils import timezone

from storms.matchers import parse_matchers
from storms.models import StormPolicy

logger = logging.getLogger(__name__)


class PolicyError(ValueError):
    """A change that would leave alerts without a policy; the message says what to do first."""


@transaction.atomic
def save_policy(*, policy: StormPolicy, actor: str) -> StormPolicy:
    """Insert or update the policy; `version` rises with every save.

    Raises PolicyError when no enabled policy without matchers would be left.
    """
    _lock_policies()
    stored = StormPolicy.objects.filter(pk=policy.pk).first() if policy.pk else None
    policy.version = stored.version + 1 if stored else 1
    policy.updated_at = timezone.now()
    policy.save()
    _require_catch_all(_enabled_matchers())
    logger.info("policy %s saved as version %s by %s", policy.name, policy.version, actor)
    return policy


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
    StormPolicy.objects.filter(pk=policy.pk).delete()
    _require_catch_all(_enabled_matchers())
    logger.info("policy %s deleted by %s", name, actor)


def _lock_policies() -> None:
    """One writer at a time: two could each take away the other's last catch-all."""
    list(StormPolicy.objects.select_for_update().order_by("pk").values_list("pk", flat=True))


def _enabled_matchers() -> list[str]:
    return list(StormPolicy.objects.filter(enabled=True).values_list("matchers", flat=True))


def _require_catch_all(enabled: list[str]) -> None:
    if not any(parse_matchers(matchers) == () for matchers in enabled):
        raise PolicyError(
            "This is the last enabled policy without matchers: without it some alerts would have no policy. "
            "Enable or add another one without matchers first."
        )
