"""Dead letters on their page, in the API and in the admin: who may see and handle them, and what they are told."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import Settings

from ingestion.models import DeadLetter, Receiver
from storms.models import Alert
from tests.factories import NOW, make_admin, make_alert, make_dead_letter, make_delivery, make_receiver, make_user
from tests.harness.http import alert
from tests.ingestion.test_dead_letters import limit_to, set_aside

PAGE = "/system/dead-letters/"
API = "/api/v1/dead-letters/"
VIEWER = "ingestion.view_deadletter"
OPERATOR = (VIEWER, "ingestion.change_deadletter")
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

pytestmark = pytest.mark.django_db


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often a worker was asked to replay; the worker itself is in test_dead_letters."""
    asked: list[str] = []
    for module in ("dead_letter_pages", "dead_letter_api", "dead_letter_admin"):
        monkeypatch.setattr(f"ingestion.{module}.enqueue_replays", lambda: asked.append("asked"))
    return asked


def log_in(*permissions: str) -> Client:
    client = Client()
    client.force_login(make_user("ada", *permissions))
    return client


def letter(receiver: Receiver | None = None, **fields: Any) -> DeadLetter:
    receiver = receiver or make_receiver()
    delivery = make_delivery(receiver=receiver, received=1, outcomes={"rejected": 1})
    return make_dead_letter(delivery=delivery, receiver=receiver, **fields)


def shown(client: Client, **query: str) -> str:
    response = client.get(PAGE, query)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def ids(seen: str) -> list[int]:
    return [int(part.partition('"')[0]) for part in seen.split('id="letter-')[1:]]


# --- the page


def test_it_shows_what_waits_newest_first() -> None:
    first, second = letter(error="no time"), letter(raw='{"labels": {"a": "ü"}}')
    letter(state="discarded", comment="Noise", handled_by="bob")

    seen = shown(log_in(VIEWER))

    assert ids(seen) == [second.id, first.id]
    assert "no time" in seen
    assert "&quot;a&quot;: &quot;ü&quot;" in seen
    assert "Noise" not in seen


def test_it_filters_by_receiver_reason_state_and_error() -> None:
    ours, other = make_receiver(name="ours"), make_receiver(name="other")
    one = letter(ours, reason="not_allowed", error="namespace 'a'")
    two = letter(ours, reason="invalid", error="no time of an alert")
    three = letter(other, state="discarded", comment="Noise", handled_by="bob")
    client = log_in(VIEWER)

    assert ids(shown(client, receiver="ours")) == [two.id, one.id]
    assert ids(shown(client, reason="not_allowed")) == [one.id]
    assert ids(shown(client, error="NO TIME")) == [two.id]
    assert ids(shown(client, state="discarded")) == [three.id]
    assert ids(shown(client, state="", receiver="other")) == [three.id]
    assert "Discarded by bob" in shown(client, state="discarded")
    assert "No dead letter is like that." in shown(client, receiver="nobody")


def test_it_pages_by_key() -> None:
    receiver = make_receiver()
    letters = [letter(receiver) for _ in range(27)]
    client = log_in(VIEWER)

    first = ids(shown(client))
    assert len(first) == 25
    assert f"before={first[-1]}" in shown(client)
    rest = shown(client, before=str(first[-1]))
    assert ids(rest) == [letters[1].id, letters[0].id]
    assert "Older" not in rest
    for before in ("x", "1" * 30, "²"):
        assert client.get(PAGE, {"before": before}).status_code == 404


def test_an_empty_page_says_what_would_be_here() -> None:
    assert "Nothing waits here." in shown(log_in(VIEWER))


def test_hostile_text_is_text() -> None:
    receiver = make_receiver(name=EVIL[:90])
    letter(receiver, raw=f'"{EVIL}', error=EVIL, pointer=EVIL)
    letter(receiver, state="discarded", comment=EVIL, handled_by=EVIL)
    client = log_in(*OPERATOR)
    for query in ({}, {"state": ""}, {"error": EVIL}, {"receiver": EVIL[:90]}):
        seen = shown(client, **query)
        assert "<script>alert" not in seen
        assert "<img" not in seen.replace('<img src="/static/', "")


def test_it_tells_of_letters_that_were_not_kept(settings: Settings) -> None:
    settings.MAX_DEAD_LETTERS = 7
    receiver = make_receiver(name="flood")
    make_delivery(receiver=receiver, received=1200, outcomes={"rejected": 1200}, not_kept=1193)
    seen = shown(log_in(VIEWER))
    assert "<strong>flood</strong>: at least 1,193 more alerts could not be taken in" in seen
    assert "keeps 7 waiting letters" in seen


