"""Why an alert is where it is, in words: the decision as it was recorded, step by step."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from storms.choices import AlertStatus, Disposition, EventKind, Outcome
from storms.models import Alert, Storm, StormEvent


@dataclass(frozen=True, slots=True)
class Step:
    """One sentence or two; `at` is when it happened, where that is known; `url` leads to the cause, named `link`."""

    text: str
    at: datetime | None = None
    url: str = ""
    link: str = ""


def decision_trace(alert: Alert) -> list[Step]:
    """What happened to the alert, in its order.

    Reads `storm`, `split_from`, `policy` and `remediation_request`: select them.
    """
    return _steps(alert, *_DECIDING, _afterwards, _merge, _split, _repeats, _resolution, _resource)


def opening_trace(alert: Alert) -> list[Step]:
    """What was decided about the alert that opened a storm, in its order; reads what `decision_trace` does."""
    return _steps(alert, *_DECIDING)


def _steps(alert: Alert, *parts: Callable[[Alert], Step | None]) -> list[Step]:
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


def _flapping(alert: Alert) -> Step | None:
    if not alert.flapping:
        return None
    policy = _policy_as_it_was(alert)
    once = "; the policy counts its episodes once" if policy is not None and policy.count_flapping_once else ""
    return Step(f"It flaps: it had fired anew three times within the hour before{once}.")


def _decision(alert: Alert) -> Step:
    """What was answered when it came in."""
    if alert.outcome == Outcome.SILENCED:
        return _silenced(alert)
    if alert.outcome == Outcome.DEFERRED:
        return Step("The store could not be reached: recorded, to be decided when it is back.", alert.received_at)
    words = _DECIDED.get(Outcome(alert.outcome))
    return Step(words(alert) if words else f"Answered “{alert.outcome}”.", alert.decided_at)


def _opened(alert: Alert) -> str:
    return f"{_count(alert)}: it reached the threshold and opened the storm."


def _joined(alert: Alert) -> str:
    if _reopened(alert):
        return f"The storm of {group_line(alert)} had closed, but so shortly before that it reopened it and joined it."
    return f"A storm of {group_line(alert)} was open: it joined it."


def _reopened(alert: Alert) -> bool:
    storm = alert.storm or alert.split_from
    if storm is None or storm.reopened_at is None or alert.decided_at is None:
        return False
    return StormEvent.objects.filter(storm=storm, kind=EventKind.REOPENED, at=alert.decided_at).exists()


def _held(alert: Alert) -> str:
    return f"{_count(alert)}: below the threshold, so it was held{_until(alert)}, in case a storm comes."


def _individual(alert: Alert) -> str:
    return (
        f"{_count(alert)}: below the threshold, and the policy holds nothing, so it got a RemediationRequest "
        "of its own at once."
    )


_DECIDED: dict[Outcome, Callable[[Alert], str]] = {
    Outcome.STORM_OPENED: _opened,
    Outcome.AGGREGATED: _joined,
    Outcome.HELD: _held,
    Outcome.INDIVIDUAL: _individual,
    Outcome.RESOLVED: lambda _: "What came was its resolution: recorded, not counted.",
    Outcome.DUPLICATE: lambda _: "This episode was known: it did not count again.",
}


def _silenced(alert: Alert) -> Step:
    """The silence's row is asked for by name: `storms` does not import `ingestion`."""
    model = apps.get_model("ingestion", "Silence")
    silence = model.objects.filter(id=alert.silence_id).first() if alert.silence_id else None
    if silence is None:
        number = f" (number {alert.silence_id}, deleted since)" if alert.silence_id else ""
        return Step(f"An active silence{number} matched: recorded, not counted.", alert.received_at)
    matchers = ", ".join(silence.matchers.split("\n"))
    text = f"Silence {silence.id} of {silence.author} matched ({matchers}); {_lasts(silence)}: recorded, not counted."
    url = reverse("admin:ingestion_silence_change", args=[silence.id]) if admin.site.is_registered(model) else ""
    return Step(text, alert.received_at, url, "The silence")


def _lasts(silence: Any) -> str:
    every = "a weekly window, " if silence.weekdays else ""
    if silence.ends_at is None:
        return f"{every}active until it is ended by hand"
    return f"{every}active until {silence.ends_at:%Y-%m-%d %H:%M:%S} UTC"


