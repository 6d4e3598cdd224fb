"""What the database already knows of the alerts of a webhook: one query for all of them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from storms.detector import KnownStorm

# The generation comes along so that an edited policy or a revoked receiver holds from the next webhook on.
_LOOK_UP = """
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
                                    alert_count, (extract(epoch from coalesce(window_from,
                                        opened_at - window_seconds * interval '1 second')) * 1000000)::bigint))
     from storms_storm where group_key = any(%(groups)s) and state = 'open'),
  exists (select 1 from storms_alert where disposition = 'deferred')
"""

# A flapping alert's episodes may count once: then they share one member, its fingerprint's first half.
_RECENT = """
select g.key, case when a.flapping and p.count_flapping_once then substr(a.fingerprint, 1, 32)::uuid else a.id end,
    max((extract(epoch from a.decided_at) * 1000000)::bigint)
  from unnest(%(groups)s::text[], %(windows)s::bigint[]) as g(key, window_us)
  join storms_alert a on a.group_key = g.key and a.storm_id is null
   and a.split_from_id is null
   and a.decided_at > coalesce(to_timestamp(%(since)s), now()) - g.window_us * interval '1 microsecond'
  left join storms_stormpolicy p on p.id = a.policy_id
group by 1, 2
"""
# What a window that ends in the open storm counts of it: no more than the threshold, and so the first of its alerts.
_FIRST_MEMBERS = """
select g.key, a.id, (extract(epoch from a.decided_at) * 1000000)::bigint
from unnest(%(groups)s::text[]) as g(key)
join storms_storm s on s.group_key = g.key and s.state = 'open'
 and coalesce(s.window_from, s.opened_at - s.window_seconds * interval '1 second') > to_timestamp(%(since)s)
cross join lateral (
    select id, decided_at from storms_alert where storm_id = s.id and decided_at is not null
    order by decided_at limit s.threshold
) a
"""
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
    within the hour; anything_deferred: alerts wait that came while the store was away.
    """

    generation: int
    episodes: dict[UUID, UUID | None]
    storms: dict[str, KnownStorm]
    silenced: frozenset[UUID] = frozenset()
    flapping: frozenset[str] = frozenset()
    anything_deferred: bool = False


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
        generation, episodes, flapping, storms, anything_deferred = cursor.fetchone()
    return Seen(
        generation=generation,
        episodes={UUID(id_): UUID(storm) if storm else None for id_, storm, _ in episodes or ()},
        silenced=frozenset(UUID(id_) for id_, _, silenced in episodes or () if silenced),
        flapping=frozenset(flapping or ()),
        storms={
            group: KnownStorm(UUID(id_), opened, quiet, longest, count, window_from)
            for group, id_, opened, quiet, longest, count, window_from in storms or ()
        },
        anything_deferred=anything_deferred,
    )


def recent_episodes(
    windows: Iterable[tuple[str, int]], *, before_us: int | None = None
) -> dict[str, list[tuple[UUID, int]]]:
    """The episodes of each group's window that are in no storm: what a store that forgot the group must count.

    Args:
        windows: (group key, window in microseconds).
        before_us: for a decision about the past: the windows begin before this and end now, and what they may share
            with the open storm comes too.
    """
    pairs = list(windows)
    found: dict[str, list[tuple[UUID, int]]] = {group: [] for group, _ in pairs}
    values: dict[str, Any] = {
        "groups": [group for group, _ in pairs],
        "windows": [us for _, us in pairs],
        "since": None if before_us is None else before_us / 1_000_000,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RECENT, values)
        rows = cursor.fetchall()
        if before_us is not None:
            cursor.execute(_FIRST_MEMBERS, values)
            rows += cursor.fetchall()
    for group, id_, us in rows:
        found[group].append((id_, us))
    return found
