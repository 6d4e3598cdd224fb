"""Alertmanager's matcher syntax, read and matched in linear time."""

import contextlib
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storms.matchers import (
    Matcher,
    MatcherError,
    MatcherIndex,
    PatternSet,
    label_pairs,
    parse_labels,
    parse_matchers,
    specificity,
)

READ = {
    "": [],
    "  \n ": [],
    'namespace="payments"': [("namespace", "=", "payments")],
    "namespace=payments": [("namespace", "=", "payments")],
    ' a != "b" , c=~"x.*"\nd!~y,': [("a", "!=", "b"), ("c", "=~", "x.*"), ("d", "!~", "y")],
    '{a="b",c="d"}': [("a", "=", "b"), ("c", "=", "d")],
    r'a="say \"hi\" \\ \n"': [("a", "=", 'say "hi" \\ \n')],
    'a=""': [("a", "=", "")],
    'a="{x, y}"': [("a", "=", "{x, y}")],
}
REFUSED = {
    "namespace": "cannot read 'namespace'",
    '="x"': "cannot read",
    'a="b" c="d"': "expected a comma",
    'a=~"("': "no RE2 regular expression",
    'a="b': "expected a comma",
    'a=~"' + "x" * 1001 + '"': "1000 at most",
    ",".join(f'l{n}="x"' for n in range(51)): "more than 50",
    'a=~"(?=x)"': "no RE2 regular expression",
}


@pytest.mark.parametrize(("text", "expected"), READ.items(), ids=range(len(READ)))
def test_it_reads(text, expected):
    assert [(m.name, m.op, m.value) for m in parse_matchers(text)] == expected


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_it_refuses_with_the_part_that_is_wrong(text, message):
    with pytest.raises(MatcherError, match=message.replace("(", r"\(")):
        parse_matchers(text)


@pytest.mark.parametrize(
    ("matcher", "labels", "matches"),
    [
        ('a="b"', {"a": "b"}, True),
        ('a="b"', {}, False),
        ('a=""', {}, True),
        ('a!="b"', {}, True),
        ('a=~"b|c"', {"a": "c"}, True),
        ('a=~"b"', {"a": "bc"}, False),
        ('a=~"b.*"', {"a": "b\nc"}, False),
        ('a!~"b.*"', {"a": "bc"}, False),
        ('a=~".*"', {}, True),
    ],
)
def test_it_matches_as_alertmanager_does(matcher, labels, matches):
    assert parse_matchers(matcher)[0].matches(labels) is matches


@settings(suppress_health_check=[HealthCheck.too_slow])  # says more of the machine's load than of the test
@given(
    st.lists(
        st.builds(
            Matcher,
            st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True),
            st.sampled_from(["=", "!="]),
            st.text(),
        )
    )
)
def test_what_it_writes_it_reads(matchers):
    assert list(parse_matchers(",".join(map(str, matchers)))) == matchers


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(MatcherError):
        parse_matchers(text)


def test_a_hostile_pattern_does_not_hang():
    [matcher] = parse_matchers('a=~"(a+)+$"')
    started = time.process_time()

    matcher.matches({"a": "a" * 10_000 + "b"})

    assert time.process_time() - started < 1


def test_exact_matchers_are_more_specific():
    exact, pattern, two = (parse_matchers(t) for t in ('a="b"', 'a=~"b", c=~"d"', 'a="b", c=~"d"'))
    assert specificity(two) > specificity(exact) > specificity(pattern) > specificity(())


# --- many at once

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from(["", "x", "y", "xx", "x\ny"])
PATTERNS = st.sampled_from(["", "x", "x|y", "x+", ".*", ".+", "(x+)+$", "[^x]*", "(?s).*"])
CONDITIONS = st.one_of(
    st.builds(Matcher, NAMES, st.sampled_from(["=", "!="]), VALUES),
    st.builds(Matcher, NAMES, st.sampled_from(["=~", "!~"]), PATTERNS),
)
LABELS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), VALUES)


def one_by_one(lists: list[list[Matcher]], labels: dict[str, str]) -> list[int]:
    return [n for n, matchers in enumerate(lists) if all(matcher.matches(labels) for matcher in matchers)]


