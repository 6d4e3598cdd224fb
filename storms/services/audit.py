"""The audit: who did what, from where, what was before and after. Called by the services, in their transaction.

    audit.record(action=AuditAction.STORM_ASSIGNED, actor=actor, target=storm,
                 before={"assignee": ""}, after={"assignee": "ada"})

An entry stands or falls with the change it tells of. It is never changed (a database trigger refuses that), and goes
only by retention.
"""

import json
from collections.abc import Mapping
from typing import Any, TypedDict

from django.contrib.auth.models import AbstractBaseUser
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model
from django.utils import timezone

from stormconsole.caller import caller
from storms.models import AuditEntry

MAX_TEXT = 500
MAX_NAME = 200


def record(
    *,
    action: str,
    actor: str,
    target: Model | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    detail: str = "",
) -> None:
    """Write one entry.

    Args:
        action: one of `AuditAction`, in the past tense.
        actor: the person's name; empty: the console or its command line.
        target: the row that was acted on; its id and name are kept, and outlive it.
        before, after: the fields that changed, JSON's types (times, UUIDs and the like become texts). No secrets.
        detail: the reason or the text that the person gave.
    """
    where = caller()
    AuditEntry.objects.create(
        at=timezone.now(),
        actor=_clean(actor)[:150],
        via=_clean(where.via)[:MAX_NAME],
        remote_addr=where.address,
        action=action,
        target_type=target._meta.model_name or "" if target is not None else "",
        target_id=str(target.pk) if target is not None else "",
        target_name=_clean(_name(target))[:MAX_NAME],
        before=_plain(before),
        after=_plain(after),
        detail=_clean(detail)[:MAX_TEXT],
    )


class Changes(TypedDict):
    before: dict[str, Any]
    after: dict[str, Any]


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """`before` and `after` of the fields that differ, to be passed on to `record`."""
    names = [name for name in after if before.get(name) != after[name]]
    return {"before": {name: before.get(name) for name in names}, "after": {name: after[name] for name in names}}


def _name(target: Model | None) -> str:
    if isinstance(target, AbstractBaseUser):
        return target.get_username()
    return "" if target is None else str(target)


def _plain(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(fields or {}), cls=DjangoJSONEncoder))
    return plain


def _clean(text: str) -> str:
    """PostgreSQL takes no NUL."""
    return text.replace("\x00", "")
