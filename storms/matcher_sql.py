"""Label matchers as conditions of PostgreSQL, where the two agree for certain (pure).

`=` and `!=` always do. Regular expressions are RE2's; PostgreSQL's own differ and can be made to run for ever, so none
is handed over: the forms that people write most (`a|b`, `api-.*`, `.*timeout.*`, `.+`) become comparisons of texts, and
for any other `condition` says None: RE2 must decide.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from storms.matchers import Matcher

_TOKEN = re.compile(
    r"(?P<any>\.[*+])|\\(?P<escaped>[.\\+*?()|\[\]{}^$/-])|(?P<literal>[^.\\+*?()|\[\]{}^$])", re.DOTALL
)
_NEWLINE = "\n"


@dataclass(frozen=True, slots=True)
class Condition:
    """A boolean expression with %s placeholders, about `labels` of `storms_alert`; never null."""

    sql: str
    params: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Form:
    """`before`, `literal`, `after`: before and after are "", ".*" or ".+"."""

    before: str
    literal: str
    after: str


def value_sql(name: str) -> str:
    """The label's value, '' for a missing one. The grammar of names leaves nothing to quote."""
    return f"coalesce(storms_alert.labels ->> '{name}', '')"


def one_of(name: str, values: Sequence[str]) -> Condition:
    """The label has one of these values."""
    return Condition(f"({value_sql(name)} = any(%s::text[]))", (list(values),))


def condition(matcher: Matcher) -> Condition | None:
    """What holds for exactly the labels that the matcher matches; None where only RE2 can tell."""
    if matcher.op in ("=", "!="):
        return Condition(f"({value_sql(matcher.name)} {'=' if matcher.op == '=' else '<>'} %s)", (matcher.value,))
    found = _pattern(matcher.name, matcher.value)
    if found is None or matcher.op == "=~":
        return found
    return Condition(f"(not {found.sql})", found.params)


def _pattern(name: str, pattern: str) -> Condition | None:
    forms = _forms(pattern)
    if forms is None:
        return None
    exact = [form.literal for form in forms if not form.before and not form.after]
    conditions = [one_of(name, exact)] if exact else []
    for form in forms:
        if form.before or form.after:
            found = _wildcard(value_sql(name), form)
            if found is None:
                return None
            conditions.append(found)
    params = tuple(param for one in conditions for param in one.params)
    return Condition(f"({' or '.join(one.sql for one in conditions)})", params)


def _forms(pattern: str) -> list[_Form] | None:
    """The alternatives of a pattern that is nothing but literals with `.*` or `.+` at their ends."""
    inner = pattern[1:-1] if pattern.startswith("(") and pattern.endswith(")") else pattern
    forms = []
    for alternative in _alternatives(inner):
        form = _form(alternative)
        if form is None:
            return None
        forms.append(form)
    return forms


def _alternatives(pattern: str) -> list[str]:
    """Split at `|`, but not at an escaped one."""
    parts = [""]
    for piece in re.findall(r"\\.|.", pattern, re.DOTALL):
        if piece == "|":
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _form(alternative: str) -> _Form | None:
    before, literal, after, at = "", [], "", 0
    while at < len(alternative):
        token = _TOKEN.match(alternative, at)
        if token is None or after:
            return None
        at = token.end()
        if token["any"] is None:
            literal.append(token["escaped"] or token["literal"])
        elif at == len(alternative):
            after = token["any"]
        elif not before and not literal:
            before = token["any"]
        else:
            return None
    return _Form(before, "".join(literal), after)


def _wildcard(value: str, form: _Form) -> Condition | None:
    """RE2's dot takes any character but a line feed."""
    literal, length = form.literal, len(form.literal)
    if _NEWLINE in literal or "\0" in literal:
        return None
    one_line = f"strpos({value}, chr(10)) = 0"
    if not literal:
        least = sum(1 for wildcard in (form.before, form.after) if wildcard == ".+")
        return Condition(f"({one_line} and length({value}) >= %s)", (least,))
    least = length + (form.before == ".+") + (form.after == ".+")
    long_enough = f"{one_line} and length({value}) >= %s"
    if not form.before:
        return Condition(f"({long_enough} and left({value}, %s) = %s)", (least, length, literal))
    if not form.after:
        return Condition(f"({long_enough} and right({value}, %s) = %s)", (least, length, literal))
    # Where it may stand: not at the very start after `.+`, not at the very end before one.
    start = 2 if form.before == ".+" else 1
    cut = 1 if form.after == ".+" else 0
    within = f"substr({value}, %s, greatest(length({value}) - %s, 0))"
    return Condition(f"({long_enough} and strpos({within}, %s) > 0)", (least, start, start - 1 + cut, literal))
