"""What operators do, on the pages, through the API and in the admin: who may, what it does, what a refusal says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from storms import detector
from storms.api_tokens import create_api_token
from storms.models import Alert, RemediationRequest, Storm
from tests.factories import make_admin, make_alert, make_closed_storm, make_policy, make_storm, make_user
from tests.harness.http import alert, payload
from tests.harness.webhook import Console

VIEWER = ("storms.view_storm", "storms.view_alert")
OPERATOR = (*VIEWER, "storms.change_storm")
UNKNOWN = "5f0c6d2e-0000-4000-8000-000000000000"
STORM_ACTIONS = ["acknowledge", "assign", "note", "close", "merge"]


def browser(*permissions: str, name: str = "ada", **options: Any) -> Client:
    client = Client(**options)
    client.force_login(make_user(name, *permissions))
    return client


@pytest.fixture
def ada(db: None) -> Client:
    return browser(*OPERATOR)


def a_storm(console: Console, namespace: str = "demo", count: int = 10) -> Storm:
    console.post(payload([alert(namespace=namespace) for _ in range(count)]))
    return Storm.objects.get(group_labels__namespace=namespace)


def do(client: Client, row: Storm | Alert, what: str, **fields: str) -> str:
    """Post a page's form and follow it; the page that it leads to."""
    kind = "storms" if isinstance(row, Storm) else "alerts"
    response = client.post(f"/{kind}/{row.id}/{what}/", fields, follow=True)
    assert response.redirect_chain, response.content
    assert response.status_code == 200
    return response.content.decode()


def timeline(storm: Storm) -> list[tuple[str, str]]:
    return list(storm.events.order_by("at", "id").values_list("kind", "actor"))


@pytest.fixture
def store_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's address is one where nobody listens, as far as this process can tell."""
    monkeypatch.setattr(detector, "_retry_store_at", float("inf"))


# --- the pages


def test_an_operator_acknowledges_assigns_and_notes(ada: Client) -> None:
    storm = make_storm()
    assert "not acknowledged" in ada.get(f"/storms/{storm.id}/").content.decode()

    assert "Acknowledged." in do(ada, storm, "acknowledge")
    assert "Assigned to bob." in do(ada, storm, "assign", assignee=" bob ")
    seen = do(ada, storm, "note", text="  the database is <b>full</b>\nagain  ")

    storm.refresh_from_db()
    assert (storm.acknowledged_by, storm.assignee) == ("ada", "bob")
    assert timeline(storm) == [("acknowledged", "ada"), ("assigned", "ada"), ("note", "ada")]
    assert '<span class="quiet">by ada, <time' in seen
    assert '<span class="quiet">to bob</span>' in seen
    assert "the database is &lt;b&gt;full&lt;/b&gt;\nagain" in seen
    assert "not acknowledged" not in seen
    assert "acknowledge/" not in seen


def test_a_row_s_button_leads_back_to_the_first_page(ada: Client) -> None:
    storm = make_storm(group_labels={"namespace": "payments"})
    seen = do(ada, storm, "acknowledge", back="now")
    assert "Acknowledged: namespace=payments." in seen
    assert 'id="section-open"' in seen


def test_a_script_that_asks_in_the_background_gets_words_and_no_page(ada: Client) -> None:
    storm = make_storm()
    asked = {"headers": {"X-Console-Action": "1"}}
    response = ada.post(f"/storms/{storm.id}/acknowledge/", {"back": "now"}, **asked)
    assert (response.status_code, response.json()) == (200, {"told": f"Acknowledged: {storm.group_title}."})
    refused = ada.post(f"/storms/{storm.id}/close/", {"comment": ""}, **asked)
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("Say why")
    assert "messages" not in ada.get("/").content.decode().split("<main")[1].split("<dl")[0]
    eye = browser(*VIEWER, name="eye")
    assert eye.post(f"/storms/{storm.id}/acknowledge/", **asked).status_code == 403


