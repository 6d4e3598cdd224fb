"""Which policy gets an alert, and how policies change."""

import threading

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from storms import policies
from storms.models import ConfigGeneration, StormPolicy
from storms.services.policies import PolicyError, delete_policy, save_policy

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
