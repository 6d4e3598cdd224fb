"""Valid rows for tests. Each function takes the fields that matter to the test and fills in the rest."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, Permission

from ingestion.models import DeadLetter, Delivery, Receiver
from stormconsole.tokens import hash_token, new_token
from storms.models import Alert, RemediationRequest, Storm, StormEvent, StormPolicy

NOW = datetime(2026, 11, 16, 10, 30, tzinfo=UTC)
"""A Monday; rows without a given time are of then, so that literal expectations can be written."""
_numbers = count(1)


def number() -> int:
    """Unique in this process."""
    return next(_numbers)


def group_key(labels: dict[str, str]) -> str:
    return sha256(repr(sorted(labels.items())).encode()).hexdigest()


def make_policy(**fields: Any) -> StormPolicy:
    return StormPolicy.objects.create(**{"name": f"policy-{number()}", "matchers": 'team="checkout"'} | fields)


def make_storm(**fields: Any) -> Storm:
    """An open storm of a namespace of its own; `group_labels` decides the group."""
    labels = fields.setdefault("group_labels", {"namespace": f"ns-{number()}"})
    opened_at = fields.get("opened_at", NOW)
    defaults = {
        "id": uuid4(),
        "policy_name": "default",
        "policy_version": 1,
        "group_key": group_key(labels),
        "threshold": 10,
        "window_seconds": 60,
        "quiet_seconds": 300,
        "max_duration_seconds": 14_400,
        "opened_at": opened_at,
        "opened_by": uuid4(),
        "last_alert_at": opened_at,
        "severity": "critical",
        "severity_counts": {"critical": 10},
        "alert_names": [{"name": "HighLatency", "count": 10}],
        "alert_count": 10,
        "firing_count": 10,
    }
    return Storm.objects.create(**defaults | fields)


def make_closed_storm(**fields: Any) -> Storm:
    """Closed and without firing alerts, unless `firing_count` says otherwise (settled)."""
    opened_at = fields.get("opened_at", NOW)
    closed = {"state": "closed", "close_reason": "resolved", "closed_at": opened_at + timedelta(minutes=9)}
    return make_storm(**closed | {"firing_count": 0, "resolved_count": 10} | fields)


def make_alert(**fields: Any) -> Alert:
    """A firing alert that gets its own RemediationRequest; `storm=` makes it a member."""
    n = number()
    namespace = fields.get("namespace", "payments")
    labels = fields.get("labels") or {"alertname": "HighLatency", "namespace": namespace, "pod": f"api-{n}"}
    received_at = fields.get("received_at", NOW)
    storm = fields.get("storm")
    group = storm.group_labels if storm else {"namespace": namespace}
    defaults = {
        "id": uuid4(),
        "fingerprint": sha256(f"{n}".encode()).hexdigest(),
        "starts_at": received_at - timedelta(seconds=30),
        "status": "firing",
        "outcome": "aggregated" if storm else "individual",
        "disposition": "member" if storm else "individual",
        "alertname": labels.get("alertname", ""),
        "namespace": namespace,
        "severity": "critical",
        "resource_kind": "Pod",
        "resource_name": labels.get("pod", "api"),
        "labels": labels,
        "annotations": {"summary": "p99 above 2 s"},
        "receiver": "alertmanager",
        "source": "alertmanager",
        "delivery_id": uuid4(),
        "received_at": received_at,
        "last_seen_at": received_at,
        "occurrences": 1,
        "policy_version": 1,
        "policy_reason": "default: the only policy that matches",
        "group_key": group_key(group),
        "group_labels": group,
        "decided_at": received_at,
        "count": 3,
        "threshold": 10,
    }
    return Alert.objects.create(**defaults | fields)


def make_held_alert(**fields: Any) -> Alert:
    received_at = fields.get("received_at", NOW)
    held = {"outcome": "held", "disposition": "held", "release_at": received_at + timedelta(seconds=10)}
    return make_alert(**held | fields)


def make_request(*, storm: Storm | None = None, alert: Alert | None = None, **fields: Any) -> RemediationRequest:
    """The RemediationRequest of the storm or the alert, applied; of a new alert when neither is given."""
    owner = storm or alert or make_alert()
    kind = "storm" if storm else "alert"
    name = f"{kind}-{owner.id}"
    defaults = {
        "id": owner.id,
        "kind": kind,
        "storm": storm,
        "alert": None if storm else owner,
        "name": name,
        "namespace": "payments",
        "created_at": NOW,
        "applied_version": 1,
        "sync_state": "applied",
        "applied_at": NOW,
        "apply_count": 1,
        "cluster": "local",
        "manifest": make_manifest(name),
    }
    return RemediationRequest.objects.create(**defaults | fields)


def make_manifest(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "remediationrequests.stormconsole.io/v1alpha1",
        "kind": "RemediationRequest",
        "metadata": {"name": name, "namespace": "payments"},
        "spec": {"severity": "critical", "signalName": "HighLatency"},
    }


def make_event(storm: Storm, **fields: Any) -> StormEvent:
    defaults = {"kind": "opened", "at": storm.opened_at, "message": "10 alerts in 60 s reached the threshold of 10"}
    return StormEvent.objects.create(storm=storm, **defaults | fields)


def make_receiver(**fields: Any) -> Receiver:
    defaults = {"name": f"receiver-{number()}", "token_hash": hash_token(new_token("test"))}
    return Receiver.objects.create(**defaults | fields)


def make_delivery(**fields: Any) -> Delivery:
    defaults = {
        "id": uuid4(),
        "kind": "alertmanager",
        "received_at": NOW,
        "remote_addr": "192.0.2.7",
        "http_status": 202,
        "body_bytes": 2_048,
        "received": 3,
        "outcomes": {"aggregated": 2, "duplicate": 1},
    }
    return Delivery.objects.create(**defaults | fields)


def make_dead_letter(**fields: Any) -> DeadLetter:
    delivery = fields.setdefault("delivery", None) or make_delivery(outcomes={"rejected": 1}, received=1)
    defaults = {
        "receiver": delivery.receiver,
        "received_at": delivery.received_at,
        "index": 0,
        "raw": '{"labels": {"alertname": 7}}',
        "pointer": "/alerts/0/labels/alertname",
        "error": "expected a string",
    }
    return DeadLetter.objects.create(**defaults | fields | {"delivery": delivery})


def make_user(username: str = "viewer", *permissions: str, **fields: Any) -> AbstractUser:
    """A user with permissions such as `storms.view_storm`; without a password, which takes long to hash."""
    user: AbstractUser = get_user_model().objects.create_user(username, **fields)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def make_admin(username: str = "admin") -> AbstractUser:
    user: AbstractUser = get_user_model().objects.create_superuser(username)
    return user
