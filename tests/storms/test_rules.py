"""Severity, environment and priority by the operators' tables."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from storms import policies, rules
from storms.matchers import compile_pattern
from storms.models import ConfigGeneration, EnvironmentRule, PriorityRule, SeverityRule
from storms.remediation import common_environment, highest_priority
from storms.rules import Classified, RuleSet
from tests.factories import make_admin, make_user

SHIPPED = RuleSet(
    severities=rules.THEMSELVES | rules.DEFAULT_SEVERITIES,
    environments=(
        ("prod|production|prod-.*|.*-prod|.*-production", "production"),
        ("staging|stage|.*-staging", "staging"),
    ),
    priorities={
        ("critical", "production"): "P0",
        ("critical", ""): "P1",
        ("warning", ""): "P2",
        ("info", ""): "P3",
    },
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, ("warning", "unknown", "P2")),
        ({"severity": "critical"}, ("critical", "unknown", "P1")),
        ({"severity": " CRITICAL "}, ("critical", "unknown", "P1")),
        ({"severity": "page", "namespace": "prod-eu"}, ("critical", "production", "P0")),
        ({"severity": "page", "namespace": "prod-eu", "env": "staging"}, ("critical", "staging", "P1")),
        ({"severity": "page", "environment": "Production", "env": "staging"}, ("critical", "production", "P0")),
        ({"severity": "page", "environment": " ", "env": "prod"}, ("critical", "prod", "P0")),
        ({"severity": "none", "namespace": "checkout-staging"}, ("info", "staging", "P3")),
        ({"severity": "sev0", "namespace": "reproduction"}, ("warning", "unknown", "P2")),
        ({"severity": "critical", "environment": "x" * 100}, ("critical", "x" * 62 + "…", "P1")),
    ],
)
def test_it_classifies(labels: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert SHIPPED.classify(labels) == Classified(*expected)


def test_the_first_pattern_by_position_wins() -> None:
    ordered = RuleSet({}, (("a.*", "first"), (".*b", "second"), (".*", "rest")), {})
    assert [ordered.environment({"namespace": name}) for name in ("ab", "cb", "c", "")] == [
        "first",
        "second",
        "rest",
        "unknown",
    ]


def test_a_rule_of_the_environment_goes_before_the_severity_s_own() -> None:
    table = RuleSet({}, (), {("info", "dev"): "P1", ("info", ""): "P3", ("critical", "prod"): "P2"})
    assert table.priority("info", "dev") == "P1"
    assert table.priority("info", "production") == "P3"
    # `prod` has a rule here; `production` has none, nor has the severity: as shipped.
    assert table.priority("critical", "prod") == "P2"
    assert table.priority("critical", "production") == "P0"


@given(
    st.lists(st.sampled_from(["prod", "prod-.*", ".*-eu", "[a-c]+", "a|b", "(a+)+", ".*"]), max_size=5),
    st.sampled_from(["prod", "prod-eu", "abc", "a", "aaa", "x-eu", "x"]),
)
def test_patterns_run_together_as_one_by_one(patterns: list[str], namespace: str) -> None:
    table = RuleSet({}, tuple((pattern, f"e{number}") for number, pattern in enumerate(patterns)), {})
    expected = next((f"e{n}" for n, p in enumerate(patterns) if compile_pattern(p).fullmatch(namespace)), "unknown")
    assert table.environment({"namespace": namespace}) == expected


@given(st.dictionaries(st.sampled_from(["severity", "environment", "env", "namespace"]), st.text()))
def test_any_labels_are_classified(labels: dict[str, str]) -> None:
    classified = SHIPPED.classify(labels)
    assert classified.severity in ("critical", "warning", "info")
    assert 1 <= len(classified.environment) <= 63
    assert classified.priority in ("P0", "P1", "P2", "P3")


def test_a_storm_has_the_highest_priority_and_the_common_environment_of_its_alerts() -> None:
    assert highest_priority(["P2", "", "P1", "P3"]) == "P1"
    assert highest_priority([]) == ""
    assert common_environment(["production", "", "production"]) == "production"
    assert common_environment(["production", "staging"]) == ""


# --- the tables


@pytest.mark.django_db
def test_the_tables_come_filled_with_what_was_code_before() -> None:
    loaded = rules.reload()
    assert (loaded.severities, loaded.environments, loaded.priorities) == (
        SHIPPED.severities,
        SHIPPED.environments,
        SHIPPED.priorities,
    )


@pytest.mark.django_db
def test_empty_tables_mean_what_is_shipped() -> None:
    for table in (SeverityRule, EnvironmentRule, PriorityRule):
        table.objects.all().delete()
    empty = rules.reload()
    labels = {"severity": "page", "env": "production", "namespace": "prod-eu"}
    assert empty.classify(labels) == Classified("critical", "production", "P0")
    assert empty.classify({"namespace": "prod-eu"}).environment == "unknown"


@pytest.mark.django_db
def test_a_pattern_that_is_none_stops_nothing() -> None:
    EnvironmentRule.objects.create(position=0, namespace_pattern="(", environment="broken")
    assert rules.reload().environment({"namespace": "prod-eu"}) == "production"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "row",
    [
        SeverityRule(value="sev0", severity="critical"),
        EnvironmentRule(namespace_pattern="qa-.*", environment="qa"),
        PriorityRule(severity="info", environment="qa", priority="P2"),
    ],
)
def test_a_changed_table_moves_the_generation_and_the_policies_reload_it(row: Any) -> None:
    before = policies.reload()
    row.save()
    assert ConfigGeneration.objects.get().value > before.generation
    stale = rules.current()
    policies.reload()
    assert rules.current() != stale


# --- the admin


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    client.force_login(make_admin())
    return client


def url(model: Any, view: str, *arguments: Any) -> str:
    return reverse(f"admin:storms_{model._meta.model_name}_{view}", args=arguments)


@pytest.mark.parametrize("model", [SeverityRule, EnvironmentRule, PriorityRule])
def test_the_tables_open_and_their_rows_too(admin: Client, model: Any) -> None:
    assert admin.get(url(model, "changelist")).status_code == 200
    for row in model.objects.all():
        assert admin.get(url(model, "change", row.pk)).status_code == 200


def test_values_are_kept_as_they_are_compared(admin: Client) -> None:
    admin.post(url(SeverityRule, "add"), {"value": "  SEV0 ", "severity": "critical"})
    assert SeverityRule.objects.get(value="sev0").severity == "critical"
    response = admin.post(url(SeverityRule, "add"), {"value": "SEV0", "severity": "info"})
    assert "already exists" in response.content.decode()
    admin.post(url(EnvironmentRule, "add"), {"position": "1", "namespace_pattern": "qa", "environment": " QA "})
    assert EnvironmentRule.objects.get(namespace_pattern="qa").environment == "qa"


@pytest.mark.parametrize("pattern", ["(", "x" * 501, "(?=x)"])
def test_a_pattern_is_validated(admin: Client, pattern: str) -> None:
    count = EnvironmentRule.objects.count()
    form = {"position": "1", "namespace_pattern": pattern, "environment": "qa"}
    assert admin.post(url(EnvironmentRule, "add"), form).status_code == 200
    assert EnvironmentRule.objects.count() == count


def test_rows_are_edited_in_the_list(admin: Client) -> None:
    rows = list(PriorityRule.objects.order_by("priority", "severity", "environment"))
    form = {"form-TOTAL_FORMS": len(rows), "form-INITIAL_FORMS": len(rows), "_save": "Save"}
    for number, row in enumerate(rows):
        form |= {f"form-{number}-id": row.pk, f"form-{number}-priority": "P0"}
    assert admin.post(url(PriorityRule, "changelist"), form).status_code == 302
    assert set(PriorityRule.objects.values_list("priority", flat=True)) == {"P0"}


def test_editing_needs_the_right_to(client: Client, db: None) -> None:
    client.force_login(make_user("viewer", "storms.view_severityrule", is_staff=True))
    assert client.get(url(SeverityRule, "changelist")).status_code == 200
    assert client.post(url(SeverityRule, "add"), {"value": "x", "severity": "info"}).status_code == 403