def test_a_message_is_shown_once_and_not_to_the_script_in_the_background(ada: Client) -> None:
    storm = make_storm()
    ada.post(f"/storms/{storm.id}/acknowledge/")
    page = f"/storms/{storm.id}/"
    background = ada.get(page, headers={"X-Console-Version": "1"}).content.decode()
    assert "Acknowledged.</li>" not in background
    assert "Acknowledged.</li>" in ada.get(page).content.decode()
    assert "Acknowledged.</li>" not in ada.get(page).content.decode()


def test_an_operator_takes_a_storm(ada: Client) -> None:
    storm = make_storm(assignee="bob")
    mine = 'data-assignee="ada" hidden>'
    assert mine not in ada.get(f"/storms/{storm.id}/").content.decode()
    seen = do(ada, storm, "assign", me="1")
    assert "Assigned to ada." in seen
    assert mine in seen


def test_an_assignment_is_taken_back(ada: Client) -> None:
    storm = make_storm(assignee="bob")
    assert "Assigned to nobody." in do(ada, storm, "assign", assignee="")
    storm.refresh_from_db()
    assert storm.assignee == ""


@pytest.mark.parametrize(
    ("what", "fields", "told"),
    [
        ("note", {"text": " \x00 "}, "A note has 1 to 500 characters; this one has 0."),
        ("note", {"text": "x" * 501}, "A note has 1 to 500 characters; this one has 501."),
        ("close", {"comment": ""}, "Say why: the reason stands on the timeline and in the resource."),
        ("merge", {"into": "nonsense"}, "Choose the storm to merge into"),
        ("merge", {"into": UNKNOWN}, "Choose the storm to merge into"),
    ],
)
def test_a_refusal_is_a_message_on_the_page(ada: Client, what: str, fields: dict[str, str], told: str) -> None:
    storm = make_storm()
    seen = do(ada, storm, what, **fields)
    assert f'<li data-level="error">{told}' in seen
    assert timeline(storm) == []


def test_an_operator_closes_a_storm(console: Console, ada: Client) -> None:
    storm = a_storm(console)
    seen = do(ada, storm, "close", comment="a planned failover")
    storm.refresh_from_db()
    assert (storm.state, storm.close_reason, storm.close_comment) == ("closed", "operator", "a planned failover")
    assert "“a planned failover”" in seen
    assert timeline(storm)[-1] == ("closed", "ada")
    for gone in ("close/", "merge/"):
        assert f"/storms/{storm.id}/{gone}" not in seen
    assert "The storm is closed already." in do(ada, storm, "close", comment="again")


def test_a_store_that_is_away_closes_nothing_and_says_so(console: Console, ada: Client, store_away: None) -> None:
    storm = make_storm()
    seen = do(ada, storm, "close", comment="enough")
    assert '<li data-level="error">The store is away' in seen
    storm.refresh_from_db()
    assert storm.state == "open"


def test_an_operator_merges_a_storm_into_another_of_its_policy(console: Console, ada: Client) -> None:
    source, target = a_storm(console, "a"), a_storm(console, "b")
    foreign = make_storm(policy=make_policy(), group_labels={"namespace": "foreign"})
    page = ada.get(f"/storms/{source.id}/").content.decode()
    assert f'<option value="{target.id}">namespace=b' in page
    assert str(foreign.id) not in page

    seen = do(ada, source, "merge", into=str(target.id))

    assert "namespace=a was merged into this storm." in seen
    assert f'Merged into it: <a href="/storms/{source.id}/">namespace=a</a>' in seen
    assert Alert.objects.filter(storm=target).count() == 20
    emptied = ada.get(f"/storms/{source.id}/").content.decode()
    assert f'<a href="/storms/{target.id}/">namespace=b</a>' in emptied
    alert_page = ada.get(f"/alerts/{source.opened_by}/").content.decode()
    assert "Its storm was merged into that of namespace=b by ada." in alert_page


def test_there_is_nothing_to_merge_into(ada: Client) -> None:
    policy = make_policy()
    make_closed_storm(policy=policy)
    page = ada.get(f"/storms/{make_storm(policy=policy).id}/").content.decode()
    assert "merge/" not in page
    # Storms of a deleted policy have none in common.
    make_storm()
    assert "merge/" not in ada.get(f"/storms/{make_storm().id}/").content.decode()


