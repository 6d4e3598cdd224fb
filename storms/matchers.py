"""Alertmanager's label matchers (pure): parse, compile, match.

The syntax is Alertmanager's (its documentation, "Matcher"): `name = "value"`, with `=`, `!=`, `=~`, `!~`, values
quoted (with `\\"`, `\\\\`, `\\n`) or bare, several separated by commas or newlines, optionally in braces. Regular
expressions are anchored and run by RE2 in linear time, so that a hostile pattern cannot hang the ingestion.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import re2

MAX_MATCHERS = 50
MAX_PATTERN_LENGTH = 1_000
_LABEL_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
_MATCHER = re.compile(
    rf'(?P<name>{_LABEL_NAME})\s*(?P<op>=~|!~|!=|=)\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s",{{}}=!~]*))',
    re.DOTALL,
)
_SEPARATOR = re.compile(r"\s*(?:,[\s,]*|\n\s*|\Z)")
_ESCAPES = {r"\"": '"', r"\\": "\\", r"\n": "\n"}


class MatcherError(ValueError):
    """A matcher that cannot be read; the message says where and what to write instead.

    rest: the text from the mistake on, where a list of matchers was being read.
    """

    rest = ""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a missing label is the empty value."""

    name: str
    op: str
    value: str

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', r"\"").replace("\n", r"\n")
        return f'{self.name}{self.op}"{escaped}"'

    def matches(self, labels: Mapping[str, str]) -> bool:
        actual = labels.get(self.name, "")
        if self.op == "=":
            return actual == self.value
        if self.op == "!=":
            return actual != self.value
        found = compile_pattern(self.value).fullmatch(actual) is not None
        return found if self.op == "=~" else not found


def is_label_name(text: str) -> bool:
    """Whether a matcher can name it; other sources than Prometheus may have others."""
    return re.fullmatch(_LABEL_NAME, text) is not None


@lru_cache(maxsize=4096)
def compile_pattern(value: str) -> "re2._Regexp":
    return re2.compile(value, _options(1 << 20))


def _options(max_mem: int) -> "re2.Options":
    options = re2.Options()
    options.log_errors = False
    options.max_mem = max_mem
    return options


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """The matchers in `text`, in their order; () for an empty text.

    Raises: MatcherError with the offending part.
    """
    rest = text.strip()
    if rest.startswith("{") and rest.endswith("}"):
        rest = rest[1:-1]
    rest = rest.strip(" \t\r\n,")
    found: list[Matcher] = []
    while rest:
        try:
            matcher, rest = _take_one(rest)
        except MatcherError as error:
            error.rest = error.rest or rest
            raise
        found.append(matcher)
        if len(found) > MAX_MATCHERS:
            raise MatcherError(f"more than {MAX_MATCHERS} matchers")
    return tuple(found)


def position_of(error: MatcherError, text: str) -> int | None:
    """Where in `text`, as it was given to `parse_matchers`, the mistake is; None where that is not known."""
    at = text.rfind(error.rest) if error.rest else -1
    return at if at >= 0 else None


def _take_one(text: str) -> tuple[Matcher, str]:
    """The first matcher, and what stands behind its separator."""
    match = _MATCHER.match(text)
    if match is None:
        raise MatcherError(f'cannot read {_start_of(text)}: write label="value", with =, !=, =~ or !~')
    quoted = match["quoted"]
    value = re.sub(r"\\.", lambda e: _ESCAPES.get(e[0], e[0]), quoted) if quoted is not None else match["bare"]
    if match["op"] in ("=~", "!~"):
        check_pattern(value)
    separator = _SEPARATOR.match(text, match.end())
    if separator is None:
        rest = text[match.end() :].lstrip()
        error = MatcherError(f"expected a comma or a new line before {_start_of(rest)}")
        error.rest = rest
        raise error
    return Matcher(match["name"], match["op"], value), text[separator.end() :]


def _start_of(text: str) -> str:
    return repr(text[:40].splitlines()[0])


def check_pattern(value: str) -> None:
    """Raises: MatcherError if the regular expression is too long or not RE2's."""
    if len(value) > MAX_PATTERN_LENGTH:
        raise MatcherError(f"a regular expression of {len(value)} characters: {MAX_PATTERN_LENGTH} at most")
    try:
        compile_pattern(value)
    except UnicodeEncodeError as error:
        raise MatcherError(f"{value!r} is no text: half of a surrogate pair stands in it") from error
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise MatcherError(f"{value!r} is no RE2 regular expression: {reason}") from error


def specificity(matchers: tuple[Matcher, ...]) -> tuple[int, int]:
    """How narrowly a policy picks: the number of `=` first, then of all matchers (`label=""` says little: no `=`)."""
    exact = sum(1 for m in matchers if m.op == "=" and m.value)
    return exact, len(matchers)


def parse_labels(text: str) -> dict[str, str]:
    """Labels as people paste them: a JSON object, `{name="value", ...}`, or a `name=value` a line.

    Raises: MatcherError with the offending part.
    """
    text = text.strip()
    if not text:
        return {}
    if text.startswith("{") and (labels := _labels_of_json(text)) is not None:
        return labels
    try:
        matchers = parse_matchers(text)
    except MatcherError:
        return label_pairs(line for line in text.splitlines() if line.strip())
    for matcher in matchers:
        if matcher.op != "=":
            raise MatcherError(f"{matcher} is a condition, not a label: write {matcher.name}=value")
    return {matcher.name: matcher.value for matcher in matchers}


