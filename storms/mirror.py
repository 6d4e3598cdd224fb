"""The cluster's word, mirrored to the rows: list, then watch, for ever.

It reads rows and decides what is news; `storms.services.requests` writes. Each object is handled on its own: one that
cannot be handled is logged and passed over, it never stops the others.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db import DatabaseError, close_old_connections
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from storms.choices import AlertStatus, StormState, SyncState
from storms.cluster import (
    FIELD_MANAGER,
    Cluster,
    ClusterError,
    ClusterUnavailable,
    Resource,
    ResourceExpired,
    get_cluster,
)
from storms.differences import Difference, differences
from storms.models import ObservedResource, RemediationRequest
from storms.observed import owned, storable, storable_status
from storms.remediation import CONSOLE_URL, KIND_LABEL, MANAGED_BY, TRUNCATED
from storms.services import requests as services
from storms.services import watching

logger = logging.getLogger(__name__)

WATCH_SECONDS = 60
"""Length of one watch. Short, because a dead connection that gives no error is noticed at its end."""
RELIST_SECONDS = 600.0
"""Every now and then everything is compared anew: news that was lost, however, is late and not lost."""
NOTE_SECONDS = 5.0
"""How often the watch leaves a word of its state, at most, while events come."""
BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 10.0
"""One process asks: so often costs the API server nothing, and what failed during an outage waits for the answer."""
MAX_DETAIL = 400
MAX_CHANGES_TOLD = 20
"""Fields that a drift's event names with both values."""

# Not the manifest, which can have 100 kB and is needed for few events only.
ROW_FIELDS = ("id", "name", "namespace", "uid", "resource_version", "phase", "phase_message", "apply_count")


class Mirror:
    """One `run` at a time. `stop` may come from a signal handler or another thread, at any moment."""

    def __init__(self, connect: Callable[[], Cluster] = get_cluster) -> None:
        self._connect = connect
        self._stopped = threading.Event()
        self._cluster: Cluster | None = None
        # Where the watch goes on; "" means: list first.
        self._resource_version = ""
        self._listed_at = 0.0
        self._noted_at = 0.0

    def run(self) -> None:
        """Until `stop`. No failure of the cluster or the database ends it."""
        failures = 0
        while not self._stopped.is_set():
            close_old_connections()
            try:
                self._run_once()
                failures = 0
            except ResourceExpired as error:
                logger.info("list again: %s", error)
                self._resource_version = ""
                failures += 1
                self._stopped.wait(_backoff(failures) if failures > 1 else 0)
            except (ClusterError, DatabaseError) as error:
                failures += 1
                # Only a new list tells what was missed: an event that could not be recorded, or a whole cluster that
                # came back from a backup or empty, where a watch from our place would wait for ever.
                self._resource_version = ""
                delay = _retry_delay(error, failures)
                logger.warning("watch interrupted, again in %.1f s: %s", delay, error)
                _note_failure(error)
                self._stopped.wait(delay)
        close_old_connections()

    def stop(self) -> None:
        self._stopped.set()
        if self._cluster is not None:
            self._cluster.stop_watch()

    def wait_until_stopped(self, timeout: float | None = None) -> bool:
        """Whether `stop` was called, within `timeout` seconds."""
        return self._stopped.wait(timeout)

    def _run_once(self) -> None:
        self._cluster = cluster = self._connect()
        # A stop that came before the line above had no watch to end.
        if self._stopped.is_set():
            return
        if not self._resource_version or time.monotonic() - self._listed_at > RELIST_SECONDS:
            self._resource_version = self._take_all(cluster)
            self._listed_at = time.monotonic()
            logger.info("watching RemediationRequests of %s", cluster.label)
        for kind, resource in cluster.watch(self._resource_version, WATCH_SECONDS):
            if kind != "BOOKMARK":
                _handle([(kind, resource)])
            self._resource_version = resource["metadata"]["resourceVersion"]
            self._note_event(kind)
            if self._stopped.is_set():
                return
        watching.note_heard(event_at=None)

    def _note_event(self, kind: str) -> None:
        """In a burst not every event: the row is for people."""
        if time.monotonic() - self._noted_at > NOTE_SECONDS:
            self._noted_at = time.monotonic()
            watching.note_heard(event_at=timezone.now() if kind != "BOOKMARK" else None)

    def _take_all(self, cluster: Cluster) -> str:
        """Compare each resource with its row, each applied row with the resources. Returns where to watch from."""
        held: set[tuple[str, str]] = set()
        resource_version = ""
        for resources, version in cluster.pages():
            resource_version = version
            _handle([("ADDED", resource) for resource in resources])
            held.update(_key(resource) for resource in resources)
        for row in _wanted_rows(cluster.label):
            # A row may have been applied after the list was taken: ask before saying that it is gone.
            if (row.namespace, row.name) not in held and cluster.get(row.namespace, row.name) is None:
                services.mirror_deleted(rr_id=row.id)
        watching.note_listed(cluster=cluster.label)
        return resource_version


