"""Which labels there are and which values they have, to complete what one types: bounded, however many alerts.

From what is known of the last seven days (`storms.services.label_baseline`, the most frequent values) and from the
latest alerts one by one, so that something new can be completed at once.
"""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from storms.matchers import Matcher, MatcherError, parse_matchers
from storms.models import Alert, LabelBaseline

LATEST = 1_000
SHOWN = 20
FRESH_SECONDS = 10.0
NAMES_FRESH_SECONDS = 600.0
"""Where they are only offered: new names are rare, and reading costs some ten milliseconds."""
MAX_LENGTH = 200

_BEFORE = re.compile(r"[\s,{]*")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATOR = re.compile(r"\s*(=~|!~|!=|=)\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)("?)', re.DOTALL)
_BARE = re.compile(r'[^\s",{}=!~]*')
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")

Counts = dict[str, Counter[str]]
_read: tuple[float, list[dict[str, str]], Counts] = (0.0, [], {})


@dataclass(frozen=True, slots=True)
class Spot:
    """What is being typed at the end of a text of matchers.

    start: where in the text it begins; typed: as far as it goes. A value also has the label's `name`, the `operator`,
    whether its quote is open, and the matchers before it. Without a name it is a label's name.
    """

    start: int
    typed: str
    name: str = ""
    operator: str = ""
    quoted: bool = False
    others: tuple[Matcher, ...] = ()


def complete(text: str) -> tuple[int, list[tuple[str, str]]]:
    """What may stand at the end of the text: (from where on, [(shown, to be put there), ...])."""
    spot = spot_of(text)
    if spot is None:
        return len(text), []
    if not spot.name:
        return spot.start, [(name, f'{name}="') for name in label_names(spot.typed)]
    values = label_values(spot.name, spot.typed, spot.others)
    return spot.start, [(value, _written(value, spot)) for value in values]


def spot_of(text: str) -> Spot | None:
    """None where nothing can be completed: behind a finished matcher, or after what cannot be read."""
    at = _end(_BEFORE, text, 0)
    while True:
        name = _NAME.match(text, at)
        if name is None:
            return Spot(at, "") if at == len(text) else None
        if name.end() == len(text):
            return Spot(at, name[0])
        operator = _OPERATOR.match(text, name.end())
        if operator is None:
            return None
        quoted, end = _QUOTED.match(text, operator.end()), _end(_BARE, text, operator.end())
        if (quoted and not quoted[2]) or (not quoted and end == len(text)):
            typed = quoted[1] if quoted else text[operator.end() :]
            start = operator.end() + bool(quoted)
            return Spot(start, typed, name[0], operator[1], bool(quoted), _others(text[:at]))
        end = quoted.end() if quoted else end
        at = _end(_BEFORE, text, end)
        if "," not in text[end:at] and "\n" not in text[end:at]:
            return None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern ends that also matches nothing."""
    found = pattern.match(text, at)
    return found.end() if found else at


def _others(text: str) -> tuple[Matcher, ...]:
    try:
        return parse_matchers(text.lstrip(" {"))
    except MatcherError:
        return ()


def _written(value: str, spot: Spot) -> str:
    literal = _SPECIAL.sub(r"\\\1", value) if "~" in spot.operator else value
    escaped = literal.replace("\\", "\\\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{escaped}"' if spot.quoted else f'"{escaped}"'


def frequent_names() -> list[str]:
    """The most frequent label names, as they were some minutes ago."""
    _, known = _known(NAMES_FRESH_SECONDS)
    return _best(Counter({name: values.total() for name, values in known.items()}), "")


def label_names(typed: str) -> list[str]:
    """Names that contain what was typed, those that begin with it first, then the most frequent."""
    _, known = _known()
    return _best(Counter({name: values.total() for name, values in known.items()}), typed)


def label_values(name: str, typed: str, others: Sequence[Matcher] = ()) -> list[str]:
    """Values of a label, in the same order; of the latest alerts only those that the other matchers match."""
    latest, known = _known()
    if others:
        fitting = [labels for labels in latest if all(matcher.matches(labels) for matcher in others)]
        found = _best(Counter(labels[name] for labels in fitting if labels.get(name)), typed)
        if found:
            return found
    return _best(known.get(name, Counter()), typed)


def _best(counts: Counter[str], typed: str) -> list[str]:
    wanted = typed.lower()
    hits = [text for text in counts if wanted in text.lower()]
    return sorted(hits, key=lambda text: (not text.lower().startswith(wanted), -counts[text], text))[:SHOWN]


def _known(fresh_seconds: float = FRESH_SECONDS) -> tuple[list[dict[str, str]], Counts]:
    """(the labels of the latest alerts, {label: {value: alerts}}), so many seconds old at most."""
    global _read
    read_at, latest, counts = _read
    if not latest or time.monotonic() - read_at > fresh_seconds:
        latest = list(Alert.objects.order_by("-received_at", "-id").values_list("labels", flat=True)[:LATEST])
        counts = _counted(latest)
        # Two threads may both have read; either is right.
        _read = (time.monotonic(), latest, counts)
    return latest, counts


def _counted(latest: list[dict[str, str]]) -> Counts:
    usual = LabelBaseline.objects.values_list("counts", flat=True).first() or {}
    counts = {name: Counter(values) for name, values in usual.items()}
    for labels in latest:
        for name, value in labels.items():
            if value and len(value) <= MAX_LENGTH:
                counts.setdefault(name, Counter())[value] += 1
    return counts
