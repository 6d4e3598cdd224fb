"""A storm's alerts as CSV, read and written a piece at a time, so that fifty thousand take no more memory than one."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from storms.hostile import csv_safe
from storms.members import Search, alerts_of
from storms.models import Alert, Storm

PIECE = 1_000
COLUMNS = (
    "received_at",
    "starts_at",
    "ends_at",
    "status",
    "severity",
    "alertname",
    "namespace",
    "resource_kind",
    "resource_name",
    "outcome",
    "occurrences",
    "receiver",
    "fingerprint",
    "id",
    "labels",
)
"""`labels` is a JSON object; times are ISO 8601 in UTC."""


def csv_pieces(storm: Storm, search: Search) -> Iterator[str]:
    """The newest first. Each piece is a query of its own: between two of them no connection is held."""
    yield _written([COLUMNS])
    while True:
        page = alerts_of(storm, search, PIECE)
        if page.rows:
            yield _written(map(_row, page.rows))
        if not page.after:
            return
        search = replace(search, after=page.after)


def _row(alert: Alert) -> list[Any]:
    values = {name: getattr(alert, name) for name in COLUMNS}
    values |= {name: value.isoformat() if value else "" for name, value in values.items() if name.endswith("_at")}
    return list((values | {"labels": json.dumps(alert.labels, ensure_ascii=False)}).values())


def _written(rows: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([csv_safe(cell) for cell in row] for row in rows)
    return buffer.getvalue()
