"""Which policy gets an alert, and how policies change."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.urls import reverse

from storms import policies
from storms.api_tokens import create_api_token
from storms.models import ConfigGeneration, PolicyVersion, StormPolicy
from storms.policy_words import describe_changes, describe_version
from storms.services.policies import PolicyError, delete_policy, restore_policy, save_policy
from tests.bench import policies as bench
from tests.factories import make_admin, make_policy, make_user
from tests.harness.http import alert, payload
from tests.harness.webhook import Console

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def default() -> StormPolicy:
    return policies._restore_default()


def policy(name: str, matchers: str, **fields: object) -> StormPolicy:
    return save_policy(policy=StormPolicy(name=name, matchers=matchers, **fields), actor="test")


def chosen(**labels: str) -> str:
    return policies.reload().choose(labels).name


def test_the_most_specific_policy_wins():
    policy("payments", 'namespace="payments"')
    policy("payments by pattern", 'namespace=~"pay.*", severity=~".+"', priority=500)
    policy("payments critical", 'namespace="payments", severity="critical"')

    assert chosen(namespace="payments", severity="critical") == "payments critical"
    assert chosen(namespace="payments", severity="warning") == "payments"
    assert chosen(namespace="payroll", severity="warning") == "payments by pattern"
    assert chosen(namespace="other") == "default"


def test_ties_go_by_priority_then_name():
    policy("b", 'team="x"')
    policy("a", 'namespace="y"')
    assert chosen(team="x", namespace="y") == "a"
    policy("c", 'cluster="z"', priority=1)
    assert chosen(team="x", namespace="y", cluster="z") == "c"


def test_a_disabled_policy_gets_nothing():
    policy("off", 'namespace="payments"', enabled=False)
    assert chosen(namespace="payments") == "default"


def test_a_missing_label_is_the_empty_value_of_its_group():
    compiled = policies.compile_policy(StormPolicy(id=1, name="p", group_by=["namespace", "cluster"]))
    assert compiled.group({"namespace": "a", "pod": "b"}) == {"namespace": "a", "cluster": ""}


def test_groups_of_two_policies_and_of_two_values_differ():
    keys = {
        policies.group_key(1, {"namespace": "a"}),
        policies.group_key(2, {"namespace": "a"}),
        policies.group_key(1, {"namespace": "b"}),
        policies.group_key(1, {"cluster": "a"}),
    }
    assert len(keys) == 4


def test_every_change_moves_the_generation_however_it_is_made():
    seen = []
    for change in (
        lambda: policy("p", 'a="b"'),
        lambda: StormPolicy.objects.filter(name="p").update(threshold=5),
        lambda: StormPolicy.objects.filter(name="p").delete(),
    ):
        change()
        seen.append(ConfigGeneration.objects.get().value)
    assert seen == sorted(set(seen))


def test_a_save_raises_the_version(default: StormPolicy):
    before = default.version
    assert save_policy(policy=default, actor="test").version == before + 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"matchers": 'a=~"("'}, "matchers"),
        ({"threshold": 0}, "threshold"),
        ({"window_seconds": 0}, "window_seconds"),
        ({"quiet_seconds": 0}, "quiet_seconds"),
        ({"group_by": ["not a label"]}, "group_by"),
        ({"group_by": ["a", "a"]}, "group_by"),
        ({"reopen_seconds": 86_401}, "reopen_seconds"),
        ({"matchers": 'a=~"' + "x" * 1_001 + '"'}, "matchers"),
        ({"name": ""}, "name"),
        ({"name": "default"}, "name"),
    ],
)
def test_a_bad_policy_is_refused_with_its_field(fields, field):
    with pytest.raises(ValidationError) as refused:
        StormPolicy(**{"name": "p"} | fields).full_clean()
    assert set(refused.value.message_dict) == {field}


def test_the_last_catch_all_stays(default: StormPolicy):
    with pytest.raises(PolicyError):
        delete_policy(policy=default, actor="test")
    default.enabled = False
    with pytest.raises(PolicyError):
        save_policy(policy=default, actor="test")
    default.enabled, default.matchers = True, 'a="b"'
    with pytest.raises(PolicyError):
        save_policy(policy=default, actor="test")
    assert StormPolicy.objects.get(name="default").matchers == ""


def test_of_two_who_disable_the_last_two_catch_alls_one_is_refused(default: StormPolicy):
    second = policy("second", "")
    barrier = threading.Barrier(2)
    told: list[str] = []

    def disable(pk: int) -> None:
        mine = StormPolicy.objects.get(pk=pk)
        mine.enabled = False
        barrier.wait(10)
        try:
            save_policy(policy=mine, actor="test")
            told.append("saved")
        except PolicyError:
            told.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=disable, args=[pk]) for pk in (default.pk, second.pk)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == ["refused", "saved"]


def test_a_catch_all_lost_past_the_services_is_restored():
    StormPolicy.objects.all().delete()
    assert chosen(namespace="x") == "default"


def test_a_policy_that_cannot_be_read_gets_no_alerts_and_stops_nothing():
    make_policy(name="broken", matchers="nonsense")
    policy("payments", 'namespace="payments"')
    assert chosen(namespace="payments") == "payments"


def test_what_a_policy_says_of_a_storm_s_end_is_compiled():
    policy("p", 'a="b"', reopen_seconds=90, count_flapping_once=True)
    compiled = policies.reload().choose({"a": "b"})
    assert (compiled.reopen_us, compiled.count_flapping_once) == (90_000_000, True)


def test_a_hostile_pattern_on_a_long_label_decides_in_no_time():
    policy("hostile", 'a=~"(a+)+$", b!~"(x|xx)+y"')
    compiled = policies.reload()
    started = time.process_time()
    assert compiled.choose({"a": "a" * 10_000 + "b", "b": "x" * 10_000}).name == "default"
    assert compiled.choose({"a": "a" * 10_000, "b": "x" * 10_000}).name == "hostile"
    assert time.process_time() - started < 1


@pytest.mark.parametrize("mix", bench.MIXES)
def test_200_policies_decide_50_alerts_in_under_5_ms(mix: str):
    took, _ = bench.times(bench.MIXES[mix], rounds=10)
    assert sorted(took)[5] < bench.LIMIT_MS


# --- versions


def versions(policy: StormPolicy) -> list[tuple[int, str, dict[str, Any]]]:
    return [(kept.version, kept.actor, kept.changes) for kept in policy.versions.order_by("version")]


def test_every_save_is_a_version():
    made = save_policy(policy=StormPolicy(name="p", matchers='a="b"'), actor="alice")
    made.threshold, made.group_by = 25, ["cluster"]
    save_policy(policy=made, actor="bob")
    assert versions(made) == [
        (1, "alice", {}),
        (2, "bob", {"group_by": [["namespace"], ["cluster"]], "threshold": [10, 25]}),
    ]
    first, second = made.versions.order_by("version")
    assert first.fields == {
        "name": "p",
        "enabled": True,
        "matchers": 'a="b"',
        "priority": 0,
        "group_by": ["namespace"],
        "threshold": 10,
        "window_seconds": 60,
        "hold_seconds": 10,
        "quiet_seconds": 300,
        "max_duration_seconds": 14_400,
        "reopen_seconds": 0,
        "count_flapping_once": False,
        "owner_note": "",
    }
    assert second.fields == first.fields | {"threshold": 25, "group_by": ["cluster"]}


def test_what_was_never_saved_through_the_service_is_kept_with_the_first_save_that_is():
    found = make_policy(threshold=7, version=3)
    found.threshold = 8
    save_policy(policy=found, actor="alice")
    assert versions(found) == [(3, "", {}), (4, "alice", {"threshold": [7, 8]})]
    assert restore_policy(policy=found, version=3, actor="bob").threshold == 7


def test_a_refused_save_is_no_version(default: StormPolicy):
    before = PolicyVersion.objects.count()
    default.enabled = False
    with pytest.raises(PolicyError):
        save_policy(policy=default, actor="test")
    assert PolicyVersion.objects.count() == before


def test_a_restored_version_is_a_new_one_that_says_so():
    made = save_policy(policy=StormPolicy(name="p", matchers='a="b"', threshold=3), actor="alice")
    made.threshold, made.matchers = 30, 'a="c"'
    save_policy(policy=made, actor="bob")
    restored = restore_policy(policy=made, version=1, actor="carol")
    assert (restored.version, restored.threshold, restored.matchers) == (3, 3, 'a="b"')
    newest = restored.versions.first()
    assert newest is not None
    assert (newest.version, newest.actor, newest.restored_from) == (3, "carol", 1)
    assert describe_version(newest) == [
        "version 1 restored",
        'matcher removed: a="c"',
        'matcher added: a="b"',
        "threshold: 30 → 3",
    ]


@pytest.mark.parametrize("bad", [{"threshold": 0}, {"matchers": 'a=~"("'}, {"name": "default"}])
def test_a_version_that_is_not_valid_any_more_is_refused(bad: dict[str, Any]):
    made = policy("p", 'a="b"')
    made.versions.update(fields=made.versions.get().fields | bad)
    with pytest.raises(PolicyError, match=f"Version 1 cannot be restored: {next(iter(bad))}"):
        restore_policy(policy=made, version=1, actor="test")
    assert StormPolicy.objects.get(pk=made.pk).version == 1


def test_a_version_that_is_not_there_is_refused(default: StormPolicy):
    with pytest.raises(PolicyError, match="default has no version 99"):
        restore_policy(policy=default, version=99, actor="test")


def test_restoring_cannot_take_the_last_catch_all(default: StormPolicy):
    narrow = save_policy(policy=StormPolicy(name="was narrow", matchers='a="b"'), actor="test")
    narrow.matchers = ""
    save_policy(policy=narrow, actor="test")
    delete_policy(policy=default, actor="test")
    with pytest.raises(PolicyError, match="last enabled policy without matchers"):
        restore_policy(policy=narrow, version=1, actor="test")
    assert narrow.versions.count() == 2


def test_a_field_that_an_old_version_does_not_know_stays():
    made = policy("p", 'a="b"', reopen_seconds=60)
    fields = made.versions.get().fields
    del fields["reopen_seconds"]
    made.versions.update(fields=fields)
    assert restore_policy(policy=made, version=1, actor="test").reopen_seconds == 60


def test_changes_in_words():
    changes = {
        "owner_note": ["", "ours"],
        "count_flapping_once": [False, True],
        "reopen_seconds": [0, 60],
        "hold_seconds": [10, 0],
        "window_seconds": [60, 120],
        "group_by": [["namespace"], []],
        "priority": [0, 5],
        "matchers": ['a="b", c="d"', ""],
        "enabled": [True, False],
        "name": ["p", "q"],
    }
    assert describe_changes(changes) == [
        "name: p → q",
        "disabled",
        'matcher removed: a="b"',
        'matcher removed: c="d"',
        "takes every alert now",
        "priority: 0 → 5",
        "group by: namespace → (one group)",
        "window: 60 s → 120 s",
        "hold: 10 s → at once",
        "reopen: never → 60 s",
        "episodes of a flapping alert count once",
        "owner's note added: “ours”",
    ]
    assert describe_changes({"matchers": ['a="b"', 'a = "b",']}) == [
        "matchers written differently, with the same meaning"
    ]


def test_restoring_a_version_restores_its_behaviour(console: Console, set_policy: Callable[..., None]):
    set_policy(threshold=2, hold_seconds=60)
    strict = StormPolicy.objects.get(name="default").version
    set_policy(threshold=100)

    def outcomes(namespace: str) -> list[str]:
        body = console.post(payload([alert(namespace=namespace) for _ in range(3)])).json()
        return [result["outcome"] for result in body["results"]]

    assert outcomes("before") == ["held", "held", "held"]
    restore_policy(policy=StormPolicy.objects.get(name="default"), version=strict, actor="alice")
    assert outcomes("after") == ["held", "storm_opened", "aggregated"]


# --- versions over HTTP and in the admin


def api(*permissions: str) -> Client:
    _, token = create_api_token(user=make_user("someone", *permissions))
    return Client(headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def edited() -> StormPolicy:
    made = save_policy(policy=StormPolicy(name="p", matchers='a="b"', threshold=3), actor="alice")
    made.threshold = 30
    return save_policy(policy=made, actor="bob")


def test_the_versions_over_the_api(edited: StormPolicy):
    answer = api("storms.view_stormpolicy").get(f"/api/v1/policies/{edited.pk}/versions/")
    assert answer.status_code == 200
    second, first = answer.json()["results"]
    assert (second["version"], second["actor"], second["words"]) == (2, "bob", ["threshold: 3 → 30"])
    assert second["changes"] == {"threshold": [3, 30]}
    assert (first["version"], first["words"], first["fields"]["threshold"]) == (1, ["created"], 3)


def test_the_versions_come_in_pages(edited: StormPolicy):
    client = api("storms.view_stormpolicy")
    page = client.get(f"/api/v1/policies/{edited.pk}/versions/", {"page_size": 1}).json()
    assert [row["version"] for row in page["results"]] == [2]
    assert [row["version"] for row in client.get(page["next"]).json()["results"]] == [1]


def test_restoring_over_the_api(edited: StormPolicy):
    path = f"/api/v1/policies/{edited.pk}/restore/"
    client = api("storms.change_stormpolicy", "storms.view_stormpolicy")
    answer = client.post(path, {"version": 1}, content_type="application/json")
    assert answer.status_code == 200
    assert (answer.json()["version"], answer.json()["threshold"]) == (3, 3)
    assert edited.versions.order_by("version").last().actor == "someone"
    refused = client.post(path, {"version": 9}, content_type="application/json")
    assert (refused.status_code, refused.json()["errors"]) == (
        400,
        [{"pointer": "/version", "detail": "p has no version 9."}],
    )


def test_restoring_needs_the_right_to_change(edited: StormPolicy, client: Client):
    reader = api("storms.view_stormpolicy", "storms.add_stormpolicy")
    path = f"/api/v1/policies/{edited.pk}/restore/"
    assert reader.post(path, {"version": 1}, content_type="application/json").status_code == 403
    client.force_login(make_user("viewer", "storms.view_stormpolicy", is_staff=True))
    assert client.post(restore_url(edited, 1)).status_code == 403
    seen = client.get(history_url(edited)).content.decode()
    assert "threshold: 3 → 30" in seen
    assert "Restore version" not in seen
    assert StormPolicy.objects.get(pk=edited.pk).version == 2


def history_url(policy: StormPolicy) -> str:
    return reverse("admin:storms_stormpolicy_history", args=[policy.pk])


def restore_url(policy: StormPolicy, version: int) -> str:
    return reverse("admin:storms_stormpolicy_restore", args=[policy.pk, version])


def test_the_history_shows_what_changed_and_restores_with_one_click(edited: StormPolicy, client: Client):
    client.force_login(make_admin("carol"))
    seen = client.get(history_url(edited)).content.decode()
    assert "threshold: 3 → 30" in seen
    assert "threshold: 30 → 3" in seen  # what restoring would change
    assert restore_url(edited, 1) in seen
    assert restore_url(edited, 2) not in seen
    assert client.get(restore_url(edited, 1)).status_code == 405
    answer = client.post(restore_url(edited, 1), follow=True)
    assert "Version 1 is restored, as version 3" in answer.content.decode()
    stored = StormPolicy.objects.get(pk=edited.pk)
    assert (stored.version, stored.threshold, stored.versions.first().actor) == (3, 3, "carol")


def test_a_refused_restore_says_why(edited: StormPolicy, client: Client):
    client.force_login(make_admin())
    edited.versions.filter(version=1).update(fields=edited.versions.first().fields | {"threshold": 0})
    answer = client.post(restore_url(edited, 1), follow=True)
    assert "Version 1 cannot be restored: threshold" in answer.content.decode()


def test_restoring_from_another_site_is_refused(edited: StormPolicy):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_admin())
    assert client.post(restore_url(edited, 1)).status_code == 403


def test_hostile_text_in_the_history_is_text(client: Client):
    evil = "<script>alert(1)</script>"
    made = save_policy(policy=StormPolicy(name=evil, matchers=f'a="{evil}"'), actor=evil)
    made.owner_note = evil
    save_policy(policy=made, actor=evil)
    client.force_login(make_admin())
    assert evil not in client.get(history_url(made)).content.decode()


def test_a_policy_without_a_version_has_a_history_too(client: Client):
    client.force_login(make_admin())
    assert "No version yet" in client.get(history_url(make_policy())).content.decode()
