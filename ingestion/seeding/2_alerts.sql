-- Alerts of one part of the numbers: the members of storms from %(m_from)s to %(m_to)s, the background from %(b_from)s
-- to %(b_to)s. The steps are materialized, so that what several later ones use is computed once.

truncate seed_alert;

insert into seed_alert
with members as (
    select n, s.place, s.k, s.scenario, s.node,
        case when n - s.first + 1 < p.threshold
             then s.opened_at - p.window_seconds * 0.75 * (1 - (n - s.first + 1)::float8 / p.threshold) * interval '1 second'
             when n - s.first + 1 = p.threshold then s.opened_at
             else s.opened_at + (s.closed_at - s.opened_at) * power(pg_temp.draw(n, 1), 1.8) end as at,
        5 as grid, n - s.first + 1 as position
    from seed_storm s join seed_place p on p.place = s.place
    cross join lateral generate_series(greatest(s.first, %(m_from)s), least(s.first + s.members - 1, %(m_to)s)) n
    where s.first <= %(m_to)s and s.first + s.members > %(m_from)s
), background as (
    select n, 1 + floor(%(places)s * power(pg_temp.draw(n, 2), 1.6))::int as place, 0 as scenario, 0 as node,
        %(start)s + pg_temp.bent(%(seconds)s * (n - %(b_first)s + pg_temp.draw(n, 1)) / %(b_count)s) * interval '1 second'
            as at
    from generate_series(%(b_from)s, %(b_to)s) n
), all_numbers as (
    select n, place, k, scenario, node, at, grid, position from members
    union all
    select n, place, null, scenario, node, at, 30, null from background
), gridded as materialized (
    select a.*, to_timestamp(floor(extract(epoch from at) / grid) * grid) as received_at,
        d.alertname, d.kind, d.severity, d.source
    from all_numbers a join seed_definition d on d.scenario = a.scenario
        and pg_temp.draw(n, 3) >= d.from_share and pg_temp.draw(n, 3) < d.to_share
), decided as materialized (
    select g.*, case when position is null then received_at + (6000 + n %% 997) * interval '1 microsecond'
        when position < p.threshold then received_at + (1000 + position) * interval '1 microsecond'
        when position = p.threshold then received_at + interval '3 milliseconds'
        else received_at + (5000 + n %% 997) * interval '1 microsecond' end as decided_at,
        p.threshold, p.window_seconds, p.hold_seconds, p.cluster, p.region,
        substr(md5(a.service || p.namespace), 1, 9) || '-' || substr(md5(floor(power(pg_temp.draw(n, 5), 1.5) * 40)::text), 1, 5) as hash,
        a.service
    from gridded g join seed_place p on p.place = g.place
    cross join lateral (select (%(services)s::text[])[1 + floor(%(service_count)s * power(pg_temp.draw(n, 4), 1.7))::int] as service) a
), joined as (
    -- What the background brings while a storm of its group is open, or within its window, is the storm's.
    select d.*, coalesce(d.k, j.k) as in_storm, coalesce(j.opened_at, s.opened_at) as storm_opened_at,
        case when coalesce(j.close_reason, s.close_reason) = 'resolved' then coalesce(j.closed_at, s.closed_at) end
            as all_resolved_at
    from decided d left join seed_storm s on s.k = d.k
    left join lateral (
        select c.k, c.opened_at, c.closed_at, c.close_reason
        from seed_storm c where d.k is null and d.alertname <> %(silenced)s and c.place = d.place
            and c.opened_at - d.window_seconds * interval '1 second' < d.decided_at and c.closed_at >= d.decided_at
        order by c.opened_at limit 1
    ) j on true
), ended as materialized (
    select j.*,
        case when alertname = %(silenced)s then 'silenced' when in_storm is not null then 'member'
             when pg_temp.draw(n, 6) < 0.02 and hold_seconds >= 10 and source <> 'kubernetes-event' then 'resolved_while_held'
             when pg_temp.draw(n, 6) > 0.995 and source <> 'kubernetes-event' then 'resolved_unseen' else 'individual' end as disposition,
        least(received_at + (30 - 1500 * ln(1 - pg_temp.draw(n, 7)) * case when pg_temp.draw(n, 8) < 0.01 then 10 else 1 end) * interval '1 second',
            greatest(all_resolved_at, received_at + interval '1 second')) as ended_at,
        case when scenario = 1 and pg_temp.draw(n, 9) < 0.7 then node
             else abs(hashtext(hash) %% %(nodes)s) end as node_number,
        case when scenario = 2 and pg_temp.draw(n, 9) < 0.85 then k %% 9
             else coalesce(k * 8 / %(storms)s, (n - %(b_first)s) * 8 / %(b_count)s) end as version
    from joined j
), told as (
    select e.*, case disposition when 'resolved_while_held' then received_at + interval '5 seconds'
            when 'resolved_unseen' then received_at
            else to_timestamp(ceil(extract(epoch from ended_at) / 30) * 30 + 30) end as told_at,
        source = 'kubernetes-event' as never_told
    from ended e
), settled as materialized (
    select t.*, case when never_told then received_at + interval '70 minutes' <= %(now)s else told_at <= %(now)s end as is_over,
        case when disposition = 'resolved_unseen' then 0 when never_told then 1
             else least(1 + floor(extract(epoch from least(told_at, %(now)s) - received_at) / 14400), 12) end::int as occurrences
    from told t
), labelled as materialized (
    select s.*, cluster || '-node-' || lpad(node_number::text, 2, '0') as node_name, service || '-' || hash as pod
    from settled s
), paired as materialized (
    select l.*, '[' || concat_ws(',',
        '["alertname","' || alertname || '"]', '["cluster","' || l.cluster || '"]',
        case when kind = 'Pod' then '["container","' || service || '"]' end,
        case when kind in ('Pod', 'Deployment') then '["deployment","' || service || '"]' end,
        '["environment","' || p.environment || '"]',
        case when kind = 'Service' then '["instance","' || pod || ':8080"]' end,
        case when kind = 'Service' then '["job","' || service || '"]' end,
        '["namespace","' || p.namespace || '"]',
        case when kind in ('Pod', 'Node') then '["node","' || node_name || '"]' end,
        case when kind = 'PersistentVolumeClaim' then '["persistentvolumeclaim","data-' || service || '-' || node_number %% 3 || '"]' end,
        case when kind = 'Pod' then '["pod","' || pod || '"]' end,
        '["region","' || l.region || '"]',
        case when kind = 'Service' then '["service","' || service || '"]' end,
        '["severity","' || l.severity || '"]', '["team","' || p.team || '"]',
        case when kind in ('Pod', 'Deployment') then '["version","2.' || version || '.' || abs(hashtext(service) %% 4) || '"]' end,
        case when kind in ('Pod', 'Node') then '["zone","' || l.cluster || chr(97 + node_number %% 3) || '"]' end
        ) || ']' as pairs,
        case kind when 'Pod' then pod when 'Node' then node_name
            when 'PersistentVolumeClaim' then 'data-' || service || '-' || node_number %% 3 else service end as resource_name,
        -- A millisecond and a number of its own, so that no two episodes are one.
        date_trunc('milliseconds', received_at - (5 + 25 * pg_temp.draw(n, 10)) * interval '1 second')
            + (n %% 1000) * interval '1 microsecond' as starts_at
    from labelled l join seed_place p on p.place = l.place
), identified as materialized (
    select p.*, encode(sha256(convert_to(pairs, 'UTF8')), 'hex') as fingerprint from paired p
)
select i.n, substr(encode(sha256(convert_to(fingerprint || '|' || to_char(starts_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
        || '+00:00', 'UTF8')), 'hex'), 1, 32)::uuid,
    fingerprint, i.place, in_storm, starts_at, received_at, decided_at,
    case when never_told then received_at else greatest(ended_at, starts_at) end, told_at, is_over, never_told, occurrences,
    case when is_over and not never_told then 1 else 0 end,
    disposition,
    case when disposition = 'silenced' then 'silenced' when disposition = 'resolved_unseen' then 'resolved'
        when position = threshold then 'storm_opened' when decided_at > storm_opened_at then 'aggregated'
        when hold_seconds = 0 then 'individual' else 'held' end,
    case when position is null or position > threshold then 1 + floor(3 * pg_temp.draw(n, 11))::int else position end,
    alertname, i.kind, severity, resource_name,
    '{' || replace(replace(substr(pairs, 3, length(pairs) - 4), '","', '":"'), '],[', ',') || '}',
    r.id, r.name, r.kind, r.address, md5(concat_ws('|', %(run)s, %(m_from)s::text, r.id, extract(epoch from received_at)))::uuid,
    threshold, hold_seconds, pg_temp.draw(n, 12) < 0.01
from identified i join seed_receiver r on r.kind = i.source and r.region = i.region;
