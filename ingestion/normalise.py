"""From a source's fields to an incoming alert (pure): limits, severity, the resource that an alert is about."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ingestion.fingerprint import episode_id, fingerprint
from storms.incoming import IncomingAlert

MAX_LABELS = 100
MAX_LABEL_NAME = 256
MAX_LABEL_VALUE = 4_096
MAX_ANNOTATION_VALUE = 32_768
MAX_URL = 8_192
# What the columns take.
MAX_COLUMN = 512
EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)

_SEVERITIES = {
    "critical": "critical", "crit": "critical", "page": "critical", "emergency": "critical", "fatal": "critical",
    "error": "critical", "high": "critical", "major": "critical", "p1": "critical", "sev1": "critical",
    "info": "info", "information": "info", "informational": "info", "none": "info", "low": "info", "notice": "info",
    "debug": "info", "ok": "info",
}  # fmt: skip

# The narrowest resource first, as kube-state-metrics and the kubelet name them.
_RESOURCES = (
    ("pod", "Pod"), ("deployment", "Deployment"), ("statefulset", "StatefulSet"), ("daemonset", "DaemonSet"),
    ("replicaset", "ReplicaSet"), ("cronjob", "CronJob"), ("job_name", "Job"),
    ("horizontalpodautoscaler", "HorizontalPodAutoscaler"), ("persistentvolumeclaim", "PersistentVolumeClaim"),
    ("persistentvolume", "PersistentVolume"), ("ingress", "Ingress"), ("service", "Service"), ("node", "Node"),
    ("instance", "Instance"),
)  # fmt: skip


class BadAlert(ValueError):
    """One alert that cannot be taken in: a JSON pointer (from the alert) and what is wrong there."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


def incoming_alert(
    *,
    firing: bool,
    labels: dict[str, str],
    annotations: dict[str, str],
    starts_at: datetime,
    ends_at: datetime | None,
    generator_url: str,
) -> IncomingAlert:
    """Check the limits and derive what the rows need.

    Raises: BadAlert.
    """
    if not labels:
        raise BadAlert("/labels", "an alert needs at least one label")
    _check_strings("labels", labels, MAX_LABEL_VALUE)
    _check_strings("annotations", annotations, MAX_ANNOTATION_VALUE)
    started = _utc(starts_at)
    if not EARLIEST <= started <= LATEST:
        raise BadAlert("/startsAt", "no time of an alert: the episode cannot be told from others")
    if len(generator_url) > MAX_URL or "\x00" in generator_url:
        raise BadAlert("/generatorURL", f"{MAX_URL} characters at most, and no NUL")
    identity = fingerprint(labels)
    kind, name = _resource(labels, identity)
    return IncomingAlert(
        id=episode_id(identity, started),
        fingerprint=identity,
        firing=firing,
        starts_at=started,
        ends_at=_end(ends_at, started),
        labels=labels,
        annotations=annotations,
        generator_url=generator_url,
        alertname=labels.get("alertname", "")[:MAX_COLUMN],
        namespace=labels.get("namespace", "")[:MAX_COLUMN],
        severity=severity(labels),
        resource_kind=kind,
        resource_name=name[:MAX_COLUMN],
    )


def severity(labels: Mapping[str, str]) -> str:
    """critical, warning or info; a value that nobody knows is a warning, no value too."""
    return _SEVERITIES.get(labels.get("severity", "").strip().lower(), "warning")


def _resource(labels: Mapping[str, str], identity: str) -> tuple[str, str]:
    for label, kind in _RESOURCES:
        if labels.get(label):
            return kind, labels[label]
    return "Alert", identity[:16]


def _check_strings(field: str, values: Mapping[str, str], limit: int) -> None:
    if len(values) > MAX_LABELS:
        raise BadAlert(f"/{field}", f"{len(values)} {field}, {MAX_LABELS} at most")
    for name, value in values.items():
        if not 0 < len(name) <= MAX_LABEL_NAME:
            raise BadAlert(f"/{field}", f"a name of {len(name)} characters, 1 to {MAX_LABEL_NAME} are taken")
        if len(value) > limit:
            raise BadAlert(f"/{field}/{_escape(name)}", f"{len(value)} characters, {limit} at most")
        # PostgreSQL's text and jsonb cannot hold a NUL.
        if "\x00" in value or "\x00" in name:
            raise BadAlert(f"/{field}/{_escape(name)}", "contains a NUL character")


def _escape(name: str) -> str:
    """A JSON pointer's reference token (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1").replace("\x00", "\\0")


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _end(ends_at: datetime | None, started: datetime) -> datetime | None:
    """None where the source says "not ended" with the zero time."""
    ended = _utc(ends_at) if ends_at is not None else None
    return ended if ended is not None and started <= ended <= LATEST else None
