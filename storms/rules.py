"""What an alert means here, by the tables that operators edit: its severity, environment and priority.

Compiled and kept in memory like the policies, with which they are reloaded (`storms.policies.reload`).

- severity: the label `severity` by its rule; `critical`, `warning` and `info` mean themselves; anything else, and no
  label, is a warning.
- environment: the label `environment`, else `env`; else the first rule whose pattern matches the whole namespace; else
  `unknown`.
- priority: the rule of the severity in the environment, else the severity's own rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from storms.choices import Severity
from storms.matchers import MatcherError, PatternSet, check_pattern
from storms.models import EnvironmentRule, PriorityRule, SeverityRule
from storms.remediation import PRODUCTION, UNKNOWN, clean_environment, priority_of, stated_environment

DEFAULT_SEVERITIES = {
    value: level
    for level, values in {
        Severity.CRITICAL.value: "critical crit page emergency fatal error high major p1 sev1",
        Severity.WARNING.value: "warning warn medium minor p2 p3 sev2",
        Severity.INFO.value: "info information informational none low notice debug ok p4",
    }.items()
    for value in values.split()
}
"""What holds while the table has no row at all; the migration fills it with the same."""
THEMSELVES = {level.value: level.value for level in Severity}


@dataclass(frozen=True, slots=True)
class Classified:
    """`severity`: critical, warning, info; `environment`: at most 63 characters; `priority`: P0 to P3."""

    severity: str
    environment: str
    priority: str


@dataclass(frozen=True, slots=True)
class RuleSet:
    """severities: {value: severity}; environments: [(pattern, environment)] in order; priorities: {(severity,
    environment): priority}, where "" stands for every environment without a rule of its own."""

    severities: Mapping[str, str]
    environments: tuple[tuple[str, str], ...]
    priorities: Mapping[tuple[str, str], str]
    _patterns: PatternSet = field(init=False, repr=False, compare=False)
    _namespaces: dict[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)

    REMEMBERED = 4_096

    def __post_init__(self) -> None:
        object.__setattr__(self, "_patterns", PatternSet([pattern for pattern, _ in self.environments]))

    def classify(self, labels: Mapping[str, str]) -> Classified:
        severity = self.severity(labels)
        environment = self.environment(labels)
        return Classified(severity, environment, self.priority(severity, environment))

    def severity(self, labels: Mapping[str, str]) -> str:
        return self.severities.get(labels.get("severity", "").strip().lower(), Severity.WARNING.value)

    def environment(self, labels: Mapping[str, str]) -> str:
        return stated_environment(labels) or self._of_namespace(labels.get("namespace", ""))

    def priority(self, severity: str, environment: str) -> str:
        """`prod` and `prd` are `production`, where the table says nothing else."""
        of_environment = self.priorities.get((severity, environment))
        if of_environment is None and environment in PRODUCTION:
            of_environment = self.priorities.get((severity, "production"))
        return of_environment or self.priorities.get((severity, "")) or priority_of(severity, environment)

    def _of_namespace(self, namespace: str) -> str:
        if not namespace or not self.environments:
            return UNKNOWN
        known = self._namespaces.get(namespace)
        if known is None:
            found = self._patterns.matching(namespace)
            known = next((environment for pattern, environment in self.environments if pattern in found), UNKNOWN)
            if len(self._namespaces) >= self.REMEMBERED:
                self._namespaces.clear()
            self._namespaces[namespace] = known
        return known


_current: RuleSet | None = None


def current() -> RuleSet:
    """What this process compiled last."""
    return _current if _current is not None else reload()


def reload() -> RuleSet:
    """Compile the tables."""
    global _current
    severities = {value.strip().lower(): severity for value, severity in SeverityRule.objects.values_list(*_SEVERITY)}
    _current = RuleSet(
        severities=THEMSELVES | (severities or DEFAULT_SEVERITIES),
        environments=tuple(
            (pattern, clean_environment(environment))
            for pattern, environment in EnvironmentRule.objects.values_list("namespace_pattern", "environment")
            if _is_readable(pattern)
        ),
        priorities={
            (severity, clean_environment(environment)): priority
            for severity, environment, priority in PriorityRule.objects.values_list(*_PRIORITY)
        },
    )
    return _current


_SEVERITY = ("value", "severity")
_PRIORITY = ("severity", "environment", "priority")


def _is_readable(pattern: str) -> bool:
    """Written past the form, a pattern may be none; it then matches nothing."""
    try:
        check_pattern(pattern)
    except MatcherError:
        return False
    return True
