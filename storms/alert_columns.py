"""The columns of the alert explorer: fields of the row, written `@name`, and any label by its name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from storms.models import Alert, AlertColumns

FIELDS = {
    "@resource": "Resource",
    "@status": "Status",
    "@disposition": "Stands as",
    "@storm": "Storm",
    "@received": "Received",
    "@times": "Times",
    "@outcome": "Answered",
    "@receiver": "Receiver",
    "@policy": "Policy",
    "@environment": "Environment",
    "@priority": "Priority",
    "@started": "Started",
    "@ended": "Ended",
}
"""Beside the alert's name, which is always the first."""
DEFAULT = ("namespace", "@resource", "@status", "@disposition", "@storm", "@received")
MAX_COLUMNS = 12
MAX_NAME = 256
NONE = "-"
"""In the address: no column but the alert."""


@dataclass(frozen=True, slots=True)
class Column:
    """`key` as the address says it; a label's title is its name."""

    key: str

    @property
    def is_label(self) -> bool:
        return not self.key.startswith("@")

    @property
    def title(self) -> str:
        return FIELDS.get(self.key, self.key)


def columns(asked: Sequence[str], user: AbstractBaseUser | AnonymousUser) -> list[Column]:
    """Those of the address, else the person's own, else the default ones."""
    if not asked:
        own = AlertColumns.objects.filter(user=user.pk).values_list("columns", flat=True).first()
        asked = own if own is not None else DEFAULT
    return [Column(key) for key in valid(asked)]


def valid(asked: Iterable[str]) -> list[str]:
    """What can be a column, in its order, each once; what cannot is left out."""
    good = (key.strip() for key in asked if "\0" not in key and 0 < len(key.strip()) <= MAX_NAME)
    return list(dict.fromkeys(key for key in good if key in FIELDS or (key[0] != "@" and key != NONE)))[:MAX_COLUMNS]


def cells(alert: Alert, chosen: Sequence[Column]) -> list[tuple[Column, Any]]:
    """Each column with the label's value; a field's is the template's business."""
    return [(column, alert.labels.get(column.key, "") if column.is_label else None) for column in chosen]
