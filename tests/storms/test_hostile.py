"""Texts from outside stay texts: in a spreadsheet, in Markdown, in a link, in a log."""

import csv
import io
import logging
import logging.config

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from storms.hostile import csv_safe, log_safe, markdown_safe, web_link

MARKDOWN = MarkdownIt("gfm-like")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=80)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-2",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=cmd|' /C calc'!A0",
        "  =1",
        "\uff1d1",
        "\ufeff=1",
        "\x00=1",
    ],
)
def test_a_formula_becomes_a_text(text: str) -> None:
    assert csv_safe(text).startswith("'")


@pytest.mark.parametrize("value", ["payments", "", "a=b", "1-2", 7, -3, 1.5, None])
def test_what_is_no_formula_stays_as_it_is(value: object) -> None:
    assert csv_safe(value) == value


@given(TEXTS)
def test_no_cell_starts_like_a_formula_and_every_cell_is_one_cell(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([csv_safe(text), "next"])
    [row] = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert len(row) == 2
    assert not row[0].lstrip().startswith(("=", "+", "-", "@"))


@given(TEXTS)
def test_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    """Read by a real parser, in a list and in a table: one paragraph of text, no element of the text's own."""
    shown = " ".join(markdown_safe(text).split())
    tokens = MARKDOWN.parse(f"- x{shown}x")
    assert [token.type for token in tokens] == [
        *("bullet_list_open", "list_item_open", "paragraph_open", "inline"),
        *("paragraph_close", "list_item_close", "bullet_list_close"),
    ]
    assert {child.type for child in tokens[3].children or []} <= {"text", "text_special"}
    rows = [token for token in MARKDOWN.parse(f"|a|b|\n|-|-|\n|x{shown}x|y|") if token.type == "td_open"]
    assert len(rows) == 2


@pytest.mark.parametrize(
    "text",
    [
        "[click](javascript:alert(1))",
        "<script>alert(1)</script>",
        "![x](http://evil.example/x.png)",
        "https://evil.example",
        "www.evil.example",
        "a\n# heading",
        "`code`",
        "&lt;b&gt;",
        "mailto:x@evil.example",
    ],
)
def test_markdown_keeps_what_was_written(text: str) -> None:
    html = MARKDOWN.render(markdown_safe(text))
    for element in ("<a", "<script", "<img", "<h1", "<code", "<b>"):
        assert element not in html


@pytest.mark.parametrize(
    "url",
    [
        "http://grafana.example/d/1",
        "https://runbooks.example:8443/a?b=c#d",
        "HTTPS://EXAMPLE.ORG",
        "http://[::1]:9090/g",
    ],
)
def test_web_addresses_are_links(url: str) -> None:
    assert web_link(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "ftp://example.org",
        "//evil.example",
        "/admin/",
        "http://",
        "http:evil.example",
        "https://console.example@evil.example/",
        "http://a\\@b",
        "http://a b",
        "http://a:99999/",
        "http://[::1",
        "http://example.org/\u202egpj.exe",
        "http://example.org/" + "x" * 3000,
        "",
        None,
        7,
    ],
)
def test_other_addresses_are_none(url: object) -> None:
    assert web_link(url) == ""


@given(TEXTS)
def test_a_log_line_stays_one_line(text: str) -> None:
    assert len(log_safe(text).splitlines()) <= 1


def test_the_console_s_own_log_is_one_line_a_message() -> None:
    name = settings.LOGGING["handlers"]["console"]["formatter"]
    configured = dict(settings.LOGGING["formatters"][name])
    formatter = logging.config.DictConfigurator(settings.LOGGING).configure_formatter(configured)
    record = logging.LogRecord("storms", logging.INFO, "", 0, "policy %s saved", ("a\nERROR forged\x1b[31m",), None)
    assert formatter.format(record).endswith("INFO storms policy a\\nERROR forged\\x1b[31m saved")


def test_a_log_line_shows_what_was_hidden() -> None:
    assert log_safe("a\nERROR fake\x1b[2K\u202e") == "a\\nERROR fake\\x1b[2K\\u202e"
