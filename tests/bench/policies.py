"""How long 200 policies take to decide 50 alerts: the part of a webhook that grows with the policies."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable

POLICIES = 200
ALERTS = 50
LIMIT_MS = 5.0
Matchers = Callable[[int], str]


def measure(rounds: int = 50) -> None:
    """Print milliseconds: the first time, when nothing is remembered of the values, and the usual case."""
    set_up()
    print(f"{POLICIES} policies decide {ALERTS} alerts, in ms")
    print(f"{'':44}{'first':>8}{'median':>8}{'worst':>8}  one by one")
    for title, matchers in MIXES.items():
        _measure(title, matchers, rounds)


def _exact(number: int) -> str:
    return f'namespace="team-{number}", severity="critical"'


def _patterns(number: int) -> str:
    return f'namespace=~"team-{number}(-.*)?", alertname!~"Watchdog|Info.*"'


def _mixed(number: int) -> str:
    kinds = (
        f'namespace="team-{number}"',
        f'namespace=~"team-{number}-.*", severity=~"critical|warning"',
        f'alertname="Alert{number}", cluster!="test"',
        f'pod=~"app-{number}-[a-z0-9]+-.*", team!=""',
    )
    return kinds[number % len(kinds)]


MIXES: dict[str, Matchers] = {
    "exact matchers (=)": _exact,
    "regular expressions (=~, !~)": _patterns,
    "all kinds, pods too": _mixed,
}


def set_up() -> None:
    """Django in this process, with servers that are not there."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stormconsole.settings")
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(48))
    os.environ.setdefault("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
    import django

    django.setup()


def _measure(title: str, matchers: Matchers, rounds: int) -> None:
    took, one_by_one = times(matchers, rounds)
    first, worst = took[0], max(took[1:])
    verdict = "" if max(first, worst) < LIMIT_MS else f"  over the limit of {LIMIT_MS} ms"
    print(f"{title:44}{first:8.2f}{sorted(took)[rounds // 2]:8.2f}{worst:8.2f}{one_by_one:12.1f}{verdict}")


def times(matchers: Matchers, rounds: int) -> tuple[list[float], float]:
    """Milliseconds for each batch of alerts, the first with nothing remembered; and for one batch without an index."""
    from storms.models import StormPolicy
    from storms.policies import PolicySet, compile_policy, in_order

    rows = [StormPolicy(id=n, name=f"p{n}", matchers=matchers(n)) for n in range(1, POLICIES)]
    rows.append(StormPolicy(id=POLICIES, name="default"))
    compiled = tuple(in_order(compile_policy(row) for row in rows))
    batches = [[_labels(batch * ALERTS + n) for n in range(ALERTS)] for batch in range(rounds)]
    chooser = PolicySet(0, compiled)

    took = []
    for batch in batches:
        started = time.perf_counter()
        chosen = [chooser.choose(labels).name for labels in batch]
        took.append((time.perf_counter() - started) * 1000)
    started = time.perf_counter()
    naive = [next(policy for policy in compiled if policy.matches(labels)).name for labels in batches[-1]]
    one_by_one = (time.perf_counter() - started) * 1000
    assert chosen == naive
    return took, one_by_one


def _labels(number: int) -> dict[str, str]:
    """A new pod in each, as in a storm of crashing pods; namespaces and names repeat."""
    return {
        "alertname": f"Alert{number % 40}",
        "namespace": f"team-{number % 300}",
        "severity": "critical",
        "cluster": "prod-eu",
        "team": "platform",
        "job": "kube-state-metrics",
        "pod": f"app-{number % 210}-x7f9c-{number:05d}",
    }
