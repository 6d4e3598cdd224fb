"""Policies as the hot path uses them: compiled once per change, chosen per alert.

The most specific enabled policy that matches wins: more `=` matchers first, then more matchers; ties by priority, then
by name. The cache is keyed by the configuration's generation, which every webhook reads in its one look-up.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
from django.db import connection

from storms import rules
from storms.detector import Rule
from storms.matchers import Matcher, MatcherError, MatcherIndex, parse_matchers, specificity
from storms.models import StormPolicy

logger = logging.getLogger(__name__)

DEFAULT_POLICY_NAME = "default"
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy, ready to match and to count; `reopen_us` in microseconds, 0: never."""

    id: int
    name: str
    version: int
    priority: int
    matchers: tuple[Matcher, ...]
    group_by: tuple[str, ...]
    rule: Rule
    reason: str
    reopen_us: int = 0
    count_flapping_once: bool = False
    enabled: bool = True

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(matcher.matches(labels) for matcher in self.matchers)

    def group(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The group's labels; a missing label is the empty value."""
        return {name: labels.get(name, "") for name in self.group_by}


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All enabled policies of one generation, the most specific first."""

    generation: int
    policies: tuple[CompiledPolicy, ...]
    _index: MatcherIndex = field(init=False, repr=False, compare=False)
    _by_id: dict[int, CompiledPolicy] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", MatcherIndex([policy.matchers for policy in self.policies]))
        object.__setattr__(self, "_by_id", {policy.id: policy for policy in self.policies})

    def choose(self, labels: Mapping[str, str]) -> CompiledPolicy:
        """The first that matches; the last one always does."""
        number = self._index.first(labels)
        assert number is not None, "no policy without matchers"
        return self.policies[number]

    def by_id(self, policy_id: int | None) -> CompiledPolicy:
        """That policy, or the catch-all where it is gone."""
        return self._by_id.get(policy_id or 0, self.policies[-1])


_current = PolicySet(-1, ())


def current() -> PolicySet:
    """What this process compiled last; a look-up tells whether it still holds."""
    return _current if _current.policies else reload()


def reload() -> PolicySet:
    """Compile the enabled policies, and the rules (`storms.rules`), which the same generation stands for.

    The generation is read first: a change in between only causes one reload more.
    """
    global _current
    with connection.cursor() as cursor:
        cursor.execute("select coalesce((select value from storms_configgeneration), 0)")
        [generation] = cursor.fetchone()
    rules.reload()
    compiled = compile_all(StormPolicy.objects.filter(enabled=True))
    if not any(not policy.matchers for policy in compiled):
        # Only possible past the services, which keep one; without it an alert could have no decision.
        compiled.append(compile_policy(_restore_default()))
    _current = PolicySet(generation, tuple(in_order(compiled)))
    return _current


def compile_all(rows: Iterable[StormPolicy]) -> list[CompiledPolicy]:
    """Those that can be read; one that cannot, written past the services, must not stop all ingestion."""
    compiled = []
    for row in rows:
        try:
            compiled.append(compile_policy(row))
        except MatcherError as error:
            logger.error("policy %s gets no alerts: %s", row.name, error)
    return compiled


def in_order(policies: Iterable[CompiledPolicy]) -> list[CompiledPolicy]:
    """The most specific first, then the higher priority, then the name."""
    by_name = sorted(policies, key=lambda policy: policy.name)
    return sorted(by_name, key=lambda policy: (specificity(policy.matchers), policy.priority), reverse=True)


def _restore_default() -> StormPolicy:
    policy, _ = StormPolicy.objects.update_or_create(
        name=DEFAULT_POLICY_NAME, defaults={"matchers": "", "enabled": True}
    )
    return policy


def compile_policy(policy: StormPolicy) -> CompiledPolicy:
    matchers = parse_matchers(policy.matchers)
    return CompiledPolicy(
        id=policy.pk,
        name=policy.name,
        version=policy.version,
        priority=policy.priority,
        matchers=matchers,
        group_by=tuple(policy.group_by),
        rule=Rule(
            threshold=policy.threshold,
            window_us=policy.window_seconds * SECOND_US,
            hold_us=policy.hold_seconds * SECOND_US,
            quiet_us=policy.quiet_seconds * SECOND_US,
            max_us=policy.max_duration_seconds * SECOND_US,
        ),
        reason=_reason(matchers),
        reopen_us=policy.reopen_seconds * SECOND_US,
        count_flapping_once=policy.count_flapping_once,
        enabled=policy.enabled,
    )


def _reason(matchers: tuple[Matcher, ...]) -> str:
    if not matchers:
        return "no narrower policy matched"
    return ("the most specific policy that matched: " + ", ".join(str(matcher) for matcher in matchers))[:300]


def group_key(policy_id: int, labels: Mapping[str, str]) -> str:
    """64 hex characters for a policy's group; editing a policy's numbers does not change it."""
    return sha256(msgspec.json.encode([policy_id, sorted(labels.items())])).hexdigest()


LOSING = ("matcher", "less_specific", "lower_priority", "later_name", "disabled")


@dataclass(frozen=True, slots=True)
class Loser:
    """A policy that does not get an alert, and why (one of `LOSING`).

    `matcher`: the first that failed, if one did; `actual`: the label's value, None where the alert does not have it.
    """

    policy: CompiledPolicy
    why: str
    text: str
    matcher: Matcher | None = None
    actual: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which policy gets an alert with these labels, and why not the others, in the order they are tried."""

    labels: Mapping[str, str]
    winner: CompiledPolicy
    reason: str
    group: Mapping[str, str]
    losers: tuple[Loser, ...]


def explain(labels: Mapping[str, str]) -> Explanation:
    """By the policies as they are in the database now."""
    enabled = reload().policies
    return explain_among([*enabled, *compile_all(StormPolicy.objects.filter(enabled=False))], labels)


def explain_among(candidates: Iterable[CompiledPolicy], labels: Mapping[str, str]) -> Explanation:
    """The same by the given policies, one of which is enabled and has no matchers (pure)."""
    ordered = in_order(candidates)
    winner = next(policy for policy in ordered if policy.enabled and policy.matches(labels))
    losers = [_why_not(policy, winner, labels) for policy in ordered if policy is not winner]
    return Explanation(dict(labels), winner, _why(winner, losers), winner.group(labels), tuple(losers))


def _why(winner: CompiledPolicy, losers: list[Loser]) -> str:
    beaten = [loser for loser in losers if loser.why in ("less_specific", "lower_priority", "later_name")]
    matched = ", ".join(str(matcher) for matcher in winner.matchers)
    if not matched:
        return "it takes every alert, and no narrower policy matched"
    if not beaten:
        return f"it matched: {matched}; no other did"
    decided = {
        "less_specific": "it is the most specific that matched",
        "lower_priority": "of the equally specific ones it has the highest priority",
        "later_name": "of the equal ones its name comes first",
    }
    return f"{decided[beaten[0].why]}: {matched}"


def _why_not(policy: CompiledPolicy, winner: CompiledPolicy, labels: Mapping[str, str]) -> Loser:
    failed = next((matcher for matcher in policy.matchers if not matcher.matches(labels)), None)
    if failed is not None:
        actual = labels.get(failed.name)
        said = f"{failed.name} is {_quoted(actual)}" if actual is not None else f"the alert has no {failed.name}"
        if not policy.enabled:
            return Loser(policy, "disabled", f"disabled, and {failed} does not match: {said}", failed, actual)
        return Loser(policy, "matcher", f"{failed} does not match: {said}", failed, actual)
    if not policy.enabled:
        would = in_order([policy, winner])[0] is policy
        return Loser(
            policy, "disabled", "disabled; " + ("it would get the alert" if would else "it would match, but not win")
        )
    mine, best = specificity(policy.matchers), specificity(winner.matchers)
    if mine < best:
        return Loser(policy, "less_specific", f"matches, but is less specific: {_counted(mine)} to {_counted(best)}")
    if policy.priority < winner.priority:
        text = f"matches and is as specific, but has a lower priority: {policy.priority} to {winner.priority}"
        return Loser(policy, "lower_priority", text)
    return Loser(policy, "later_name", f"matches and is equal, but its name comes after “{winner.name}”")


def _counted(counts: tuple[int, int]) -> str:
    exact, total = counts
    if not total:
        return "no matcher"
    return f"{total} matcher{'s' if total > 1 else ''}, {exact} of them exact (=)"


def _quoted(value: str) -> str:
    return f'"{value if len(value) <= 200 else value[:199] + "…"}"'
