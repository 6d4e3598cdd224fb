"""The alert explorer: what it finds, shows, keeps and refuses."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
import time_machine
from django.contrib.auth.models import User
from django.http import QueryDict
from django.test import Client

from storms import alert_columns, alert_scan, label_completion
from storms.alert_filter import AlertFilter
from storms.alert_scan import TooSlow, scan
from storms.models import Alert, AlertColumns, AuditEntry, LabelBaseline, SavedFilter
from storms.pages.alerts import alerts_like
from tests.factories import (
    NOW,
    make_admin,
    make_alert,
    make_delivery,
    make_policy,
    make_receiver,
    make_storm,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _now() -> Any:
    with time_machine.travel(NOW + timedelta(minutes=5), tick=False):
        yield


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_completion, "_read", (0.0, [], {}))


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(make_user("vera", "storms.view_alert", "storms.view_storm"))
    return client


def get(client: Client, path: str = "/alerts/", *, htmx: bool = False, **params: Any) -> Any:
    headers = {"HX-Request": "true"} if htmx else {}
    return client.get(f"{path}?{urlencode(params, doseq=True)}", headers=headers)


def names(answer: Any) -> list[str]:
    return [alert.alertname for alert, _ in answer.context["rows"]]


def make(name: str, minutes_ago: float = 0, **fields: Any) -> Alert:
    labels = {"alertname": name} | fields.pop("labels", {})
    fields.setdefault("namespace", labels.get("namespace", ""))
    return make_alert(labels=labels, received_at=NOW - timedelta(minutes=minutes_ago), **fields)


def test_it_needs_a_login_and_the_permission(client: Client) -> None:
    assert get(client).status_code == 302
    client.force_login(make_user("eve", "storms.view_storm"))
    for path in ("/alerts/", "/alerts/histogram.json", "/alerts/complete.json", "/alerts/alerts.csv"):
        assert get(client, path).status_code == 403


def test_it_shows_the_newest_first_and_leads_to_the_decision_trace(viewer: Client) -> None:
    make("Older", 5)
    newest = make("Newest", 1)

    answer = get(viewer)

    assert names(answer) == ["Newest", "Older"]
    assert f'href="/alerts/{newest.id}/"' in answer.content.decode()


@pytest.mark.parametrize(
    ("matchers", "found"),
    [
        ('{namespace="shop"}', ["A", "B"]),
        ('namespace="shop", pod=~"api-.*"', ["A"]),
        ('pod=~"(?i)API-[0-9]"', ["A"]),
        ('pod!~"[a-z]+-\\\\d"', ["C"]),
        ('team!="infra"', ["A", "C"]),
        ('pod=""', ["C"]),
        ('alertname="B", namespace="shop"', ["B"]),
        ('alertname="B", alertname!="B"', []),
    ],
)
def test_matchers_are_alertmanagers(viewer: Client, matchers: str, found: list[str]) -> None:
    make("A", labels={"namespace": "shop", "pod": "api-1", "team": "web"})
    make("B", labels={"namespace": "shop", "pod": "db-1", "team": "infra"})
    make("C", labels={"namespace": "till"})

    assert sorted(names(get(viewer, q=matchers))) == found


def test_every_condition_narrows(viewer: Client) -> None:
    policy, storm = make_policy(), make_storm()
    make_receiver(name="probes")
    one = make(
        *("One",), storm=storm, policy=policy, receiver="probes", severity="warning", silence_id=7, status="firing"
    )
    make("Other", severity="critical", status="resolved", disposition="silenced", outcome="silenced")

    conditions: dict[str, Any] = {
        "storm": storm.id,
        "policy": policy.id,
        "receiver": "probes",
        "severity": ["warning", "info"],
        "silence": 7,
        "status": "firing",
        "outcome": "aggregated",
        "disposition": ["member", "held"],
        "fingerprint": one.fingerprint,
    }
    assert len(names(get(viewer))) == 2
    for name, value in conditions.items():
        assert names(get(viewer, **{name: value})) == ["One"], name
    assert names(get(viewer, **conditions)) == ["One"]
    assert names(get(viewer, **conditions | {"silence": 8})) == []


def test_time_is_the_last_day_unless_asked_for(viewer: Client) -> None:
    make("Now", 1)
    make("Yesterday", 60 * 25)
    make("LastMonth", 60 * 24 * 20)

    assert names(get(viewer)) == ["Now"]
    assert names(get(viewer, range="7d")) == ["Now", "Yesterday"]
    assert names(get(viewer, range="all")) == ["Now", "Yesterday", "LastMonth"]


def test_absolute_times_are_those_of_the_readers_zone(viewer: Client) -> None:
    make("At1030Utc")

    def between(start: str, end: str, zone: str) -> list[str]:
        return names(get(viewer, range="between", **{"from": start, "to": end, "tz": zone}))

    assert between("2026-11-16T10:30", "2026-11-16T10:31", "UTC") == ["At1030Utc"]
    assert between("2026-11-16T11:30", "2026-11-16T11:31", "Europe/Berlin") == ["At1030Utc"]
    assert between("2026-11-16T10:30", "2026-11-16T10:31", "Europe/Berlin") == []
    assert between("2026-11-16T10:30", "", "No/Such") == ["At1030Utc"]
    shown = get(viewer, range="between", tz="Europe/Berlin", **{"from": "2026-11-16T11:30"}).content.decode()
    assert 'value="2026-11-16T11:30"' in shown
    assert "Europe/Berlin" in shown


@pytest.mark.parametrize("start", ["9999-12-31T23:59Z", "0001-01-01T00:00+17:54", "2026-11-16T10:30+17:54"])
def test_a_time_at_the_edge_of_the_calendar_is_shown_or_refused(viewer: Client, start: str) -> None:
    asked = {"range": "between", "tz": "Pacific/Kiritimati", "at": f"{start}~{uuid4()}", "from": start}
    assert get(viewer, **asked).status_code in (200, 400)


def test_a_mistake_is_shown_where_it_is_and_what_was_typed_stays(viewer: Client) -> None:
    make("A")
    answer = get(viewer, q='{namespace="shop" pod="x"}')
    shown = answer.content.decode()

    assert answer.status_code == 200
    assert "expected a comma" in shown
    assert "<mark>pod=&quot;x&quot;}</mark>" in shown
    assert 'value="{namespace=&quot;shop&quot; pod=&quot;x&quot;}"' in shown
    assert "rows" not in answer.context


@pytest.mark.parametrize(
    ("q", "rest"),
    [
        ('a="1", b', "b"),
        ('{a="1", b=~"("}', 'b=~"("}'),
        ('a="1" b="2"', 'b="2"'),
        ("=", "="),
        ('{pod=~"100%("}', 'pod=~"100%("}'),
    ],
)
def test_the_mistake_is_found(q: str, rest: str) -> None:
    params = QueryDict(mutable=True)
    params["q"] = q
    error = AlertFilter(params).matchers_error()

    assert error is not None
    assert (error["before"] + error["rest"], error["rest"]) == (q, rest)


@pytest.mark.parametrize(
    "params",
    [
        {"severity": "fatal"},
        {"storm": "x"},
        {"policy": "-1"},
        {"silence": str(2**70)},
        {"range": "century"},
        {"range": "between", "from": "yesterday"},
        {"range": "between", "from": "2026-11-17T00:00", "to": "2026-11-16T00:00"},
        {"receiver": "a\0b"},
        {"q": 'a="\0"'},
        {"q": "a" * 4001},
        {"fingerprint": "F"},
    ],
)
def test_what_cannot_be_read_is_an_error_on_the_page(viewer: Client, params: dict[str, str]) -> None:
    make("A")
    answer = get(viewer, **params)
    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()
    assert get(viewer, "/alerts/histogram.json", **params).status_code == 400
    assert get(viewer, "/alerts/alerts.csv", **params).status_code == 400


@pytest.mark.parametrize(
    ("params"), [{"older": "x"}, {"older": "2026-01-01~y"}, {"newer": "0001-01-01T00:00+00:00~"}, {"size": "-3"}]
)
def test_a_place_in_the_list_that_is_none_is_its_start(viewer: Client, params: dict[str, str]) -> None:
    make("A")
    assert names(get(viewer, **params)) == ["A"]


def test_pages_lead_through_every_alert_once_whatever_shares_a_time(viewer: Client) -> None:
    for minute in (1, 1, 2):
        for _ in range(40):
            make("A", minute)
    expected = list(Alert.objects.order_by("-received_at", "-id").values_list("id", flat=True))

    seen, answer = [], get(viewer)
    while True:
        seen.append([alert.id for alert, _ in answer.context["rows"]])
        if not answer.context["older_url"]:
            break
        answer = viewer.get(answer.context["older_url"])
    back = viewer.get(answer.context["newer_url"])

    assert [id_ for page in seen for id_ in page] == expected
    assert [len(page) for page in seen] == [50, 50, 20]
    assert [alert.id for alert, _ in back.context["rows"]] == seen[1]
    assert "That is all" in answer.content.decode()


def test_a_search_stops_after_a_number_of_alerts_and_goes_on(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_scan, "LOOKED_AT", 10)
    make("Needle", 60, labels={"pod": "x"})
    for minute in range(25):
        make("Hay", minute, labels={"pod": f"y-{minute}"})

    answer = get(viewer, q='pod="x"')
    assert names(answer) == []
    assert "Looked through the alerts back to" in answer.content.decode()
    found = []
    for _ in range(3):
        url = answer.context.get("go_on_rows")
        if not url:
            break
        answer = viewer.get(url, headers={"HX-Request": "true"})
        found += names(answer)
    assert found == ["Needle"]
    assert "<html" not in answer.content.decode()


def test_a_search_never_answers_twice_with_one_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_scan, "LOOKED_AT", 7)
    for number in range(40):
        make("A", number // 9, labels={"even": str(number % 2)})
    wanted = form(q='even=~"[0]"').wanted()

    found, after = [], None
    for _ in range(30):
        page = scan(wanted, after=after, size=3)
        found += page.ids
        after = page.last if page.more else page.stopped
        if after is None:
            break
    expected = Alert.objects.filter(labels__even="0").order_by("-received_at", "-id")
    assert found == list(expected.values_list("id", flat=True))


def form(**params: str) -> AlertFilter:
    data = QueryDict(mutable=True)
    data.update(params)
    filter_ = AlertFilter(data)
    assert filter_.is_valid(), filter_.errors
    return filter_


def test_a_page_that_takes_too_long_says_so(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make("A")
    monkeypatch.setattr(alert_scan, "TIMEOUT", "1ms")
    with pytest.raises(TooSlow), alert_scan.bounded():
        list(Alert.objects.extra(where=["pg_sleep(1) is not null"]))
    monkeypatch.setattr(
        "storms.pages.alerts.scan", lambda *_, **__: list(Alert.objects.extra(where=["pg_sleep(1) is not null"]))
    )

    answer = get(viewer)
    assert answer.status_code == 200
    assert "longer than two seconds" in answer.content.decode()


def test_htmx_gets_the_results_alone(viewer: Client) -> None:
    make("A")
    shown = get(viewer, htmx=True).content.decode()
    assert "<html" not in shown
    assert 'id="histogram"' in shown


def test_columns_are_of_the_address_else_ones_own_else_usual(viewer: Client) -> None:
    make("A", labels={"pod": "api-7", "namespace": "shop"})

    def titles(**params: Any) -> list[str]:
        return [column.title for column in get(viewer, **params).context["columns"]]

    assert titles() == ["namespace", "Resource", "Status", "Stands as", "Storm", "Received"]
    assert titles(col=["pod", "@times", "", "@nonsense", "pod"]) == ["pod", "Times"]
    assert "api-7" in get(viewer, col="pod").content.decode()
    viewer.post("/alerts/columns/", {"query": "col=pod&col=%40status"})
    assert AlertColumns.objects.get(user__username="vera").columns == ["pod", "@status"]
    assert titles() == ["pod", "Status"]


@pytest.mark.parametrize("asked", [["pod", "@status"], [alert_columns.NONE]])
def test_ones_own_columns_stay_when_they_are_made_ones_own_again(asked: list[str], viewer: Client) -> None:
    def keep(**params: Any) -> list[str]:
        shown = get(viewer, **params)
        viewer.post("/alerts/columns/", {"query": shown.context["query"]})
        assert AlertColumns.objects.get().columns == [column.key for column in shown.context["columns"]]
        return list(AlertColumns.objects.get().columns)

    assert keep(col=asked) == keep() == keep(status="firing") == [key for key in asked if key != alert_columns.NONE]


def test_every_column_has_something_to_show(viewer: Client) -> None:
    make_alert(storm=make_storm(group_labels={"namespace": "shop"}), policy=make_policy(name="strict"), priority="P1")
    columns = ["@resource", "@status", "@disposition", "@storm", "@received", "@times", "@outcome", "@receiver"]
    shown = get(viewer, col=[*columns, "@policy", "@priority", "@started"]).content.decode()
    for text in ("Pod/api-", "firing", "member", "namespace=shop", "aggregated", "alertmanager", "strict", "P1"):
        assert text in shown, text


def test_a_label_value_narrows_the_search(viewer: Client) -> None:
    make("A", labels={"pod": 'api-"7"'})
    shown = get(viewer, q='team=""', col="pod", older="")
    narrower = urlencode({"q": r'{team="", pod="api-\"7\""}', "col": "pod"})
    assert f"?{narrower}" in shown.content.decode().replace("&amp;", "&")
    assert names(viewer.get(alerts_like(pod='api-"7"'))) == ["A"]


def test_labels_are_text(viewer: Client) -> None:
    make("<script>alert(1)</script>", labels={"namespace": '"><img src=x onerror=alert(1)>'})
    shown = get(viewer).content.decode()
    assert "<script>alert" not in shown
    assert "<img" not in shown.split("<main")[1]


def test_the_same_filter_in_the_api(viewer: Client) -> None:
    make("A", labels={"namespace": "shop"})
    make("B", labels={"namespace": "till"})
    answer = get(viewer, q='{namespace=~"[s]hop"}', status="firing")
    url = answer.context["api_url"]
    assert [alert["alertname"] for alert in viewer.get(url).json()["results"]] == ["A"]


def test_csv_holds_what_matches_and_no_formula(viewer: Client) -> None:
    make("=cmd()", labels={"pod": "+1", "namespace": "shop"})
    make("Other", labels={"namespace": "till"})
    answer = get(viewer, "/alerts/alerts.csv", q='namespace="shop"', col="pod")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))

    assert len(rows) == 1
    assert (rows[0]["alertname"], rows[0]["label_pod"]) == ("'=cmd()", "'+1")
    assert json.loads(rows[0]["labels"])["pod"] == "+1"


def test_csv_goes_on_where_a_search_stops(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_scan, "LOOKED_AT", 4)
    for minute in range(15):
        make("A", minute, labels={"odd": str(minute % 2)})
    answer = get(viewer, "/alerts/alerts.csv", q='odd="1"')
    assert b"".join(answer.streaming_content).decode().count("\n") == 1 + 7


# --- histogram


def histogram(client: Client, **params: Any) -> dict[str, Any]:
    body: dict[str, Any] = get(client, "/alerts/histogram.json", **params).json()
    return body


def test_the_histogram_counts_what_matches(viewer: Client) -> None:
    for minute in (1, 1, 30, 70):
        make("A", minute, severity="warning", labels={"namespace": "shop"})
    make("B", 30, severity="info")

    body = histogram(viewer, range="1h", q='namespace=~"s.op"')

    assert body["step"] == 60
    assert body["total"] == 3
    assert body["exact"] is True
    assert sum(body["bars"]["warning"]) == 3
    last = int((NOW.timestamp() - 60 - body["start"]) // 60)
    assert body["bars"]["warning"][last] == 2
    assert set(body["bars"]["info"]) == {0}


def test_of_many_alerts_it_is_an_estimate(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(400):
        make("A", 1)
    monkeypatch.setattr("storms.alert_histogram.COUNTED", 100)
    monkeypatch.setattr("storms.alert_histogram.SAMPLE", 200)
    monkeypatch.setattr("storms.alert_histogram._planned", lambda rows: 400)

    body = histogram(viewer)

    assert body["exact"] is False
    assert 300 < body["total"] < 500


def test_nothing_has_a_histogram_too(viewer: Client) -> None:
    assert histogram(viewer, range="all")["total"] == 0


# --- completion


def completed(client: Client, text: str) -> list[tuple[str, str]]:
    body = get(client, "/alerts/complete.json", q=text).json()
    return [(item["text"], text[: body["from"]] + item["insert"]) for item in body["items"]]


def test_names_are_completed_then_values(viewer: Client) -> None:
    make("A", labels={"namespace": "payments", "node": "n1"})
    make("B", labels={"namespace": "shop"})

    assert completed(viewer, "{na") == [("namespace", '{namespace="'), ("alertname", '{alertname="')]
    assert completed(viewer, '{namespace="pa') == [("payments", '{namespace="payments"')]
    assert completed(viewer, "namespace=sh") == [("shop", 'namespace="shop"')]
    assert completed(viewer, '{namespace="shop"') == []
    assert completed(viewer, "{namespace=~pay") == [("payments", '{namespace=~"payments"')]
    assert [text for text, _ in completed(viewer, '{namespace="shop", alertname="')] == ["B"]
    assert [text for text, _ in completed(viewer, '{namespace="shop" alertname="')] == []


def test_values_are_escaped_as_the_grammar_asks(viewer: Client) -> None:
    make("A", labels={"path": 'a"b.c\\'})

    assert completed(viewer, 'path="a') == [('a"b.c\\', 'path="a\\"b.c\\\\"')]
    [(_, text)] = completed(viewer, 'path=~"a')
    assert names(get(viewer, q=text)) == ["A"]


def test_completion_knows_what_was_usual_in_the_last_days(viewer: Client) -> None:
    LabelBaseline.objects.create(
        id=1, since=NOW, at=NOW, sample_to=make("A").id, sampled=9, counts={"zone": {"a": 4, "b": 5}}, floor=0
    )
    assert [text for text, _ in completed(viewer, 'zone="')] == ["b", "a"]


@pytest.mark.parametrize("text", ["", "}", "=", '"', "a=b=c", "\0", "é", '{😀="', "{" * 5000])
def test_completion_takes_any_text(viewer: Client, text: str) -> None:
    assert get(viewer, "/alerts/complete.json", q=text).status_code == 200


# --- saved filters


def save(client: Client, name: str, query: str = "q=%7Bpod%3D%22x%22%7D&range=7d", **fields: str) -> Any:
    return client.post("/alerts/filters/", {"name": name, "query": query} | fields, follow=True)


def test_a_filter_is_saved_shown_renamed_and_deleted(viewer: Client) -> None:
    make("A")
    answer = save(viewer, "mine")
    saved = SavedFilter.objects.get()
    assert (saved.owner.username, saved.name, saved.shared) == ("vera", "mine", False)
    assert answer.redirect_chain[-1][0] == f"/alerts/?{saved.query}"
    assert f'href="/alerts/?{saved.query.replace("&", "&amp;")}" aria-current="true"' in answer.content.decode()
    viewer.post(f"/alerts/filters/{saved.id}/", {"name": "renamed"})
    assert SavedFilter.objects.get().name == "renamed"
    viewer.post(f"/alerts/filters/{saved.id}/delete/")
    assert not SavedFilter.objects.exists()


def test_the_same_name_again_is_a_new_meaning(viewer: Client) -> None:
    save(viewer, "mine")
    save(viewer, "mine", "status=firing")
    assert SavedFilter.objects.get().query == "status=firing"


@pytest.mark.parametrize(("name", "query"), [("", "range=7d"), ("x" * 81, "range=7d"), ("bad", "q=%7B%7B")])
def test_a_filter_that_cannot_be_saved_is_refused_in_words(viewer: Client, name: str, query: str) -> None:
    answer = save(viewer, name, query)
    assert 'data-level="error"' in answer.content.decode()
    assert not SavedFilter.objects.exists()


def test_a_viewer_cannot_share(viewer: Client) -> None:
    save(viewer, "mine", shared="on")
    assert not SavedFilter.objects.exists()
    save(viewer, "mine")
    saved = SavedFilter.objects.get()
    viewer.post(f"/alerts/filters/{saved.id}/", {"name": "mine", "shared": "on"})
    saved.refresh_from_db()
    assert not saved.shared
    assert "for everybody" not in get(viewer).content.decode()


def test_a_shared_filter_is_everybodys_to_use_and_its_owners_to_change(viewer: Client) -> None:
    operator = Client()
    operator.force_login(make_user("olga", "storms.view_alert", "storms.share_savedfilter"))
    save(operator, "team", shared="on")
    saved = SavedFilter.objects.get()

    assert saved.shared
    assert AuditEntry.objects.filter(action="filter.shared", actor="olga").exists()
    assert ">◇ </span>team</a>" in get(viewer).content.decode()
    for path in (f"/alerts/filters/{saved.id}/", f"/alerts/filters/{saved.id}/delete/"):
        viewer.post(path, {"name": "stolen"})
    saved.refresh_from_db()
    assert saved.name == "team"
    viewer.force_login(make_admin())
    viewer.post(f"/alerts/filters/{saved.id}/delete/")
    assert not SavedFilter.objects.exists()
    assert AuditEntry.objects.filter(action="filter.unshared", actor="admin").exists()


def test_anothers_own_filter_is_not_there(viewer: Client) -> None:
    other = SavedFilter.objects.create(owner=User.objects.create_user("otto"), name="secret", query="range=7d")
    assert "secret" not in get(viewer).content.decode()
    assert viewer.post(f"/alerts/filters/{other.id}/", {"name": "x"}).status_code == 404


def test_a_name_that_is_taken_is_not_taken_twice(viewer: Client) -> None:
    save(viewer, "a")
    save(viewer, "b")
    b = SavedFilter.objects.get(name="b")
    answer = viewer.post(f"/alerts/filters/{b.id}/", {"name": "a"}, follow=True)
    assert "another filter called" in answer.content.decode()


def test_it_never_leads_to_another_site(viewer: Client) -> None:
    answer = viewer.post("/alerts/columns/", {"query": "//evil.example/?a=1#x"})
    assert answer["Location"].startswith("/alerts/?")


def test_saving_takes_a_post_and_a_login(client: Client, viewer: Client) -> None:
    assert viewer.get("/alerts/filters/").status_code == 405
    anonymous = Client()
    assert anonymous.post("/alerts/filters/", {"name": "x"})["Location"].startswith("/login/")


# --- one alert's page


def test_each_label_leads_to_alerts_like_it(viewer: Client) -> None:
    alert = make("A", labels={"namespace": "shop", "odd.name": "x"})
    make("B", labels={"namespace": "shop"})
    shown = viewer.get(f"/alerts/{alert.id}/").content.decode()

    address = alerts_like(namespace="shop")
    assert f'href="{address.replace("&", "&amp;")}"' in shown
    assert sorted(names(viewer.get(address))) == ["A", "B"]
    assert "odd.name%3D" not in shown


def test_an_alert_leads_to_its_delivery_for_who_may_see_it(viewer: Client) -> None:
    alert, pruned = make("A", delivery_id=make_delivery().id), make("B")
    address = f'href="/system/deliveries/{alert.delivery_id}/"'
    assert address not in viewer.get(f"/alerts/{alert.id}/").content.decode()
    viewer.force_login(make_user("eve", "storms.view_alert", "ingestion.view_delivery"))
    assert address in viewer.get(f"/alerts/{alert.id}/").content.decode()
    assert "/system/deliveries/" not in viewer.get(f"/alerts/{pruned.id}/").content.decode()


def test_an_alert_shows_its_other_episodes(viewer: Client) -> None:
    now = make("A", fingerprint="ab" * 32)
    before = make("A", 60 * 24, fingerprint="ab" * 32, status="resolved", ends_at=NOW - timedelta(hours=23))
    long_ago = make("A", 60 * 24 * 60, fingerprint="ab" * 32, status="resolved", ends_at=NOW - timedelta(days=59))
    make("A")

    answer = viewer.get(f"/alerts/{now.id}/")

    episodes = answer.context["episodes"]
    assert [other.id for other in episodes.others] == [before.id, long_ago.id]
    assert [mark.is_this for mark in episodes.marks] == [False, True]
    assert [(mark.x, mark.width) for mark in episodes.marks] == [(967, 2), (998, 2)]
    assert f'href="/alerts/{before.id}/"' in answer.content.decode()


def test_links_in_annotations_lead_to_the_web_only(viewer: Client) -> None:
    annotations = {"runbook_url": "https://runbooks.example/A", "dashboard": "javascript:alert(1)"}
    alert = make("A", annotations=annotations, generator_url="https://prometheus.example/graph?a=1&b=2")
    shown = viewer.get(f"/alerts/{alert.id}/").content.decode()

    link = 'rel="noopener noreferrer nofollow" target="_blank"'
    assert f'<a href="https://runbooks.example/A" {link}>' in shown
    assert f'<a href="https://prometheus.example/graph?a=1&amp;b=2" {link}>' in shown
    assert 'href="javascript' not in shown
