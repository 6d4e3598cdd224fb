"""What readers of a storm share: made once, never older than what its reader has heard of, nothing of another in it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, connections
from django.middleware.csrf import _does_token_match
from django.test import Client
from django.test.utils import CaptureQueriesContext

from storms.live import read_version
from storms.models import Storm
from storms.pages import shared
from tests.factories import make_alert, make_request, make_storm, make_user

SEE = ("storms.view_storm", "storms.view_alert", "storms.view_remediationrequest")
OPERATE = (*SEE, "storms.change_storm")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "shelves", shared.Shelves())


def reader(name: str, *permissions: str) -> Client:
    client = Client()
    client.force_login(make_user(name, *permissions))
    return client


def get(client: Client, path: str, version: int | None, *, insist: bool = False, held: int = 0) -> str:
    headers = {} if version is None else {"X-Console-Version": str(version), "X-Console-Held": str(held)}
    if insist:
        headers["Cache-Control"] = "no-cache"
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.fixture
def storm(db: None) -> Storm:
    storm = make_storm(alert_count=12)
    for number in range(2):
        make_alert(storm=storm, resource_name=f"pod-{number}")
    return storm


def parts(storm: Storm) -> list[str]:
    request = make_request(storm=storm)
    page = f"/storms/{storm.id}/"
    addresses = ["", "course.json", "breakdown/", "resources/", "alerts/"]
    return [f"/remediation-requests/{request.id}/", *(page + address for address in addresses)]


def test_readers_who_may_see_the_same_get_the_same_answer(storm: Storm) -> None:
    one, other = reader("gwendolyn", *SEE), reader("archibald", *SEE)
    version = read_version()
    for part in parts(storm):
        first = get(one, part, version)
        with CaptureQueriesContext(connection) as queries:
            assert get(other, part, version) == first
        # Who asks, and what they may see: nothing of the storm.
        assert len(queries) == 4
        assert [query["sql"] for query in queries if "storms_" in query["sql"]] == []
        assert "gwendolyn" not in first


def test_an_answer_is_not_older_than_what_its_reader_has_heard_of(
    storm: Storm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MAX_LATE_SECONDS", 0.0)
    ada = reader("ada", *SEE)
    page, version = f"/storms/{storm.id}/", read_version()
    number = 'data-number="alerts">{}<'
    assert number.format(12) in get(ada, page, version)
    Storm.objects.filter(id=storm.id).update(alert_count=13)
    assert number.format(12) in get(ada, page, version)
    assert number.format(13) in get(ada, page, version + 1)
    assert number.format(13) in get(ada, page, version)  # the later one serves both


def test_an_answer_may_be_late_for_a_while_unless_its_reader_insists(
    storm: Storm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "BY_COST", 1_000)
    ada, page, version = reader("ada", *SEE), f"/storms/{storm.id}/", read_version()
    number = 'data-number="alerts">{}<'
    get(ada, page, version)
    Storm.objects.filter(id=storm.id).update(alert_count=13)
    late = ada.get(page, headers={"X-Console-Version": str(version + 1)})
    assert number.format(12) in late.content.decode()
    assert late.headers["X-Console-Version"] == str(version)  # so its reader knows, and asks again
    assert number.format(13) in get(ada, page, version + 1, insist=True)
    Storm.objects.filter(id=storm.id).update(alert_count=14)
    monkeypatch.setattr(shared, "BY_COST", 0)
    assert number.format(14) in get(ada, page, version + 2)


def test_an_answer_is_not_older_than_what_is_on_the_screen(storm: Storm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "BY_COST", 1_000)
    ada, page, version = reader("ada", *SEE), f"/storms/{storm.id}/", read_version()
    get(ada, page, version)
    Storm.objects.filter(id=storm.id).update(alert_count=13)
    number = 'data-number="alerts">{}<'
    assert number.format(12) in get(ada, page, version + 2, held=version)
    assert number.format(13) in get(ada, page, version + 2, held=version + 1)


def test_who_would_have_to_wait_is_given_what_there_is(storm: Storm) -> None:
    ada, page, version = reader("ada", *SEE), f"/storms/{storm.id}/", read_version()
    get(ada, page, version)
    Storm.objects.filter(id=storm.id).update(alert_count=13)
    [shelf] = shared.shelves.all()
    assert shelf.latest
    with shelf.making:  # somebody makes the next one
        # Also who has that very answer on the screen: crowds do, and webhooks need the threads.
        for insist, held in ((False, 0), (False, shelf.latest.version), (True, 0)):
            late = get(ada, page, version + 1, insist=insist, held=held)
            assert 'data-number="alerts">12<' in late
        assert shelf.patient._value == shared.PATIENT


def test_an_earlier_answer_that_took_longer_replaces_none(storm: Storm) -> None:
    ada, page, version = reader("ada", *SEE), f"/storms/{storm.id}/", read_version()
    get(ada, page, version)
    [shelf] = shared.shelves.all()
    assert shelf.latest
    newer = replace(shelf.latest, version=version + 5)
    shelf.put(newer)
    shelf.put(replace(newer, version=version + 4))
    assert shelf.latest is newer
    of_another_life = replace(newer, version=3)
    shelf.latest = replace(newer, made_at=newer.made_at - shared.MAX_AGE_SECONDS)
    shelf.put(of_another_life)  # the database was set back
    assert shelf.latest is of_another_life


def test_a_part_has_nobody_s_form_token_and_tells_its_reader_s_own(storm: Storm) -> None:
    version, page = read_version(), f"/storms/{storm.id}/"
    readers = [reader(name, *OPERATE) for name in ("ada", "bob")]
    for one in readers:
        one.get(page)
    secrets = [one.cookies["csrftoken"].value for one in readers]
    answers = [one.get(page, headers={"X-Console-Version": str(version)}) for one in readers]
    assert answers[0].content == answers[1].content
    tokens = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', answers[0].content.decode()))
    assert tokens
    for secret, answer in zip(secrets, answers, strict=True):
        assert not any(_does_token_match(token, secret) for token in tokens)
        assert _does_token_match(answer.headers["X-CSRFToken"], secret)


def test_an_answer_has_an_end_whatever_its_version(storm: Storm, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, page, version = reader("ada", *SEE), f"/storms/{storm.id}/", read_version()
    get(ada, page, version)
    Storm.objects.filter(id=storm.id).update(alert_count=13)
    monkeypatch.setattr(shared, "MAX_AGE_SECONDS", -1.0)
    assert 'data-number="alerts">13<' in get(ada, page, version)


def test_who_may_see_less_gets_an_answer_of_their_own(storm: Storm) -> None:
    page, version = f"/storms/{storm.id}/", read_version()
    operator = get(reader("ada", *OPERATE), page, version)
    viewer = get(reader("eye", *SEE), page, version)
    blind = get(reader("blind", "storms.view_storm"), page, version)
    assert 'id="hands"' in operator
    assert 'id="hands"' not in viewer
    assert "pod-1" in viewer
    assert "pod-1" not in blind
    assert reader("nobody").get(page, headers={"X-Console-Version": str(version)}).status_code == 403
    assert Client().get(page, headers={"X-Console-Version": str(version)}).status_code == 302


def test_a_permission_that_was_taken_away_counts_at_once(storm: Storm) -> None:
    ada, page, version = reader("ada", *OPERATE), f"/storms/{storm.id}/", read_version()
    assert 'id="hands"' in get(ada, page, version)
    User.objects.get(username="ada").user_permissions.clear()
    User.objects.get(username="ada").user_permissions.set(
        Permission.objects.filter(codename__in=("view_storm", "view_alert"))
    )
    assert 'id="hands"' not in get(ada, page, version)


def test_the_whole_page_is_nobody_else_s(storm: Storm) -> None:
    ada, page = reader("ada", *OPERATE), f"/storms/{storm.id}/"
    get(reader("bob", *OPERATE), page, read_version())
    whole = get(ada, page, None)
    assert 'data-user="ada"' in whole
    assert re.search(r'name="csrfmiddlewaretoken" value="\w{64}"', whole)


def test_a_part_has_what_the_page_has_under_its_id(storm: Storm) -> None:
    ada, page = reader("ada", *OPERATE), f"/storms/{storm.id}/"
    whole = set(re.findall(r'id="([\w-]+)"[^>]* data-refresh|data-refresh[^>]* id="([\w-]+)"', get(ada, page, None)))
    part = set(re.findall(r'id="([\w-]+)"[^>]* data-refresh|data-refresh[^>]* id="([\w-]+)"', get(ada, page, 0)))
    assert part == whole
    assert len(part) >= 8


@pytest.mark.parametrize("version", ["", "nonsense", "-1", "9" * 19, "٣"])
def test_a_version_that_is_none_is_answered_and_kept_for_nobody(storm: Storm, version: str) -> None:
    answer = reader("ada", *SEE).get(f"/storms/{storm.id}/", headers={"X-Console-Version": version})
    assert answer.status_code == 200
    assert shared.shelves.size() == 0


def test_what_is_kept_is_bounded(storm: Storm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_BYTES", 100_000)
    ada = reader("ada", *SEE)
    for number in range(30):
        get(ada, f"/storms/{storm.id}/alerts/?q={number}", 0)
        assert (
            ada.get(f"/storms/{uuid4()}/alerts/?q={'x' * 5_000}", headers={"X-Console-Version": "0"}).status_code == 404
        )
        assert shared.shelves.size() <= 100_000
    assert shared.shelves.size() > 50_000


@pytest.mark.django_db(transaction=True)
def test_readers_who_ask_at_once_wait_for_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PATIENCE_SECONDS", 60.0)
    storm = make_storm()
    clients = [reader(f"reader-{number}", *SEE) for number in range(6)]
    version, together = read_version(), Barrier(6)

    def ask(client: Client) -> tuple[str, int]:
        try:
            with CaptureQueriesContext(connection) as queries:
                together.wait()
                answer = get(client, f"/storms/{storm.id}/", version)
            return answer, sum('FROM "storms_stormevent"' in query["sql"] for query in queries)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, clients))
    assert len({answer for answer, _ in answers}) == 1
    assert sorted(makings > 0 for _, makings in answers) == [False] * 5 + [True]
