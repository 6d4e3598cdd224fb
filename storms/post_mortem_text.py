"""A post-mortem as Markdown (pure). Every text from outside goes through `markdown_safe`."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from storms.figures import percent
from storms.hostile import markdown_safe

Document = dict[str, Any]


def markdown(document: Document) -> str:
    """The document of `storms.post_mortem` as a page to go on writing; GitHub's Markdown."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def _lines(document: Document) -> Iterator[str]:
    storm, impact = document["storm"], document["impact"]
    yield f"# Post-mortem: storm of {markdown_safe(storm['group'])}"
    yield ""
    yield f"<{storm['page']}>, as of {_time(document['generated_at'])} UTC. All times are UTC."
    yield from _section("Summary", [summary(document)])
    yield from _section("Impact", _table(("", ""), _impact(impact)))
    names = [(name["name"] or "(no name)", name["count"]) for name in impact["alert_names"]]
    yield from _section("Alerts by name", _table(("Alert", "Alerts"), names))
    yield from _section("What stood out", _suspects(document["suspects"]))
    yield from _section("Affected resources", _resources(document["resources"], impact["resources"]))
    yield from _section("Why it opened", [f"- {markdown_safe(step['text'])}" for step in document["decision"]])
    yield from _section("Timeline", _table(("Time", "What", "", "Who"), map(_event, document["timeline"])))
    yield from _section(
        "Alerts over time", _table(("From", "New", "Firing", "Resolved"), map(_course, document["course"]))
    )
    yield from _section("RemediationRequest", _request(document["remediation_request"]))
    yield from _section("Notes", [f"- {_time(note['at'])} {_said(note)}" for note in document["notes"]] or ["None."])
    yield from _section("Root cause", ["_To be written._"])
    yield from _section("Action items", ["- [ ] _What is to be done, by whom, until when?_"])


def summary(document: Document) -> str:
    """Some sentences, safe for Markdown."""
    storm, impact = document["storm"], document["impact"]
    sentences = [
        f"A storm of {impact['alerts']} alerts in {markdown_safe(storm['group'])}",
        f" opened at {_time(storm['opened_at'])}",
        f" by policy {markdown_safe(storm['policy'])} (version {storm['policy_version']})",
        f" and lasted {_span(storm['lasted_seconds'])}." if storm["closed_at"] else " and is still open.",
        f" Its severity was {storm['severity']}.",
    ]
    if storm["closed_at"]:
        comment = f" ({markdown_safe(storm['close_comment'])})" if storm["close_comment"] else ""
        sentences.append(f" It closed at {_time(storm['closed_at'])}: {storm['close_reason']}{comment}.")
    if impact["peak_at"]:
        sentences.append(f" At most {impact['peak_firing']} alerts fired at once, at {_time(impact['peak_at'])}.")
    if storm["acknowledged_at"]:
        after = _span(storm["acknowledged_after_seconds"])
        sentences.append(f" {markdown_safe(storm['acknowledged_by'])} acknowledged it after {after}.")
    else:
        sentences.append(" Nobody acknowledged it.")
    return "".join(sentences)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield from lines


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Each cell made safe here."""
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        yield "| " + " | ".join(markdown_safe(cell) for cell in row) + " |"


def _impact(impact: Document) -> Iterator[tuple[str, Any]]:
    yield "Alerts", impact["alerts"]
    yield "Firing now", impact["firing"]
    yield "Resolved", impact["resolved"]
    yield "Most firing at once", impact["peak_firing"]
    yield "Resources", impact["resources"]
    yield "Severities", ", ".join(f"{name} {count}" for name, count in sorted(impact["severities"].items())) or "-"
    yield "Places", ", ".join(impact["places"][:20]) or "-"


def _suspects(suspects: list[Document]) -> Iterator[str]:
    if not suspects:
        yield "No label value stood out against the last seven days."
        return
    yield "Label values that were more frequent than among all other alerts of the last seven days."
    yield ""
    rows = (
        (
            f"{one['label']}={one['value']}",
            one["alerts"],
            percent(one["share"]),
            percent(one["share_elsewhere"]),
            f"{one['lift']} times",
        )
        for one in suspects
    )
    yield from _table(("Label value", "Alerts", "Here", "Elsewhere", "Lift"), rows)


def _resources(resources: list[Document], total: int) -> Iterator[str]:
    rows = ((f"{one['kind']}/{one['name']}", one["namespace"], one["alerts"], one["firing"]) for one in resources)
    yield from _table(("Resource", "Namespace", "Alerts", "Firing"), rows)
    if total > len(resources):
        yield ""
        yield f"The first {len(resources)}; the console lists all."


def _event(event: Document) -> tuple[str, str, str, str]:
    return _time(event["at"]), event["title"], event["message"], event["actor"]


def _course(row: Document) -> tuple[Any, ...]:
    return _time(row["from"]), row["new"], row["firing"], row["resolved"]


def _request(request: Document | None) -> Iterator[str]:
    if request is None:
        yield "None was made."
        return
    rows = [
        ("Name", f"{request['namespace']}/{request['name']}"),
        ("Cluster", request["cluster"]),
        ("State", request["sync_state"]),
        ("Phase", f"{request['phase'] or '-'} {request['phase_message']}"),
        ("Applied", f"{request['apply_count']} times, last {_time(request['applied_at'])}"),
        ("Last error", request["last_error"] or "-"),
    ]
    yield from _table(("", ""), rows)
    yield ""
    yield from _table(("Time", "What", "", "Who"), map(_event, request["history"]))


def _said(note: Document) -> str:
    return f"{markdown_safe(note['message'])} ({markdown_safe(note['actor'])})"


def _time(iso: str | None) -> str:
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M:%S}" if iso else "-"


def _span(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
