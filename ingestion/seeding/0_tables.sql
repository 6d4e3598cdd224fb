-- What the other files work on, for the time of the connection.

create temporary table seed_place (
    place int primary key, namespace text, cluster text, region text, team text, environment text, policy_id bigint,
    policy_name text, policy_version int, policy_reason text, group_key text, group_labels jsonb, threshold int,
    window_seconds int, hold_seconds int, quiet_seconds int, max_seconds int
);
create temporary table seed_class (place int, stated text, severity text, priority text, primary key (place, stated));
create temporary table seed_definition (
    scenario int, alertname text, kind text, severity text, source text, from_share float8, to_share float8
);
create temporary table seed_receiver (id bigint, name text, kind text, region text, address inet);
create temporary table seed_storm (
    k int primary key, id uuid, place int, opened_at timestamptz, closed_at timestamptz, is_open bool, close_reason text,
    scenario int, node int, members int, first int
);
create index on seed_storm (place, opened_at);
create index on seed_storm (first);
-- told_at: when its resolution came; never_told: its source does not send one.
create temporary table seed_alert (
    n int, id uuid, fingerprint text, place int, k int, starts_at timestamptz, received_at timestamptz,
    decided_at timestamptz, ended_at timestamptz, told_at timestamptz, is_over bool, never_told bool, occurrences int,
    resolutions int, disposition text, outcome text, count int, alertname text, kind text, stated text,
    resource_name text, labels text, receiver_id bigint, receiver text, source text, address inet, delivery_id uuid,
    threshold int, hold_seconds int, flapping bool
);
