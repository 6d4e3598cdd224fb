"""A real cluster: each verb is one call."""

import json
import socket
from collections.abc import Iterator
from urllib.parse import quote

import urllib3

from storms.cluster import crd
from storms.cluster.base import FIELD_MANAGER, Applied, Resource, Resources
from storms.cluster.connection import Connection, NotFound, error_of_status
from storms.cluster.errors import ClusterUnavailable
from storms.cluster.yaml_json import yaml_json

APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
PAGE_SIZE = 100
"""Resources per page of a list: at 512 KiB each, 50 MiB at most in one answer."""
WATCH_GRACE_SECONDS = 10.0
"""How long after its end a watch may stay silent before the connection counts as dead."""

_BASE = f"/apis/{crd.GROUP}/{crd.VERSION}"


class KubernetesCluster:
    """See `Cluster`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watching: urllib3.BaseHTTPResponse | None = None
        self._stopped = False
        self.label = connection.host

    def apply(self, manifest: Resource) -> Applied:
        """Force: the console owns the spec, so what somebody edited by hand is taken back.

        Raises NamespaceMissing, ManifestRejected, ClusterForbidden, CrdMissing, ClusterConflict, ClusterUnavailable.
        """
        metadata = manifest["metadata"]
        resource = self._connection.request(
            "PATCH",
            _path(metadata["namespace"], metadata["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=yaml_json(manifest),
            content_type=APPLY,
        )
        return Applied.from_resource(resource)

    def get(self, namespace: str, name: str) -> Resource | None:
        try:
            return self._connection.request("GET", _path(namespace, name))
        except NotFound:
            return None

    def delete(self, namespace: str, name: str, *, resource_version: str = "") -> bool:
        body = {"preconditions": {"resourceVersion": resource_version}} if resource_version else None
        try:
            self._connection.request("DELETE", _path(namespace, name), body=body)
        except NotFound:
            return False
        return True

    def list(self) -> tuple[Resources, str]:
        pages = [*self.pages()]
        return [resource for resources, _ in pages for resource in resources], pages[-1][1]

    def pages(self) -> Iterator[tuple[Resources, str]]:
        """All pages show the state of one moment.

        Raises ResourceExpired when that moment got too old before the last page: list again.
        """
        query = {"limit": str(PAGE_SIZE)}
        while True:
            page = self._connection.request("GET", f"{_BASE}/{crd.PLURAL}", query=query)
            metadata = page.get("metadata") or {}
            yield page.get("items") or [], str(metadata.get("resourceVersion", ""))
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    def watch(self, resource_version: str, timeout_seconds: int) -> Iterator[tuple[str, Resource]]:
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            "allowWatchBookmarks": "true",
        }
        path = f"{_BASE}/{crd.PLURAL}"
        response = self._connection.stream(path, query=query, read_seconds=timeout_seconds + WATCH_GRACE_SECONDS)
        self._watching = response
        try:
            # stop_watch may have come while the watch was being opened.
            if not self._stopped:
                yield from self._events(response)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if not self._stopped:
                raise self._connection.unavailable(f"WATCH {path}", error) from error
        finally:
            self._watching = None
            response.close()

    def stop_watch(self) -> None:
        self._stopped = True
        response = self._watching
        sock = getattr(getattr(response, "connection", None), "sock", None)
        if sock is not None:
            try:
                # close() would wait for the read that it is meant to end.
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def patch_status(self, namespace: str, name: str, status: Resource) -> None:
        self._connection.request(
            "PATCH", f"{_path(namespace, name)}/status", body={"status": status}, content_type=MERGE_PATCH
        )

    def _events(self, response: urllib3.BaseHTTPResponse) -> Iterator[tuple[str, Resource]]:
        for line in _lines(response):
            try:
                event = json.loads(line)
                kind, resource = str(event["type"]), event["object"]
            except (ValueError, LookupError, TypeError) as error:
                raise ClusterUnavailable(f"{self.label} sent a watch event that is none", "BadAnswer") from error
            if kind == "ERROR":
                raise error_of_status(int(resource.get("code", 500)), resource, "a running WATCH", self.label)
            yield kind, resource


def _path(namespace: str, name: str) -> str:
    return f"{_BASE}/namespaces/{quote(namespace, safe='')}/{crd.PLURAL}/{quote(name, safe='')}"


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Whole lines, each as soon as it is there. An unfinished last line is dropped: its event comes again."""
    rest = b""
    for chunk in response.stream(None):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
