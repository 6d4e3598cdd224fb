"""Texts from outside (labels, annotations, names) made safe for where they go (pure).

HTML is escaped by the templates and by `textContent`; this is for everything else: CSV, Markdown, links, log lines.
"""

import re
from typing import Any
from urllib.parse import urlsplit

# What spreadsheets take for the start of a formula, also in the width of East Asian scripts (OWASP, CSV injection).
_FORMULA = re.compile(r"^[\s\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:/@])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SPACES = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")
MAX_URL = 2048


def csv_safe(value: Any) -> Any:
    """A CSV cell that no spreadsheet runs as a formula: such a text gets an apostrophe before it; numbers stay."""
    if value is None or isinstance(value, (int, float)):
        return value
    text = str(value).replace("\x00", "")
    return f"'{text}" if _FORMULA.match(text) else text


def markdown_safe(value: Any) -> str:
    """Text for a line or a table cell of Markdown, shown as it is: no markup, no HTML, no link, no line of its own."""
    text = _SPACES.sub(" ", str(value)).strip()
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)


def web_link(url: Any) -> str:
    """The address if a browser may follow it: http or https, a host, no blanks or controls, no user name. Else ''."""
    text = str(url or "").strip()
    if len(text) > MAX_URL or _CONTROL.search(text) or re.search(r"[\s\\]", text):
        return ""
    try:
        parts = urlsplit(text)
        # A name before the host is how a link pretends to lead elsewhere; reading the port checks that it is one.
        good = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc and (parts.port or 1)
    except ValueError:
        return ""
    return text if good else ""


def log_safe(value: Any) -> str:
    """Text that stays on its line of a log: control and direction characters are written as escapes."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), str(value))