@pytest.mark.parametrize("back", ["storm", "alert"])
def test_an_operator_splits_an_alert_out(console: Console, ada: Client, back: str) -> None:
    storm = a_storm(console)
    member = storm.alerts.exclude(id=storm.opened_by).order_by("id")[0]
    for page in (f"/storms/{storm.id}/", f"/alerts/{member.id}/"):
        assert f"/alerts/{member.id}/split/" in ada.get(page).content.decode()

    seen = do(ada, member, "split", back=back)

    assert "was split out: it gets a RemediationRequest of its own.</li>" in seen
    assert ("Split out" in seen) == (back == "storm")
    page = ada.get(f"/alerts/{member.id}/").content.decode()
    assert "ada split it out of the storm of namespace=demo" in page
    assert "No storm came" not in page
    assert "The storm it was split out of" in page
    assert f"/alerts/{member.id}/split/" not in page
    assert f'<li><a href="/alerts/{member.id}/">' in ada.get(f"/storms/{storm.id}/").content.decode()
    assert RemediationRequest.objects.get(id=member.id).superseded_by is None
    assert "The alert is in no storm." in do(ada, member, "split", back=back)


def test_the_last_alert_cannot_be_split_out(ada: Client) -> None:
    storm = make_storm()
    member = make_alert(storm=storm)
    for page in (f"/storms/{storm.id}/", f"/alerts/{member.id}/"):
        assert "split/" not in ada.get(page).content.decode()
    assert "close the storm instead." in do(ada, member, "split").replace("&#x27;", "'")


def test_who_may_only_look_has_no_buttons_and_is_refused(db: None) -> None:
    viewer = browser(*VIEWER)
    policy = make_policy()
    storm, other = make_storm(policy=policy), make_storm(policy=policy)
    members = [make_alert(storm=storm) for _ in range(2)]
    for page in (f"/storms/{storm.id}/", f"/alerts/{members[0].id}/"):
        seen = viewer.get(page).content.decode()
        assert 'method="post"' not in seen.split("<main")[1].split("</main>")[0]
    fields = {"assignee": "eve", "text": "x", "comment": "x", "into": str(other.id)}
    for path in [f"/storms/{storm.id}/{what}/" for what in STORM_ACTIONS] + [f"/alerts/{members[0].id}/split/"]:
        assert viewer.post(path, fields).status_code == 403
    storm.refresh_from_db()
    assert (storm.state, storm.assignee, storm.acknowledged_at, timeline(storm)) == ("open", "", None, [])
    assert storm.alerts.count() == 2


@pytest.mark.parametrize("what", STORM_ACTIONS)
def test_who_is_not_logged_in_comes_back_to_the_page(db: None, client: Client, what: str) -> None:
    response = client.post(f"/storms/{UNKNOWN}/{what}/")
    assert response.status_code == 302
    assert response["Location"] == f"/login/?next=/storms/{UNKNOWN}/"


def test_without_a_csrf_token_nothing_is_done(db: None) -> None:
    strict = browser(*OPERATOR, enforce_csrf_checks=True)
    storm = make_storm()
    assert strict.post(f"/storms/{storm.id}/acknowledge/").status_code == 403
    page = strict.get(f"/storms/{storm.id}/").content.decode()
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    assert strict.post(f"/storms/{storm.id}/acknowledge/", {"csrfmiddlewaretoken": token}).status_code == 302


@pytest.mark.parametrize("what", STORM_ACTIONS)
def test_an_action_takes_only_post_and_only_what_exists(ada: Client, what: str) -> None:
    assert ada.get(f"/storms/{UNKNOWN}/{what}/").status_code == 405
    assert ada.post(f"/storms/{UNKNOWN}/{what}/").status_code == 404
    assert ada.post(f"/alerts/{UNKNOWN}/split/").status_code == 404


def test_hostile_text_is_text(ada: Client) -> None:
    evil = "<script>alert(1)</script>"
    policy = make_policy()
    storm = make_storm(policy=policy)
    make_storm(policy=policy, group_labels={"namespace": evil})
    make_user(evil)
    do(ada, storm, "assign", assignee=evil)
    do(ada, storm, "note", text=evil)
    for page in (f"/storms/{storm.id}/", "/"):
        assert "<script>alert" not in ada.get(page).content.decode()


