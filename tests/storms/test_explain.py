"""Which policy gets an alert, and why not the others: the function, the command, the API, the admin's page."""

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from storms.api_tokens import create_api_token
from storms.models import StormPolicy
from storms.policies import CompiledPolicy, Explanation, compile_policy, explain_among
from storms.services.policies import save_policy
from tests.factories import make_admin, make_alert, make_user

URL = "/api/v1/policies/explain/"
LABELS = {"alertname": "PodCrashLooping", "namespace": "payments", "team": "checkout"}


def compiled(name: str, matchers: str = "", **fields: Any) -> CompiledPolicy:
    return compile_policy(StormPolicy(id=abs(hash(name)), name=name, matchers=matchers, **fields))


def explained(labels: dict[str, str], *policies: CompiledPolicy) -> Explanation:
    return explain_among([compiled("default"), *policies], labels)


def why(explanation: Explanation) -> dict[str, str]:
    return {loser.policy.name: loser.why for loser in explanation.losers}


def texts(explanation: Explanation) -> dict[str, str]:
    return {loser.policy.name: loser.text for loser in explanation.losers}


def test_it_says_who_gets_it_and_in_which_group():
    explanation = explained(LABELS, compiled("payments", 'namespace="payments"', group_by=["namespace", "cluster"]))
    assert explanation.winner.name == "payments"
    assert explanation.reason == 'it is the most specific that matched: namespace="payments"'
    assert explanation.group == {"namespace": "payments", "cluster": ""}


def test_the_catch_all_gets_what_nobody_else_takes():
    explanation = explained(LABELS, compiled("other", 'namespace="other"'))
    assert explanation.winner.name == "default"
    assert explanation.reason == "it takes every alert, and no narrower policy matched"


def test_the_first_matcher_that_failed_is_named_with_what_the_alert_says():
    [loser] = explained(LABELS, compiled("p", 'namespace="payments", team=~"infra|data", pod="x"')).losers
    assert (loser.why, str(loser.matcher), loser.actual) == ("matcher", 'team=~"infra|data"', "checkout")
    assert loser.text == 'team=~"infra|data" does not match: team is "checkout"'


def test_a_label_that_the_alert_does_not_have():
    [loser] = explained(LABELS, compiled("p", 'cluster="eu"')).losers
    assert (loser.actual, loser.text) == (None, 'cluster="eu" does not match: the alert has no cluster')


def test_a_long_value_is_cut():
    [loser] = explained({"a": "x" * 4_000}, compiled("p", 'a="b"')).losers
    assert len(loser.text) < 260
    assert loser.actual == "x" * 4_000


def test_those_that_match_but_do_not_win():
    explanation = explained(
        LABELS,
        compiled("best", 'namespace="payments", team=~".+"', priority=5),
        compiled("behind", 'namespace="payments", team=~"check.*"', priority=4),
        compiled("better not", 'namespace="payments", team!="infra"', priority=5),
        compiled("wide", 'namespace=~"pay.*"', priority=900),
    )
    assert explanation.winner.name == "best"
    assert explanation.reason.startswith("of the equal ones its name comes first") is True
    assert why(explanation) == {
        "behind": "lower_priority",
        "better not": "later_name",
        "wide": "less_specific",
        "default": "less_specific",
    }
    assert texts(explanation) == {
        "behind": "matches and is as specific, but has a lower priority: 4 to 5",
        "better not": "matches and is equal, but its name comes after “best”",
        "wide": "matches, but is less specific: 1 matcher, 0 of them exact (=) to 2 matchers, 1 of them exact (=)",
        "default": "matches, but is less specific: no matcher to 2 matchers, 1 of them exact (=)",
    }


def test_a_disabled_policy_says_whether_it_would_have_got_it():
    explanation = explained(
        LABELS,
        compiled("on", 'namespace="payments"'),
        compiled("would", 'namespace="payments", team="checkout"', enabled=False),
        compiled("would not win", 'namespace=~".+"', enabled=False),
        compiled("would not match", 'team="infra"', enabled=False),
    )
    assert explanation.winner.name == "on"
    assert texts(explanation) == {
        "would": "disabled; it would get the alert",
        "would not win": "disabled; it would match, but not win",
        "would not match": 'disabled, and team="infra" does not match: team is "checkout"',
        "default": "matches, but is less specific: no matcher to 1 matcher, 1 of them exact (=)",
    }


@pytest.fixture
def payments(db: None) -> StormPolicy:
    policy = StormPolicy(name="payments", matchers='namespace="payments"', group_by=["namespace"])
    return save_policy(policy=policy, actor="alice")


# --- the command


