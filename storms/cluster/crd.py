"""The custom resource: its names and its schema, from `deploy/crd.yaml`."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

GROUP = "stormconsole.io"
VERSION = "v1alpha1"
PLURAL = "remediationrequests"
KIND = "RemediationRequest"
API_VERSION = f"{GROUP}/{VERSION}"
CRD_NAME = f"{PLURAL}.{GROUP}"
CRD_PATH = Path(__file__).resolve().parents[2] / "deploy" / "crd.yaml"


@lru_cache(maxsize=1)
def custom_resource_definition() -> dict[str, Any]:
    """The CustomResourceDefinition, shared: do not change it."""
    loaded: dict[str, Any] = yaml.safe_load(CRD_PATH.read_text())
    return loaded


@lru_cache(maxsize=1)
def openapi_schema() -> dict[str, Any]:
    """`openAPIV3Schema` of the served version, shared: do not change it."""
    [version] = [v for v in custom_resource_definition()["spec"]["versions"] if v["name"] == VERSION]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema
