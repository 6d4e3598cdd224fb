"""Put the CRD into a cluster, and ask whether it is there."""

import time
from typing import Any

from storms.cluster import crd
from storms.cluster.base import FIELD_MANAGER
from storms.cluster.connection import Connection, NotFound
from storms.cluster.errors import ClusterUnavailable, CrdMissing
from storms.cluster.yaml_json import yaml_json

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_DISCOVERY = f"/apis/{crd.GROUP}/{crd.VERSION}"
_POLL_SECONDS = 0.1


def install_crd(connection: Connection, *, wait_seconds: float = 30) -> None:
    """Apply `deploy/crd.yaml`, then wait until the API server serves it. A repeat updates it.

    Raises ClusterErrors; ClusterUnavailable when it is not served after `wait_seconds`.
    """
    connection.request(
        "PATCH",
        f"{_DEFINITIONS}/{crd.CRD_NAME}",
        query={"fieldManager": FIELD_MANAGER, "force": "true"},
        body=yaml_json(crd.custom_resource_definition()),
        content_type="application/apply-patch+yaml",
    )
    deadline = time.monotonic() + wait_seconds
    while not (_is_established(connection) and is_served(connection)):
        if time.monotonic() > deadline:
            raise ClusterUnavailable(f"{connection.host} does not serve {crd.CRD_NAME} after {wait_seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


def is_served(connection: Connection) -> bool:
    """Whether RemediationRequests can be used now. Every account may ask."""
    try:
        resources = connection.request("GET", _DISCOVERY).get("resources") or ()
    except (CrdMissing, NotFound):
        return False
    return any(resource.get("name") == crd.PLURAL for resource in resources)


def _is_established(connection: Connection) -> bool:
    definition = connection.request("GET", f"{_DEFINITIONS}/{crd.CRD_NAME}")
    conditions: list[dict[str, Any]] = definition.get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
