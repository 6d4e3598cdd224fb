"""A silence like a storm or an alert: the matchers to begin with, and the labels that would make them narrower."""

from collections.abc import Mapping
from dataclasses import dataclass

from storms.breakdown import breakdown_of
from storms.matchers import Matcher, MatcherError, parse_matchers
from storms.models import Alert, Storm

MAX_LABELS = 12
MIN_SHARE = 0.1
"""Of a storm's alerts that have a label value offered, unless it is a suspect."""
FIRST = ("alertname", "namespace")


@dataclass(frozen=True, slots=True)
class Label:
    """A label value to add; `share` of the storm's alerts have it, from 0 to 1, None for an alert's own."""

    matcher: Matcher
    share: float | None = None

    def added_to(self, matchers: str) -> str:
        return f"{matchers.rstrip()}\n{self.matcher}".lstrip()


@dataclass(frozen=True, slots=True)
class Like:
    """`query` names the storm or the alert in an address of the form's page."""

    title: str
    url: str
    query: dict[str, str]
    matchers: str
    labels: list[Label]


def like_storm(storm: Storm) -> Like:
    """Its group, and its alerts' name if they all have the same; then its suspects and what most of its alerts have."""
    found = breakdown_of(storm)
    common = {label.name: label.values[0] for label in found.labels if label.values}
    names = {name: value for name, (value, count) in common.items() if name == "alertname" and count == found.alerts}
    first = matchers_of({**names, **storm.group_labels})
    suspects = [Label(Matcher(s.counted.name, "=", s.counted.value), s.share) for s in found.suspects]
    shares = [(Matcher(name, "=", value), n / found.alerts) for name, (value, n) in common.items()]
    frequent = [Label(matcher, share) for matcher, share in shares if share >= MIN_SHARE]
    return Like(
        title=f"the storm of {storm.group_title}",
        url=f"/storms/{storm.id}/",
        query={"storm": str(storm.id)},
        matchers=_lines(first),
        labels=_fresh([*suspects, *sorted(frequent, key=lambda label: -(label.share or 0))], first),
    )


def like_alert(alert: Alert) -> Like:
    """Its name and its namespace; then its other labels."""
    first = matchers_of({name: alert.labels[name] for name in FIRST if alert.labels.get(name)})
    others = [Label(matcher) for matcher in matchers_of(alert.labels)]
    return Like(
        title=f"the alert {alert}",
        url=f"/alerts/{alert.id}/",
        query={"alert": str(alert.id)},
        matchers=_lines(first),
        labels=_fresh(others, first),
    )


def matchers_of(labels: Mapping[str, str]) -> list[Matcher]:
    """One `=` for each label whose name a matcher can have."""
    return [matcher for name, value in labels.items() if _is_readable(matcher := Matcher(name, "=", value))]


def _is_readable(matcher: Matcher) -> bool:
    try:
        return parse_matchers(str(matcher)) == (matcher,)
    except MatcherError:
        return False


def _fresh(labels: list[Label], known: list[Matcher]) -> list[Label]:
    """Each once, without those that are matched already and those that no matcher can name."""
    taken = {matcher.name for matcher in known}
    unique = {label.matcher: label for label in reversed(labels) if label.matcher.name not in taken}
    ordered = [label for label in labels if unique.get(label.matcher) is label and _is_readable(label.matcher)]
    return ordered[:MAX_LABELS]


def _lines(matchers: list[Matcher]) -> str:
    return "\n".join(str(matcher) for matcher in matchers)