def _late_decision(alert: Alert) -> Step | None:
    """What was decided about an alert that could not be, or was not to be, when it came in."""
    because = {
        Outcome.DEFERRED: "The store came back, and it counted as of its receipt.",
        Outcome.SILENCED: "It was sent again, still firing, when no silence matched any more.",
    }.get(Outcome(alert.outcome))
    if because is None or alert.decided_at is None:
        return None
    storm = alert.storm or alert.split_from
    if storm is not None and storm.opened_by == alert.id:
        decided = _opened(alert)
    elif alert.release_at is not None:
        decided = _held(alert)
    elif alert.split_from is not None or (storm is not None and not hasattr(alert, "remediation_request")):
        decided = _joined(alert)
    else:
        decided = _individual(alert)
    return Step(f"{because} {decided}", None if alert.outcome == Outcome.DEFERRED else alert.decided_at)


_DECIDING = (_reception, _policy, _flapping, _decision, _late_decision)


def _count(alert: Alert) -> str:
    """`7 of 10 in 60 s in namespace=payments`."""
    if alert.count is None or alert.threshold is None:
        return f"In {group_line(alert)}"
    window = _window_seconds(alert)
    within = f" in {window} s" if window else ""
    return f"{alert.count} of {alert.threshold}{within} in {group_line(alert)}"


def _window_seconds(alert: Alert) -> int | None:
    """The window it was counted in: its storm's, or the policy's if that has not changed since."""
    storm, policy = alert.storm or alert.split_from, _policy_as_it_was(alert)
    if storm is not None:
        return storm.window_seconds
    return policy.window_seconds if policy is not None else None


def _policy_as_it_was(alert: Alert) -> Any:
    """The policy, unless it was changed or deleted since."""
    return alert.policy if alert.policy is not None and alert.policy.version == alert.policy_version else None


def _until(alert: Alert) -> str:
    return f" until {alert.release_at:%H:%M:%S} UTC" if alert.release_at else ""


def _afterwards(alert: Alert) -> Step | None:
    """What became of it by itself, where that is not what was answered."""
    storm = alert.storm or alert.split_from
    waited = alert.release_at is not None or alert.outcome == Outcome.HELD
    if storm is not None:
        absorbed = storm.opened_by != alert.id and (waited or alert.outcome == Outcome.INDIVIDUAL)
        # After a merge it is another storm that took it in.
        opened = storm.opened_at if storm.group_key == alert.group_key else None
        return Step("A storm of its group took it in.", opened) if absorbed else None
    if alert.disposition == Disposition.INDIVIDUAL and waited:
        return Step("No storm came: it was released and got a RemediationRequest of its own.", alert.release_at)
    words = {
        Disposition.HELD: "It still waits.",
        Disposition.DEFERRED: "It still waits for its decision.",
        Disposition.RESOLVED_WHILE_HELD: "It resolved while it was held: nothing was made for it.",
        Disposition.RESOLVED_UNSEEN: "It was never seen firing: nothing was made for it.",
    }
    text = words.get(Disposition(alert.disposition))
    return Step(text) if text else None


def _merge(alert: Alert) -> Step | None:
    """Its group's storm was merged into the one that it is in, or was split out of."""
    storm = alert.storm or alert.split_from
    if storm is None or storm.group_key == alert.group_key:
        return None
    merged = Storm.objects.filter(group_key=alert.group_key, merged_into__isnull=False).order_by("-closed_at").first()
    if merged is None:
        return None
    event = merged.events.filter(kind=EventKind.MERGED).order_by("-at").first()
    by = f" by {event.actor}" if event is not None and event.actor else ""
    return Step(f"Its storm was merged into that of {storm.group_title}{by}.", merged.closed_at)


def _split(alert: Alert) -> Step | None:
    if alert.split_from is None:
        return None
    events = alert.split_from.events.filter(kind=EventKind.SPLIT, message__endswith=f"alert-{alert.id}")
    event = events.order_by("-at").first()
    who = event.actor if event is not None and event.actor else "An operator"
    text = f"{who} split it out of the storm of {alert.split_from.group_title}: it has a RemediationRequest of its own."
    return Step(text, event.at if event is not None else None)


def _repeats(alert: Alert) -> Step | None:
    if alert.occurrences < 2:
        return None
    counted = "it counted once" if alert.decided_at else "it did not count"
    return Step(f"Received firing {alert.occurrences} times so far; {counted}.", alert.last_seen_at)


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