def test_the_command_prints_a_table(payments: StormPolicy, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("explain_policy", "namespace=payments", "severity=page")
    assert capsys.readouterr().out == (
        'payments (version 1) gets it: it is the most specific that matched: namespace="payments"\n'
        "group: namespace=payments\n"
        "severity critical, environment unknown, priority P1\n"
        "\n"
        "Why not the others, in the order in which they are tried:\n"
        "  default  matches, but is less specific: no matcher to 1 matcher, 1 of them exact (=)\n"
    )


def test_the_command_prints_json(payments: StormPolicy, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("explain_policy", "namespace=other", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["policy"]["name"] == "default"
    assert [(other["policy"]["name"], other["why"], other["actual"]) for other in document["others"]] == [
        ("payments", "matcher", "other")
    ]


def test_the_command_wants_pairs(db: None) -> None:
    with pytest.raises(CommandError, match="cannot read 'payments': write name=value"):
        call_command("explain_policy", "payments")


# --- the API


def api(*permissions: str) -> Client:
    _, token = create_api_token(user=make_user("asker", *permissions))
    return Client(headers={"Authorization": f"Bearer {token}"})


def test_the_api_answers_get_and_post_alike(payments: StormPolicy) -> None:
    client = api("storms.view_stormpolicy")
    asked = client.get(URL, {"label": ["namespace=payments", "severity=critical"]}).json()
    body = {"labels": {"namespace": "payments", "severity": "critical"}}
    posted = client.post(URL, body, content_type="application/json").json()
    assert asked == posted
    assert asked["policy"] == {
        "id": payments.pk,
        "name": "payments",
        "version": 1,
        "priority": 0,
        "matchers": ['namespace="payments"'],
    }
    assert asked["group"] == {"namespace": "payments"}
    assert (asked["severity"], asked["environment"], asked["priority"]) == ("critical", "unknown", "P1")
    assert [other["why"] for other in asked["others"]] == ["less_specific"]


@pytest.mark.parametrize(
    ("query", "pointer"), [({"label": "payments"}, "/label"), ({"namespace": "payments"}, "/namespace")]
)
def test_the_api_refuses_what_it_cannot_read(db: None, query: dict[str, str], pointer: str) -> None:
    response = api("storms.view_stormpolicy").get(URL, query)
    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("body", [{}, {"labels": ["a"]}, {"labels": {"a": None}}, {"labels": {"a": {"b": 1}}}])
def test_the_api_refuses_bodies_without_labels(db: None, body: Any) -> None:
    assert api("storms.view_stormpolicy").post(URL, body, content_type="application/json").status_code == 400


def test_asking_needs_the_right_to_see_policies(db: None) -> None:
    client = api("storms.view_storm")
    assert client.get(URL).status_code == 403
    assert client.post(URL, {"labels": {}}, content_type="application/json").status_code == 403


# --- the admin's page


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    client.force_login(make_admin())
    return client


def page(client: Client, **query: str) -> str:
    response = client.get(reverse("admin:storms_stormpolicy_explain"), query)
    assert response.status_code == 200
    return str(response.content.decode())


@pytest.mark.parametrize(
    "text",
    [
        "namespace=payments\nteam=checkout",
        'namespace="payments", team="checkout"',
        '{namespace="payments", team="checkout"}',
        '{"namespace": "payments", "team": "checkout"}',
        '{"labels": {"namespace": "payments", "team": "checkout"}, "status": "firing"}',
    ],
)
def test_the_page_takes_labels_as_people_paste_them(admin: Client, payments: StormPolicy, text: str) -> None:
    seen = page(admin, labels=text)
    assert "<strong>payments</strong>, version 1" in seen
    assert "it is the most specific that matched" in seen
    assert "matches, but is less specific" in seen


def test_the_page_says_what_it_cannot_read(admin: Client) -> None:
    assert "write name=value" in page(admin, labels="nonsense")
    assert "is a condition, not a label" in page(admin, labels='namespace=~"pay.*"')


def test_the_page_offers_the_latest_alerts(admin: Client, payments: StormPolicy) -> None:
    alert = make_alert(namespace="payments")
    assert f"?alert={alert.pk}" in page(admin)
    assert "<strong>payments</strong>, version 1" in page(admin, alert=str(alert.pk))


@pytest.mark.parametrize("query", [{"alert": "nonsense"}, {"alert": "00000000-0000-0000-0000-000000000000"}])
def test_the_page_of_an_alert_that_is_not_there(admin: Client, query: dict[str, str]) -> None:
    assert "There is no such alert" in page(admin, **query)


def test_the_page_says_when_it_was_decided_otherwise(admin: Client, payments: StormPolicy) -> None:
    alert = make_alert(namespace="payments", policy=StormPolicy.objects.get(name="default"), policy_version=1)
    assert "When it came in, it was decided under “default”, version 1" in page(admin, alert=str(alert.pk))


def test_policy_list_and_alert_lead_to_the_page(admin: Client) -> None:
    url = reverse("admin:storms_stormpolicy_explain")
    alert = make_alert()
    assert url in admin.get(reverse("admin:storms_stormpolicy_changelist")).content.decode()
    assert f"{url}?alert={alert.pk}" in admin.get(reverse("alert", args=[alert.pk])).content.decode()
    assert f"{url}?alert={alert.pk}" in (
        admin.get(reverse("admin:storms_alert_change", args=[alert.pk])).content.decode()
    )


def test_hostile_labels_are_text_on_the_page(admin: Client) -> None:
    evil = "<script>alert(1)</script>"
    save_policy(policy=StormPolicy(name=evil, matchers=f'a="{evil}"'), actor=evil)
    assert evil not in page(admin, labels=json.dumps({"a": evil, evil: evil}))


def test_the_page_needs_the_right_to_see_policies_and_for_alerts_those_too(client: Client, db: None) -> None:
    alert = make_alert()
    url = reverse("admin:storms_stormpolicy_explain")
    client.force_login(make_user("nobody", "storms.view_alert", is_staff=True))
    assert client.get(url).status_code == 403
    client.force_login(make_user("viewer", "storms.view_stormpolicy", is_staff=True))
    seen = page(client, alert=str(alert.pk))
    assert "There is no such alert" in seen
    assert str(alert.pk) not in page(client)
