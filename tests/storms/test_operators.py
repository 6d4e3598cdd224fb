"""What operators do to storms, and what is news inside one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from ingestion.ledger import totals
from storms.models import Alert, RemediationRequest, Storm, StormEvent
from storms.services import operators, requests
from storms.services.closing import close_due_storms
from storms.services.operators import OperatorError
from storms.services.refresh import refresh_storm
from storms.services.releasing import adopt_stragglers, release_due_alerts
from tests.harness.http import alert, payload, resolved
from tests.storms.arrivals import send


def a_storm(console: Any, namespace: str = "demo", count: int = 10) -> Storm:
    send(console, count, namespace)
    return Storm.objects.get(group_labels__namespace=namespace, state="open")


def timeline(storm: Storm) -> list[tuple[str, str]]:
    return list(storm.events.values_list("kind", "actor"))


def test_the_first_to_acknowledge_stays(console):
    storm = a_storm(console)

    operators.acknowledge(storm_id=storm.id, actor="ada")
    operators.acknowledge(storm_id=storm.id, actor="bob")

    storm.refresh_from_db()
    assert storm.acknowledged_by == "ada"
    assert timeline(storm) == [("opened", ""), ("acknowledged", "ada")]


def test_assigning_and_noting_write_the_timeline(console):
    storm = a_storm(console)

    operators.assign(storm_id=storm.id, assignee="bob", actor="ada")
    operators.assign(storm_id=storm.id, assignee="bob", actor="ada")
    operators.add_note(storm_id=storm.id, text=" rolled back the release ", actor="bob")

    assert Storm.objects.get().assignee == "bob"
    assert timeline(storm)[1:] == [("assigned", "ada"), ("note", "bob")]
    assert StormEvent.objects.get(kind="note").message == "rolled back the release"
    with pytest.raises(OperatorError, match="1 to 500"):
        operators.add_note(storm_id=storm.id, text="  ", actor="bob")


def test_a_person_closes_a_storm_with_a_reason(console):
    storm = a_storm(console)
    with pytest.raises(OperatorError, match="Say why"):
        operators.close(storm_id=storm.id, comment="", actor="ada")

    operators.close(storm_id=storm.id, comment="a drill", actor="ada")

    storm.refresh_from_db()
    assert (storm.state, storm.close_reason, storm.close_comment) == ("closed", "operator", "a drill")
    assert timeline(storm)[-1] == ("closed", "ada")
    with pytest.raises(OperatorError, match="closed already"):
        operators.close(storm_id=storm.id, comment="again", actor="ada")
    send(console, 1)
    assert Alert.objects.filter(disposition="held").count() == 1


def test_an_alert_that_is_split_out_has_its_own_request_and_stays_out(console, clock):
    storm = a_storm(console)
    refresh_storm(storm_id=storm.id)
    one = storm.alerts.order_by("id")[0]

    operators.split(alert_id=one.id, actor="ada")

    one.refresh_from_db()
    assert (one.disposition, one.storm, one.split_from) == ("individual", None, storm)
    request = RemediationRequest.objects.get(id=one.id)
    assert (request.sync_state, request.superseded_by) == ("pending", None)
    # Not taken in again, though the storm's window holds it.
    assert adopt_stragglers() == []
    refresh_storm(storm_id=storm.id)
    storm.refresh_from_db()
    assert storm.alert_count == 9
    assert timeline(storm)[-1] == ("split", "ada")


def test_a_request_that_was_absorbed_becomes_active_again_by_a_split(console, clock):
    send(console, 9)
    release_due_alerts(now=clock.advance(10))
    send(console, 1)
    one = Alert.objects.exclude(remediation_request=None)[0]
    assert RemediationRequest.objects.get(id=one.id).superseded_by is not None

    operators.split(alert_id=one.id, actor="ada")

    request = RemediationRequest.objects.get(id=one.id)
    assert (request.superseded_by, request.sync_state) == (None, "pending")


def test_the_last_alert_cannot_be_split_out(console, set_policy):
    set_policy(threshold=1)
    storm = a_storm(console, count=1)
    with pytest.raises(OperatorError, match="last alert"):
        operators.split(alert_id=storm.alerts.get().id, actor="ada")
    send(console, 1, namespace="held")
    with pytest.raises(OperatorError, match="in no storm"):
        operators.split(alert_id=held_alert(console), actor="ada")


def held_alert(console: Any) -> Any:
    response = console.post(payload([alert(namespace="held", status="resolved")]))
    assert response.status_code == 202
    return Alert.objects.get(disposition="resolved_unseen").id


def test_two_storms_of_a_policy_are_merged(console):
    source, target = a_storm(console, "a", 12), a_storm(console, "b", 15)

    operators.merge(storm_id=source.id, into=target.id, actor="ada")

    source.refresh_from_db()
    assert (source.state, source.close_reason, source.merged_into) == ("closed", "merged", target)
    assert Counter(Alert.objects.values_list("storm", flat=True)) == {target.id: 27}
    assert RemediationRequest.objects.get(id=source.id).superseded_by_id == target.id
    facts = refresh_storm(storm_id=target.id)
    assert facts is not None
    assert facts.alert_count == 27
    # The emptied one still says what became of it.
    emptied = refresh_storm(storm_id=source.id)
    assert emptied is not None
    assert (emptied.alert_count, emptied.state) == (0, "closed")
    assert ("merged", "ada") in timeline(source)
    assert ("merged", "ada") in timeline(target)
    send(console, 1, "a")
    assert Alert.objects.filter(disposition="held").count() == 1
    assert totals()["unaccounted"] == 0


def test_an_alert_that_joined_while_it_was_merged_follows(console):
    source, target = a_storm(console, "a"), a_storm(console, "b")
    late = source.alerts.order_by("id")[0]
    operators.merge(storm_id=source.id, into=target.id, actor="ada")
    Alert.objects.filter(id=late.id).update(storm=source)

    assert operators.move_merged_alerts() == 1

    assert target.alerts.count() == 20
    assert operators.move_merged_alerts() == 0


def test_what_cannot_be_merged_is_refused(console, clock):
    one, other = a_storm(console, "a"), a_storm(console, "b")
    with pytest.raises(OperatorError, match="itself"):
        operators.merge(storm_id=one.id, into=one.id, actor="ada")
    operators.close(storm_id=other.id, comment="x", actor="ada")
    with pytest.raises(OperatorError, match="open"):
        operators.merge(storm_id=one.id, into=other.id, actor="ada")


def test_a_new_alert_within_the_grace_time_reopens_a_storm(console, clock, set_policy):
    set_policy(reopen_seconds=60)
    storm = a_storm(console)
    close_due_storms(now=clock.advance(300))
    clock.advance(60)

    send(console, 1)

    storm.refresh_from_db()
    assert (storm.state, storm.closed_at, storm.reopened_at) == ("open", None, clock.now)
    assert storm.alerts.count() == 11
    assert [kind for kind, _ in timeline(storm)] == ["opened", "closed", "reopened"]
    close_due_storms(now=clock.advance(300))
    storm.refresh_from_db()
    assert storm.state == "closed"


@pytest.mark.parametrize(
    ("reopen_seconds", "wait", "by"),
    [(60, 61, "sweep"), (0, 1, "sweep"), (60, 1, "ada")],
    ids=["late", "never", "hand"],
)
def test_a_storm_that_may_not_be_reopened_stays_closed(console, clock, set_policy, reopen_seconds, wait, by):
    set_policy(reopen_seconds=reopen_seconds)
    storm = a_storm(console)
    if by == "sweep":
        close_due_storms(now=clock.advance(300))
    else:
        operators.close(storm_id=storm.id, comment="done", actor=by)
    clock.advance(wait)

    send(console, 1)

    storm.refresh_from_db()
    assert storm.state == "closed"
    assert Alert.objects.filter(disposition="held").count() == 1


def test_news_inside_a_storm_have_events_of_their_own(console, set_policy):
    set_policy(group_by=[])
    send(console, 10, "a", severity="info")
    storm = Storm.objects.get()
    refresh_storm(storm_id=storm.id)
    send(console, 9, "a", severity="info")
    refresh_storm(storm_id=storm.id)
    assert [kind for kind, _ in timeline(storm)] == ["opened"]

    send(console, 1, "b", severity="critical", cluster="eu")
    refresh_storm(storm_id=storm.id)
    refresh_storm(storm_id=storm.id)

    news = list(storm.events.exclude(kind="opened").values_list("kind", "message"))
    assert news == [
        ("doubled", "Doubled: 20 alerts by now"),
        ("severity_raised", "Severity raised to critical"),
        ("spread", "Reached cluster eu and 1 more"),
    ]


def refire(console: Any, times: int) -> list[str]:
    """The same alert, firing and resolving, each time with a new startsAt."""
    told = []
    for second in range(times):
        firing = alert(namespace="demo", pod="flapper", starts_at=f"2026-01-01T00:00:{second:02d}Z")
        answer = console.post(payload([firing])).json()["results"][0]
        told.append((answer["outcome"], answer["count"]))
        console.post(payload([resolved(firing)]))
    return told


def test_three_refires_within_an_hour_mark_an_alert_as_flapping(console):
    refire(console, 5)

    assert list(Alert.objects.order_by("starts_at").values_list("flapping", flat=True)) == [False] * 3 + [True] * 2


def test_flapping_episodes_count_once_if_the_policy_says_so(console, set_policy):
    set_policy(count_flapping_once=True)
    assert [count for _, count in refire(console, 6)] == [1, 2, 3, 4, 4, 4]


def test_without_it_they_count_each(console):
    assert [count for _, count in refire(console, 6)] == [1, 2, 3, 4, 5, 6]


def test_a_flapping_window_is_restored_as_it_was(console, set_policy, valkey):
    set_policy(count_flapping_once=True)
    refire(console, 6)
    valkey.flushdb()
    [result] = console.post(payload([alert(namespace="demo")])).json()["results"]
    assert result["count"] == 5


def in_threads(*work: Callable[[], Any]) -> list[Any]:
    """Run at the same moment, each with a database connection of its own."""
    barrier = threading.Barrier(len(work))
    told: list[Any] = [None] * len(work)

    def run(number: int) -> None:
        barrier.wait(10)
        try:
            told[number] = work[number]()
        except Exception as error:
            told[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(not isinstance(one, Exception) or isinstance(one, OperatorError) for one in told), told
    return told


def members_add_up() -> None:
    for storm in Storm.objects.filter(state="closed"):
        late = storm.alerts.filter(decided_at__gt=storm.closed_at)
        assert not late.exists(), "an alert was added to a closed storm"
    assert not Alert.objects.filter(disposition="member", storm=None).exists()
    assert not Alert.objects.exclude(disposition="member").exclude(storm=None).exists()
    assert totals()["unaccounted"] == 0


@pytest.mark.slow
def test_close_against_join_loses_nobody(console, set_policy):
    set_policy(threshold=2)
    for number in range(30):
        storm = a_storm(console, f"race-{number}", 2)
        in_threads(
            lambda storm=storm: operators.close(storm_id=storm.id, comment="race", actor="ada"),
            lambda number=number: send(console, 3, f"race-{number}"),
            lambda number=number: send(console, 3, f"race-{number}"),
        )
    members_add_up()
    assert Alert.objects.count() == 30 * 8
    assert Storm.objects.filter(close_reason="operator").count() == 30


@pytest.mark.slow
def test_two_storms_merged_into_each_other_at_once_leave_one(console):
    """The second finds the first one's close before it closes anything in the store."""
    for round_ in range(5):
        one, other = a_storm(console, f"left-{round_}"), a_storm(console, f"right-{round_}")
        told = in_threads(
            lambda one=one, other=other: operators.merge(storm_id=one.id, into=other.id, actor="ada"),
            lambda one=one, other=other: operators.merge(storm_id=other.id, into=one.id, actor="bob"),
        )
        assert sum(isinstance(answer, OperatorError) for answer in told) == 1, told
        [left] = Storm.objects.filter(id__in=[one.id, other.id], state="open")
        [result] = console.post(payload([alert(namespace=left.group_labels["namespace"])])).json()["results"]
        assert result["storm"] == str(left.id), "the store knows it as open"


