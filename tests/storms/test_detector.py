"""The Lua decision on a real Valkey: its promises one by one, and against a model of it."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storms import detector
from storms.detector import Cold, GroupCall, GroupDecision, KnownStorm, Rule, StoreUnavailable
from storms.keys import group_keys
from tests.harness.examples import examples
from tests.storms.decision_model import ModelGroup

SECOND = 1_000_000
RULE = Rule(threshold=3, window_us=60 * SECOND, hold_us=10 * SECOND, quiet_us=300 * SECOND, max_us=4 * 3600 * SECOND)
START = 1_700_000_000 * SECOND


@pytest.fixture(autouse=True)
def _empty_store(valkey: redis.Redis) -> None:
    detector._retry_store_at = 0.0


def decide(
    episodes: Sequence[UUID],
    *,
    group: str = "g",
    now: int = START,
    rule: Rule = RULE,
    storm: UUID | None = None,
    known: KnownStorm | None = None,
    recent: Sequence[tuple[UUID, int]] | None = (),
    known_wins: bool = False,
    received_us: Mapping[UUID, int] | None = None,
    waiting_us: int | None = None,
) -> GroupDecision:
    call = GroupCall(
        group,
        rule,
        storm or uuid4(),
        list(episodes),
        known,
        recent,
        known_wins,
        received_us=received_us or {},
        waiting_us=waiting_us,
    )
    [reply] = detector.decide([call], now_us=now)
    assert isinstance(reply, GroupDecision)
    return reply


def outcomes(decision: GroupDecision) -> list[str]:
    return [answer.outcome for answer in decision.answers]


def known(storm: UUID, opened_us: int = START, count: int = 5) -> KnownStorm:
    return KnownStorm(storm, opened_us, RULE.quiet_us, RULE.max_us, count, opened_us - RULE.window_us)


def test_the_threshold_th_episode_opens_the_storm_and_later_ones_join():
    storm = uuid4()

    first = decide([uuid4(), uuid4()])
    opening = decide([uuid4(), uuid4()], storm=storm)

    assert outcomes(first) == ["held", "held"]
    assert [answer.release_us for answer in first.answers] == [START + RULE.hold_us] * 2
    assert outcomes(opening) == ["storm_opened", "aggregated"]
    assert [answer.count for answer in opening.answers] == [3, 4]
    assert opening.storm_id == storm
    assert opening.opened_us == START
    assert opening.window_from_us == START - RULE.window_us


def test_a_busy_group_forgets_as_fast_as_it_learns(valkey: redis.Redis):
    """Each batch of a thousand is forgotten by the next, however few calls there are."""
    for number in range(4):
        decide([uuid4() for _ in range(1000)], now=START + number * 2 * detector.MEMORY_US)
    [remembered] = [valkey.zcard(key) for key in valkey.keys("*") if valkey.type(key) == "zset" and "remembered" in key]
    assert remembered <= 2000


def test_without_hold_an_alert_below_the_threshold_is_individual():
    rule = Rule(3, RULE.window_us, 0, RULE.quiet_us, RULE.max_us)
    assert outcomes(decide([uuid4(), uuid4(), uuid4()], rule=rule)) == ["individual", "individual", "storm_opened"]


def test_the_window_slides():
    decide([uuid4()], now=START)
    decide([uuid4()], now=START + 30 * SECOND)

    # The first one is exactly one window old: out.
    assert decide([uuid4()], now=START + 60 * SECOND).answers[0].count == 2
    assert outcomes(decide([uuid4()], now=START + 89 * SECOND)) == ["storm_opened"]


def test_a_retry_gets_the_same_answer_and_counts_nothing():
    episodes = [uuid4() for _ in range(5)]
    first = decide(episodes)

    again = decide(episodes, now=START + SECOND)

    assert again.answers == first.answers
    assert decide([uuid4()], now=START + SECOND).answers[0].count == 6


def test_groups_do_not_touch_each_other():
    decide([uuid4(), uuid4()], group="a")
    assert outcomes(decide([uuid4()], group="b")) == ["held"]
    assert outcomes(decide([uuid4()], group="a")) == ["storm_opened"]


def test_a_storm_that_was_quiet_takes_nobody_in_however_late_it_is_closed():
    storm = uuid4()
    decide([uuid4() for _ in range(3)], storm=storm)

    late = decide([uuid4()], now=START + RULE.quiet_us)

    assert outcomes(late) == ["held"]
    assert late.answers[0].count == 1
    assert close(storm, idle_us=RULE.quiet_us, now=START + RULE.quiet_us + 1) == (
        "closed",
        START + 300 * SECOND,
        "quiet",
    )


def test_a_storm_does_not_outlive_its_maximum_duration():
    rule = Rule(1, RULE.window_us, RULE.hold_us, RULE.quiet_us, 400 * SECOND)
    first = decide([uuid4()], rule=rule)
    decide([uuid4()], rule=rule, now=START + 299 * SECOND)

    second = decide([uuid4()], rule=rule, now=START + 400 * SECOND)

    assert outcomes(second) == ["storm_opened"]
    assert second.storm_id != first.storm_id


def close(storm: UUID, *, idle_us: int, now: int, last_us: int = START) -> detector.CloseVerdict:
    return detector.close(group_key="g", storm_id=storm, reason="quiet", idle_us=idle_us, last_us=last_us, now_us=now)


def test_a_join_keeps_a_storm_from_closing_for_quietness():
    storm = uuid4()
    decide([uuid4() for _ in range(3)], storm=storm)
    decide([uuid4()], now=START + 200 * SECOND)

    verdict = close(storm, idle_us=RULE.quiet_us, now=START + 300 * SECOND)

    assert verdict == ("active", START + 200 * SECOND, "")


def test_after_a_close_counting_starts_again():
    storm = uuid4()
    decide([uuid4() for _ in range(3)], storm=storm)

    assert close(storm, idle_us=0, now=START + 1).verdict == "closed"
    assert decide([uuid4()], now=START + 2).answers[0].count == 1


def test_a_retry_under_a_closed_storm_is_counted_anew():
    storm, episode = uuid4(), uuid4()
    decide([uuid4(), uuid4(), episode], storm=storm)
    close(storm, idle_us=0, now=START + 1)

    assert outcomes(decide([episode], now=START + 2)) == ["held"]


def test_closing_twice_is_one_close():
    storm = uuid4()
    decide([uuid4() for _ in range(3)], storm=storm)
    first = close(storm, idle_us=0, now=START + 1)

    assert close(storm, idle_us=0, now=START + 5) == first


def test_a_store_that_forgot_the_group_asks_for_the_window():
    [reply] = detector.decide([GroupCall("g", RULE, uuid4(), [uuid4()], None, None)], now_us=START)
    assert reply is Cold.COLD

    recent = [(uuid4(), START - 5 * SECOND), (uuid4(), START - SECOND)]
    assert outcomes(decide([uuid4()], recent=recent)) == ["storm_opened"]


def test_a_store_that_forgot_everything_takes_up_the_databases_storm():
    storm = uuid4()
    decision = decide([uuid4()], known=known(storm, START - SECOND), recent=None)

    assert outcomes(decision) == ["aggregated"]
    assert (decision.storm_id, decision.answers[0].count) == (storm, 6)


def test_a_stale_look_up_does_not_revive_a_closed_storm():
    storm = uuid4()
    decide([uuid4() for _ in range(3)], storm=storm)
    close(storm, idle_us=0, now=START + 1)

    assert outcomes(decide([uuid4()], known=known(storm), now=START + 2)) == ["held"]


def test_a_stale_look_up_does_not_replace_a_newer_storm():
    newer = uuid4()
    decide([uuid4() for _ in range(3)], storm=newer)

    assert decide([uuid4()], known=known(uuid4(), START - 10 * SECOND), now=START + 1).storm_id == newer


def test_the_databases_storm_wins_after_a_conflict():
    decide([uuid4() for _ in range(3)])
    older = uuid4()

    decision = decide([uuid4()], known=known(older, START - SECOND), known_wins=True, now=START + 1)

    assert (decision.storm_id, outcomes(decision)) == (older, ["aggregated"])


def decide_late(ago: Sequence[int], *, now: int = START, **more: Any) -> GroupDecision:
    """Decide one alert for each of these, which came so many seconds ago, while the store was away."""
    received = {uuid4(): now - seconds * SECOND for seconds in ago}
    return decide(list(received), now=now, received_us=received, **more)


def test_what_came_while_the_store_was_away_counts_when_it_came():
    decision = decide_late([600, 480, 360, 240, 120])

    assert outcomes(decision) == ["held"] * 5
    assert [answer.count for answer in decision.answers] == [1] * 5
    assert [answer.decided_us for answer in decision.answers] == [START - s * SECOND for s in (600, 480, 360, 240, 120)]
    assert {answer.release_us for answer in decision.answers} == {START + RULE.hold_us}


def test_a_burst_of_the_past_opens_a_storm_as_of_then():
    decision = decide_late([600, 290, 289, 288, 30])

    assert outcomes(decision) == ["held", "held", "held", "storm_opened", "aggregated"]
    assert decision.opened_us == START - 288 * SECOND
    assert decision.window_from_us == START - 288 * SECOND - RULE.window_us


def test_what_came_after_a_storm_of_the_past_had_opened_counts_on():
    """It is not in that storm, which is over by now."""
    decide([uuid4()])
    assert outcomes(decide_late([900, 899, 898]))[-1] == "storm_opened"

    then = decide([uuid4()])

    assert (outcomes(then), then.answers[0].count) == (["held"], 2)


def test_who_joined_a_storm_of_the_past_is_told_before_it_ends():
    """Else the rows would hear of its end first, and those who joined it would be counted anew."""
    received = {uuid4(): START - ago * SECOND for ago in (900, 899, 898, 500, 499)}

    first = decide(list(received), received_us=received)
    rest = dict(list(received.items())[3:])
    then = decide(list(rest), received_us=rest, known=known(first.storm_id or uuid4(), first.opened_us))

    assert outcomes(first) == ["held", "held", "storm_opened"]
    assert outcomes(then) == ["held", "held"]
    assert then.storm_id is None
    assert close(first.storm_id or uuid4(), idle_us=0, now=START).us == first.opened_us + RULE.quiet_us


def test_what_was_decided_before_an_outage_counts_with_what_came_in_it():
    before = [(uuid4(), START - 100 * SECOND), (uuid4(), START - 99 * SECOND)]

    assert outcomes(decide_late([98], recent=before)) == ["storm_opened"]


def test_a_storm_begins_earlier_if_what_came_before_its_window_would_have_opened_it():
    storm = uuid4()
    opening = decide([uuid4() for _ in range(3)], storm=storm)
    members = [(uuid4(), answer.decided_us) for answer in opening.answers]

    decision = decide_late([70, 69, 68], recent=members, known=known(storm))

    assert outcomes(decision) == ["held", "held", "aggregated"]
    assert (decision.storm_id, decision.opened_us) == (storm, START)
    assert decision.window_from_us == START - 68 * SECOND - RULE.window_us


def test_what_came_before_a_storm_s_window_stays_out_of_it():
    storm = uuid4()
    decide([uuid4() for _ in range(3)], storm=storm)

    decision = decide_late([600, 500, 30], known=known(storm))

    assert outcomes(decision) == ["held", "held", "aggregated"]


def test_a_storm_whose_members_are_still_being_recorded_is_waited_for_a_moment():
    """Opened by new alerts at the store's return: what came right before counts with them."""
    storm = uuid4()
    opening = decide([uuid4() for _ in range(3)], storm=storm)
    received = {uuid4(): START - 70 * SECOND}
    call = GroupCall("g", RULE, uuid4(), list(received), None, [], received_us=received)

    assert detector.decide([call], now_us=START + SECOND) == [Cold.COLD]
    [reply] = detector.decide([replace(call, known=known(storm, opening.opened_us))], now_us=START + SECOND)
    assert isinstance(reply, GroupDecision)
    assert outcomes(reply) == ["held"]
    # It may never be recorded, if its request died.
    [reply] = detector.decide([call], now_us=START + 6 * SECOND)
    assert isinstance(reply, GroupDecision)