def test_a_page_of_many_letters_costs_as_many_queries_as_one(django_assert_max_num_queries: Any) -> None:
    receiver = make_receiver()
    for _ in range(30):
        letter(receiver)
    client = log_in(*OPERATOR)
    # Session, user, two of permissions, the letters, what waits, what was not kept, receivers, the count.
    with django_assert_max_num_queries(9):
        shown(client)


def test_a_replayed_letter_leads_to_its_alert_as_long_as_there_is_one() -> None:
    kept = make_alert()
    replayed = {
        "state": "replayed",
        "outcome": "individual",
        "handled_by": "bob",
        "handled_at": NOW,
        "replayed_as": uuid4(),
    }
    for alert_id in (kept.id, uuid4(), None):
        letter(alert_id=alert_id, **replayed)
    seen = shown(log_in(VIEWER, "storms.view_alert"), state="replayed")
    assert seen.count("Replayed by bob") == 3
    assert re.findall(r'href="(/alerts/[^"]+)"', seen.split("<main")[1]) == [f"/alerts/{kept.id}/"]


def test_a_letter_leads_to_its_delivery_for_who_may_see_it() -> None:
    one = letter()
    address = f'href="/system/deliveries/{one.delivery_id}/"'
    client = log_in(VIEWER)
    assert address not in shown(client)
    client.force_login(make_user("eve", VIEWER, "ingestion.view_delivery"))
    assert address in shown(client)


def test_an_operator_replays_one(console, enqueued) -> None:
    [one] = set_aside(console, alert(namespace="payments"))
    client = log_in(*OPERATOR, "storms.view_alert")
    back = f"state=waiting&receiver={limit_to().name}"

    response = client.post(f"{PAGE}{one.id}/replay/", {"back": back}, follow=True)

    assert response.redirect_chain == [(f"{PAGE}?state=waiting&receiver=test&reason=&error=", 302)]
    assert "Replayed: held." in response.content.decode()
    assert DeadLetter.objects.get().handled_by == "ada"
    seen = shown(client, state="replayed")
    assert f"/alerts/{Alert.objects.get().id}/" in seen


def test_an_operator_is_told_why_a_replay_failed(console) -> None:
    [one] = set_aside(console, alert(namespace="payments"))
    client = log_in(*OPERATOR)

    seen = client.post(f"{PAGE}{one.id}/replay/", follow=True).content.decode()

    assert "It still cannot be taken in: namespace &#x27;payments&#x27;" in seen
    assert "Replayed 1 time in vain, last by ada" in seen


def test_an_operator_discards_one() -> None:
    one = letter()
    client = log_in(*OPERATOR)

    assert "Say why" in client.post(f"{PAGE}{one.id}/discard/", {"comment": " "}, follow=True).content.decode()
    response = client.post(f"{PAGE}{one.id}/discard/", {"comment": "A test"}, follow=True)

    assert "Discarded." in response.content.decode()
    one.refresh_from_db()
    assert (one.state, one.comment, one.handled_by) == ("discarded", "A test", "ada")


def test_an_operator_handles_all_that_a_filter_chooses(asked: list[str]) -> None:
    ours, other = make_receiver(name="ours"), make_receiver()
    mine, theirs = [letter(ours) for _ in range(2)], letter(other)
    client = log_in(*OPERATOR)
    assert "Replay all 2" in shown(client, receiver="ours")

    told = client.post(f"{PAGE}replay/", {"back": "state=waiting&receiver=ours"}, follow=True).content.decode()
    assert "2 are being replayed" in told
    assert asked == ["asked"]
    assert set(DeadLetter.objects.exclude(queued_at=None)) == set(mine)

    told = client.post(f"{PAGE}discard/", {"back": "receiver=ours", "comment": "Noise"}, follow=True).content.decode()
    assert "2 discarded." in told
    theirs.refresh_from_db()
    assert (theirs.state, theirs.queued_at) == ("waiting", None)


def test_a_redirect_leads_to_the_page_and_nowhere_else() -> None:
    response = log_in(*OPERATOR).post(
        f"{PAGE}{letter().id}/discard/", {"comment": "x", "back": "https://evil.example/?state=waiting&x=1"}
    )
    assert response["Location"].startswith(f"{PAGE}?state=")
    assert "evil" not in response["Location"]


def test_a_viewer_cannot_handle_letters() -> None:
    one = letter()
    viewer = log_in(VIEWER)
    assert "Replay" not in shown(viewer).replace("Replaying", "").replace("Replayed", "")
    for action in (f"{one.id}/replay/", f"{one.id}/discard/", "replay/", "discard/"):
        assert viewer.post(PAGE + action, {"comment": "x"}).status_code == 403
        assert viewer.get(PAGE + action).status_code == 405
        response = Client().post(PAGE + action)
        assert response.status_code == 302
        assert response["Location"].endswith(f"next={PAGE}")
    one.refresh_from_db()
    assert (one.state, one.queued_at) == ("waiting", None)


