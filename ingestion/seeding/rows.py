"""Making the synthetic rows: part after part, each one transaction in which the ledger adds up."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from ingestion.models import Receiver, Silence
from ingestion.seeding import catalog
from ingestion.services import create_receiver
from ingestion.silence_services import create_silence
from storms import policies, rules
from storms.models import Alert, Storm, StormPolicy
from storms.services.policies import save_policy

AUTHOR = "seed"
MEMBERS_SHARE = 0.6
"""Of all alerts, those that are drawn as members of storms; some of the rest fall into storms by their time."""
ALERTS_OF_A_STORM = 30
"""On average at least, so that the storms of every policy reach their thresholds."""
PART = 25_000
GRID = 30
"""Seconds: every delivery comes at a multiple of it, or of a sixth of it."""
RECENT = timedelta(hours=4)
"""Only the storms that are still open are as young as this."""

# Numbers in [0, 1) that depend on nothing but their arguments, and a bend of the time axis by which the days are busier
# than the nights.
_FUNCTIONS = """
create or replace function pg_temp.draw(n bigint, salt bigint) returns double precision
    language sql immutable as $$
    select (hashint8extended(n, salt + {seed} * 1000) & 9007199254740991)::float8 / 9007199254740992 $$;
create or replace function pg_temp.bent(seconds double precision) returns double precision
    language sql immutable as $$ select seconds - 0.8 * 43200 / pi() * sin(seconds * pi() / 43200) $$;
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to make, over which time; `seed` changes what is drawn.

    leave_open: False where other storms may be open in the same groups.
    """

    alerts: int
    storms: int
    days: int
    seed: int
    now: datetime
    leave_open: bool = True

    @property
    def members(self) -> int:
        return int(self.alerts * MEMBERS_SHARE) if self.storms else 0

    @property
    def parts(self) -> int:
        return -(-self.alerts // PART)

    @property
    def open(self) -> int:
        """Storms that are still open, each in a namespace of its own."""
        return min(25, -(-self.storms // 200)) if self.leave_open else 0


class NotEmpty(Exception):
    """There are alerts or storms already."""


def refuse_if_not_empty() -> None:
    """Raises: NotEmpty."""
    if Alert.objects.exists() or Storm.objects.exists():
        raise NotEmpty


def seed(plan: Plan) -> Iterator[int]:
    """Make the rows; yields the number of alerts made so far. Each part is committed.

    An index made after the rows is made faster, but a console may be running on them.
    """
    with transaction.atomic():
        parameters = _prepare(plan) | _times(plan)
        _execute("1_storms.sql", parameters)
        members = _members()
    background = plan.alerts - members
    parameters |= {"b_first": members + 1, "b_count": max(background, 1)}
    for part in range(plan.parts):
        span = _span(part, plan.parts, members, background)
        with transaction.atomic():
            _execute("2_alerts.sql", parameters | span)
            _execute("3_rows.sql", parameters | span)
        yield span["m_to"] + span["b_to"] - members
    with transaction.atomic():
        _execute("4_finish.sql", parameters)
    _tidy()


def _span(part: int, parts: int, members: int, background: int) -> dict[str, int]:
    """A part of the members and of the background, both of about the same time."""
    return {
        "m_from": members * part // parts + 1,
        "m_to": members * (part + 1) // parts,
        "b_from": members + background * part // parts + 1,
        "b_to": members + background * (part + 1) // parts,
    }


def _times(plan: Plan) -> dict[str, Any]:
    seconds = plan.days * 86_400
    start = datetime.fromtimestamp(plan.now.timestamp() // GRID * GRID, UTC) - timedelta(days=plan.days)
    return {
        "run": f"{plan.now.isoformat()} {plan.seed}",
        "now": plan.now,
        "start": start,
        "seconds": float(seconds),
        "until": seconds - RECENT.total_seconds(),
        "storms": plan.storms,
        "open": plan.open,
        "members": plan.members,
    }


def _prepare(plan: Plan) -> dict[str, Any]:
    """The temporary tables, the configuration that the rows speak of; the statements' parameters about it."""
    with connection.cursor() as cursor:
        for table in ("place", "class", "definition", "receiver", "storm", "alert", "counted"):
            cursor.execute(f"drop table if exists pg_temp.seed_{table}")
        cursor.execute(_FUNCTIONS.format(seed=int(plan.seed)))
    _execute("0_tables.sql", None)
    places = catalog.places()
    _fill_places(places)
    _insert(
        "seed_definition",
        [(d.scenario, d.alertname, d.kind, d.severity, d.source, low, high) for d, low, high in catalog.shares()],
    )
    _insert("seed_receiver", [_receiver(sender) for sender in catalog.SENDERS])
    return {
        "places": len(places),
        "nodes": catalog.NODES,
        "services": list(catalog.SERVICES),
        "service_count": len(catalog.SERVICES),
        "silenced": catalog.SILENCED,
        "silence": _silence(plan.now).pk,
    }


