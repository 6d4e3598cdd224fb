"""Every adapter against hostile payloads: refused, or stored, and no item is ever lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.adapters.batch import Content
from ingestion.ingest import PARSERS
from ingestion.ledger import totals
from ingestion.services import create_receiver
from tests.harness.examples import examples
from tests.ingestion import fuzz

pytestmark = pytest.mark.hypothesis
SLOW_ENOUGH = settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", sorted(PARSERS))
def test_an_adapter_refuses_or_reads_whatever_comes(kind: str) -> None:
    @given(content=fuzz.contents(kind), terms=st.sampled_from(fuzz.TERMS))
    @SLOW_ENOUGH
    def run(content: Content, terms: Any) -> None:
        fuzz.check(kind, content, terms)

    run()


GOOD = {"status": "firing", "labels": {"alertname": "A", "namespace": "demo"}, "startsAt": "2026-11-25T10:00:00Z"}


@pytest.mark.parametrize("kind", sorted(PARSERS))
@pytest.mark.parametrize(
    "body",
    [
        b'{"alerts":[{"id":' + b"9" * 5000 + b',"name":"x"}]}',
        b'{"id":' + b"9" * 5000 + b',"name":"x"}',
        b'[{"id":-' + b"9" * 5000 + b"}]",
        b'{"alerts":[' + json.dumps(GOOD).encode() + b'],"truncatedAlerts":' + b"9" * 5000 + b"}",
        b'{"count":' + b"9" * 5000 + b"}",
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":' + b"[" * 100_000 + b"}",
        b'{"specversion":' + b"[" * 100_000 + b"}",
        b'{"alerts":[' + b"[" * 100_000 + b"]}",
        b'{"alerts":[{"labels":{"a":"\\ud800"},"status":"firing","startsAt":"2026-11-25T10:00:00Z"}]}',
        b'{"alerts":[{"labels":{"a":"b"},"startsAt":"9999-12-31T23:59:59-23:59","status":"firing"}]}',
    ],
)
def test_what_was_found_once(kind: str, body: bytes) -> None:
    for terms in fuzz.TERMS:
        fuzz.check(kind, Content(body, fuzz.MEDIA_TYPES[kind][0], fuzz.RECEIVED_AT), terms)


@pytest.mark.parametrize("kind", sorted(PARSERS))
def test_the_webhook_answers_whatever_comes_and_its_ledger_adds_up(console: Any, kind: str) -> None:
    """Through the database, where more can go wrong than in memory."""
    _, token = create_receiver(name=f"fuzz-{kind}", kind=kind)

    @given(content=fuzz.contents(kind))
    @settings(SLOW_ENOUGH, max_examples=examples(40))
    def run(content: Content) -> None:
        # A header is bytes: the server hands it on as Latin-1, and a line break ends it.
        headers = {
            f"HTTP_{name.upper().replace('-', '_')}": value
            for name, value in content.headers.items()
            if value.isascii() and value.isprintable()
        }
        response = console.post(
            content.body, path=f"/api/v1/webhooks/{kind}", token=token, content_type=content.media_type, **headers
        )
        # Django's test client sends no Content-Type with an empty body.
        assert response.status_code in ((201, 202, 400) if content.body else (400, 415)), response.content
        assert response.json()

    run()
    assert totals()["unaccounted"] == 0
