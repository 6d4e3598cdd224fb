"""Which cluster is configured, found without importing `kubernetes`: the web process shows it on every page."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings

from storms.cluster.base import LOCAL

MAX_LABEL = 200


def cluster_label() -> str:
    """`local`, or the API server's address; a KUBECONFIG that cannot be read is named instead of it."""
    if settings.KUBECONFIG:
        return _kubeconfig_server(settings.KUBECONFIG)
    if settings.KUBERNETES_IN_CLUSTER:
        return _in_cluster_server()
    return LOCAL


def is_local() -> bool:
    return cluster_label() == LOCAL


def _kubeconfig_server(kubeconfig: str) -> str:
    try:
        return _server_of(kubeconfig)
    except (OSError, ValueError, yaml.YAMLError, StopIteration, LookupError, TypeError, AttributeError):
        return f"unreadable KUBECONFIG {kubeconfig}"[:MAX_LABEL]


@lru_cache(maxsize=8)
def _server_of(kubeconfig: str) -> str:
    """`cluster.server` of the current context. Several files may be joined with ':', the first that says wins."""
    files = [yaml.safe_load(Path(path).expanduser().read_text()) for path in kubeconfig.split(os.pathsep) if path]
    current = next(file["current-context"] for file in files if file.get("current-context"))
    context = _named(files, "contexts", current)["context"]
    server: str = _named(files, "clusters", context["cluster"])["cluster"]["server"]
    return server.rstrip("/")[:MAX_LABEL]


def _named(files: list[dict[str, Any]], section: str, name: str) -> dict[str, Any]:
    return next(item for file in files for item in file.get(section) or () if item["name"] == name)


def _in_cluster_server() -> str:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