def label_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """`name=value` each; the value is all that stands behind the first `=`.

    Raises: MatcherError with the pair that is none.
    """
    labels = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name.strip():
            raise MatcherError(f"cannot read {_start_of(pair) if pair else repr(pair)}: write name=value")
        labels[name.strip()] = value.strip()
    return labels


def _labels_of_json(text: str) -> dict[str, str] | None:
    """The labels of a JSON object, of an alert's `labels` if it has such; None if it is no JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value.get("labels"), dict):
        value = value["labels"]
    for name, label in value.items():
        if not isinstance(label, str):
            raise MatcherError(f"the label {name!r} is no text")
    return value


class MatcherIndex:
    """Many lists of matchers, asked at once which of them match: a bit mask, bit n for the n-th list.

    Per label that some list names: what its value says about `=` and `!=` is one look-up, and all regular expressions
    on it run as one RE2 set, in one pass over the value. The lists whose conditions hold on every label match.
    """

    def __init__(self, lists: Sequence[Sequence[Matcher]]) -> None:
        self._all = (1 << len(lists)) - 1
        exact: dict[str, list[tuple[int, Matcher]]] = {}
        patterns: dict[str, list[tuple[int, Matcher]]] = {}
        for number, matchers in enumerate(lists):
            for matcher in matchers:
                by_label = patterns if matcher.op in ("=~", "!~") else exact
                by_label.setdefault(matcher.name, []).append((number, matcher))
        self._exact = [(name, *_exact_masks(conditions, self._all)) for name, conditions in exact.items()]
        self._patterns = [(name, _PatternMasks(conditions, self._all)) for name, conditions in patterns.items()]

    def matching(self, labels: Mapping[str, str]) -> int:
        mask = self._all
        for name, masks, otherwise in self._exact:
            mask &= masks.get(labels.get(name, ""), otherwise)
        for name, patterns in self._patterns:
            if mask & patterns.concerned:
                mask &= patterns.mask(labels.get(name, ""))
        return mask

    def first(self, labels: Mapping[str, str]) -> int | None:
        """The number of the first list that matches."""
        mask = self.matching(labels)
        return (mask & -mask).bit_length() - 1 if mask else None


def _exact_masks(conditions: Iterable[tuple[int, Matcher]], everything: int) -> tuple[dict[str, int], int]:
    """({value: the lists that accept it}, those that accept any other value)."""
    wanted: dict[str, int] = {}
    unwanted: dict[str, int] = {}
    restricted, contradictory = 0, 0
    values_of: dict[int, str] = {}
    for number, matcher in conditions:
        bit = 1 << number
        if matcher.op == "!=":
            unwanted[matcher.value] = unwanted.get(matcher.value, 0) | bit
        elif values_of.setdefault(number, matcher.value) != matcher.value:
            contradictory |= bit
        else:
            wanted[matcher.value] = wanted.get(matcher.value, 0) | bit
            restricted |= bit
    otherwise = everything & ~restricted & ~contradictory
    masks = {
        value: (otherwise | wanted.get(value, 0)) & ~unwanted.get(value, 0) & ~contradictory
        for value in wanted.keys() | unwanted.keys()
    }
    return masks, otherwise


class _PatternMasks:
    """All regular expressions on one label. What a value gave is remembered: alerts repeat their values."""

    REMEMBERED = 4_096
    REMEMBERED_LENGTH = 256

    def __init__(self, conditions: Iterable[tuple[int, Matcher]], everything: int) -> None:
        """`concerned`: the lists that have a condition here."""
        self.concerned = 0
        self._all = everything
        self._needs: dict[int, set[str]] = {}
        self._needed_by: dict[str, list[int]] = {}
        self._forbidden: dict[str, int] = {}
        for number, matcher in conditions:
            self.concerned |= 1 << number
            if matcher.op == "!~":
                self._forbidden[matcher.value] = self._forbidden.get(matcher.value, 0) | 1 << number
            else:
                self._needs.setdefault(number, set()).add(matcher.value)
                self._needed_by.setdefault(matcher.value, []).append(number)
        self._refused = sum(1 << number for number in self._needs)
        self._set = PatternSet([*(self._needed_by.keys() | self._forbidden.keys())])
        self._remembered: dict[str, int] = {}

    def mask(self, value: str) -> int:
        mask = self._remembered.get(value)
        if mask is None:
            mask = self._find(value)
            if len(value) <= self.REMEMBERED_LENGTH:
                if len(self._remembered) >= self.REMEMBERED:
                    self._remembered.clear()
                self._remembered[value] = mask
        return mask

    def _find(self, value: str) -> int:
        """Usually few patterns match, so those that do not must cost nothing here."""
        found = self._set.matching(value)
        refused = self._refused
        for pattern in found:
            for number in self._needed_by.get(pattern, ()):
                if self._needs[number] <= found:
                    refused &= ~(1 << number)
        for pattern in found:
            refused |= self._forbidden.get(pattern, 0)
        return self._all & ~refused


class PatternSet:
    """Regular expressions, anchored, of which one pass over a text finds all that match it."""

    MAX_MEM = 16 << 20

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._set: re2.Set | None = re2.Set.FullMatchSet(_options(self.MAX_MEM))
        try:
            # Matches every text: its absence from an answer says that RE2 ran out of memory, not that nothing matched.
            self._set.Add("(?s).*")
            for pattern in patterns:
                self._set.Add(pattern)
            self._set.Compile()
        except re2.error:
            self._set = None

    def matching(self, text: str) -> set[str]:
        found = self._set.Match(text) if self._set is not None else None
        if found:
            return {self._patterns[number - 1] for number in found if number}
        return {pattern for pattern in self._patterns if compile_pattern(pattern).fullmatch(text) is not None}