def test_a_decision_about_the_past_that_was_not_recorded_counts_for_the_next():
    received = {uuid4(): START - ago * SECOND for ago in (200, 199)}
    decide(list(received), received_us=received)
    later = received | {uuid4(): START - 198 * SECOND}

    decision = decide(list(later), received_us=later)

    assert outcomes(decision) == ["held", "held", "storm_opened"]


def test_a_storm_is_not_quiet_while_alerts_wait_that_may_belong_to_it():
    storm = uuid4()
    decide([uuid4() for _ in range(3)], storm=storm)
    later = START + 500 * SECOND

    assert decide([uuid4()], now=later, waiting_us=START + 250 * SECOND).storm_id == storm
    assert outcomes(decide_late([250], now=later, known=known(storm))) == ["aggregated"]
    assert close(storm, idle_us=RULE.quiet_us, now=later).verdict == "active"


def test_a_storm_that_was_quiet_before_the_first_that_waits_is_closed():
    decide([uuid4() for _ in range(3)])

    assert decide([uuid4()], now=START + 500 * SECOND, waiting_us=START + 300 * SECOND).storm_id is None


def test_a_clock_that_was_hours_ahead_keeps_nobody_out_of_the_open_storm():
    decide([uuid4() for _ in range(3)])

    assert outcomes(decide([uuid4()], now=START - 3600 * SECOND)) == ["aggregated"]


