"""Silences and maintenance windows: when they hold, what they do to an alert, who may make and end them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ingestion import silences
from ingestion.ledger import totals
from ingestion.models import Silence
from ingestion.silence_services import create_silence, expire_silence, preview_silence
from ingestion.weekly import WeeklyWindow
from storms import policies
from storms.models import Alert, Storm
from tests.factories import make_admin, make_alert, make_user
from tests.harness.http import alert, payload, resolved

# --- weekly windows

BERLIN = ZoneInfo("Europe/Berlin")
MON, TUE, SAT, SUN = 0, 1, 5, 6


def window(days: set[int], start: str, minutes: int, zone: str = "Europe/Berlin") -> WeeklyWindow:
    return WeeklyWindow(frozenset(days), datetime.strptime(start, "%H:%M").time(), minutes, ZoneInfo(zone))  # noqa: DTZ007


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(UTC)


# 2026: the clocks go forward on Sunday, March 29th, 02:00 to 03:00, and back on Sunday, October 25th, 03:00 to 02:00.
@pytest.mark.parametrize(
    ("given", "moment", "inside"),
    [
        (window({MON}, "22:00", 120), berlin("2026-11-16T21:59:59"), False),
        (window({MON}, "22:00", 120), berlin("2026-11-16T22:00"), True),
        (window({MON}, "22:00", 120), berlin("2026-11-16T23:59:59"), True),
        (window({MON}, "22:00", 120), berlin("2026-11-17T00:00"), False),
        (window({MON}, "22:00", 120), berlin("2026-11-17T22:30"), False),
        # Over midnight: Tuesday's early hours belong to Monday's window.
        (window({MON}, "22:00", 480), berlin("2026-11-17T05:59"), True),
        (window({MON}, "22:00", 480), berlin("2026-11-17T06:00"), False),
        (window({MON}, "22:00", 480), berlin("2026-11-16T05:00"), False),
        # Sunday to Monday is next to each other too.
        (window({SUN}, "23:30", 60), berlin("2026-11-16T00:15"), True),
        # The weekday is that of the zone: Monday 00:30 in Berlin is Sunday in UTC.
        (window({MON}, "00:00", 60), datetime(2026, 11, 15, 23, 30, tzinfo=UTC), True),
        (window({MON}, "00:00", 60, "UTC"), datetime(2026, 11, 15, 23, 30, tzinfo=UTC), False),
        # The same wall time in summer and in winter is another time in UTC.
        (window({TUE}, "10:00", 60), datetime(2026, 7, 7, 8, 0, tzinfo=UTC), True),
        (window({TUE}, "10:00", 60), datetime(2026, 1, 6, 8, 0, tzinfo=UTC), False),
        (window({TUE}, "10:00", 60), datetime(2026, 1, 6, 9, 0, tzinfo=UTC), True),
        # A night in which the clocks change ends at its wall time, an hour sooner or later.
        (window({SAT}, "22:00", 480), berlin("2026-03-29T05:59"), True),
        (window({SAT}, "22:00", 480), berlin("2026-03-29T06:00"), False),
        (window({SAT}, "22:00", 480), berlin("2026-10-25T05:59"), True),
        (window({SAT}, "22:00", 480), berlin("2026-10-25T06:00"), False),
        # 02:30 does not exist: an hour later, as long as ever.
        (window({SUN}, "02:30", 30), berlin("2026-03-29T03:29"), False),
        (window({SUN}, "02:30", 30), berlin("2026-03-29T03:30"), True),
        (window({SUN}, "02:30", 30), berlin("2026-03-29T03:59"), True),
        (window({SUN}, "02:30", 30), berlin("2026-03-29T04:00"), False),
        # It ends in what does not exist: as if the clocks had not changed.
        (window({SUN}, "01:00", 90), berlin("2026-03-29T01:59"), True),
        (window({SUN}, "01:00", 90), berlin("2026-03-29T03:29"), True),
        (window({SUN}, "01:00", 90), berlin("2026-03-29T03:30"), False),
        # 02:00 to 03:00 comes twice: both are inside.
        (window({SUN}, "02:15", 30), berlin("2026-10-25T02:20", fold=0), True),
        (window({SUN}, "02:15", 30), berlin("2026-10-25T02:20", fold=1), True),
        (window({SUN}, "02:15", 30), berlin("2026-10-25T02:50", fold=1), False),
        # Longer than a day, and all week round.
        (window({SAT}, "00:00", 2880), berlin("2026-11-15T23:59"), True),
        (window({SAT}, "00:00", 2880), berlin("2026-11-16T00:00"), False),
        (window({MON}, "08:00", 10_080), berlin("2026-10-26T07:59"), True),
        (window({MON}, "08:00", 10_080), berlin("2026-03-30T07:59"), True),
        # Half an hour's zone, and one that is ahead of the date line.
        (window({MON}, "09:00", 60, "Asia/Kolkata"), datetime(2026, 11, 16, 3, 30, tzinfo=UTC), True),
        (window({MON}, "09:00", 60, "Asia/Kolkata"), datetime(2026, 11, 16, 3, 29, tzinfo=UTC), False),
        (window({MON}, "00:00", 60, "Pacific/Kiritimati"), datetime(2026, 11, 15, 10, 0, tzinfo=UTC), True),
    ],
)
def test_a_weekly_window_is_what_the_clock_on_the_wall_says(
    given: WeeklyWindow, moment: datetime, inside: bool
) -> None:
    assert given.contains(moment) is inside


def test_a_window_says_what_it_is_and_when_it_starts_next() -> None:
    nightly = window({SAT, SUN}, "22:00", 480)
    assert str(nightly) == "Sat, Sun 22:00-06:00 Europe/Berlin"
    assert str(window({SAT}, "00:00", 1440)) == "Sat 00:00-00:00 Europe/Berlin"
    assert str(window({SAT}, "22:00", 1920)) == "Sat 22:00-06:00 (+1 d) Europe/Berlin"
    assert nightly.next_start(berlin("2026-11-16T12:00")) == berlin("2026-11-21T22:00")
    assert nightly.next_start(berlin("2026-11-21T22:00")) == berlin("2026-11-22T22:00")


# --- what a silence does to an alert


def silence(matchers: str = 'team="infra"', **fields: Any) -> Silence:
    draft = Silence(matchers=matchers, **{"comment": "a test"} | fields)
    return create_silence(silence=draft, author="anna")


def outcomes(response: Any) -> list[str]:
    return [result["outcome"] for result in response.json()["results"]]


def test_a_silenced_alert_is_recorded_and_not_counted(console: Any, set_policy: Callable[..., None]) -> None:
    set_policy(threshold=2)
    made = silence('team=~"infra|net"')

    silenced = [alert(namespace="demo", team="infra") for _ in range(5)]
    response = console.post(payload([*silenced, alert(namespace="demo")]))

    assert outcomes(response) == ["silenced"] * 5 + ["held"]
    assert response.status_code == 202
    assert response.json()["results"][5]["count"] == 1
    rows = Alert.objects.filter(silence_id=made.id)
    assert set(rows.values_list("outcome", "disposition", "storm")) == {("silenced", "silenced", None)}
    assert rows.count() == 5
    assert not Storm.objects.exists()
    assert totals()["unaccounted"] == 0


def test_a_silence_holds_from_the_next_webhook_until_it_is_ended(console: Any) -> None:
    assert outcomes(console.post(payload([alert(team="infra")]))) == ["held"]
    made = silence()
    assert outcomes(console.post(payload([alert(team="infra")]))) == ["silenced"]
    assert expire_silence(silence=made, actor="ben")
    assert outcomes(console.post(payload([alert(team="infra")]))) == ["held"]
    assert not expire_silence(silence=made, actor="ben")


def test_a_silence_that_has_not_started_or_has_no_window_now_silences_nothing(console: Any) -> None:
    now = timezone.now()
    silence(starts_at=now + timedelta(hours=1))
    yesterday = (now - timedelta(days=1)).astimezone(UTC)
    silence(weekdays=[yesterday.weekday()], window_start=yesterday.time(), window_minutes=60)
    assert outcomes(console.post(payload([alert(team="infra")]))) == ["held"]


def test_a_weekly_window_silences_within_its_time(console: Any) -> None:
    start = timezone.now().astimezone(BERLIN) - timedelta(minutes=30)
    silence(
        weekdays=[start.weekday()],
        window_start=start.time().replace(second=0, microsecond=0),
        window_minutes=60,
        time_zone="Europe/Berlin",
    )
    assert outcomes(console.post(payload([alert(team="infra")]))) == ["silenced"]


def test_a_member_that_becomes_silenced_stays(console: Any, set_policy: Callable[..., None]) -> None:
    set_policy(threshold=2)
    members = [alert(namespace="demo", team="infra") for _ in range(2)]
    console.post(payload(members))
    silence()

    assert outcomes(console.post(payload(members))) == ["duplicate"] * 2
    assert outcomes(console.post(payload([resolved(members[0])]))) == ["resolved"]
    assert set(Alert.objects.values_list("disposition", "silence_id")) == {("member", None)}


def test_a_silence_costs_a_webhook_no_query(console: Any, set_policy: Callable[..., None]) -> None:
    set_policy(threshold=1000)
    for number in range(20):
        silence(f'team="team-{number}"', weekdays=list(range(7)), window_start="00:00", window_minutes=1440)
    console.post(payload([alert(namespace="demo")]))

    with CaptureQueriesContext(connection) as queries:
        console.post(payload([alert(namespace="demo", team="team-3") for _ in range(50)]))

    assert len(queries) == 2, [query["sql"][:80] for query in queries]


@pytest.mark.django_db
def test_it_is_reloaded_with_the_policies() -> None:
    now = timezone.now()
    policies.reload()
    assert silences.find({"team": "infra"}, now) is None
    made = silence(starts_at=now - timedelta(hours=1))
    assert silences.find({"team": "infra"}, now) is None
    policies.reload()
    assert silences.find({"team": "infra"}, now) == made.id
    assert silences.find({"team": "other"}, now) is None
    assert silences.find({"team": "infra"}, now - timedelta(hours=2)) is None


# --- making and ending


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"matchers": ""}, "matchers"),
        ({"matchers": "{}"}, "matchers"),
        ({"matchers": "nonsense"}, "matchers"),
        ({"matchers": 'team=""'}, "matchers"),
        ({"matchers": 'team=~".*"'}, "matchers"),
        ({"matchers": 'team!="infra", pod!~"web-.+"'}, "matchers"),
        ({"ends_at": datetime(2020, 1, 2, tzinfo=UTC)}, "ends_at"),
        ({"starts_at": datetime(2020, 1, 1, tzinfo=UTC), "ends_at": datetime(2020, 1, 2, tzinfo=UTC)}, "ends_at"),
        ({"weekdays": [1]}, "window_start"),
        ({"weekdays": [1], "window_start": "22:00"}, "window_minutes"),
        ({"window_start": "00:00", "window_minutes": 60}, "weekdays"),
        ({"weekdays": [7], "window_start": "22:00", "window_minutes": 60}, "weekdays"),
        ({"weekdays": [1, 1], "window_start": "22:00", "window_minutes": 60}, "weekdays"),
        ({"weekdays": [1], "window_start": "22:00", "window_minutes": 0}, "window_minutes"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"comment": ""}, "comment"),
    ],
    ids=str,
)
def test_it_refuses_a_silence_that_makes_no_sense(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        silence(**fields)
    assert field in refused.value.message_dict
    assert not Silence.objects.exists()


@pytest.mark.django_db
def test_one_of_its_matchers_is_enough_to_be_no_catch_all() -> None:
    assert silence('team!="infra", alertname=~".+"').author == "anna"


@pytest.mark.django_db
def test_a_pending_silence_that_is_ended_never_starts() -> None:
    made = silence(starts_at=timezone.now() + timedelta(days=1), ends_at=timezone.now() + timedelta(days=2))
    assert silences.state_of(made, timezone.now()) == "pending"
    expire_silence(silence=made, actor="ben")
    made.refresh_from_db()
    assert made.starts_at == made.ends_at
    assert silences.state_of(made, timezone.now()) == "expired"


# --- preview


@pytest.mark.django_db
def test_a_preview_counts_the_last_day_and_shows_the_latest() -> None:
    now = timezone.now()
    labels = {"alertname": "a", "team": "infra", "namespace": "payments"}
    matched = [make_alert(labels=labels, received_at=now - timedelta(minutes=n + 1)) for n in range(25)]
    make_alert(labels=labels, received_at=now - timedelta(days=2))
    make_alert(labels=labels, received_at=now, disposition="resolved_unseen", status="resolved")
    make_alert(labels=labels | {"team": "web"}, received_at=now)
    make_alert(labels=labels | {"alertname": "b"}, received_at=now)

    preview = preview_silence(silence=Silence(matchers='team="infra", alertname=~"a|c"'))

    assert (preview.matched, preview.in_window, preview.complete) == (25, None, True)
    assert [alert.id for alert in preview.alerts] == [alert.id for alert in matched[:20]]
    assert not Silence.objects.exists()


@pytest.mark.django_db
def test_a_preview_of_a_window_counts_what_came_within_it() -> None:
    at = timezone.now() - timedelta(hours=6)
    for hours in (0, 2, 4):
        make_alert(labels={"team": "infra"}, received_at=at + timedelta(hours=hours))
    weekly = {"weekdays": [at.weekday()], "window_start": at.time(), "window_minutes": 180}
    preview = preview_silence(silence=Silence(matchers='team="infra"', **weekly))
    assert (preview.matched, preview.in_window) == (3, 2)


# --- the API

URL = "/api/v1/silences/"


class Api:
    def __init__(self, user: Any) -> None:
        self.client = Client()
        self.client.force_login(user)

    def post(self, path: str = "", *, expect: int = 200, **body: Any) -> Any:
        response = self.client.post(URL + path, body, content_type="application/json")
        assert response.status_code == expect, response.content
        return response.json()

    def states(self, **parameters: Any) -> dict[str, str]:
        response = self.client.get(URL, parameters)
        assert response.status_code == 200, response.content
        return {row["comment"]: row["state"] for row in response.json()["results"]}


@pytest.fixture
def api(db: None) -> Api:
    return Api(make_admin("anna"))


def test_a_silence_is_made_by_whom_the_api_knows(api: Api) -> None:
    window = {"weekdays": [5, 6], "window_start": "22:00", "window_minutes": 480, "time_zone": "Europe/Berlin"}
    made = api.post(matchers='team="infra"', comment="patch night", author="mallory", **window, expect=201)
    assert made == made | window | {"window_start": "22:00:00"} | {
        "author": "anna",
        "state": "active",
        "ends_at": None,
        "window": "Sat, Sun 22:00-06:00 Europe/Berlin",
    }
    assert api.client.get(f"{URL}{made['id']}/").json() == made


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"matchers": 'team=~".*"', "comment": "c"}, "/matchers"),
        ({"matchers": "nonsense", "comment": "c"}, "/matchers"),
        ({"matchers": 'a="b"'}, "/comment"),
        ({"matchers": 'a="b"', "comment": "c", "weekdays": [1]}, "/window_start"),
        ({"matchers": 'a="b"', "comment": "c", "time_zone": "Mars"}, "/time_zone"),
        ({"matchers": 'a="b"', "comment": "c", "ends_at": "2020-01-01T00:00:00Z"}, "/ends_at"),
    ],
)
def test_a_bad_silence_is_a_problem(api: Api, body: dict[str, Any], pointer: str) -> None:
    problem = api.post(**body, expect=400)
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert not Silence.objects.exists()


def test_silences_are_found_by_their_state_and_ended_ones_are_kept(api: Api) -> None:
    now = timezone.now()
    silence(comment="now")
    silence(comment="later", starts_at=now + timedelta(hours=1))
    ended = silence(comment="over")
    assert api.post(f"{ended.id}/expire/")["state"] == "expired"
    first_end = Silence.objects.get(id=ended.id).ends_at
    assert api.post(f"{ended.id}/expire/")["state"] == "expired"
    assert Silence.objects.get(id=ended.id).ends_at == first_end

    states = {"now": "active", "later": "pending", "over": "expired"}
    assert api.states() == states
    for comment, state in states.items():
        assert api.states(state=state) == {comment: state}
    assert api.states(state=["active", "pending"]) == {"now": "active", "later": "pending"}
    assert api.client.delete(f"{URL}{ended.id}/").status_code == 405
    assert api.client.patch(f"{URL}{ended.id}/", {}, content_type="application/json").status_code == 405


def test_the_api_previews(api: Api) -> None:
    found = make_alert(labels={"team": "infra"}, received_at=timezone.now() - timedelta(minutes=1))
    preview = api.post("preview/", matchers='team="infra"')
    assert (preview["matched"], preview["in_window"], preview["complete"]) == (1, None, True)
    assert [row["id"] for row in preview["alerts"]] == [str(found.id)]
    assert api.post("preview/", matchers='team!="x"', expect=400)["errors"][0]["pointer"] == "/matchers"
    assert not Silence.objects.exists()


@pytest.mark.django_db
def test_each_of_its_calls_needs_its_own_right() -> None:
    made = silence()
    calls = {"": {"matchers": 'a="b"', "comment": "c"}, f"{made.id}/expire/": {}, "preview/": {"matchers": 'a="b"'}}
    granted = {
        "add": ("", ["ingestion.add_silence"]),
        "end": (f"{made.id}/expire/", ["ingestion.change_silence"]),
        "look": ("preview/", ["ingestion.view_silence", "storms.view_alert"]),
        "none": (None, ["ingestion.view_silence"]),
    }
    for name, (allowed, rights) in granted.items():
        user = Api(make_user(name, *rights))
        for path, body in calls.items():
            expect = (201 if path == "" else 200) if path == allowed else 403
            user.post(path, expect=expect, **body)


# --- the admin

FORM = {
    "matchers": 'team="infra"',
    "starts_at_0": "2026-11-16",
    "starts_at_1": "10:00:00",
    "weekdays": ["5", "6"],
    "window_start": "22:00",
    "window_minutes": "480",
    "time_zone": "Europe/Berlin",
    "comment": "patch night",
}
ADD, LIST = "admin:ingestion_silence_add", "admin:ingestion_silence_changelist"


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    client.force_login(make_admin("anna"))
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def test_the_admin_makes_a_silence(admin: Client) -> None:
    assert admin.get(reverse(ADD)).status_code == 200
    assert admin.post(reverse(ADD), FORM).status_code == 302
    made = Silence.objects.get()
    assert (made.author, made.weekdays, made.time_zone) == ("anna", [5, 6], "Europe/Berlin")
    page = text(admin.get(reverse("admin:ingestion_silence_change", args=[made.pk])))
    assert "Sat, Sun 22:00-06:00 Europe/Berlin" in page
    assert 'name="_save"' not in page
    assert f"silence_id={made.pk}" in page
    assert "Sat, Sun 22:00-06:00 Europe/Berlin" in text(admin.get(reverse(LIST), {"q": "patch"}))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"matchers": 'team=~".*"'}, "must not match the empty value"),
        ({"window_minutes": ""}, "needs its weekdays, its start and its length"),
        ({"ends_at_0": "2020-01-01", "ends_at_1": "10:00"}, "must be after the start"),
        ({"time_zone": "Mars"}, "is not one of the available choices"),
        ({"comment": ""}, "This field is required"),
    ],
)
def test_the_admin_says_what_is_wrong(admin: Client, change: dict[str, str], error: str) -> None:
    response = admin.post(reverse(ADD), FORM | change)
    assert response.status_code == 200
    assert error in text(response)
    assert not Silence.objects.exists()


def test_the_admin_ends_silences(admin: Client) -> None:
    made, other = silence(), silence()
    page = reverse("admin:ingestion_silence_change", args=[made.pk])
    assert "End it now" in text(admin.get(page))
    assert admin.post(page, {"ingestion_silence_end_now": "1"}).status_code == 302
    made.refresh_from_db()
    assert silences.state_of(made, timezone.now()) == "expired"
    seen = admin.post(reverse(LIST), {"action": "expire", "_selected_action": [made.pk, other.pk]}, follow=True)
    assert "1 of 2 were ended" in text(seen)
    assert set(Silence.objects.filter(silences.in_state("expired", timezone.now()))) == {made, other}
    assert admin.get(reverse(LIST), {"state": "expired"}).context["cl"].result_count == 2
    assert admin.get(reverse(LIST), {"state": "active"}).context["cl"].result_count == 0
    assert admin.post(reverse("admin:ingestion_silence_delete", args=[made.pk]), {"post": "yes"}).status_code == 403


def test_the_admin_previews_what_is_in_the_form(admin: Client) -> None:
    evil = "<script>alert(1)</script>"
    make_alert(labels={"alertname": evil, "team": "infra"}, received_at=timezone.now() - timedelta(minutes=1))
    assert reverse("admin:ingestion_silence_preview") in text(admin.get(reverse(ADD)))
    seen = text(admin.post(reverse("admin:ingestion_silence_preview"), FORM | {"comment": ""}))
    assert re.search(r'<strong id="preview-matched">1</strong>', seen)
    assert evil not in seen
    assert "&lt;script&gt;" in seen
    refused = text(admin.post(reverse("admin:ingestion_silence_preview"), FORM | {"matchers": "nonsense"}))
    assert "cannot read" in refused
    assert not Silence.objects.exists()


@pytest.mark.django_db
def test_a_preview_shows_alerts_only_to_who_may_see_them(client: Client) -> None:
    client.force_login(make_user("half", "ingestion.add_silence", is_staff=True))
    assert client.post(reverse("admin:ingestion_silence_preview"), FORM).status_code == 403


@pytest.mark.django_db
def test_who_may_not_change_ends_nothing_in_the_admin(client: Client) -> None:
    made = silence()
    client.force_login(make_user("viewer", "ingestion.view_silence", is_staff=True))
    page = reverse("admin:ingestion_silence_change", args=[made.pk])
    assert "End it now" not in text(client.get(page))
    assert client.post(page, {"ingestion_silence_end_now": "1"}).status_code == 403
    client.post(reverse(LIST), {"action": "expire", "_selected_action": [made.pk]})
    made.refresh_from_db()
    assert made.ends_at is None
