"""Alertmanager's matcher syntax, read and matched in linear time."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storms.matchers import Matcher, MatcherError, parse_matchers, specificity

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
