"""Groups that count towards a storm, as the first page shows them."""

from datetime import timedelta
from typing import Any

import pytest

from storms.held import MAX_GROUPS, held_groups
from storms.models import StormPolicy
from tests.factories import NOW, make_alert, make_held_alert, make_policy, make_storm

pytestmark = pytest.mark.django_db


def hold(namespace: str, number: int, **fields: Any) -> None:
    policy = StormPolicy.objects.get(name="default")
    for _ in range(number):
        make_held_alert(**{"namespace": namespace, "policy": policy} | fields)


def test_it_counts_what_the_store_counts() -> None:
    hold("payments", 5)
    hold("payments", 1, release_at=NOW + timedelta(seconds=6), severity="warning")
    make_alert(namespace="payments", received_at=NOW - timedelta(seconds=20))  # released already, still in the window
    make_alert(namespace="payments", received_at=NOW - timedelta(seconds=61))  # before the window
    make_alert(namespace="payments", split_from=make_storm())
    [group] = held_groups(NOW)["groups"]
    assert group.pop("key")
    assert group == {
        "group_labels": {"namespace": "payments"},
        "severity": "critical",
        "held": 6,
        "counted": 7,
        "threshold": 10,
        "release_at": "2026-11-16T10:30:06+00:00",
        "policy": "default",
    }


def test_an_alert_that_flaps_counts_once_if_its_policy_says_so() -> None:
    policy = make_policy(count_flapping_once=True)
    first = make_held_alert(policy=policy, flapping=True)
    make_held_alert(
        policy=policy, flapping=True, fingerprint=first.fingerprint, starts_at=first.starts_at + timedelta(seconds=1)
    )
    make_held_alert(policy=policy)
    assert [group["counted"] for group in held_groups(NOW)["groups"]] == [2]


def test_the_group_nearest_to_its_threshold_comes_first() -> None:
    hold("far", 2)
    hold("near", 8)
    hold("middle", 5)
    groups = held_groups(NOW)["groups"]
    assert [group["group_labels"]["namespace"] for group in groups] == ["near", "middle", "far"]


def test_it_is_one_bounded_query(django_assert_num_queries: Any) -> None:
    for number in range(MAX_GROUPS + 3):
        hold(f"ns-{number}", 1)
    with django_assert_num_queries(1):
        held = held_groups(NOW)
    assert len(held["groups"]) == MAX_GROUPS
    assert (held["more"], held["alerts"]) == (3, MAX_GROUPS + 3)


def test_nothing_held_is_nothing_shown() -> None:
    make_alert()
    assert held_groups(NOW) == {"groups": [], "more": 0, "alerts": 0}
