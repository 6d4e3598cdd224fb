"""The benchmark of all pages: which it asks for, and that it hides none that fails."""

from typing import Any

import httpx
import pytest
from django.test import Client

from tests.bench.pages import TARGET_MS, Page, asked_once
from tests.factories import (
    make_admin,
    make_alert,
    make_dead_letter,
    make_delivery,
    make_receiver,
    make_request,
    make_storm,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def served(client: Client) -> httpx.Client:
    """An administrator's, answered in this process and in the test's transaction."""
    storm = make_storm()
    delivery = make_delivery(receiver=make_receiver())
    make_alert(storm=storm, delivery_id=delivery.id)
    make_request(storm=storm)
    make_dead_letter()
    client.force_login(make_admin())
    client.raise_request_exception = False

    def answer(request: httpx.Request) -> httpx.Response:
        response: Any = client.get(request.url.raw_path.decode())
        return httpx.Response(response.status_code, content=response.getvalue())

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://testserver")


def test_every_page_that_has_an_address_answers(served: httpx.Client) -> None:
    pages = asked_once(served)
    assert [page.url for page in pages if page.errors] == []
    asked = {page.name.partition(" ")[0] for page in pages}
    assert asked >= {"now", "delivery", "storm-breakdown", "remediation-request", "reconcile", "dead-letters"}
    assert "acknowledge-storm" not in asked


@pytest.mark.parametrize(
    ("url", "ms", "errors", "failure"),
    [
        ("/system/", [1, 1], set(), ""),
        ("/system/", [1, 1], {500, 404}, "FAILED 404, 500 /system/"),
        ("/system/", [1, TARGET_MS, 900], set(), "MISSED"),
        ("/alerts/alerts.csv?q=", [900], set(), ""),
        ("/alerts/alerts.csv?q=", [900], {503}, "FAILED 503 /alerts/alerts.csv?q="),
    ],
)
def test_what_is_wrong_with_a_page_is_said(url: str, ms: list[float], errors: set[int], failure: str) -> None:
    assert Page("a page", url, ms=ms, errors=errors).failure == failure