def _fill_places(places: list[catalog.Place]) -> None:
    """Every place with the policy that its alerts get, and what their severities mean there."""
    for policy in catalog.POLICIES:
        if not StormPolicy.objects.filter(name=policy.name).exists():
            save_policy(policy=StormPolicy(**policy._asdict() | {"group_by": list(policy.group_by)}), actor=AUTHOR)
    policy_set = policies.reload()
    rule_set = rules.current()
    stated = {definition.severity for definition in catalog.DEFINITIONS}
    rows, classes = [], []
    for number, place in enumerate(places, 1):
        environment = "staging" if place.cluster.startswith("staging") else "production"
        labels = {"namespace": place.namespace, "cluster": place.cluster, "team": place.team}
        labels["environment"] = environment
        rows.append((number, *place, environment, *_decided_by(policy_set.choose(labels), labels)))
        for severity in stated:
            found = rule_set.classify(labels | {"severity": severity})
            classes.append((number, severity, found.severity, found.priority))
    _insert("seed_place", rows)
    _insert("seed_class", classes)


def _decided_by(policy: policies.CompiledPolicy, labels: dict[str, str]) -> tuple[Any, ...]:
    """A place's columns from `policy_id` on."""
    group, rule = policy.group(labels), policy.rule
    seconds = [us // policies.SECOND_US for us in (rule.window_us, rule.hold_us, rule.quiet_us, rule.max_us)]
    key = policies.group_key(policy.id, group)
    return policy.id, policy.name, policy.version, policy.reason, key, Jsonb(group), rule.threshold, *seconds


def _receiver(sender: catalog.Sender) -> tuple[Any, ...]:
    receiver = Receiver.objects.filter(name=sender.name).first()
    if receiver is None:
        # Its token is shown to nobody: these alerts were never sent.
        receiver, _ = create_receiver(name=sender.name, kind=sender.source)
    return receiver.pk, sender.name, sender.source, sender.region, sender.address


def _silence(now: datetime) -> Silence:
    known = Silence.objects.filter(author=AUTHOR, ends_at__isnull=True).first()
    silence = Silence(matchers=f'alertname="{catalog.SILENCED}"', comment="Synthetic data: never of interest.")
    return known or create_silence(silence=silence, author=AUTHOR)


def _members() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select coalesce(sum(members), 0) from seed_storm")
        return int(cursor.fetchone()[0])


def _execute(name: str, parameters: dict[str, Any] | None) -> None:
    """All statements of one file. psycopg prepares one statement at a time, so they go one by one."""
    text = files("ingestion.seeding").joinpath(name).read_text()
    with connection.cursor() as cursor:
        for statement in text.split(";\n"):
            if statement.strip():
                cursor.execute(statement, parameters)


def _insert(table: str, rows: list[tuple[Any, ...]]) -> None:
    places = ", ".join(["%s"] * len(rows[0]))
    with connection.cursor() as cursor:
        cursor.executemany(f"insert into {table} values ({places})", rows)  # noqa: S608
        cursor.execute(f"analyze {table}")


def _tidy() -> None:
    """What autovacuum would come to do: statistics, and the maps by which an index can answer alone."""
    if connection.in_atomic_block:
        return
    with connection.cursor() as cursor:
        for table in ("storms_alert", "storms_storm", "storms_remediationrequest", "ingestion_delivery"):
            cursor.execute(f"vacuum (analyze) {table}")
