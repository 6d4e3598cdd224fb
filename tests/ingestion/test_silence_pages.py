"""The page of silences: what is silenced, a silence like a storm, and who may make and end one."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from ingestion.models import Silence
from ingestion.silence_like import like_alert, like_storm
from storms.matchers import parse_matchers
from storms.models import Storm
from storms.services.label_baseline import measure_label_baseline
from tests.factories import NOW, make_alert, make_closed_storm, make_storm, make_user

pytestmark = pytest.mark.django_db
VIEWER = ("storms.view_storm", "storms.view_alert", "ingestion.view_silence")
OPERATOR = (*VIEWER, "ingestion.add_silence", "ingestion.change_silence", "storms.change_storm")


@pytest.fixture
def ada(client: Client) -> Client:
    client.force_login(make_user("ada", *OPERATOR))
    return client


def make_silence(**fields: Any) -> Silence:
    defaults = {"matchers": 'namespace="payments"', "author": "ada", "comment": "a patch night"}
    return Silence.objects.create(**defaults | fields)


def member(storm: Storm, **labels: str) -> None:
    full = {"alertname": "HighLatency", **storm.group_labels, **labels}
    make_alert(storm=storm, labels=full, namespace=full.get("namespace", ""), received_at=timezone.now())


def text_of(page: str) -> str:
    """The matchers in the form."""
    [text] = re.findall(r"<textarea id=\"matchers\".*?>(.*?)</textarea>", page, re.DOTALL)
    return unescape(text)


# --- the list


def test_it_lists_what_is_silenced_now(ada: Client, django_assert_num_queries: Any) -> None:
    now = timezone.now()
    make_silence(ends_at=now + timedelta(hours=1))
    make_silence(matchers='team="later"', starts_at=now + timedelta(hours=1))
    make_silence(matchers='team="over"', starts_at=now - timedelta(hours=2), ends_at=now - timedelta(hours=1))
    with django_assert_num_queries(5):
        seen = ada.get("/silences/").content.decode()
    assert 'namespace="payments"' in unescape(seen)
    assert "a patch night" in seen
    assert "later" not in seen
    assert "over" not in seen.split("<main")[1].split("</main>")[0].replace("overflow", "")
    assert 'team="later"' in unescape(ada.get("/silences/?state=pending").content.decode())
    ended = unescape(ada.get("/silences/?state=expired").content.decode())
    assert 'team="over"' in ended
    assert "End it now" not in ended


def test_a_silence_leads_to_what_it_silenced(ada: Client, client: Client) -> None:
    silence = make_silence()
    old = timezone.now() - timedelta(days=40)
    make_alert(disposition="silenced", silence_id=silence.id, received_at=old, labels={"alertname": "Kept quiet"})
    make_alert(received_at=old, labels={"alertname": "Loud"})
    [address] = re.findall(r'href="([^"]+)">what it silenced<', ada.get("/silences/").content.decode())
    assert unescape(address) == f"/alerts/?silence={silence.id}&range=all"
    found = ada.get(unescape(address)).content.decode()
    assert "Kept quiet" in found
    assert "Loud" not in found
    client.force_login(make_user("eve", "ingestion.view_silence"))
    assert "what it silenced" not in client.get("/silences/").content.decode()


def test_the_start_and_the_end_are_times(ada: Client) -> None:
    silence = make_silence(starts_at=NOW + timedelta(days=3650), ends_at=NOW + timedelta(days=3651))
    seen = ada.get("/silences/?state=pending").content.decode()
    for moment, words in ((silence.starts_at, "2036-11-13 10:30:00 UTC"), (silence.ends_at, "2036-11-14 10:30:00 UTC")):
        assert moment is not None
        assert f'<time datetime="{moment.isoformat()}" title="{words}">{words}</time>' in seen


def test_it_says_what_to_do_where_there_is_none(ada: Client) -> None:
    assert "Nothing is silenced." in ada.get("/silences/").content.decode()


def test_ending_one(ada: Client) -> None:
    silence = make_silence()
    answer = ada.post(f"/silences/{silence.id}/expire/", follow=True)
    assert "Ended: it silences nothing from the next alert on." in answer.content.decode()
    silence.refresh_from_db()
    assert silence.ends_at is not None
    assert silence.ends_at <= timezone.now()
    assert "It had ended already." in ada.post(f"/silences/{silence.id}/expire/", follow=True).content.decode()


# --- like a storm, like an alert


def test_a_silence_like_a_storm_has_its_group_and_its_only_name(ada: Client) -> None:
    storm = make_storm(group_labels={"namespace": 'pay"ments'}, alert_count=3)
    for number in range(3):
        member(storm, pod=f"api-{number}", node="node-7")
    seen = ada.get(f"/silences/new/?storm={storm.id}").content.decode()
    assert text_of(seen) == 'alertname="HighLatency"\nnamespace="pay\\"ments"'
    assert '+ node="node-7" <span class="quiet">100 %</span>' in unescape(seen)


def test_a_storm_of_several_names_is_silenced_by_its_group() -> None:
    storm = make_storm(group_labels={"namespace": "payments"}, alert_count=2)
    member(storm)
    member(storm, alertname="TargetDown")
    assert like_storm(storm).matchers == 'namespace="payments"'


def test_suspects_come_first_among_the_labels_to_add() -> None:
    for _ in range(30):
        make_alert(labels={"alertname": "A", "namespace": "x", "team": "core"}, received_at=timezone.now())
    storm = make_storm(group_labels={"namespace": "payments"}, alert_count=4)
    for node in ("node-7", "node-7", "node-7", "node-1"):
        member(storm, node=node, team="core")
    measure_label_baseline(now=timezone.now())
    labels = [str(label.matcher) for label in like_storm(storm).labels]
    assert labels[:2] == ['node="node-7"', 'team="core"']


def test_what_hardly_an_alert_has_is_not_offered() -> None:
    storm = make_storm(group_labels={"namespace": "payments"}, alert_count=11)
    for number in range(11):
        member(storm, pod=f"api-{number}", node="node-7")
    assert [str(label.matcher) for label in like_storm(storm).labels] == ['node="node-7"']


def test_adding_a_label_makes_the_silence_narrower(ada: Client) -> None:
    storm = make_storm(group_labels={"namespace": "payments"}, alert_count=2)
    member(storm, node="node-7")
    member(storm, node="node-7", alertname="TargetDown")
    seen = ada.get(f"/silences/new/?storm={storm.id}").content.decode()
    [narrower] = re.findall(r'class="chip" href="(\?[^"]+)">\+ node', unescape(seen))
    assert text_of(ada.get(f"/silences/new/{narrower}").content.decode()) == 'namespace="payments"\nnode="node-7"'


def test_a_label_that_no_matcher_can_name_is_left_out() -> None:
    alert = make_alert(labels={"alertname": "A", "namespace": "n", "app.kubernetes.io/name": "x", "pod": "p\\\n"})
    like = like_alert(alert)
    assert like.matchers == 'alertname="A"\nnamespace="n"'
    [label] = like.labels
    assert parse_matchers(label.added_to(like.matchers))[-1].value == "p\\\n"


def test_the_storm_s_and_the_alert_s_page_lead_to_it(ada: Client) -> None:
    storm = make_storm()
    alert = make_alert(storm=storm)
    assert f"/silences/new/?storm={storm.id}" in ada.get(f"/storms/{storm.id}/").content.decode()
    assert f"/silences/new/?alert={alert.id}" in ada.get(f"/alerts/{alert.id}/").content.decode()


# --- made


def test_making_one(ada: Client) -> None:
    form = {"matchers": 'namespace="payments"\r\nnode="node-7"', "minutes": "60", "comment": "disk is being replaced"}
    answer = ada.post("/silences/create/", form, follow=True)
    assert "Silenced: it holds from the next alert on." in answer.content.decode()
    silence = Silence.objects.get()
    assert [str(matcher) for matcher in parse_matchers(silence.matchers)] == ['namespace="payments"', 'node="node-7"']
    assert (silence.author, silence.comment) == ("ada", "disk is being replaced")
    assert silence.ends_at is not None
    assert abs(silence.ends_at - silence.starts_at - timedelta(hours=1)) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"matchers": "x"}, "cannot read"),
        ({"matchers": 'team=~".*"'}, "at least one matcher must not match the empty value"),
        ({"matchers": ""}, "This field is required."),
        ({"comment": " "}, "This field is required."),
        ({"minutes": "7"}, "Select a valid choice."),
    ],
)
def test_what_is_wrong_is_said_beside_the_form(ada: Client, wrong: dict[str, str], said: str) -> None:
    storm = make_storm()
    good = {"matchers": 'a="b"', "minutes": "60", "comment": "why", "storm": str(storm.id)}
    answer = ada.post("/silences/create/", good | wrong)
    assert answer.status_code == 400
    assert said in unescape(answer.content.decode())
    assert f"/storms/{storm.id}/" in answer.content.decode()
    assert not Silence.objects.exists()


# --- preview


def test_the_preview_counts_what_fires_and_the_open_storms(ada: Client) -> None:
    storm = make_storm(group_labels={"namespace": "payments"})
    for _ in range(3):
        member(storm)
    closed = make_closed_storm(group_labels={"namespace": "payments"})
    member(closed)
    make_alert(received_at=timezone.now(), status="resolved")
    make_alert(namespace="other", received_at=timezone.now())
    seen = ada.get("/silences/preview/", {"matchers": 'namespace="payments"'}).content.decode()
    assert '<b data-preview="firing">4</b>' in seen
    assert '<b data-preview="storms">1</b>' in seen
    assert f'href="/storms/{storm.id}/"' in seen
    assert "5 alerts came like that" in " ".join(seen.split())


def test_the_preview_says_what_is_wrong(ada: Client) -> None:
    for matchers, said in (("x", "cannot read"), ("", "Write at least one matcher."), ("\x00", "Write at least one")):
        assert said in unescape(ada.get("/silences/preview/", {"matchers": matchers}).content.decode())


def test_an_empty_form_asks_for_no_preview(ada: Client) -> None:
    """It would open with an error about what one has had no time to write."""
    assert 'hx-trigger="input changed' in ada.get("/silences/new/").content.decode()
    filled = ada.get("/silences/new/", {"matchers": 'team="a"'}).content.decode()
    assert 'hx-trigger="load, input changed' in filled


def test_the_preview_works_without_javascript(ada: Client) -> None:
    form = {"matchers": 'namespace="payments"', "minutes": "240", "comment": "so far", "preview": "1"}
    make_alert(received_at=timezone.now())
    seen = ada.post("/silences/create/", form).content.decode()
    assert '<b data-preview="firing">1</b>' in seen
    assert text_of(seen) == 'namespace="payments"'
    assert 'value="so far"' in seen
    assert '<option value="240" selected>' in seen
    assert not Silence.objects.exists()


# --- who may


def test_who_may_only_look_makes_and_ends_none(client: Client) -> None:
    silence, storm = make_silence(), make_storm()
    client.force_login(make_user("eve", *VIEWER))
    seen = client.get("/silences/").content.decode().split("<main")[1]
    assert "End it now" not in seen
    assert "/silences/new/" not in seen
    assert "/silences/new/" not in client.get(f"/storms/{storm.id}/").content.decode()
    for address in ("/silences/new/", "/silences/preview/?matchers=a%3Db"):
        assert client.get(address).status_code == 403
    assert client.post("/silences/create/", {"matchers": "a=b", "minutes": 60, "comment": "x"}).status_code == 403
    assert client.post(f"/silences/{silence.id}/expire/").status_code == 403
    silence.refresh_from_db()
    assert silence.ends_at is None


def test_who_may_not_see_silences_sees_no_page(client: Client) -> None:
    client.force_login(make_user("eve", "storms.view_storm"))
    assert client.get("/silences/").status_code == 403


def test_a_storm_that_is_not_there_fills_nothing_in(ada: Client) -> None:
    for what in ("storm=x", "storm=5f0c6d2e-0000-4000-8000-000000000000", "alert=%00"):
        assert text_of(ada.get(f"/silences/new/?{what}").content.decode()) == ""


def test_hostile_text_is_text(ada: Client) -> None:
    evil = "</textarea><script>alert(1)</script>"
    make_silence(matchers=f'a="{evil}"', comment=evil, author=evil)
    storm = make_storm(group_labels={"namespace": evil}, alert_count=1)
    member(storm, node=evil)
    for address in ("/silences/", f"/silences/new/?storm={storm.id}", "/silences/preview/?matchers=" + evil):
        assert "<script>alert" not in ada.get(address).content.decode()