def _note_failure(error: Exception) -> None:
    with contextlib.suppress(DatabaseError):  # which may be the failure
        watching.note_failure(error=str(error) or type(error).__name__)


def drift(resource: Resource, manifest: Resource) -> list[str]:
    """What somebody else changed of what we applied, as paths; [] when nothing (pure).

    A difference alone is no drift: the watch may show an apply of our own before its row is written. But then we own
    what differs, while a field that another manager wrote is that manager's in `metadata.managedFields`.
    """
    owners = _other_owners(resource)
    if resource.get("spec") != manifest["spec"] and "f:spec" in owners:
        changed = differences(manifest["spec"], resource.get("spec"), "spec", into_lists=False)
        return [f"{one.path} by {owners['f:spec']}" for one in changed]
    found = []
    for section in ("labels", "annotations"):
        live = resource["metadata"].get(section) or {}
        for name, value in manifest["metadata"].get(section, {}).items():
            owner = owners.get(f"f:{section}/f:{name}")
            if name not in live and name != TRUNCATED:
                found.append(f"metadata.{section}[{name}] removed")
            elif live.get(name) != value and owner:
                found.append(f"metadata.{section}[{name}] by {owner}")
    return found


def _handle(events: list[tuple[str, Resource]]) -> None:
    """Raises DatabaseError only."""
    names = [resource["metadata"]["name"] for _, resource in events]
    rows = {row.name: row for row in _rows(names)}
    for kind, resource in events:
        namespace, name = _key(resource)
        row = rows.get(name)
        if row is None or row.namespace != namespace:
            continue  # somebody else's
        try:
            _handle_one(kind, resource, row)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("RemediationRequest %s/%s not mirrored", namespace, name)


def _rows(names: list[str]) -> QuerySet[RemediationRequest]:
    """With what was seen of them last: `seen_status`, and whether they `differed` from what was applied."""
    differing = ObservedResource.objects.filter(request=OuterRef("pk"), body__isnull=False)
    rows = RemediationRequest.objects.filter(name__in=names).only(*ROW_FIELDS)
    return rows.annotate(seen_status=F("observed__status"), differed=Exists(differing))


def _handle_one(kind: str, resource: Resource, row: RemediationRequest) -> None:
    metadata = resource["metadata"]
    if kind == "DELETED":
        _take_deletion(row, metadata)
    elif not _is_older(metadata, row):
        _take_status(row, metadata, storable_status(resource))
        _take_difference(row, resource)


def _key(resource: Resource) -> tuple[str, str]:
    return resource["metadata"]["namespace"], resource["metadata"]["name"]


def _take_deletion(row: RemediationRequest, metadata: dict[str, Any]) -> None:
    # Another uid: it was deleted and has been made again since.
    if not row.uid or row.uid == metadata["uid"]:
        services.mirror_deleted(rr_id=row.id)