def test_split_against_close_and_merge_loses_nobody(console, set_policy):
    set_policy(threshold=2)
    for number in range(20):
        one, other = a_storm(console, f"one-{number}", 4), a_storm(console, f"other-{number}", 4)
        alert_id = one.alerts.order_by("id")[0].id
        in_threads(
            lambda alert_id=alert_id: operators.split(alert_id=alert_id, actor="ada"),
            lambda one=one: operators.close(storm_id=one.id, comment="race", actor="bob"),
            lambda one=one, other=other: operators.merge(storm_id=one.id, into=other.id, actor="eve"),
        )
    operators.move_merged_alerts()
    members_add_up()
    assert Alert.objects.exclude(split_from=None).count() == 20
    assert not Storm.objects.filter(group_labels__namespace__startswith="one-", state="open").exists()


@pytest.mark.slow
def test_release_against_open_gives_every_alert_one_active_resource(console, clock, set_policy):
    set_policy(threshold=5, hold_seconds=1)
    for number in range(30):
        send(console, 4, f"race-{number}")
        now = clock.advance(1)
        in_threads(
            lambda now=now: release_due_alerts(now=now),
            lambda number=number: send(console, 1, f"race-{number}"),
        )
    adopt_stragglers()
    assert Storm.objects.count() == 30
    assert set(Alert.objects.values_list("disposition", flat=True)) == {"member"}
    active = RemediationRequest.objects.filter(superseded_by=None)
    assert set(active.values_list("kind", flat=True)) == {"storm"}
    assert active.count() == 30
    members_add_up()


