"""Alertmanager's label matchers (pure): parse, compile, match.

The syntax is Alertmanager's (its documentation, "Matcher"): `name = "value"`, with `=`, `!=`, `=~`, `!~`, values
quoted (with `\\"`, `\\\\`, `\\n`) or bare, several separated by commas or newlines, optionally in braces. Regular
expressions are anchored and run by RE2 in linear time, so that a hostile pattern cannot hang the ingestion.
"""

import re
from collections.abc import Mapping
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
    """A matcher that cannot be read; the message says where and what to write instead."""


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


@lru_cache(maxsize=4096)
def compile_pattern(value: str) -> "re2._Regexp":
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    return re2.compile(value, options)


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
        matcher, rest = _take_one(rest)
        found.append(matcher)
        if len(found) > MAX_MATCHERS:
            raise MatcherError(f"more than {MAX_MATCHERS} matchers")
    return tuple(found)


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
        raise MatcherError(f"expected a comma or a new line before {_start_of(text[match.end() :].lstrip())}")
    return Matcher(match["name"], match["op"], value), text[separator.end() :]


def _start_of(text: str) -> str:
    return repr(text[:40].splitlines()[0])


def check_pattern(value: str) -> None:
    """Raises: MatcherError if the regular expression is too long or not RE2's."""
    if len(value) > MAX_PATTERN_LENGTH:
        raise MatcherError(f"a regular expression of {len(value)} characters: {MAX_PATTERN_LENGTH} at most")
    try:
        compile_pattern(value)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise MatcherError(f"{value!r} is no RE2 regular expression: {reason}") from error


def specificity(matchers: tuple[Matcher, ...]) -> tuple[int, int]:
    """How narrowly a policy picks: the number of `=` first, then of all matchers (`label=""` says little: no `=`)."""
    exact = sum(1 for m in matchers if m.op == "=" and m.value)
    return exact, len(matchers)
