"""Why a storm opened, in words and as the alerts of its window."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from storms.models import Alert, Storm
from storms.opening_story import WINDOW_SHOWN, opening_of
from tests.factories import NOW, make_admin, make_alert, make_policy, make_storm

pytestmark = pytest.mark.django_db


def decided(storm: Storm, seconds_before: float, **fields: Any) -> Alert:
    at = storm.opened_at - timedelta(seconds=seconds_before)
    return make_alert(storm=storm, received_at=at, decided_at=at, **fields)


def opened_storm(**fields: Any) -> tuple[Storm, Alert]:
    storm = make_storm(**fields)
    opener = decided(storm, 0, outcome="storm_opened", count=10, threshold=10)
    Storm.objects.filter(id=storm.id).update(opened_by=opener.id)
    storm.refresh_from_db()
    return storm, opener


def test_the_window_is_told_in_its_order() -> None:
    storm, opener = opened_storm()
    late = decided(storm, 54.5)
    decided(storm, 60)  # as old as the window is long: not counted
    decided(storm, -1)  # joined later
    merged_in = decided(storm, 10, group_key="another")
    opening = opening_of(storm)
    assert [(one.alert.id, one.before) for one in opening.window] == [(late.id, 54.5), (opener.id, 0)]
    assert merged_in.id not in [one.alert.id for one in opening.window]
    assert opening.complete
    assert any("10 of 10 in 60 s in " in step.text for step in opening.steps)
    assert any("it reached the threshold and opened the storm." in step.text for step in opening.steps)


def test_what_came_while_the_store_was_away_is_told_as_of_its_receipt() -> None:
    """New alerts opened the storm at the store's return; what had waited made it begin earlier."""
    storm, opener = opened_storm(window_from=NOW - timedelta(seconds=130))
    counted = decided(storm, 125, outcome="deferred")
    decided(storm, 130)  # as old as the window is long: not counted
    opening = opening_of(storm)
    assert [(one.alert.id, one.before) for one in opening.window] == [(counted.id, 125), (opener.id, 0)]


def test_a_long_window_is_cut_at_its_beginning() -> None:
    storm, opener = opened_storm()
    for number in range(WINDOW_SHOWN + 3):
        decided(storm, number + 1)
    opening = opening_of(storm)
    assert (len(opening.window), opening.complete) == (WINDOW_SHOWN, False)
    assert opening.window[-1].alert == opener


def test_an_opener_that_retention_deleted_is_said() -> None:
    assert opening_of(make_storm()).opener is None


def test_the_page_tells_it(client: Client) -> None:
    client.force_login(make_admin())
    policy = make_policy()
    storm, opener = opened_storm(policy=policy, policy_version=3)
    seen = client.get(f"/storms/{storm.id}/").content.decode()
    assert "it reached the threshold and opened the storm." in seen
    assert f'href="/alerts/{opener.id}/">The alert that opened it' in seen
    assert f"/admin/storms/stormpolicy/{policy.id}/history/#version-3" in seen
    unknown = client.get(f"/storms/{make_storm(opened_at=NOW).id}/").content.decode()
    assert "The alert that opened it is not kept any more." in unknown
