"""A RemediationRequest as it was applied, beside what the cluster has."""

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from storms.cluster.base import LOCAL, Resource
from storms.differences import Difference, differences
from storms.models import LocalResource, ObservedResource, RemediationRequest
from storms.remediation import json_bytes

MAX_DIFFERENCES = 100
MAX_STATUS_BYTES = 32 << 10
_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
_MARKS = ("labels", "annotations")

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """Attributes:
    state: `none` (never applied), `applied` (the cluster has what was applied), `differs` or `deleted`.
    found: the cluster's resource without its managed fields; None where it has none.
    differences: the fields in which `found` differs, the first `MAX_DIFFERENCES` (`more`: there are more).
    drifted: one of them is a field that the console applied; others may add labels of their own.
    seen_at: when the cluster said so last; None before it said anything but that it had taken it.
    """

    state: str
    applied: Resource | None
    found: Resource | None
    differences: list[Difference]
    more: bool
    drifted: bool
    status: Values
    seen_at: datetime | None


def compare(row: RemediationRequest) -> Compared:
    """Reads the row's `manifest`, and what the watch (or the local cluster's table) has of it."""
    if row.manifest is None:
        return Compared("none", None, None, [], more=False, drifted=False, status={}, seen_at=None)
    observed = ObservedResource.objects.filter(request=row).first()
    found = _found(row, observed)
    first = list(islice(differences(owned(row.manifest), owned(found or {})), MAX_DIFFERENCES + 1)) if found else []
    state = "deleted" if found is None else "differs" if first else "applied"
    return Compared(
        state=state,
        applied=row.manifest,
        found=found,
        differences=first[:MAX_DIFFERENCES],
        more=len(first) > MAX_DIFFERENCES,
        drifted=found is None or any(one.before is not None for one in first) or _spec_grew(first),
        status=observed.status if observed else {},
        seen_at=observed.at if observed else None,
    )


def owned(resource: Resource) -> Values:
    """The parts that the console writes: labels, annotations, spec."""
    metadata = resource.get("metadata") or {}
    return {
        "metadata": {mark: metadata.get(mark) or {} for mark in _MARKS},
        "spec": resource.get("spec") or {},
    }


def storable(resource: Resource) -> Resource:
    """What is kept of a resource that differs; etcd has bounded it."""
    metadata = {name: value for name, value in resource["metadata"].items() if name in (*_METADATA, *_MARKS)}
    kept: Resource = {name: resource[name] for name in ("apiVersion", "kind", "spec") if name in resource}
    return {**kept, "metadata": metadata}


def storable_status(resource: Resource) -> Values:
    """The operator's status; of one that is too long only its phase and message."""
    status = resource.get("status") or {}
    if json_bytes(status) <= MAX_STATUS_BYTES:
        return dict(status)
    return {name: str(status[name])[:1000] for name in ("phase", "message") if status.get(name)}


def _found(row: RemediationRequest, observed: ObservedResource | None) -> Resource | None:
    assert row.manifest is not None
    if row.cluster == LOCAL:
        local = LocalResource.objects.filter(namespace=row.namespace, name=row.name).first()
        return _as_known(row, local.body) if local else None
    if observed is None or observed.body is None:
        return _with_status(_as_known(row, row.manifest), observed.status if observed else {})
    return _with_status(observed.body, observed.status) if observed.body else None


def _as_known(row: RemediationRequest, body: Resource) -> Resource:
    """With what the cluster answered to the last apply."""
    known = {"uid": row.uid, "resourceVersion": row.resource_version, "generation": row.generation}
    return {**body, "metadata": {**body["metadata"], **known}}


def _with_status(resource: Resource, status: Values) -> Resource:
    return {**resource, "status": status} if status else resource


def _spec_grew(found: list[Difference]) -> bool:
    """The spec is the console's alone: a field that was added there is drift too."""
    return any(one.path.startswith("spec") for one in found)
