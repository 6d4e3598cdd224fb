"""The course of a storm: what its chart and its replay show adds up to its alerts."""

import json
import re
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from storms.course import MAX_STEPS, NAMES, Course, course_of, step_seconds, table
from storms.models import Storm
from storms.templatetags.console import told
from tests.factories import NOW, make_admin, make_alert, make_closed_storm, make_event, make_storm, make_user

pytestmark = pytest.mark.django_db


def second(number: float) -> Any:
    return NOW + timedelta(seconds=number)


def join(storm: Storm, seconds: Iterable[float], **fields: Any) -> None:
    for number in seconds:
        make_alert(storm=storm, received_at=second(number), **fields)


def resolve(storm: Storm, came: float, went: float, **fields: Any) -> None:
    times = {"received_at": second(came), "ends_at": second(went), "last_seen_at": second(max(came, went))}
    make_alert(storm=storm, status="resolved", **times | fields)


def numbers_at(course: Course, moment: float) -> tuple[int, int, int]:
    """(new, firing, resolved) of the step that holds this moment."""
    number = int((second(moment) - course.start).total_seconds() // course.step)
    return course.new[number], course.firing[number], course.resolved[number]


def test_it_counts_what_came_and_went() -> None:
    storm = make_storm()
    join(storm, [-9, -9, -3])
    resolve(storm, 4, 21)
    course = course_of(storm, second(60))
    assert course.step == 1
    assert numbers_at(course, -10) == (0, 0, 0)
    assert numbers_at(course, -9) == (2, 2, 0)
    assert numbers_at(course, 0) == (0, 3, 0)
    assert numbers_at(course, 4) == (1, 4, 0)
    assert numbers_at(course, 20) == (0, 4, 0)
    assert numbers_at(course, 21) == (0, 3, 1)
    assert numbers_at(course, 60) == (0, 3, 1)
    assert course.n == len(course.new) == len(course.firing) == len(course.resolved) == 71


def test_a_sender_s_clock_cannot_bend_it() -> None:
    """An alert went after it came and before it was last heard of, whatever its endsAt says."""
    storm = make_closed_storm()
    resolve(storm, 10, -86_400, last_seen_at=second(30))
    resolve(storm, 10, 86_400, last_seen_at=second(40))
    resolve(storm, 10, 20, ends_at=None, last_seen_at=second(50))
    course = course_of(storm, second(900))
    assert numbers_at(course, 10)[1:] == (2, 1)
    assert numbers_at(course, 40)[1:] == (1, 2)
    assert numbers_at(course, 50)[1:] == (0, 3)
    assert course.at(course.n) <= storm.closed_at + timedelta(seconds=course.step)  # type: ignore[operator]


def test_an_alert_that_was_long_deferred_is_not_lost() -> None:
    storm = make_storm()
    join(storm, [-3_000, 5])
    assert course_of(storm, second(60)).firing[-1] == 2


def test_a_storm_that_took_others_in_begins_with_the_earliest() -> None:
    storm = make_storm()
    make_closed_storm(opened_at=second(-600), closed_at=second(10), close_reason="merged", merged_into=storm)
    join(storm, [-610, 5])
    course = course_of(storm, second(60))
    assert course.start <= second(-610) < course.at(2)


def test_it_ends_when_nothing_more_happened() -> None:
    closed = make_closed_storm(firing_count=0)
    join(closed, [0])
    make_event(closed, kind="settled", at=second(1_200))
    assert course_of(closed, second(90_000)).at(0) <= NOW
    ended = course_of(closed, second(90_000))
    assert second(1_200) < ended.at(ended.n) <= second(1_200) + timedelta(seconds=2 * ended.step)
    settled = make_closed_storm(firing_count=1)
    join(settled, [0])
    going_on = course_of(settled, second(90_000))
    assert going_on.at(going_on.n) > second(90_000)


def test_the_rare_names_are_one_line() -> None:
    storm = make_storm()
    for number in range(NAMES + 2):
        name = {"alertname": f"Name{number}", "namespace": "payments", "pod": "a"}
        join(storm, range(NAMES + 2 - number), labels=name)
    course = course_of(storm, second(60))
    assert list(course.names) == [f"Name{number}" for number in range(NAMES)]
    assert [firing[-1] for firing in course.names.values()] == [10, 9, 8, 7, 6, 5, 4, 3]
    assert course.rest[-1] == 3
    lines = [*course.names.values(), course.rest]
    assert [sum(column) for column in zip(*lines, strict=True)] == course.firing


def test_severities_add_up() -> None:
    storm = make_storm()
    join(storm, [0, 1, 2], severity="warning")
    join(storm, [3])
    course = course_of(storm, second(60))
    assert {severity: firing[-1] for severity, firing in course.severities.items()} == {
        "critical": 1,
        "warning": 3,
        "info": 0,
    }


def test_a_storm_without_an_alert_has_a_flat_course() -> None:
    course = course_of(make_storm(), second(30))
    assert set(course.firing) == {0}
    assert table(course)[0].new == 0


@given(st.floats(0, 86_400 * 4_000))
def test_no_course_is_too_long(span: float) -> None:
    assert span / step_seconds(span) <= MAX_STEPS


def test_its_table_has_every_alert_once() -> None:
    storm = make_storm()
    join(storm, range(0, 240, 3))
    course = course_of(storm, second(250))
    rows = table(course)
    assert len(rows) <= 25
    assert sum(row.new for row in rows) == 80
    assert rows[-1].firing == 80
    assert all(before.end == after.start for before, after in pairwise(rows))


# --- the page and its data


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_admin())
    return client