def test_a_refresh_is_asked_for_once_a_second():
    asked = [decide([uuid4()], now=START + n * SECOND // 10).notify for n in range(25)]
    # The third opens the storm, at 0.2 s.
    assert [n for n, notify in enumerate(asked) if notify] == [2, 12, 22]


def test_many_groups_are_one_round_trip(valkey: redis.Redis):
    calls = [GroupCall(f"g{n}", RULE, uuid4(), [uuid4()], None, ()) for n in range(20)]
    detector.decide(calls, now_us=START)
    before = valkey.info("commandstats")["cmdstat_evalsha"]["calls"]
    reads = valkey.info("stats")["total_reads_processed"]

    detector.decide(calls, now_us=START + 1)

    assert valkey.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 20
    # One read by the server for the pipeline, and one for each of the three questions this test asks itself.
    assert valkey.info("stats")["total_reads_processed"] - reads <= 1 + 3


def test_it_survives_a_script_flush(valkey: redis.Redis):
    decide([uuid4()])
    valkey.script_flush()

    assert decide([uuid4()]).answers[0].count == 2


def test_a_store_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch, settings):
    from django.core.cache import caches

    settings.CACHES = settings.CACHES | {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    caches["default"].close()
    monkeypatch.setattr(detector, "SHORTEST_BACK_OFF_SECONDS", detector.LONGEST_BACK_OFF_SECONDS)
    with pytest.raises(StoreUnavailable):
        decide([uuid4()])
    # And it is left alone for a moment, so that webhooks do not wait for it one after the other.
    with pytest.raises(StoreUnavailable, match="left alone"):
        decide([uuid4()])


def test_keys_of_a_group_share_a_slot_and_end(valkey: redis.Redis):
    decide([uuid4()], group="g")

    keys = group_keys("g")
    stored = valkey.keys("stormconsole:*")
    assert set(stored) <= set(keys)
    assert all(valkey.pttl(key) > 0 for key in stored)
    assert {key.split("{")[1].split("}")[0] for key in keys} == {"g"}


def test_it_uses_the_stores_own_clock(valkey: redis.Redis):
    call = GroupCall("g", RULE, uuid4(), [uuid4()], None, ())
    with time_machine.travel("2001-01-01T00:00:00Z"):
        [reply] = detector.decide([call])

    assert isinstance(reply, GroupDecision)
    seconds, _ = valkey.time()
    assert abs(reply.now_us / SECOND - seconds) < 5


def test_a_clock_that_is_set_back_opens_no_storm_before_its_members():
    first = decide([uuid4(), uuid4()], now=START)

    opening = decide([uuid4()], now=START - 20 * SECOND)

    assert outcomes(opening) == ["storm_opened"]
    assert opening.opened_us == first.answers[0].decided_us == START
    storm = opening.storm_id
    assert storm is not None
    assert (
        detector.close(
            group_key="g", storm_id=storm, reason="operator", idle_us=0, last_us=START, now_us=START - 20 * SECOND
        ).us
        == START
    )


def test_a_store_whose_clock_is_behind_the_rows_opens_no_storm_before_its_members():
    """It was failed over to and forgot the group: the rows' window is in its future."""
    recent = [(uuid4(), START), (uuid4(), START + SECOND)]

    opening = decide([uuid4()], now=START - 5 * SECOND, recent=recent)

    assert outcomes(opening) == ["storm_opened"]
    assert opening.opened_us == START + SECOND


def test_a_clock_that_was_wrong_by_hours_does_not_stop_time():
    decide([uuid4()], now=START)

    assert decide([uuid4()], now=START - 3600 * SECOND).now_us == START - 3600 * SECOND


def _race(group: str) -> list[str]:
    import django

    django.setup()
    call = GroupCall(
        group, Rule(10, 60 * SECOND, 10 * SECOND, 300 * SECOND, 3600 * SECOND), uuid4(), [uuid4()], None, ()
    )
    [reply] = detector.decide([call])
    assert isinstance(reply, GroupDecision)
    return [answer.outcome for answer in reply.answers]


def test_processes_that_race_open_one_storm():
    """Fifteen decisions a group from eight processes, over and over."""
    with ProcessPoolExecutor(8, mp_context=multiprocessing.get_context("spawn")) as pool:
        for number in range(20):
            told = Counter(outcome for reply in pool.map(_race, [f"race-{number}"] * 15) for outcome in reply)
            assert told == {"held": 9, "storm_opened": 1, "aggregated": 5}


# --- Against the model: arrivals, re-sends, gaps, batches, closes, two groups, in any order.

RULES = [
    Rule(1, 5 * SECOND, 0, 7 * SECOND, 30 * SECOND),
    Rule(2, 5 * SECOND, 2 * SECOND, 7 * SECOND, 30 * SECOND),
    Rule(4, 10 * SECOND, 0, 20 * SECOND, 25 * SECOND),
]
ARRIVAL = st.tuples(
    st.sampled_from(["arrive", "arrive", "arrive while others wait since 8 s"]),
    st.sampled_from("ab"),
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
)
# Alerts that came while the store was away: which ones, and so long ago.
DECIDED_LATE = st.tuples(
    st.just("decided late"),
    st.sampled_from("ab"),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40 * SECOND)), min_size=1, max_size=6),
)
CLOSE = st.tuples(st.just("close"), st.sampled_from("ab"), st.sampled_from([0, 3 * SECOND, 7 * SECOND]))
GAP = st.tuples(st.just("gap"), st.integers(-8 * SECOND, 12 * SECOND), st.none())


