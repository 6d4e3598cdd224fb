"""Matchers as conditions of PostgreSQL give the answers of `storms.matchers`, on a real one."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storms.matcher_sql import condition
from storms.matchers import Matcher, MatcherError, check_pattern
from tests.harness.examples import examples

# What tells the two apart: line feeds, case, characters of several bytes, what is special in patterns.
ALPHABET = "ab.|*+-\\()\n\r Aßé😀^$"
values = st.text(ALPHABET, max_size=6)
labels = st.dictionaries(st.sampled_from(["pod", "team"]), values, max_size=2)
pieces = st.sampled_from(
    ["a", "b", "ab", r"\.", "\n", ".*", ".+", ".", "|", "é", "(", ")", "A", "a*", "^", "$", r"\|", r"\\"]
)
patterns = st.lists(pieces, max_size=5).map("".join)


def selected(matcher: Matcher, candidates: list[dict[str, str]]) -> list[bool]:
    found = condition(matcher)
    assert found is not None
    with connection.cursor() as cursor:
        rows = "jsonb_array_elements(%s::jsonb) with ordinality as storms_alert(labels, n)"
        cursor.execute(f"select {found.sql} from {rows} order by n", [*found.params, json.dumps(candidates)])
        return [answer for [answer] in cursor.fetchall()]


def matched(matcher: Matcher, candidates: list[dict[str, str]]) -> list[bool]:
    return [matcher.matches(candidate) for candidate in candidates]


@pytest.mark.django_db
@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(op=st.sampled_from(["=", "!="]), value=values, candidates=st.lists(labels, min_size=1, max_size=8))
def test_equality_agrees(op: str, value: str, candidates: list[dict[str, str]]) -> None:
    matcher = Matcher("pod", op, value)
    candidates = [*candidates, {"pod": value}, {}]

    assert selected(matcher, candidates) == matched(matcher, candidates)


@pytest.mark.django_db
@settings(max_examples=examples(600), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(op=st.sampled_from(["=~", "!~"]), pattern=patterns, candidates=st.lists(labels, min_size=1, max_size=8))
def test_a_pattern_that_is_translated_agrees_with_re2(op: str, pattern: str, candidates: list[dict[str, str]]) -> None:
    try:
        check_pattern(pattern)
    except MatcherError:
        return
    matcher = Matcher("pod", op, pattern)
    if condition(matcher) is None:
        return
    literal = pattern.replace(".*", "").replace(".+", "")
    candidates = [*candidates, {}, *({"pod": text} for text in (literal, f"a{literal}", f"{literal}a", f"\n{literal}"))]

    assert selected(matcher, candidates) == matched(matcher, candidates)


@pytest.mark.parametrize(
    "pattern", ["api-.*", "a|b|c", "(a|b)", ".*timeout.*", ".+", "", r"10\.0\.0\.1:.*", "api-.*|web-.*", ".+-db"]
)
def test_what_people_write_most_is_translated(pattern: str) -> None:
    assert condition(Matcher("pod", "=~", pattern)) is not None


@pytest.mark.parametrize("pattern", ["api-[0-9]+", "a.c", "(?i)api", "a*", r"\d+", "(a)|(b)", "x(y|z)", "a$", "a.*b"])
def test_what_only_re2_can_tell_is_left_to_it(pattern: str) -> None:
    assert condition(Matcher("pod", "=~", pattern)) is None
