"""JSON for the API server's YAML reader (pure)."""

import json
import re
from typing import Any

_SPECIAL = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")


def yaml_json(value: Any) -> bytes:
    r"""`value` as JSON that a YAML 1.1 reader takes as it is meant; server-side apply reads its body as YAML.

    That reader refuses a surrogate pair (`\ud83d\ude00`, Python's escape for an emoji) and raw control characters, and
    takes a raw U+0085 or U+2028 for a line break: so what is above the basic plane goes raw, and those go escaped.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _SPECIAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()
