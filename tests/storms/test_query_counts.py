"""Every list asks the database for the same number of things, however many rows there are.

The lists are found by their addresses, so a new one is held to it without being named here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver

from ingestion.models import Silence
from storms.models import SavedFilter
from tests.factories import (
    NOW,
    make_admin,
    make_alert,
    make_closed_storm,
    make_dead_letter,
    make_delivery,
    make_event,
    make_policy,
    make_receiver,
    make_request,
    make_storm,
)

pytestmark = pytest.mark.django_db

PINNED = {
    "/": 6,
    "/alerts/": 11,
    "/alerts/?q=%7Bpod%3D~%22%5Ba%5Dpi-.%2B%22%7D": 13,
    "/alerts/histogram.json": 7,
    "/alerts/complete.json": 2,
    "/history/": 12,
    "/silences/": 3,
    "/system/": 18,
    "/system/dead-letters/": 7,
    "/api/v1/alerts/": 3,
    "/api/v1/alerts/?matchers=%7Bpod%3D~%22%5Ba%5Dpi-.%2B%22%7D": 9,
    "/api/v1/storms/": 3,
    "/api/v1/remediation-requests/": 3,
    "/api/v1/deliveries/": 3,
    "/api/v1/dead-letters/": 3,
    "/api/v1/policies/": 3,
    "/api/v1/silences/": 3,
    "/admin/storms/storm/": 6,
    "/admin/storms/alert/": 3,
    "/admin/storms/remediationrequest/": 3,
    "/admin/storms/stormpolicy/": 7,
    "/admin/ingestion/delivery/": 4,
    "/admin/ingestion/deadletter/": 4,
    "/admin/ingestion/receiver/": 5,
    "/admin/ingestion/silence/": 5,
}
"""With many rows, the login's own two (session, person) included."""
ELSEWHERE = ("login", "logout", "password", "single-sign-on", "schema", "docs", "healthz", "readyz", "set-theme")


def addresses() -> Iterator[str]:
    """Of everything that can be asked for without an id: pages, lists of the API, lists of the admin."""

    def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, str]]:
        for entry in resolver.url_patterns:
            pattern = prefix + str(entry.pattern).replace("^", "").replace(r"\Z", "").removesuffix("$")
            if isinstance(entry, URLPattern):
                yield entry.name or "", pattern
            elif not pattern.startswith(("admin/", "api/v1/webhooks")):
                yield from walk(entry, pattern)

    for name, pattern in walk(get_resolver(), ""):
        if not name.startswith(ELSEWHERE) and not re.search(r"[<(]", pattern):
            yield f"/{pattern}"
    yield "/admin/"
    for model in admin.site._registry:
        yield f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def more_rows(owner: User, number: int) -> None:
    for n in range(number):
        receiver, policy = make_receiver(), make_policy()
        storm = make_storm(policy=policy)
        closed = make_closed_storm(policy=policy)
        for of in (storm, closed):
            make_request(storm=of)
            make_event(of)
            make_alert(storm=of, policy=policy, received_at=NOW - timedelta(seconds=n))
        make_request(alert=make_alert(policy=policy))
        make_dead_letter(delivery=make_delivery(receiver=receiver, received=1, outcomes={"rejected": 1}))
        Silence.objects.create(matchers=f'pod="{policy.name}"', author="ada", comment="test", starts_at=NOW)
        SavedFilter.objects.create(owner=owner, name=policy.name, query="range=7d")


@pytest.fixture
def owner() -> User:
    return make_admin()


@pytest.fixture
def administrator(client: Client, owner: User) -> Iterator[Client]:
    client.force_login(owner)
    with time_machine.travel(NOW + timedelta(minutes=5), tick=False):
        yield client


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(url)
        if answer.streaming:
            b"".join(answer.streaming_content)
    # 405: it only takes a POST; what it answers to a GET costs nothing.
    assert answer.status_code in (200, 302, 404, 405), f"{url}: {answer.status_code}"
    return len(captured)


@pytest.mark.parametrize("url", sorted({*addresses(), *PINNED}))
def test_the_number_of_queries_does_not_grow_with_the_rows(administrator: Client, owner: User, url: str) -> None:
    more_rows(owner, 2)
    queries(administrator, url)  # what is remembered in memory is remembered after this
    few = queries(administrator, url)
    more_rows(owner, 5)
    many = queries(administrator, url)

    assert many <= few
    assert many == PINNED.get(url, many)
