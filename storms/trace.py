"""Why an alert is where it is, in words: the decision as it was recorded, step by step."""

from dataclasses import dataclass
from datetime import datetime

from storms.choices import AlertStatus, Disposition, Outcome
from storms.models import Alert


@dataclass(frozen=True, slots=True)
class Step:
    """One sentence or two; `at` is when it happened, where that is known."""

    text: str
    at: datetime | None = None


def decision_trace(alert: Alert) -> list[Step]:
    """What happened to the alert, in its order. Reads `storm`, `policy` and `remediation_request`: select them."""
    parts = (_reception, _policy, _decision, _afterwards, _repeats, _resolution, _resource)
    return [step for part in parts if (step := part(alert)) is not None]


def group_line(alert: Alert) -> str:
    labels = alert.group_labels
    return ", ".join(f"{name}={value or '(none)'}" for name, value in labels.items()) or "all alerts of the policy"


def _reception(alert: Alert) -> Step:
    status = "firing" if alert.occurrences else "resolved"
    started = f"by its own account it started at {alert.starts_at:%Y-%m-%d %H:%M:%S} UTC"
    return Step(
        f"Received {status} from the receiver “{alert.receiver}” ({alert.source}); {started}.", alert.received_at
    )


def _policy(alert: Alert) -> Step | None:
    if not alert.policy_version:
        return None
    name = alert.policy.name if alert.policy else "(deleted since)"
    reason = f": {alert.policy_reason}" if alert.policy_reason else ""
    return Step(f"Policy “{name}”, version {alert.policy_version}, took it{reason}. Its group is {group_line(alert)}.")


def _decision(alert: Alert) -> Step:
    words = {
        Outcome.STORM_OPENED: f"{_count(alert)}: it reached the threshold and opened the storm.",
        Outcome.AGGREGATED: f"A storm of {group_line(alert)} was open: it joined it.",
        Outcome.HELD: f"{_count(alert)}: below the threshold, so it was held{_until(alert)}, in case a storm comes.",
        Outcome.INDIVIDUAL: f"{_count(alert)}: below the threshold, and the policy holds nothing, so it got a "
        "RemediationRequest of its own at once.",
        Outcome.RESOLVED: "What came was its resolution: recorded, not counted.",
        Outcome.SILENCED: "An active silence matched: recorded, not counted.",
        Outcome.DEFERRED: "The store could not be reached: recorded, to be decided when it is back.",
        Outcome.DUPLICATE: "This episode was known: it did not count again.",
    }
    return Step(words.get(Outcome(alert.outcome), f"Answered “{alert.outcome}”."), alert.decided_at)


def _count(alert: Alert) -> str:
    """`7 of 10 in 60 s in namespace=payments`."""
    if alert.count is None or alert.threshold is None:
        return f"In {group_line(alert)}"
    window = _window_seconds(alert)
    within = f" in {window} s" if window else ""
    return f"{alert.count} of {alert.threshold}{within} in {group_line(alert)}"


def _window_seconds(alert: Alert) -> int | None:
    """The window it was counted in: its storm's, or the policy's if that has not changed since."""
    if alert.storm is not None:
        return alert.storm.window_seconds
    if alert.policy is not None and alert.policy.version == alert.policy_version:
        return alert.policy.window_seconds
    return None


def _until(alert: Alert) -> str:
    return f" until {alert.release_at:%H:%M:%S} UTC" if alert.release_at else ""


def _afterwards(alert: Alert) -> Step | None:
    """What became of it, where that is not what was answered."""
    disposition, outcome = alert.disposition, alert.outcome
    if disposition == Disposition.MEMBER and outcome in (Outcome.HELD, Outcome.INDIVIDUAL, Outcome.DEFERRED):
        opened = alert.storm.opened_at if alert.storm else None
        return Step("A storm of its group took it in.", opened)
    if disposition == Disposition.INDIVIDUAL and outcome == Outcome.HELD:
        return Step("No storm came: it was released and got a RemediationRequest of its own.", alert.release_at)
    if disposition == Disposition.HELD and outcome != Outcome.HELD:
        return Step(f"{_count(alert)}: below the threshold, so it is held{_until(alert)}.")
    words = {
        Disposition.HELD: "It still waits.",
        Disposition.DEFERRED: "It still waits for its decision.",
        Disposition.RESOLVED_WHILE_HELD: "It resolved while it was held: nothing was made for it.",
        Disposition.RESOLVED_UNSEEN: "It was never seen firing: nothing was made for it.",
    }
    text = words.get(Disposition(disposition))
    return Step(text) if text else None


def _repeats(alert: Alert) -> Step | None:
    if alert.occurrences < 2:
        return None
    return Step(f"Received firing {alert.occurrences} times so far; it counted once.", alert.last_seen_at)


def _resolution(alert: Alert) -> Step | None:
    if alert.status != AlertStatus.RESOLVED:
        return None
    times = "" if alert.resolutions < 2 else f" (received {alert.resolutions} times)"
    return Step(f"Resolved{times}.", alert.ends_at)


def _resource(alert: Alert) -> Step | None:
    request = getattr(alert, "remediation_request", None)
    if request is None:
        return None
    text = f"Its RemediationRequest {request.namespace}/{request.name} is {request.sync_state}"
    if request.phase:
        text += f", phase {request.phase}"
    if request.superseded_by_id:
        text += "; it is superseded by its storm's"
    return Step(f"{text}.", request.applied_at)
