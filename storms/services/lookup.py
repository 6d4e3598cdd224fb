"""What the database already knows of the alerts of a webhook: one query for all of them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from storms.clock import to_datetime
from storms.detector import KnownStorm

WINDOW_FROM = "coalesce(s.window_from, s.opened_at - s.window_seconds * interval '1 second')"
"""Since when what came belongs to the storm `s`, as `Storm.begins_at`."""

# The generation comes along so that an edited policy or a revoked receiver holds from the next webhook on.
_LOOK_UP = f"""
select
  coalesce((select value from storms_configgeneration), 0),
  (select json_agg(json_build_array(id, storm_id, disposition = 'silenced' and status = 'firing'))
     from storms_alert where id = any(%(ids)s)),
  (select json_agg(fingerprint) from unnest(%(fingerprints)s::text[]) as f(fingerprint)
     where (select count(*) from (
         select received_at from storms_alert a
         where a.fingerprint = f.fingerprint and a.starts_at < now() + interval '1 day'
         order by starts_at desc limit %(latest)s) latest
       where received_at > now() - interval '1 hour') >= %(flapping)s),
  (select json_agg(json_build_array(group_key, id, (extract(epoch from opened_at) * 1000000)::bigint,
                                    quiet_seconds * 1000000::bigint, max_duration_seconds * 1000000::bigint,
                                    alert_count, (extract(epoch from {WINDOW_FROM}) * 1000000)::bigint))
     from storms_storm s where group_key = any(%(groups)s) and state = 'open'),
  (select json_object_agg(key, (extract(epoch from deferred_at) * 1000000)::bigint)
     from unnest(%(groups)s::text[]) as g(key) cross join lateral (
         select deferred_at from storms_alert
         where disposition = 'deferred' and group_key = g.key and deferred_at is not null
         order by deferred_at limit 1) first)
"""  # noqa: S608  (fixed text)

# A flapping alert's episodes may count once: then they share one member, its fingerprint's first half.
_MEMBER = "case when a.flapping and p.count_flapping_once then substr(a.fingerprint, 1, 32)::uuid else a.id end"
_RECENT = f"""
select g.key, {_MEMBER}, max((extract(epoch from a.decided_at) * 1000000)::bigint)
  from unnest(%(groups)s::text[], %(windows)s::bigint[], %(since)s::timestamptz[]) as g(key, window_us, since)
  join storms_alert a on a.group_key = g.key and a.storm_id is null
   and a.split_from_id is null
   and a.decided_at > coalesce(g.since, now()) - g.window_us * interval '1 microsecond'
  left join storms_stormpolicy p on p.id = a.policy_id
group by 1, 2
"""  # noqa: S608  (fixed text)
# What a window that ends in the open storm counts of it: no more than the threshold, and so the first of its alerts.
_FIRST_MEMBERS = f"""
select g.key, first.member, (extract(epoch from first.at) * 1000000)::bigint
from unnest(%(groups)s::text[]) as g(key)
join storms_storm s on s.group_key = g.key and s.state = 'open'
cross join lateral (
    select {_MEMBER} as member, min(a.decided_at) as at
    from storms_alert a left join storms_stormpolicy p on p.id = a.policy_id
    where a.storm_id = s.id and a.group_key = s.group_key and a.decided_at is not null
    group by 1 order by 2 limit s.threshold
) first
"""  # noqa: S608
# So many earlier episodes within the hour make the next one a flap: three re-fires.
FLAPPING_EPISODES = 3
# Looked for among an alert's latest episodes, one by one through their index: asked for all that came within the hour,
# PostgreSQL reads the whole hour, and each webhook of a storm costs more than the one before. Which are the latest the
# sender's clock says; what it dates far ahead does not count.
LATEST_EPISODES = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """episodes: {id: the storm it is in, or None}; storms: the open storm by group.

    silenced: known episodes that are silenced and still fire; flapping: fingerprints that fired anew too often
    within the hour; waiting_us: {group: since when alerts of it wait that came while the store was away}.
    """

    generation: int
    episodes: dict[UUID, UUID | None]
    storms: dict[str, KnownStorm]
    silenced: frozenset[UUID] = frozenset()
    flapping: frozenset[str] = frozenset()
    waiting_us: Mapping[str, int] = field(default_factory=dict)


def look_up(*, ids: Collection[UUID], groups: Collection[str], fingerprints: Collection[str] = ()) -> Seen:
    """One round trip for any number of alerts and groups."""
    with connection.cursor() as cursor:
        cursor.execute(
            _LOOK_UP,
            {
                "ids": list(ids),
                "groups": list(groups),
                "fingerprints": list(fingerprints),
                "flapping": FLAPPING_EPISODES,
                "latest": LATEST_EPISODES,
            },
        )
        generation, episodes, flapping, storms, waiting_us = cursor.fetchone()
    return Seen(
        generation=generation,
        episodes={UUID(id_): UUID(storm) if storm else None for id_, storm, _ in episodes or ()},
        silenced=frozenset(UUID(id_) for id_, _, silenced in episodes or () if silenced),
        flapping=frozenset(flapping or ()),
        storms={
            group: KnownStorm(UUID(id_), opened, quiet, longest, count, window_from)
            for group, id_, opened, quiet, longest, count, window_from in storms or ()
        },
        waiting_us=waiting_us or {},
    )


def recent_episodes(windows: Iterable[tuple[str, int, int | None]]) -> dict[str, list[tuple[UUID, int]]]:
    """The episodes of each group's window that are in no storm: what a store that forgot the group must count.

    Args:
        windows: (group key, window in microseconds, the time that it ends at). None is now; else, for a decision about
            the past, all that came since comes too.
    """
    asked = list(windows)
    values = {
        "groups": [group for group, _, _ in asked],
        "windows": [us for _, us, _ in asked],
        "since": [None if us is None else to_datetime(us) for _, _, us in asked],
    }
    return _episodes(_RECENT, [group for group, _, _ in asked], values)


def first_members(groups: Collection[str]) -> dict[str, list[tuple[UUID, int]]]:
    """What a window that ends in a group's open storm may count of it, as `recent_episodes`."""
    return _episodes(_FIRST_MEMBERS, groups, {"groups": list(groups)}) if groups else {}


def _episodes(statement: str, groups: Iterable[str], values: dict[str, Any]) -> dict[str, list[tuple[UUID, int]]]:
    found: dict[str, list[tuple[UUID, int]]] = {group: [] for group in groups}
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        for group, id_, us in cursor.fetchall():
            found[group].append((id_, us))
    return found
