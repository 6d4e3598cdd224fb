"""The API server's validation of a RemediationRequest, done here from the same schema (pure).

What server-side apply does with it: an unknown field is an error, formats are checked, and a field whose rule is
`self == oldSelf` cannot change. Other CEL rules are not understood; `deploy/crd.yaml` has none.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from storms.cluster import crd

IMMUTABLE = "self == oldSelf"
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")
_formats = FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    if not _RFC3339.fullmatch(value):
        return False
    datetime.fromisoformat(value.upper())
    return True


def violations(resource: dict[str, Any], previous: dict[str, Any] | None = None) -> list[str]:
    """What the API server would refuse, each as `spec.severity: ...`; [] for a valid resource.

    `previous` is what the cluster holds now, None for a new one.
    """
    found = [f"{_path(error.absolute_path)}: {error.message}" for error in _validator().iter_errors(resource)]
    if previous is not None and not found:
        found = list(_changed_immutables(crd.openapi_schema(), resource, previous, ()))
    return found


@lru_cache(maxsize=1)
def _validator() -> Draft202012Validator:
    return Draft202012Validator(_closed(crd.openapi_schema(), at_root=True), format_checker=_formats)


def _closed(schema: dict[str, Any], *, at_root: bool = False) -> dict[str, Any]:
    """The schema with every object closed to unknown fields, but for `metadata`, which is the API server's own."""
    closed = dict(schema)
    if "properties" in schema:
        closed["properties"] = {
            name: inner if at_root and name == "metadata" else _closed(inner)
            for name, inner in schema["properties"].items()
        }
        closed.setdefault("additionalProperties", False)
    elif isinstance(schema.get("additionalProperties"), dict):
        closed["additionalProperties"] = _closed(schema["additionalProperties"])
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    return closed


def _changed_immutables(schema: dict[str, Any], new: Any, old: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Only fields of objects have a former self: the elements of an atomic list cannot be told apart."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if rule["rule"] == IMMUTABLE and new != old:
            yield f"{_path(path)}: {rule.get('message', 'is immutable')}"
    for name, inner in schema.get("properties", {}).items():
        if isinstance(new, dict) and isinstance(old, dict) and name in new and name in old:
            yield from _changed_immutables(inner, new[name], old[name], (*path, name))


def _path(parts: Any) -> str:
    return ".".join(str(part) for part in parts) or "(resource)"
