"""Where two JSON values differ, path by path (pure)."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_VALUE = 300
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One field: its path (`spec.storm.alertNames[0].count`), and both values as JSON, None where it is not there."""

    path: str
    before: str | None
    after: str | None


def differences(before: Any, after: Any, path: str = "", *, into_lists: bool = True) -> Iterator[Difference]:
    """The innermost fields that differ, in the order of their names; a list counts as one value if not `into_lists`."""
    if isinstance(before, dict) and isinstance(after, dict):
        pairs: Iterator[tuple[Any, str]] = ((name, _below(path, name)) for name in sorted({*before, *after}))
        for name, place in pairs:
            yield from differences(before.get(name, _ABSENT), after.get(name, _ABSENT), place, into_lists=into_lists)
    elif into_lists and isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            yield from differences(_item(before, index), _item(after, index), f"{path}[{index}]", into_lists=into_lists)
    elif before is _ABSENT or after is _ABSENT or before != after:
        yield Difference(path, _text(before), _text(after))


def _below(path: str, name: str) -> str:
    place = name if _PLAIN.fullmatch(name) else f"[{name}]"
    return place if not path else f"{path}{place}" if place[0] == "[" else f"{path}.{place}"


def _item(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _ABSENT


def _text(value: Any) -> str | None:
    if value is _ABSENT:
        return None
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
