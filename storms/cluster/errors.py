"""What can go wrong with a cluster, in our own words: no exception of an HTTP or Kubernetes library leaves the package.

`reason` is Kubernetes' own word where it gave one ("Conflict", "Invalid", "NamespaceTerminating") or ours.
"""


class ClusterError(Exception):
    """Any failure of a call to the cluster. The message says what is wrong, where, and what to do."""

    default_reason = "Unknown"
    retryable = False
    """Whether the same call, repeated later, can succeed without anybody changing something."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason


class ClusterUnavailable(ClusterError):
    """Not reached, too slow, overloaded or failing inside (network, timeout, 429, 5xx). Repeat later."""

    default_reason = "Unavailable"
    retryable = True

    def __init__(self, message: str, reason: str = "", *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds that the server asked to wait, or None."""
        super().__init__(message, reason)
        self.retry_after = retry_after


class ClusterConflict(ClusterError):
    """409: somebody else wrote at the same moment. Repeat."""

    default_reason = "Conflict"
    retryable = True


class NamespaceMissing(ClusterError):
    """The namespace does not exist or is being deleted. Apply to another one."""

    default_reason = "NamespaceMissing"


class ManifestRejected(ClusterError):
    """The cluster understood the manifest and refuses it (400, 413, 422). Repeating it as it is cannot help."""

    default_reason = "Invalid"


class ClusterForbidden(ClusterError):
    """401 or 403: our credentials are not accepted, or lack a right. Somebody has to act, then a repeat succeeds."""

    default_reason = "Forbidden"


class ResourceExpired(ClusterError):
    """410: the resourceVersion of a watch is too old. List again."""

    default_reason = "Expired"


class CrdMissing(ClusterError):
    """The cluster does not know RemediationRequests. Install the CRD, then a repeat succeeds."""

    default_reason = "CrdMissing"
