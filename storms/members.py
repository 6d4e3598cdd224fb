"""What is in a storm, read page by page: its alerts, and the resources that they are about.

Pages go on behind the last row shown (keyset): none costs more than the first, and rows that arrive meanwhile neither
repeat nor hide another.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from storms.choices import AlertStatus, Severity
from storms.models import Alert, Storm

NAMES_SHOWN = 3
STATUSES = {"": "All", AlertStatus.FIRING.value: "Firing", AlertStatus.RESOLVED.value: "Resolved"}

Row = TypeVar("Row")
RowKey = TypeVar("RowKey")


@dataclass(frozen=True, slots=True)
class Affected:
    """A resource, as alerts name it; each part may be empty."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} in {self.namespace}" if self.namespace else f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: a piece of text in any case, `status` one of `STATUSES`, `after` where a page goes on.

    resource: only alerts about exactly this one.
    """

    text: str = ""
    status: str = ""
    after: str = ""
    resource: Affected | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """`after` leads to the next page, "" on the last."""

    rows: list[Row]
    after: str


class AlertKey(msgspec.Struct, array_like=True, frozen=True):
    received_at: datetime
    id: UUID


class ResourceKey(msgspec.Struct, array_like=True, frozen=True):
    quiet: bool
    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class AffectedRow:
    """A resource, and the storm's alerts about it. `names` are the first few of `different` alert names."""

    namespace: str
    kind: str
    name: str
    alerts: int
    firing: int
    severity: str
    names: list[str]
    different: int
    last_at: datetime

    @property
    def more(self) -> int:
        return self.different - len(self.names)


def alerts_of(storm: Storm, search: Search, size: int) -> Page[Alert]:
    """The newest first. A text is looked for in the name, the resource and the labels."""
    rows = storm.alerts.defer("annotations")
    if (resource := search.resource) is not None:
        rows = rows.filter(namespace=resource.namespace, resource_kind=resource.kind, resource_name=resource.name)
    if search.status in (AlertStatus.FIRING, AlertStatus.RESOLVED):
        rows = rows.filter(status=search.status)
    if search.text:
        rows = _with_text(rows, search.text)
    key = _read(search.after, AlertKey)
    if key is not None:
        rows = rows.filter(received_at__lte=key.received_at)
        rows = rows.filter(Q(received_at__lt=key.received_at) | Q(id__lt=key.id))
    found = list(rows.order_by("-received_at", "-id")[: size + 1])
    return _page(found, size, lambda row: AlertKey(row.received_at, row.id))


def _with_text(rows: QuerySet[Alert], text: str) -> QuerySet[Alert]:
    found = Q(alertname__icontains=text) | Q(resource_name__icontains=text) | Q(labels_text__icontains=text)
    return rows.annotate(labels_text=Cast("labels", TextField())).filter(found).defer("labels")


_RESOURCES = """
select namespace, resource_kind, resource_name, count(*), count(*) filter (where status = 'firing'),
    min(case severity when 'critical' then 0 when 'warning' then 1 else 2 end),
    (array_agg(distinct alertname))[1:%(names)s], count(distinct alertname), max(received_at)
from storms_alert
where storm_id = %(storm)s
group by 1, 2, 3
having (%(text)s = '' or namespace || '/' || resource_kind || '/' || resource_name ilike %(pattern)s
        or bool_or(alertname ilike %(pattern)s))
    and (%(status)s = '' or bool_or(status = 'firing') = (%(status)s = 'firing'))
    and (not %(go_on)s or (not bool_or(status = 'firing'), namespace, resource_kind, resource_name)
                           > (%(quiet)s, %(namespace)s, %(kind)s, %(name)s))
order by not bool_or(status = 'firing'), 1, 2, 3 limit %(limit)s
"""
_SEVERITIES = (Severity.CRITICAL.value, Severity.WARNING.value, Severity.INFO.value)


def resources_of(storm: Storm, search: Search, size: int) -> Page[AffectedRow]:
    """Those about which something fires come first; then by namespace, kind and name.

    A text is looked for in the resource and in its alerts' names; what is found counts all of its alerts.
    """
    key = _read(search.after, ResourceKey)
    quiet, namespace, kind, name = (key.quiet, key.namespace, key.kind, key.name) if key else (False, "", "", "")
    parameters: dict[str, Any] = {
        "storm": storm.id,
        "names": NAMES_SHOWN,
        "text": search.text,
        "pattern": f"%{_literally(search.text)}%",
        "status": search.status if search.status in STATUSES else "",
        "go_on": key is not None,
        "quiet": quiet,
        "namespace": namespace,
        "kind": kind,
        "name": name,
        "limit": size + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RESOURCES, parameters)
        found = [_affected(row) for row in cursor.fetchall()]
    return _page(found, size, lambda row: ResourceKey(row.firing == 0, row.namespace, row.kind, row.name))


def _affected(row: Sequence[Any]) -> AffectedRow:
    namespace, kind, name, alerts, firing, severity, names, different, last_at = row
    return AffectedRow(namespace, kind, name, alerts, firing, _SEVERITIES[severity], names, different, last_at)


def _literally(text: str) -> str:
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def _page(found: Sequence[Row], size: int, key_of: Any) -> Page[Row]:
    more, rows = len(found) > size, list(found[:size])
    return Page(rows, urlsafe_b64encode(msgspec.json.encode(key_of(rows[-1]))).decode() if more else "")


def _read(after: str, kind: type[RowKey]) -> RowKey | None:
    """None for what is no key of this kind: the first page."""
    if not after:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(after.encode()), type=kind)
    except ValueError:
        return None
