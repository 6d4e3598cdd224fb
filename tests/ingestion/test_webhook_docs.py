"""Every `curl` line of docs/webhooks.md is taken in, as it stands there."""

import re
import shlex
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from django.urls import resolve

from ingestion.services import create_receiver
from stormconsole.commands import PROJECT
from storms.choices import Outcome

DOCUMENT = (PROJECT / "docs/webhooks.md").read_text()
EXAMPLES = re.findall(r"```bash\n(curl .*?)```", DOCUMENT, re.DOTALL)
KINDS = ("alertmanager", "kubernetes-event", "generic")


def parts(command: str) -> tuple[str, dict[str, str], str]:
    """(path, headers, body) of a `curl URL -H ... -d BODY`."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "curl"
    headers = [word for flag, word in pairwise(words) if flag == "-H"]
    return urlsplit(words[1]).path, dict(header.split(": ", 1) for header in headers), words[words.index("-d") + 1]


def test_every_kind_has_an_example():
    assert {parts(example)[0].rsplit("/", 1)[1] for example in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_taken_in(console, example):
    path, headers, body = parts(example)
    assert headers.pop("Authorization") == "Bearer $TOKEN"
    _, token = create_receiver(name="docs", kind=resolve(path).func.view_class.kind)
    content_type = headers.pop("Content-Type")
    others = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}

    response = console.post(body, path=path, token=token, content_type=content_type, **others)

    assert response.status_code == 202
    assert set(response.json()["summary"]) <= {"held", "resolved"}


def test_every_outcome_is_documented():
    documented = set(re.findall(r"^\| `(\w+)` \|.*\| 20[12]", DOCUMENT, re.MULTILINE))
    assert documented == {*Outcome.values, "rejected"}