# --- the order and the words on the first page


def test_the_most_trouble_is_on_top(ada: Client) -> None:
    def storm(name: str, severity: str, firing: int) -> None:
        make_storm(group_labels={"n": name}, severity=severity, firing_count=firing)

    storm("third", "critical", 1)
    storm("fifth", "info", 99)
    storm("second", "critical", 20)
    storm("fourth", "warning", 50)
    storm("first", "critical", 20)
    Storm.objects.filter(group_labels__n="second").update(opened_at="2026-11-16T10:29:00Z")
    seen = ada.get("/").content.decode()
    places = [seen.index(name) for name in ("first", "second", "third", "fourth", "fifth")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "nobody has it yet"),
        ({"acknowledged_by": "ada"}, "acknowledged by ada"),
        ({"acknowledged_by": "ada", "assignee": "bob"}, "assigned to bob"),
    ],
)
def test_the_first_page_says_who_has_a_storm(ada: Client, fields: dict[str, str], words: str) -> None:
    make_storm(**fields)
    assert re.search(rf'data-field="who"[^>]*>{words}</p>', ada.get("/").content.decode())


# --- the API


class Api:
    def __init__(self, *permissions: str, name: str = "bot") -> None:
        _, token = create_api_token(user=make_user(name, *permissions))
        self.client = Client(headers={"Authorization": f"Bearer {token}"})

    def post(self, path: str, expect: int = 200, **body: Any) -> Any:
        response = self.client.post(f"/api/v1/{path}/", body, content_type="application/json")
        assert response.status_code == expect, response.content
        if expect >= 400:
            assert response["Content-Type"] == "application/problem+json"
        return response.json()


@pytest.fixture
def api(db: None) -> Api:
    return Api(*OPERATOR)


def test_the_api_does_the_same(console: Console, api: Api) -> None:
    storm, other = a_storm(console, "a"), a_storm(console, "b")
    path = f"storms/{storm.id}"
    assert api.post(f"{path}/acknowledge")["acknowledged_by"] == "bot"
    assert api.post(f"{path}/assign", assignee="ada")["assignee"] == "ada"
    assert api.post(f"{path}/note", text="seen")["events"][-1]["message"] == "seen"
    member = storm.alerts.exclude(id=storm.opened_by)[0]
    assert api.post(f"alerts/{member.id}/split")["split_from"] == str(storm.id)
    assert api.post(f"{path}/merge", into=str(other.id))["id"] == str(other.id)
    closed = api.post(f"storms/{other.id}/close", comment="done")
    assert (closed["state"], closed["close_reason"], closed["close_comment"]) == ("settled", "operator", "done")
    assert timeline(storm)[-5:] == [
        ("acknowledged", "bot"),
        ("assigned", "bot"),
        ("note", "bot"),
        ("split", "bot"),
        ("merged", "bot"),
    ]


def test_what_cannot_be_done_is_a_conflict(api: Api) -> None:
    closed = make_closed_storm()
    assert api.post(f"storms/{closed.id}/close", 409, comment="x")["detail"] == "The storm is closed already."
    problem = api.post(f"storms/{closed.id}/merge", 409, into=str(make_storm().id))
    assert problem["detail"] == "Only open storms can be merged."
    assert api.post(f"alerts/{make_alert().id}/split", 409)["detail"] == "The alert is in no storm."


