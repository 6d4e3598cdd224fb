-- The storms, without their counts: when each was open and how many alerts came with it.
--
-- Each place's storms share out its time in equal slots, one storm in the first part of each, so that no two of a group
-- overlap; the nights are quieter, by a bend of the whole axis, which keeps their order. The last %(open)s storms are
-- still open, each in a place of its own.

insert into seed_storm
with drawn as (
    select k, k > %(storms)s - %(open)s as is_open,
        case when k > %(storms)s - %(open)s then %(storms)s - k + 1
             else 1 + floor(%(places)s * power(pg_temp.draw(k, 1), 2))::int end as place,
        power(1 - pg_temp.draw(k, 2), -0.7) as weight
    from generate_series(1, %(storms)s) k
), slotted as (
    select d.*, sum(weight) over () as weights,
        row_number() over (partition by place, is_open order by k) - 1 as slot,
        %(until)s / count(*) over (partition by place, is_open) as slot_seconds
    from drawn d
), timed as (
    select s.*, p.threshold, p.window_seconds,
        case when is_open then %(seconds)s - 120 - 6900 * pg_temp.draw(k, 3)
             else pg_temp.bent(slot_seconds * (slot + 0.05 + 0.4 * pg_temp.draw(k, 3))) end as opened,
        case when is_open then %(seconds)s - 5
             else pg_temp.bent(slot_seconds * (slot + 0.05 + 0.4 * pg_temp.draw(k, 3))
                + least(14100, slot_seconds * 0.45, 150 - 2400 * ln(1 - pg_temp.draw(k, 4)))) end as closed
    from slotted s join seed_place p on p.place = s.place
)
select k, md5(concat_ws('|', %(run)s, 'storm', k))::uuid, place,
    %(start)s + floor(opened / 5) * 5 * interval '1 second' + interval '3 milliseconds',
    %(start)s + closed * interval '1 second',
    is_open,
    case when is_open then '' when pg_temp.draw(k, 5) < 0.6 then 'quiet' when pg_temp.draw(k, 5) < 0.9 then 'resolved'
         else 'operator' end,
    1 + floor(4 * pg_temp.draw(k, 6))::int,
    floor(%(nodes)s * pg_temp.draw(k, 7))::int,
    threshold + floor(greatest(%(members)s - %(storms)s * threshold, 0) * weight / weights)::int
from timed;

-- Members are numbered through in the order of time.
update seed_storm s set first = f.first
from (select k, 1 + sum(members) over (order by opened_at, k) - members as first from seed_storm) f where f.k = s.k;

analyze seed_storm;

insert into storms_storm (id, policy_id, policy_name, policy_version, group_key, group_labels, state, threshold,
    window_seconds, quiet_seconds, max_duration_seconds, opened_at, opened_by, closed_at, close_reason, close_comment,
    acknowledged_at, acknowledged_by, assignee, alert_count, firing_count, resolved_count, severity, severity_counts,
    alert_names, places, last_alert_at, refreshed_at, refreshed_xmin)
select s.id, p.policy_id, p.policy_name, p.policy_version, p.group_key, p.group_labels,
    case when is_open then 'open' else 'closed' end, p.threshold, p.window_seconds,
    -- Nothing new comes: an open storm would close at the sweep's first look.
    case when is_open then 604800 else p.quiet_seconds end, case when is_open then 2592000 else p.max_seconds end,
    opened_at, s.id, case when not is_open then closed_at end, close_reason,
    case when close_reason = 'operator' then 'Rolled back, watching it.' else '' end,
    case when acknowledged then opened_at + interval '4 minutes' end, case when acknowledged then who else '' end,
    case when acknowledged and pg_temp.draw(k, 8) < 0.5 then who else '' end,
    0, 0, 0, 'info', '{}', '[]', '[]', opened_at, %(now)s, 1
from seed_storm s join seed_place p on p.place = s.place
cross join lateral (select pg_temp.draw(k, 9) < 0.6 and closed_at > opened_at + interval '5 minutes' as acknowledged,
    (array['ada', 'grace', 'linus', 'margaret'])[1 + floor(4 * pg_temp.draw(k, 10))::int] as who) w;

-- At once, since a running console would make one for a storm without; `4_finish.sql` says what became of each.
insert into storms_remediationrequest (id, kind, storm_id, name, namespace, origin_namespace, created_at, desired_version,
    applied_version, rejected_version, sync_state, attempts, last_error, applied_hash, apply_count, cluster, uid,
    resource_version, generation, phase, phase_message, collected_at)
select s.id, 'storm', s.id, 'storm-' || s.id, namespace, '', opened_at, 1, 0, 0,
    case when is_open then 'pending' else 'collected' end, 0, '', '', 0, '', '', '', 0, '', '',
    case when not is_open then closed_at end
from seed_storm s join seed_place p on p.place = s.place;