def test_a_failed_sync_is_seen_on_the_timeline_once(console):
    storm = a_storm(console)
    for attempts in (1, 2, 3):
        requests.record_failure(rr_id=storm.id, attempts=attempts, error="no route to host")
    assert [kind for kind, _ in timeline(storm)] == ["opened", "sync_failed"]


def test_an_episode_that_outlives_its_silence_is_counted_when_it_is_sent_again(console, monkeypatch):
    silence_id: list[int | None] = [7]
    monkeypatch.setattr("ingestion.silences.find", lambda *_: silence_id[0])
    alerts = send(console, 12)
    assert set(Alert.objects.values_list("disposition", "silence_id", "decided_at")) == {("silenced", 7, None)}
    [again] = {r["outcome"] for r in console.post(payload(alerts)).json()["results"]}
    assert again == "duplicate"
    silence_id[0] = None

    response = console.post(payload(alerts))

    assert Counter(r["outcome"] for r in response.json()["results"]) == {"held": 9, "storm_opened": 1, "aggregated": 2}
    assert set(Alert.objects.values_list("disposition", "storm", "occurrences")) == {
        ("member", Storm.objects.get().id, 3)
    }
    assert totals()["unaccounted"] == 0


def test_a_member_that_becomes_silenced_stays(console, monkeypatch):
    alerts = send(console, 10)
    monkeypatch.setattr("ingestion.silences.find", lambda *_: 7)

    console.post(payload(alerts))

    assert set(Alert.objects.values_list("disposition", "silence_id")) == {("member", None)}


def test_a_silenced_episode_that_resolved_is_not_counted_by_a_late_copy(console, monkeypatch):
    silence_id: list[int | None] = [7]
    monkeypatch.setattr("ingestion.silences.find", lambda *_: silence_id[0])
    alerts = send(console, 1)
    console.post(payload([resolved(alerts[0])]))
    silence_id[0] = None

    [result] = console.post(payload(alerts)).json()["results"]

    assert result["outcome"] == "duplicate"
    assert Alert.objects.get().disposition == "silenced"
