"""Policies for people: what a version changed, who gets an alert."""

from collections.abc import Mapping, Sequence
from typing import Any

from storms import rules
from storms.matchers import MatcherError, parse_matchers
from storms.models import PolicyVersion, StormPolicy
from storms.policies import CompiledPolicy, Explanation, Loser, group_key

_SECONDS = {"window_seconds": "window", "quiet_seconds": "quiet time", "max_duration_seconds": "maximum duration"}


def describe_version(version: PolicyVersion) -> list[str]:
    """What this version changed, a line each; for the first, what it began with."""
    lines = []
    if version.restored_from is not None:
        lines.append(f"version {version.restored_from} restored")
    if version.changes:
        return lines + describe_changes(version.changes)
    if version.version == 1:
        return [*lines, "created"]
    return [*lines, "saved without a change" if version.actor else "as it was found"]


def describe_changes(changes: Mapping[str, Sequence[Any]]) -> list[str]:
    """A line or more for each field of {field: [before, after]}, in the order of the policy's fields."""
    order = [field.name for field in StormPolicy._meta.get_fields()]
    ordered = sorted(changes, key=lambda name: order.index(name) if name in order else len(order))
    return [line for name in ordered for line in _describe(name, *changes[name])]


def _describe(name: str, before: Any, after: Any) -> list[str]:
    match name:
        case "enabled":
            return ["enabled" if after else "disabled"]
        case "matchers":
            return _describe_matchers(str(before or ""), str(after or ""))
        case "owner_note":
            return [_text_change("owner's note", before, after)]
        case "count_flapping_once":
            return ["episodes of a flapping alert count once" if after else "each episode of a flapping alert counts"]
    return [f"{_title(name)}: {_value(name, before)} → {_value(name, after)}"]


def _title(name: str) -> str:
    return _SECONDS.get(name) or name.removesuffix("_seconds").replace("_", " ")


def _value(name: str, value: Any) -> str:
    match name:
        case "group_by":
            return ", ".join(value or ()) or "(one group)"
        case "hold_seconds" if value == 0:
            return "at once"
        case "reopen_seconds" if value == 0:
            return "never"
    if name.endswith("_seconds"):
        return f"{value} s"
    return "(nothing)" if value in (None, "") else str(value)


def _describe_matchers(before: str, after: str) -> list[str]:
    try:
        old, new = parse_matchers(before), parse_matchers(after)
    except MatcherError:
        return [_text_change("matchers", before, after)]
    lines = [f"matcher removed: {matcher}" for matcher in old if matcher not in new]
    lines += [f"matcher added: {matcher}" for matcher in new if matcher not in old]
    if not new:
        lines.append("takes every alert now")
    return lines or ["matchers written differently, with the same meaning"]


def _text_change(title: str, before: Any, after: Any) -> str:
    if not before:
        return f"{title} added: “{after}”"
    if not after:
        return f"{title} removed: “{before}”"
    return f"{title}: “{before}” → “{after}”"


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON; what the alert means by the rules comes along."""
    winner, group = explanation.winner, dict(explanation.group)
    classified = rules.current().classify(explanation.labels)
    return {
        "labels": dict(explanation.labels),
        "policy": _policy_document(winner),
        "reason": explanation.reason,
        "group": group,
        "group_key": group_key(winner.id, group),
        "severity": classified.severity,
        "environment": classified.environment,
        "priority": classified.priority,
        "others": [_loser_document(loser) for loser in explanation.losers],
    }


def _policy_document(policy: CompiledPolicy) -> dict[str, Any]:
    return {
        "id": policy.id,
        "name": policy.name,
        "version": policy.version,
        "priority": policy.priority,
        "matchers": [str(matcher) for matcher in policy.matchers],
    }


def _loser_document(loser: Loser) -> dict[str, Any]:
    return {
        "policy": _policy_document(loser.policy),
        "why": loser.why,
        "text": loser.text,
        "matcher": str(loser.matcher) if loser.matcher is not None else None,
        "actual": loser.actual,
    }
