"""From a source's fields to an incoming alert (pure): limits, severity, the resource that an alert is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from ingestion.fingerprint import episode_id, fingerprint, key_fingerprint, keyed_episode_id
from storms.incoming import IncomingAlert

MAX_LABELS = 100
MAX_LABEL_NAME = 256
MAX_LABEL_VALUE = 4_096
MAX_ANNOTATION_VALUE = 32_768
MAX_URL = 8_192
MAX_KEY = 1_024
# What the columns take.
MAX_COLUMN = 512
MAX_KIND = 64
EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)

# The narrowest resource first, as kube-state-metrics and the kubelet name them.
_RESOURCES = (
    ("pod", "Pod"), ("deployment", "Deployment"), ("statefulset", "StatefulSet"), ("daemonset", "DaemonSet"),
    ("replicaset", "ReplicaSet"), ("cronjob", "CronJob"), ("job_name", "Job"),
    ("horizontalpodautoscaler", "HorizontalPodAutoscaler"), ("persistentvolumeclaim", "PersistentVolumeClaim"),
    ("persistentvolume", "PersistentVolume"), ("ingress", "Ingress"), ("service", "Service"), ("node", "Node"),
    ("instance", "Instance"),
)  # fmt: skip
# By kind; an instance is no kind of Kubernetes.
RESOURCE_LABELS = {kind: label for label, kind in _RESOURCES if label != "instance"}


class BadAlert(ValueError):
    """One alert that cannot be taken in: a JSON pointer (from the alert) and what is wrong there.

    reason: of which sort, a value of `ingestion.models.Reason`.
    """

    reason = "invalid"

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


class NotAllowed(BadAlert):
    """Nothing is wrong with the alert, but its receiver may not send it."""

    reason = "not_allowed"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a receiver adds and allows.

    scope: within it a key of the source's own is unique (see `incoming_alert`).
    static_labels: added to each alert; they win, and are part of its identity.
    allowed_namespaces: empty for all.
    """

    scope: str = ""
    static_labels: Mapping[str, str] = field(default_factory=dict)
    allowed_namespaces: frozenset[str] = frozenset()


ANY = Terms()


def incoming_alert(
    *,
    firing: bool,
    labels: dict[str, str],
    annotations: dict[str, str],
    starts_at: datetime,
    ends_at: datetime | None,
    generator_url: str,
    terms: Terms = ANY,
    key: str = "",
    resource: tuple[str, str] | None = None,
) -> IncomingAlert:
    """Check the limits, apply the receiver's terms, and derive what the rows need.

    Args:
        key: identifies the episode in place of (labels, startsAt), which then are only data.
        resource: (kind, name) of what the alert is about, where the source says so; else the labels tell.

    Raises: BadAlert.
    """
    if terms.static_labels:
        labels = {**labels, **terms.static_labels}
    if not labels:
        raise BadAlert("/labels", "an alert needs at least one label")
    _check_strings("labels", labels, MAX_LABEL_VALUE)
    _check_strings("annotations", annotations, MAX_ANNOTATION_VALUE)
    started = _utc(starts_at)
    if not EARLIEST <= started <= LATEST:
        raise BadAlert("/startsAt", "no time of an alert: the episode cannot be told from others")
    if len(generator_url) > MAX_URL or "\x00" in generator_url:
        raise BadAlert("/generatorURL", f"{MAX_URL} characters at most, and no NUL")
    if terms.allowed_namespaces:
        _check_namespace(labels, terms.allowed_namespaces)
    identity, id_ = _identity(labels, started, key, terms.scope)
    kind, name = resource or _resource(labels, identity)
    return IncomingAlert(
        id=id_,
        fingerprint=identity,
        firing=firing,
        starts_at=started,
        ends_at=_end(ends_at, started),
        labels=labels,
        annotations=annotations,
        generator_url=generator_url,
        alertname=labels.get("alertname", "")[:MAX_COLUMN],
        namespace=labels.get("namespace", "")[:MAX_COLUMN],
        resource_kind=kind[:MAX_KIND],
        resource_name=name[:MAX_COLUMN],
    )


def resolution_of(labels: dict[str, str], starts_at: datetime, at: datetime) -> IncomingAlert:
    """The end of an episode that a row has, with its labels, which no sender tells: it is over as of `at`.

    Raises: BadAlert, if the limits were wider when it came.
    """
    return incoming_alert(
        firing=False, labels=labels, annotations={}, starts_at=starts_at, ends_at=at, generator_url=""
    )


def _identity(labels: Mapping[str, str], started: datetime, key: str, scope: str) -> tuple[str, UUID]:
    """(fingerprint, id of the episode)."""
    if key:
        if len(key) > MAX_KEY:
            raise BadAlert("/id", f"{len(key)} characters, {MAX_KEY} at most")
        identity = key_fingerprint(scope, key)
        return identity, keyed_episode_id(identity)
    identity = fingerprint(labels)
    return identity, episode_id(identity, started)


def _check_namespace(labels: Mapping[str, str], allowed: frozenset[str]) -> None:
    namespace = labels.get("namespace", "")
    if namespace not in allowed:
        shown = f"namespace {namespace[:100]!r}" if namespace else "an alert without a namespace"
        raise NotAllowed("/labels/namespace", f"{shown}: this receiver may send only for {_listed(allowed)}")


def _listed(names: frozenset[str]) -> str:
    first = sorted(names)[:5]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