def _take_status(row: RemediationRequest, metadata: dict[str, Any], status: dict[str, Any]) -> None:
    phase, message = str(status.get("phase") or ""), str(status.get("message") or "")
    seen = row.seen_status or {}  # type: ignore[attr-defined]
    if (phase, message, status) != (row.phase, row.phase_message, seen):
        services.mirror_status(
            rr_id=row.id,
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            generation=int(metadata.get("generation", 0)),
            phase=phase,
            message=message,
            status=status,
        )


def _take_difference(row: RemediationRequest, resource: Resource) -> None:
    """Keep what the cluster has while it is not what was applied; correct it where it is somebody's edit."""
    # Most events are the echo of our own applies: told apart without reading the manifest.
    differed = row.differed  # type: ignore[attr-defined]
    if not (_other_owners(resource) or _lost_marks(resource) or differed):
        return
    if not row.manifest:
        return
    found = list(differences(owned(row.manifest), owned(resource)))
    if found or differed:
        body = storable(resource) if found else None
        services.mirror_difference(rr_id=row.id, apply_count=row.apply_count, body=body)
    changed = drift(resource, row.manifest)
    if changed:
        services.mirror_drift(rr_id=row.id, detail=", ".join(changed)[:MAX_DETAIL], changes=_told(found))


def _told(found: list[Difference]) -> list[dict[str, str | None]]:
    return [{"path": one.path, "applied": one.before, "found": one.after} for one in found[:MAX_CHANGES_TOLD]]


def _is_older(metadata: dict[str, Any], row: RemediationRequest) -> bool:
    """Whether the row already knows something newer, from the answer to an apply.

    resourceVersions of one object are ordered (Kubernetes says so since 1.35, etcd always did).
    """
    known, seen = row.resource_version, metadata["resourceVersion"]
    if metadata["uid"] != row.uid or not (known.isdecimal() and seen.isdecimal()):
        return False
    return int(seen) < int(known)


def _wanted_rows(label: str) -> Iterator[RemediationRequest]:
    """What the cluster must hold: applied to it once, and about something that is not over.

    Also what waits for another sync: if nothing else changed by then, that one would take the last for still there.
    """
    wanted = Q(storm__state=StormState.OPEN) | Q(storm__firing_count__gt=0) | Q(alert__status=AlertStatus.FIRING)
    states = [SyncState.APPLIED, SyncState.PENDING, SyncState.FAILED]
    applied = Q(sync_state__in=states, applied_at__isnull=False, cluster=label, superseded_by__isnull=True)
    return RemediationRequest.objects.filter(applied & wanted).only("id", "namespace", "name").iterator(chunk_size=2000)


def _other_owners(resource: Resource) -> dict[str, str]:
    """{"f:spec" | "f:labels/f:<name>" | "f:annotations/f:<name>": manager} of every manager but us."""
    owners: dict[str, str] = {}
    for entry in resource["metadata"].get("managedFields") or ():
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            continue
        fields = entry.get("fieldsV1") or {}
        if "f:spec" in fields:
            owners["f:spec"] = entry.get("manager") or "somebody"
        for section in ("f:labels", "f:annotations"):
            for name in fields.get("f:metadata", {}).get(section, {}):
                owners[f"{section}/{name}"] = entry.get("manager") or "somebody"
    return owners


def _lost_marks(resource: Resource) -> bool:
    """Whether something is gone that every resource of ours has; nobody owns what is not there."""
    metadata = resource["metadata"]
    return not (
        {MANAGED_BY, KIND_LABEL} <= (metadata.get("labels") or {}).keys()
        and CONSOLE_URL in (metadata.get("annotations") or {})
    )


def _backoff(failures: int) -> float:
    """Seconds: doubling, bounded, spread so that replicas do not come back all at once."""
    return min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.5)  # noqa: S311


def _retry_delay(error: Exception, failures: int) -> float:
    asked = error.retry_after if isinstance(error, ClusterUnavailable) else None
    return max(_backoff(failures), min(asked or 0.0, MAX_BACKOFF_SECONDS))