def test_the_replay_s_data(admin: Client, django_assert_num_queries: Any) -> None:
    storm = make_closed_storm()
    resolve(storm, 0, 5)
    make_event(storm, kind="note", message="<b>disk</b>", actor="ada")
    with django_assert_num_queries(7):
        answer = admin.get(f"/storms/{storm.id}/course.json")
    data = json.loads(answer.content)
    assert data["live"] is False
    assert data["names"] == [{"name": "HighLatency", "firing": data["firing"]}]
    assert (data["resolved"][-1], data["firing"][-1], data["rest"]) == (1, 0, [])
    [event] = data["events"]
    assert (event["kind"], event["title"], event["message"], event["actor"]) == ("note", "Note", "<b>disk</b>", "ada")
    assert event["at"] == NOW.timestamp()


def test_the_replay_s_data_needs_the_permission(client: Client) -> None:
    storm = make_storm()
    assert client.get(f"/storms/{storm.id}/course.json").status_code == 302
    client.force_login(make_user())
    assert client.get(f"/storms/{storm.id}/course.json").status_code == 403


def test_the_chart_is_a_table_too(admin: Client) -> None:
    storm = make_closed_storm()
    join(storm, [0, 1, 2])
    seen = admin.get(f"/storms/{storm.id}/").content.decode()
    assert f'data-course="/storms/{storm.id}/course.json"' in seen
    assert "Firing at its end" in seen
    data = re.search(r'id="course-data"[^>]*><script type="application/json">(.*?)</script>', seen)
    assert data
    assert json.loads(data[1]) == admin.get(f"/storms/{storm.id}/course.json").json()


# --- the timeline


def timeline_events(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('data-event="')[1:]]


def test_the_timeline_is_bounded_and_goes_back(admin: Client) -> None:
    storm = make_storm()
    events = [make_event(storm, at=second(number // 7), message=f"event {number}") for number in range(120)]
    seen = admin.get(f"/storms/{storm.id}/").content.decode()
    assert timeline_events(seen) == [str(event.pk) for event in events[20:]]
    assert f"before={events[20].pk}#timeline" in seen
    earlier = admin.get(f"/storms/{storm.id}/?before={events[20].pk}").content.decode()
    assert timeline_events(earlier) == [str(event.pk) for event in events[:20]]
    assert "Earlier events" not in earlier


def test_the_timeline_tells_people_from_the_console(admin: Client) -> None:
    storm = make_storm()
    machine = make_event(storm)
    note = make_event(storm, kind="note", message="node 7 again", actor="ada")
    page = f"/storms/{storm.id}/"
    assert timeline_events(admin.get(f"{page}?by=people").content.decode()) == [str(note.pk)]
    assert timeline_events(admin.get(f"{page}?by=console").content.decode()) == [str(machine.pk)]
    for nonsense in ("?by=nobody", "?before=x", "?before=99999999999999999999", "?before=0"):
        assert len(timeline_events(admin.get(page + nonsense).content.decode())) == 2


def test_a_timeline_over_days_names_them(admin: Client) -> None:
    storm = make_storm()
    make_event(storm)
    make_event(storm, kind="note", at=second(86_400), message="still", actor="ada")
    seen = admin.get(f"/storms/{storm.id}/").content.decode()
    assert "Monday, 2026-11-16" in seen
    assert "Tuesday, 2026-11-17" in seen


@pytest.mark.parametrize(
    ("kind", "message", "told_as"),
    [
        ("opened", "Opened: 10 of 10 alerts in 60 s", "10 of 10 alerts in 60 s"),
        ("applied", "RemediationRequest applied", ""),
        ("acknowledged", "Acknowledged by ada", "by ada"),
        ("note", "Notes: see the wiki", "Notes: see the wiki"),
        ("phase_changed", "Phase: Completed", "Phase: Completed"),
    ],
)
def test_an_event_does_not_say_its_kind_twice(kind: str, message: str, told_as: str) -> None:
    assert told(make_event(make_storm(), kind=kind, message=message)) == told_as
