"""HTTP to the API server through the official client: credentials, timeouts, pooling, and errors in our own words.

Only `remote` and `install` import this module, so that the web process never loads `kubernetes`.
"""

import json
import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import RESTResponse
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from storms.cluster.errors import (
    ClusterConflict,
    ClusterError,
    ClusterForbidden,
    ClusterUnavailable,
    CrdMissing,
    ManifestRejected,
    NamespaceMissing,
    ResourceExpired,
)

logger = logging.getLogger(__name__)

# A full pool is no event: more threads than POOL_SIZE share it for a moment.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

POOL_SIZE = 32
MAX_ERROR_TEXT = 2_000
UNAUTHORIZED = 401

Configure = Callable[[Configuration], None]


class NotFound(ClusterError):
    """404 of one object. Stays inside this package: absence is an answer, not an error."""

    default_reason = "NotFound"


def from_kubeconfig(path: str) -> Configure:
    """Credentials of a kubeconfig's current context; several files may be joined with ':'."""

    def configure(configuration: Configuration) -> None:
        load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)

    return configure


def from_service_account() -> Configure:
    """Credentials of the pod we run in; the client reads the rotated token again every minute."""

    def configure(configuration: Configuration) -> None:
        load_incluster_config(client_configuration=configuration)

    return configure