@given(st.lists(st.lists(CONDITIONS, max_size=4), max_size=12), st.lists(LABELS, min_size=1, max_size=5))
def test_the_index_finds_what_matching_one_by_one_finds(lists, several):
    index = MatcherIndex(lists)
    for labels in several + several:  # the second time from what it remembers
        expected = one_by_one(lists, labels)
        assert index.matching(labels) == sum(1 << number for number in expected)
        assert index.first(labels) == (expected[0] if expected else None)


def test_patterns_that_do_not_fit_together_are_run_one_by_one(monkeypatch):
    patterns = [f".*[a-f]{{{n},60}}x.{{30}}" for n in range(1, 40)] + ["a+"]
    expected = PatternSet(patterns).matching("aaa")
    monkeypatch.setattr(PatternSet, "MAX_MEM", 1 << 16)
    small = PatternSet(patterns)
    assert small._set is None
    assert small.matching("aaa") == expected == {"a+"}


def test_what_the_index_remembers_is_bounded():
    index = MatcherIndex([parse_matchers('a=~"x.*"')])
    for number in range(5_000):
        index.matching({"a": f"x{number}"})
    index.matching({"a": "x" * 1_000})
    [(_, patterns)] = index._patterns
    assert len(patterns._remembered) <= patterns.REMEMBERED
    assert "x" * 1_000 not in patterns._remembered


# --- labels

PASTED = {
    "": {},
    "a=b": {"a": "b"},
    "a=b\n\n c = d=e ": {"a": "b", "c": "d=e"},
    'a="b", c="d e"': {"a": "b", "c": "d e"},
    '{a="b"}': {"a": "b"},
    '{"a": "b"}': {"a": "b"},
    '{"labels": {"a": "b"}, "status": "firing"}': {"a": "b"},
    '{"labels": "b"}': {"labels": "b"},
    "summary=it is, well, on fire": {"summary": "it is, well, on fire"},
}


@pytest.mark.parametrize(("text", "labels"), PASTED.items(), ids=range(len(PASTED)))
def test_it_reads_labels_as_people_paste_them(text, labels):
    assert parse_labels(text) == labels


@pytest.mark.parametrize(
    "text", ["a", "=b", 'a=~"b"', "a!=b", '{"a": 1}', '{"a": {"b": "c"}}', '{"labels": {"a": []}}']
)
def test_it_refuses_what_are_no_labels(text):
    with pytest.raises(MatcherError):
        parse_labels(text)


@given(st.text())
def test_any_text_is_labels_or_refused(text):
    with contextlib.suppress(MatcherError):
        parse_labels(text)


@pytest.mark.parametrize("pair", ["", "a", "=b", " =b"])
def test_a_pair_without_a_name_or_a_sign_is_refused(pair):
    with pytest.raises(MatcherError, match="write name=value"):
        label_pairs([pair])


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_characters_are_read_or_refused(text: str) -> None:
    """Halves of surrogate pairs too, which JSON can carry."""
    for read in (parse_matchers, parse_labels):
        with contextlib.suppress(MatcherError):
            read(text)


@pytest.mark.parametrize(
    "text",
    ["{" * 100_000, '{"a":' * 100_000, 'a=~"' + "(" * 900 + '"', 'a=~"\ud800"', "=" * 1000],
    ids=["braces", "nested", "parentheses", "half a surrogate", "operators"],
)
def test_hostile_matchers_are_refused(text: str) -> None:
    for read in (parse_matchers, parse_labels):
        with contextlib.suppress(MatcherError):
            read(text)


# What Python's own engine and RE2 mean alike.
ATOMS = st.sampled_from(["a", "b", "1", ".", "[ab]", "[^a]", "(a|b)", "(ab)", "(?:a{1,2})"])
PATTERNS = st.lists(st.tuples(ATOMS, st.sampled_from(["", "*", "+", "?"])).map("".join), max_size=5).map("".join)


@given(PATTERNS, st.text("ab1\n", max_size=6))
def test_patterns_match_as_python_says(pattern: str, value: str) -> None:
    """Against an engine that is not ours: anchored, and a dot is no line break."""
    expected = re.fullmatch(pattern, value) is not None
    for op, meaning in (("=~", expected), ("!~", not expected)):
        [matcher] = parse_matchers(f'label{op}"{pattern}"')
        assert matcher.matches({"label": value}) is meaning