def _decide_both(
    model: ModelGroup,
    group: str,
    now: int,
    rule: Rule,
    batch: list[UUID],
    received: dict[UUID, int],
    waiting_us: int | None,
) -> int:
    """How many were answered, the same by both."""
    proposed, open_storm = uuid4(), model.storm
    hints = model.recent(received[batch[0]]) if received else []
    reply = decide(
        batch,
        group=group,
        now=now,
        rule=rule,
        storm=proposed,
        known=open_storm
        and KnownStorm(
            UUID(open_storm.id),
            open_storm.opened_us,
            rule.quiet_us,
            rule.max_us,
            open_storm.count,
            open_storm.window_from_us,
        ),
        recent=[(UUID(name), us) for name, us in hints],
        received_us={episode: received[episode] for episode in batch} if received else None,
        waiting_us=waiting_us,
    )
    expected = model.decide(
        now,
        [str(episode) for episode in batch],
        str(proposed),
        received_us={str(episode): us for episode, us in received.items()},
        waiting_us=waiting_us,
    )
    told = [(a.outcome, a.count, a.decided_us, str(a.storm_id or ""), a.release_us) for a in reply.answers]
    assert told == [tuple(answer) for answer in expected]
    open_storm = model.storm
    assert str(reply.storm_id or "") == (open_storm.id if open_storm else "")
    assert (reply.opened_us, reply.window_from_us) == (
        (open_storm.opened_us, open_storm.window_from_us) if open_storm else (0, 0)
    )
    return len(told)


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rule=st.sampled_from(RULES), steps=st.lists(st.one_of(ARRIVAL, ARRIVAL, DECIDED_LATE, CLOSE, GAP), max_size=40))
def test_the_script_does_what_the_model_does(valkey: redis.Redis, rule: Rule, steps: list[tuple]):
    valkey.flushdb()
    model = {
        name: ModelGroup(rule.threshold, rule.window_us, rule.hold_us, rule.quiet_us, rule.max_us) for name in "ab"
    }
    episodes = {(group, number): uuid4() for group in "ab" for number in range(31)}
    now = START
    for kind, which, value in steps:
        if kind == "gap":
            now += which
        elif kind != "close":
            received = {}
            if kind == "decided late":
                # What the rows have as decided does not wait any more. In the order of their receipt, each once.
                received = {
                    episodes[which, number]: now - ago
                    for number, ago in sorted(dict(value).items(), key=lambda v: -v[1])
                    if str(episodes[which, number]) not in model[which].rows
                }
            batch = list(received) if kind == "decided late" else [episodes[which, number] for number in value]
            waiting_us = now - 8 * SECOND if kind == "arrive while others wait since 8 s" else None
            while batch:
                answered = _decide_both(model[which], which, now, rule, batch, received, waiting_us)
                assert answered
                batch = batch[answered:]
        elif model[which].storm is not None:
            storm = model[which].storm
            verdict = detector.close(
                group_key=which, storm_id=UUID(storm.id), reason="operator", idle_us=value, last_us=0, now_us=now
            )
            assert verdict.verdict == model[which].close(now, storm.id, "operator", value)