def test_who_may_not_see_alerts_set_aside_sees_no_page() -> None:
    assert log_in("storms.view_storm").get(PAGE).status_code == 403
    assert Client().get(PAGE).status_code == 302


def test_what_does_not_exist_is_404() -> None:
    client = log_in(*OPERATOR)
    for action in ("replay", "discard"):
        assert client.post(f"{PAGE}12345/{action}/", {"comment": "x"}).status_code == 404


# --- the API


def test_the_api_replays_one(console, enqueued) -> None:
    [one] = set_aside(console, alert(namespace="payments"))
    client = log_in(*OPERATOR)

    failed = client.post(f"{API}{one.id}/replay/")
    assert failed.status_code == 422
    assert failed["Content-Type"] == "application/problem+json"
    [error] = failed.json()["errors"]
    assert error["pointer"] == "/alerts/0/labels/namespace"

    limit_to()
    answer = client.post(f"{API}{one.id}/replay/").json()
    assert (answer["state"], answer["outcome"], answer["attempts"], answer["handled_by"]) == (
        "replayed",
        "held",
        2,
        "ada",
    )
    assert answer["alert_id"] == str(Alert.objects.get().id)
    again = client.post(f"{API}{one.id}/replay/")
    assert (again.status_code, again.json()["detail"]) == (409, "It was replayed already, by ada.")


def test_the_api_discards_one() -> None:
    one, client = letter(), log_in(*OPERATOR)
    assert client.post(f"{API}{one.id}/discard/", {}, "application/json").status_code == 400
    answer = client.post(f"{API}{one.id}/discard/", {"comment": "Noise"}, "application/json").json()
    assert (answer["state"], answer["comment"], answer["handled_by"]) == ("discarded", "Noise", "ada")


def test_the_api_handles_all_of_a_filter(asked: list[str]) -> None:
    ours = make_receiver(name="ours")
    letter(ours), letter(ours, reason="not_allowed"), letter()
    client = log_in(*OPERATOR)

    answer = client.post(f"{API}replay/?receiver=ours&reason=invalid")
    assert (answer.status_code, answer.json(), asked) == (202, {"queued": 1}, ["asked"])
    assert client.post(f"{API}replay/?reciever=ours").status_code == 400

    answer = client.post(f"{API}discard/?receiver=ours", {"comment": "Noise"}, "application/json")
    assert answer.json() == {"discarded": 2}
    assert [row["state"] for row in client.get(API, {"receiver": "ours"}).json()["results"]] == ["discarded"] * 2
    assert len(client.get(API, {"state": "waiting"}).json()["results"]) == 1


def test_the_api_needs_the_permission() -> None:
    one, viewer = letter(), log_in(VIEWER)
    for action in (f"{one.id}/replay/", f"{one.id}/discard/", "replay/", "discard/"):
        assert viewer.post(API + action, {"comment": "x"}, "application/json").status_code == 403
        assert Client().post(API + action).status_code == 401
    assert DeadLetter.objects.get().state == "waiting"


# --- the admin

CHANGELIST = "/admin/ingestion/deadletter/"


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(make_admin("root"))
    return client


def in_bulk(client: Client, action: str, *letters: DeadLetter, **fields: str) -> str:
    body = {"action": action, "_selected_action": [str(letter.id) for letter in letters]} | fields
    return " ".join(client.post(CHANGELIST, body, follow=True).content.decode().split())


def test_the_admin_replays_and_discards_many(root: Client, asked: list[str]) -> None:
    letters = [letter() for _ in range(3)]
    assert "2 are being replayed" in in_bulk(root, "replay", *letters[:2])
    assert asked == ["asked"]
    seen = in_bulk(root, "discard_with_a_reason", *letters[1:])
    assert "Discard 2 dead letters?" in seen
    assert "2 discarded." in in_bulk(root, "discard_with_a_reason", *letters[1:], apply="1", comment="Noise")
    assert list(DeadLetter.objects.order_by("id").values_list("state", "handled_by")) == [
        ("waiting", "root"),
        ("discarded", "root"),
        ("discarded", "root"),
    ]
    assert "None of them waits." in in_bulk(root, "discard_with_a_reason", letters[1])


def test_in_the_admin_a_viewer_cannot_handle_letters() -> None:
    one = letter()
    client = Client()
    client.force_login(make_user("ada", VIEWER, is_staff=True))
    in_bulk(client, "replay", one)
    in_bulk(client, "discard_with_a_reason", one, apply="1", comment="x")
    one.refresh_from_db()
    assert (one.state, one.queued_at) == ("waiting", None)
