-- What is known of the storms once all alerts are there: counts, the alert that opened each, its resource, its timeline;
-- and deliveries that were refused.

create temporary table seed_counted as
with members as materialized (
    select storm_id, alertname, namespace, severity, labels->>'cluster' as cluster, status = 'firing' as firing, decided_at
    from storms_alert where storm_id in (select id from seed_storm)
), names as (
    select storm_id, jsonb_agg(jsonb_build_object('name', alertname, 'count', n) order by n desc, alertname) as names
    from (select storm_id, alertname, count(*) as n from members group by 1, 2) t group by 1
), severities as (
    select storm_id, jsonb_object_agg(severity, n) as severities,
        case min(case severity when 'critical' then 0 when 'warning' then 1 else 2 end)
            when 0 then 'critical' when 1 then 'warning' else 'info' end as severity
    from (select storm_id, severity, count(*) as n from members group by 1, 2) t group by 1
), sums as (
    select storm_id, count(*) as alerts, count(*) filter (where firing) as firing, max(decided_at) as last_alert_at,
        min(namespace) as namespace, min(cluster) as cluster
    from members group by 1
)
select s.*, n.names, v.severities, v.severity from sums s join names n using (storm_id) join severities v using (storm_id);

update storms_storm s set alert_count = c.alerts, firing_count = c.firing, resolved_count = c.alerts - c.firing,
    severity = c.severity, severity_counts = c.severities, alert_names = c.names, last_alert_at = c.last_alert_at,
    places = jsonb_build_array('cluster ' || c.cluster, 'namespace ' || c.namespace), opened_by = a.id
from seed_counted c
join storms_alert a on a.storm_id = c.storm_id and a.outcome = 'storm_opened'
where s.id = c.storm_id;

-- What is open or still fires the console applies when it runs; the rest was applied with every doubling, and collected.
update storms_remediationrequest r set
    desired_version = case when gone then doublings + 2 else 1 end, applied_version = case when gone then doublings + 2 else 0 end,
    apply_count = case when gone then doublings + 2 else 0 end, generation = case when gone then doublings + 2 else 0 end,
    sync_state = case when gone then 'collected' else 'pending' end, next_attempt_at = case when not gone then %(now)s end,
    cluster = case when gone then 'synthetic' else '' end, uid = case when gone then s.id::text else '' end,
    resource_version = case when gone then '1' else '' end,
    phase = case when not gone then '' when hashtext(s.id::text) %% 20 = 0 then 'Failed' else 'Completed' end,
    phase_at = case when gone then closed_at end, last_attempt_at = case when gone then closed_at end,
    applied_at = case when gone then opened_at + interval '300 milliseconds' end, collected_at = case when gone then closed_at end
from (
    select *, state = 'closed' and firing_count = 0 as gone, floor(log(2, greatest(alert_count / threshold, 1)))::int as doublings
    from storms_storm where id in (select id from seed_storm)
) s where r.id = s.id;

insert into storms_stormevent (storm_id, kind, at, message, detail, actor, once)
select id, kind, at, message, '{}', actor, once from (
    select s.*, e.* from storms_storm s cross join lateral (
        select 'opened' as kind, opened_at as at, format('Opened: %%s of %%s alerts in %%s s, by policy %%s (version %%s)', threshold,
            threshold, window_seconds, policy_name, policy_version) as message, '' as actor, 'opened' as once
        union all select 'doubled', opened_at + d * (last_alert_at - opened_at) / 12, format('Doubled: %%s alerts by now', threshold << d),
            '', 'doubled-' || d from generate_series(1, floor(log(2, greatest(alert_count / threshold, 1)))::int) d
        union all select 'applied', opened_at + interval '300 milliseconds', 'RemediationRequest applied', '', 'applied'
            where closed_at is not null and firing_count = 0
        union all select 'phase_changed', opened_at + interval '40 seconds', 'Phase: Processing', '', null
            where closed_at is not null and firing_count = 0
        union all select 'acknowledged', acknowledged_at, 'Acknowledged by ' || acknowledged_by, acknowledged_by, null
            where acknowledged_at is not null
        union all select 'closed', closed_at, 'Closed: ' || case close_reason when 'quiet' then 'quiet: no new alert'
            when 'resolved' then 'every alert resolved' else 'closed by an operator' end,
            case when close_reason = 'operator' then 'ada' else '' end, 'closed-' || closed_at where closed_at is not null
        union all select 'collected', closed_at + interval '1 day', 'Resource deleted by garbage collection', '', null
            where closed_at is not null and firing_count = 0 and closed_at + interval '1 day' < %(now)s
    ) e where s.id in (select id from seed_storm)
) t order by at
on conflict (storm_id, once) do nothing;

insert into ingestion_delivery (id, receiver_id, kind, received_at, remote_addr, http_status, body_bytes, received, outcomes,
    truncated_alerts, error)
select md5(concat_ws('|', %(run)s, 'refused', n))::uuid, case when status <> 401 then (select min(id) from seed_receiver) end,
    'alertmanager', %(start)s + %(seconds)s * pg_temp.draw(n, 15) * interval '1 second', '203.0.113.9'::inet, status,
    case when status = 413 then 12582912 else 2048 end, case when status = 400 then 3 else 0 end,
    case when status = 400 then '{"rejected": 3}'::jsonb else '{}' end, 0,
    case status when 401 then 'no such token' when 400 then 'no alert of the batch is valid' else 'body over the limit' end
from generate_series(1, 20 + %(storms)s / 10) n
cross join lateral (select (array[401, 401, 401, 400, 413])[1 + floor(5 * pg_temp.draw(n, 14))::int] as status) s;
