"""Where the rows, the store and the cluster disagree (pure): facts in, findings out.

What is on its way is no disagreement: callers leave out rows that were touched within the last minute.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from storms.differences import differences
from storms.remediation import KIND_LABEL, MANAGED_BY, TRUNCATED

MAX_DETAIL = 400

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement.

    Args:
        kind: see docs/reconcile.md.
        target: what it is about, for a person: `payments/storm-5c1d...`, `namespace=payments`.
        detail: who says what.
        key: what the repair needs: the row's id, or the group's key.
        advice: what a person can do, where the console does nothing.
    """

    kind: str
    target: str
    detail: str
    key: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class RequestRow:
    """What a row says that was applied. wanted: the cluster must hold it; its storm is open or an alert of it fires."""

    id: str
    namespace: str
    name: str
    wanted: bool
    phase: str = ""
    phase_message: str = ""
    manifest: Resource | None = None


@dataclass(frozen=True, slots=True)
class OpenStorm:
    """A storm that the rows have open."""

    id: str
    group_key: str
    title: str


@dataclass(frozen=True, slots=True)
class GroupState:
    """What the store says of a group: ids, or "" where it knows none."""

    open: str = ""
    closed: str = ""


def compare_resources(
    resources: Iterable[Resource], rows: Mapping[str, RequestRow], names: Collection[str]
) -> Iterator[Finding]:
    """One page of the cluster's list against the rows of the same names.

    Args:
        rows: by name, those that are settled.
        names: of every row, settled or not: what is among them is known.
    """
    for resource in resources:
        metadata = resource["metadata"]
        place = f"{metadata['namespace']}/{metadata['name']}"
        row = rows.get(metadata["name"])
        if row is not None and row.namespace == metadata["namespace"]:
            yield from _compare(resource, row)
        elif is_ours(resource) and (row is not None or metadata["name"] not in names):
            yield Finding(
                "resource_extra",
                place,
                "The cluster has it with this console's label, and no row knows it"
                if row is None
                else f"The row's resource is in namespace {row.namespace}",
                advice=f"If no other console uses this cluster: kubectl delete rr -n {metadata['namespace']} "
                f"{metadata['name']}",
            )


def missing_resources(rows: Iterable[RequestRow], held: Collection[tuple[str, str]]) -> Iterator[Finding]:
    """Rows whose resource is not in the cluster, though it must be.

    Args:
        held: (namespace, name) of every resource of the list.
    """
    for row in rows:
        if row.wanted and (row.namespace, row.name) not in held:
            yield Finding(
                "resource_missing", f"{row.namespace}/{row.name}", "Applied, and not in the cluster", key=row.id
            )


def is_ours(resource: Resource) -> bool:
    labels = resource["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY) == "stormconsole" and KIND_LABEL in labels


def _compare(resource: Resource, row: RequestRow) -> Iterator[Finding]:
    place = f"{row.namespace}/{row.name}"
    changed = deviations(resource, row.manifest) if row.manifest is not None else []
    if changed:
        detail = f"The cluster differs from what was applied: {', '.join(changed)}"[:MAX_DETAIL]
        if row.wanted:
            yield Finding("resource_differs", place, detail, key=row.id)
        else:
            advice = "It is over, so nothing depends on it; it goes with garbage collection."
            yield Finding("resource_differs", place, detail, advice=advice)
    status = resource.get("status") or {}
    phase, message = str(status.get("phase") or ""), str(status.get("message") or "")
    if (phase, message) != (row.phase, row.phase_message):
        detail = f"The cluster says {phase or 'no phase'}, the row {row.phase or 'no phase'}"
        yield Finding("status_missed", place, detail, key=row.id)


def deviations(resource: Resource, manifest: Resource) -> list[str]:
    """What of a manifest the cluster does not hold as it was applied, as paths; a list counts as one value."""
    spec = differences(manifest.get("spec"), resource.get("spec"), "spec", into_lists=False)
    found = [one.path for one in spec]
    for section in ("labels", "annotations"):
        live = resource["metadata"].get(section) or {}
        found += [
            f"metadata.{section}[{name}]"
            for name, value in (manifest["metadata"].get(section) or {}).items()
            if name != TRUNCATED and live.get(name) != value
        ]
    return found


def compare_group(storm: OpenStorm, state: GroupState) -> Finding | None:
    """An open storm's row against the store."""
    if state.open == storm.id:
        return None
    if state.closed == storm.id:
        kind, detail = "row_behind", "The store closed this storm, the row has it open"
    elif state.open:
        kind, detail = "store_other", f"The store has storm {state.open} open instead of {storm.id}"
    else:
        kind, detail = "store_forgot", "The store knows of no open storm in this group"
    return Finding(kind, storm.title, detail, key=storm.id)


def compare_states(
    states: Mapping[str, str], rows: Mapping[str, str], open_groups: Collection[str]
) -> Iterator[Finding]:
    """What the store has open and the rows have not.

    Args:
        states: {group key: the storm that the store has open}.
        rows: {storm: its state} of those storms, where there is a row.
        open_groups: groups with an open row: `compare_group` looks at them.
    """
    for group, storm in states.items():
        if group in open_groups:
            continue
        if storm in rows:
            yield Finding("store_stale", f"storm {storm}", "The store has it open, the row is closed", key=group)
        else:
            yield Finding(
                "store_ahead",
                f"storm {storm}",
                "The store opened it, and no row knows it: the webhook that opened it was not finished",
                key=group,
                advice="Nothing to do: the next alert of its group records it, or its sender sends it again; else it "
                "ends by being quiet.",
            )
