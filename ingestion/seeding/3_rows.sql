-- The rows of what `2_alerts.sql` drew: alerts, their own RemediationRequests, and the deliveries that brought, repeated
-- and resolved them, each with the sum of its outcomes; here and there an alert that could not be read, set aside.

insert into storms_alert (id, fingerprint, starts_at, ends_at, status, outcome, disposition, alertname, namespace, severity,
    environment, priority, resource_kind, resource_name, labels, annotations, generator_url, receiver, source, delivery_id,
    received_at, last_seen_at, occurrences, resolutions, policy_id, policy_version, policy_reason, group_key, group_labels,
    decided_at, count, threshold, release_at, storm_id, silence_id, flapping, changed_xid)
select a.id, fingerprint, starts_at, case when is_over then ended_at end, case when is_over then 'resolved' else 'firing' end,
    outcome, disposition, alertname, namespace, c.severity, environment, c.priority, kind, resource_name, labels::jsonb,
    jsonb_build_object('summary', alertname || ' on ' || resource_name || ' in ' || namespace, 'description',
        'Synthetic data: ' || alertname || ' has been true for ' || kind || ' ' || resource_name || ' for 5 minutes.',
        'runbook_url', 'https://runbooks.example/' || alertname),
    case when source = 'alertmanager' then 'https://prometheus.example/' || cluster || '/graph?g0.expr=' || alertname
         else '' end,
    receiver, source, delivery_id, received_at,
    greatest(received_at + (occurrences - 1) * interval '4 hours', case when is_over and not never_told then told_at end),
    occurrences, resolutions, policy_id, policy_version, policy_reason, group_key, group_labels,
    case when outcome not in ('silenced', 'resolved') then decided_at end,
    case when outcome not in ('silenced', 'resolved') then count end, a.threshold,
    case when outcome = 'held' then decided_at + a.hold_seconds * interval '1 second' end, s.id,
    case when outcome = 'silenced' then %(silence)s end, flapping, 0
from seed_alert a join seed_place p on p.place = a.place
join seed_class c on c.place = a.place and c.stated = a.stated
left join seed_storm s on s.k = a.k
order by received_at, a.id;

-- What still fires the console applies when it runs; the rest was collected long ago.
insert into storms_remediationrequest (id, kind, alert_id, name, namespace, origin_namespace, created_at, desired_version,
    applied_version, rejected_version, sync_state, attempts, next_attempt_at, last_error, applied_hash, apply_count, cluster,
    uid, resource_version, generation, phase, phase_message, phase_at, applied_at, last_attempt_at, collected_at)
select a.id, 'alert', a.id, 'alert-' || a.id, namespace, '', made_at, case when is_over then 2 else 1 end,
    case when is_over then 2 else 0 end, 0, case when is_over then 'collected' else 'pending' end, 0,
    case when not is_over then %(now)s end, '', '', case when is_over then 2 else 0 end,
    case when is_over then 'synthetic' else '' end, case when is_over then a.id::text else '' end,
    case when is_over then n::text else '' end, case when is_over then 2 else 0 end,
    case when not is_over then '' when pg_temp.draw(n, 13) < 0.05 then 'Failed' else 'Completed' end, '',
    case when is_over then ended_at end, case when is_over then made_at + interval '300 milliseconds' end,
    case when is_over then greatest(ended_at, made_at) end, case when is_over then greatest(ended_at, made_at) end
from seed_alert a join seed_place p on p.place = a.place
cross join lateral (select decided_at + a.hold_seconds * interval '1 second' as made_at) m
where disposition = 'individual';

-- In immediate mode those that came before a storm have one of their own, which it absorbed.
insert into storms_remediationrequest (id, kind, alert_id, superseded_by_id, name, namespace, origin_namespace, created_at,
    desired_version, applied_version, rejected_version, sync_state, attempts, last_error, applied_hash, apply_count, cluster,
    uid, resource_version, generation, phase, phase_message, applied_at, last_attempt_at, collected_at)
select a.id, 'alert', a.id, s.id, 'alert-' || a.id, namespace, '', decided_at, 2, 2, 0, 'collected', 0, '', '', 2,
    'synthetic', a.id::text, '1', 2, 'Cancelled', '', decided_at + interval '300 milliseconds', s.opened_at, s.opened_at
from seed_alert a join seed_place p on p.place = a.place join seed_storm s on s.k = a.k where outcome = 'individual';

with told as (
    select receiver_id, source, address, received_at as at, outcome from seed_alert
    union all
    select receiver_id, source, address, received_at + again * interval '4 hours', 'duplicate'
    from seed_alert cross join lateral generate_series(1, occurrences - 1) again
    union all
    select receiver_id, source, address, told_at, 'resolved' from seed_alert where resolutions > 0 and occurrences > 0
), counted as (
    select receiver_id, source, address, at, outcome, count(*) as alerts from told group by 1, 2, 3, 4, 5
), delivered as (
    select receiver_id, source, address, at, sum(alerts) as alerts, jsonb_object_agg(outcome, alerts) as outcomes,
        bool_or(outcome in ('storm_opened', 'individual')) as made,
        md5(concat_ws('|', %(run)s, %(m_from)s::text, receiver_id, extract(epoch from at)))::uuid as id
    from counted group by 1, 2, 3, 4
), with_bad as (
    select d.*, case when hashtext(id::text) %% 250 = 0 then 1 else 0 end as bad from delivered d
), inserted as (
    insert into ingestion_delivery (id, receiver_id, kind, received_at, remote_addr, http_status, body_bytes, received,
        outcomes, truncated_alerts, error)
    select id, receiver_id, source, at, address, case when made then 201 else 202 end, 412 + 655 * (alerts + bad),
        alerts + bad, case when bad > 0 then outcomes || jsonb_build_object('rejected', bad) else outcomes end, 0, ''
    from with_bad order by at
)
insert into ingestion_deadletter (delivery_id, receiver_id, received_at, index, raw, pointer, error)
select id, receiver_id, at, alerts, '{"status": "firing", "labels": {"alertname": 7, "namespace": "synthetic"}}',
    '/alerts/' || alerts || '/labels/alertname', 'expected a string'
from with_bad where bad > 0;