class Connection:
    """One API server. Safe for threads."""

    def __init__(self, configure: Configure, *, timeout_seconds: float) -> None:
        """Raises ClusterUnavailable when the credentials cannot be read."""
        self._configure = configure
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._client = self._connect()
        self.host: str = self._client.configuration.host

    def request(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: Any = None, content_type: str = ""
    ) -> dict[str, Any]:
        """The parsed answer of one call. Raises ClusterErrors; `path` must be quoted."""
        what = f"{method} {path}"
        response = self._send(what, method, path, query or {}, body, content_type, self._timeout_seconds)
        return _parse(self._read(what, response), what, self.host)

    def stream(self, path: str, *, query: dict[str, str], read_seconds: float) -> urllib3.BaseHTTPResponse:
        """An open answer to read line by line; the caller closes it. `read_seconds`: the longest silence."""
        what = f"WATCH {path}"
        timeout = (self._timeout_seconds, read_seconds)
        return self._send(what, "GET", path, query, None, "", timeout).response

    def unavailable(self, what: str, error: Exception) -> ClusterUnavailable:
        """A network failure in our words."""
        # NewConnectionError is a timeout by its class only.
        timed_out = isinstance(error, urllib3.exceptions.TimeoutError)
        refused = isinstance(error, urllib3.exceptions.NewConnectionError)
        reason = "Timeout" if timed_out and not refused else "Unreachable"
        detail = str(error).replace("\n", " ")[:MAX_ERROR_TEXT]
        return ClusterUnavailable(f"{self.host} not reached for {what}: {detail}", reason)

    def _send(
        self, what: str, method: str, path: str, query: dict[str, str], body: Any, content_type: str, timeout: Any
    ) -> RESTResponse:
        client = self._client
        response = self._send_once(client, what, method, path, query, body, content_type, timeout)
        if response.status == UNAUTHORIZED:
            # A kubeconfig or token file may have been rewritten since we read it.
            response.read()
            client = self._reconnect(client)
            response = self._send_once(client, what, method, path, query, body, content_type, timeout)
        if not 200 <= response.status <= 299:
            raise _error_of(response, self._read(what, response), what, self.host)
        return response

    def _send_once(
        self,
        client: ApiClient,
        what: str,
        method: str,
        path: str,
        query: dict[str, str],
        body: Any,
        content_type: str,
        timeout: Any,
    ) -> RESTResponse:
        headers = {"Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        resource_path = f"{path}?{urlencode(query)}" if query else path
        try:
            call = client.param_serialize(
                method, resource_path, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            return client.call_api(*call, _request_timeout=timeout)
        except (urllib3.exceptions.HTTPError, ApiException, ConfigException, OSError) as error:
            raise self.unavailable(what, error) from error

    def _read(self, what: str, response: RESTResponse) -> bytes:
        try:
            return response.read() or b""
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.unavailable(what, error) from error

    def _connect(self) -> ApiClient:
        configuration = Configuration()
        configuration.connection_pool_maxsize = POOL_SIZE
        # Retries are the rows' business: they wait longer, survive a restart and are seen by people.
        configuration.retries = False
        configuration.keep_alive = True
        try:
            self._configure(configuration)
        except (ConfigException, OSError, ValueError, LookupError, TypeError) as error:
            raise ClusterUnavailable(
                f"the cluster's credentials cannot be read: {error}; check KUBECONFIG", "BadConfiguration"
            ) from error
        if not configuration.verify_ssl:
            logger.warning("the kubeconfig switches TLS verification off: %s could be anybody", configuration.host)
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        return ApiClient(configuration)

    def _reconnect(self, used: ApiClient) -> ApiClient:
        """A client with the credentials read again, unless another thread already did so."""
        with self._lock:
            if self._client is used:
                self._client = self._connect()
            return self._client


def connect(kubeconfig: str, *, timeout_seconds: float) -> Connection:
    """Through a kubeconfig's current context, "" for the pod's own service account."""
    configure = from_kubeconfig(kubeconfig) if kubeconfig else from_service_account()
    return Connection(configure, timeout_seconds=timeout_seconds)


def _parse(body: bytes, what: str, host: str) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise ClusterUnavailable(f"{host} answered {what} with something that is no JSON", "BadAnswer") from error
    if not isinstance(parsed, dict):
        raise ClusterUnavailable(f"{host} answered {what} with something that is no object", "BadAnswer")
    return parsed


def _error_of(response: RESTResponse, body: bytes, what: str, host: str) -> ClusterError:
    return error_of_status(response.status, _status(body), what, host, response.headers.get("Retry-After"))


def _status(body: bytes) -> dict[str, Any]:
    """Kubernetes' `Status` object; a proxy in between, or an unknown path, answers plain text instead."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return status
    return {"message": body.decode("utf-8", "replace").strip()}


def error_of_status(
    code: int, status: dict[str, Any], what: str, host: str, retry_after: str | None = None
) -> ClusterError:
    """The error for an HTTP status and Kubernetes' `Status` body (an `ERROR` event of a watch has the same)."""
    reason = str(status.get("reason") or "")
    said = str(status.get("message") or "no message")[:MAX_ERROR_TEXT]
    message = f"{host} answered {code} to {what}: {said}"
    details = status.get("details") or {}
    causes = {cause.get("reason") for cause in details.get("causes") or ()}
    if code == 404:
        return _not_found(details, reason, message)
    if "NamespaceTerminating" in causes:
        return NamespaceMissing(message, "NamespaceTerminating")
    if code in (401, 403):
        return ClusterForbidden(f"{message}; check the account against deploy/rbac.yaml", reason)
    if code == 409:
        return ClusterConflict(message, reason)
    if code == 410:
        return ResourceExpired(message, reason)
    if code in (400, 413, 422):
        return ManifestRejected(message, reason)
    # An unknown field or a wrong type, which server-side apply answers with a 500 (1.36). Usually the CRD is older
    # than this console.
    if "failed to create typed patch object" in said:
        return ManifestRejected(f"{message}; is the CRD this version's? run manage.py install_crd", "SchemaMismatch")
    if code == 429 or code >= 500:
        return ClusterUnavailable(message, reason, retry_after=_seconds(retry_after))
    return ClusterError(message, reason)


def _not_found(details: dict[str, Any], reason: str, message: str) -> ClusterError:
    if details.get("kind") == "namespaces":
        return NamespaceMissing(message, reason)
    if details.get("name"):
        return NotFound(message, reason)
    return CrdMissing(f"{message}; the CRD is not installed: run manage.py install_crd", "CrdMissing")


def _seconds(retry_after: str | None) -> float | None:
    """Kubernetes sends whole seconds; a date, which HTTP allows too, is not worth parsing."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
