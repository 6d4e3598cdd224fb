"""What every cluster offers, real or local."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

Resource = dict[str, Any]
"""A RemediationRequest as the API gives it: apiVersion, kind, metadata, spec, status."""

Resources = list[Resource]

LOCAL = "local"
"""The local cluster's label."""

FIELD_MANAGER = "stormconsole"
"""Our name in `metadata.managedFields`: the owner of `spec`."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What the cluster holds after an apply. `phase` and `phase_message` are the operator's, "" while there is none."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int
    phase: str
    phase_message: str

    @classmethod
    def from_resource(cls, resource: Resource) -> "Applied":
        metadata = resource["metadata"]
        status = resource.get("status") or {}
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            generation=int(metadata.get("generation", 0)),
            phase=status.get("phase") or "",
            phase_message=status.get("message") or "",
        )


class Cluster(Protocol):
    """RemediationRequests in one cluster. Every method raises `ClusterError`s and nothing else."""

    label: str
    """`local`, or the API server's address."""

    def apply(self, manifest: Resource) -> Applied:
        """Create or update by server-side apply; a repeat changes nothing. `manifest` has no status."""
        ...

    def get(self, namespace: str, name: str) -> Resource | None:
        """None when there is none."""
        ...

    def delete(self, namespace: str, name: str, *, resource_version: str = "") -> bool:
        """Whether there was one to delete.

        Raises ClusterConflict if `resource_version` is given and the resource has another one by now.
        """
        ...

    def list(self) -> tuple[Resources, str]:
        """The resources of all namespaces, and the resourceVersion to watch from."""
        ...

    def pages(self) -> Iterator[tuple[Resources, str]]:
        """The same in pieces that fit into memory: at least one, all of the same resourceVersion."""
        ...

    def watch(self, resource_version: str, timeout_seconds: int) -> Iterator[tuple[str, Resource]]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, resource) until `timeout_seconds` have passed or `stop_watch`.

        Raises ResourceExpired when `resource_version` is too old: list again.
        """
        ...

    def stop_watch(self) -> None:
        """End a running `watch` at once, and every later one. Safe to call from a signal handler."""
        ...

    def patch_status(self, namespace: str, name: str, status: Resource) -> None:
        """Merge into `status`. Only `simulate_operator` does: the console's own account is not allowed to."""
        ...