@pytest.mark.parametrize(
    ("what", "body", "pointer"),
    [
        ("assign", {}, "/assignee"),
        ("assign", {"assignee": "x" * 151}, "/assignee"),
        ("note", {"text": " "}, "/text"),
        ("note", {"text": "x" * 501}, "/text"),
        ("close", {}, "/comment"),
        ("merge", {"into": "nonsense"}, "/into"),
        ("merge", {"into": UNKNOWN}, "/into"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(api: Api, what: str, body: dict[str, str], pointer: str) -> None:
    problem = api.post(f"storms/{make_storm().id}/{what}", 400, **body)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_the_api_says_when_to_try_again(console: Console, api: Api, store_away: None) -> None:
    storm = make_storm()
    response = api.client.post(f"/api/v1/storms/{storm.id}/close/", {"comment": "x"}, content_type="application/json")
    assert response.status_code == 503
    assert response["Retry-After"] == "2"
    assert response.json()["detail"].startswith("The store is away")


@pytest.mark.parametrize("permissions", [VIEWER, ("storms.add_storm", "storms.change_alert")])
def test_the_api_needs_the_permission(db: None, permissions: tuple[str, ...]) -> None:
    api, storm = Api(*permissions), make_storm()
    members = [make_alert(storm=storm) for _ in range(2)]
    for what in STORM_ACTIONS:
        api.post(f"storms/{storm.id}/{what}", 403, text="x", comment="x", assignee="x", into=str(storm.id))
    api.post(f"alerts/{members[0].id}/split", 403)
    assert Client().post(f"/api/v1/storms/{storm.id}/acknowledge/").status_code == 401
    assert timeline(storm) == []


# --- the admin

CHANGELIST = "/admin/storms/storm/"


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(make_admin("root"))
    return client


def in_bulk(client: Client, what: str, *storms: Storm, **fields: str) -> str:
    body = {"action": what, "_selected_action": [str(storm.id) for storm in storms]} | fields
    response = client.post(CHANGELIST, body, follow=True)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_many_storms_are_acknowledged_and_assigned_at_once(root: Client) -> None:
    storms = [make_storm() for _ in range(3)]
    assert "2 of 2 were acknowledged." in in_bulk(root, "acknowledge", *storms[:2])
    assert "2 of 2 were assigned to root." in in_bulk(root, "assign_to_me", *storms[:2])
    rows = Storm.objects.filter(acknowledged_by="root", assignee="root").values_list("id", flat=True)
    assert set(rows) == {storm.id for storm in storms[:2]}
    assert timeline(storms[0]) == [("acknowledged", "root"), ("assigned", "root")]


def test_many_storms_are_closed_with_one_reason(console: Console, root: Client) -> None:
    storms = [a_storm(console, namespace) for namespace in "abc"]
    asked = in_bulk(root, "close_with_a_reason", *storms[:2])
    assert "Close 2 storms?" in asked
    assert "namespace=a" in asked
    assert "namespace=c" not in asked
    assert "This field is required." in in_bulk(root, "close_with_a_reason", *storms[:2], apply="1", comment=" ")
    assert Storm.objects.filter(state="open").count() == 3

    done = in_bulk(root, "close_with_a_reason", *storms[:2], apply="1", comment="a drill")

    assert "2 of 2 were closed." in done
    assert list(Storm.objects.filter(state="open")) == [storms[2]]
    assert set(Storm.objects.filter(state="closed").values_list("close_comment", flat=True)) == {"a drill"}
    assert "None of them is open." in in_bulk(root, "close_with_a_reason", *storms[:2])


def test_one_that_is_refused_does_not_stop_the_others(console: Console, root: Client) -> None:
    closed, storm = make_closed_storm(group_labels={"n": "gone"}), a_storm(console)
    seen = in_bulk(root, "close_with_a_reason", closed, storm, apply="1", comment="x")
    assert "n=gone: The storm is closed already." in seen
    assert "1 of 2 were closed." in seen


def test_a_store_that_is_away_stops_them_all(console: Console, root: Client, store_away: None) -> None:
    storms = [make_storm() for _ in range(3)]
    seen = in_bulk(root, "close_with_a_reason", *storms, apply="1", comment="x")
    assert seen.count("The store is away") == 1
    assert "0 of 3 were closed." in seen


def test_bulk_actions_need_the_permission(db: None) -> None:
    client = Client()
    client.force_login(make_user("eve", "storms.view_storm", is_staff=True))
    storm = make_storm()
    assert 'value="acknowledge"' not in client.get(CHANGELIST).content.decode()
    for what in ("acknowledge", "assign_to_me", "close_with_a_reason"):
        in_bulk(client, what, storm, apply="1", comment="x")
    assert timeline(storm) == []
