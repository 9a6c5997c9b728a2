-- The tables of the queue. A job's envelope is written once and never updated; its state is
-- the table that holds its ticket (docs/adr/0001-shape.md). Nobody but the owner has any right here:
-- the functions of the later migrations are the only door.

-- +goose Up
create schema stem;

-- What a column may hold. Domains, and not CHECK constraints, on the tables that every job goes through: each INSERT statement
-- parses the text of its table's CHECKs again (ExecRelCheck), 5 µs for each of them, which was more than half of a single enqueue; a
-- domain's is parsed once a session (docs/adr/0007-domains.md).
create domain stem.queue_name as text constraint queue_name check (value ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(value) <= 128);
create domain stem.task_name as text constraint task_name check (value ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(value) <= 128);
create domain stem.media_type as text constraint media_type check (octet_length(value) between 1 and 128);
create domain stem.label as text constraint label check (octet_length(value) between 1 and 256);
create domain stem.payload as bytea constraint payload check (octet_length(value) <= 16777216);
-- A flat object of strings: only strings are signed alike by everybody.
create domain stem.headers as jsonb constraint headers check (jsonb_typeof(value) = 'object' and octet_length(value::text) <= 20480
    and not jsonb_path_exists(value, 'strict $.* ? (@.type() != "string")'));
create domain stem.unique_key as bytea constraint unique_key check (octet_length(value) between 1 and 2048);
create domain stem.unique_scope as smallint constraint unique_scope check (value between 0 and 3);
create domain stem.signature as bytea constraint signature check (octet_length(value) in (32, 64));
create domain stem.key_id as text constraint key_id check (value ~ '^[A-Za-z0-9_.-]+$' and octet_length(value) <= 64);
create domain stem.algorithm as text constraint algorithm check (value in ('hmac-sha256', 'ed25519'));
create domain stem.instant as timestamptz constraint instant check (value between '2000-01-01T00:00:00Z' and '2200-01-01T00:00:00Z');
create domain stem.delay_us as bigint constraint delay_us check (value between 0 and 31622400000000);
create domain stem.limit_us as bigint constraint limit_us check (value > 0);
create domain stem.payload_version as integer constraint payload_version check (value > 0);
create domain stem.priority as smallint constraint priority check (value between 0 and 9);
create domain stem.lane as smallint constraint lane check (value between 0 and 9 or value between 100 and 109);
create domain stem.slot as smallint constraint slot check (value between 0 and 7);
create domain stem.max_attempts as smallint constraint max_attempts check (value between 1 and 1000);
create domain stem.attempt as integer constraint attempt check (value >= 0);
create domain stem.running_attempt as integer constraint running_attempt check (value >= 1);
create domain stem.count as smallint constraint count check (value >= 0);
create domain stem.generation as smallint constraint generation check (value >= 1);
create domain stem.outcome as text constraint outcome check (value in ('completed', 'cancelled', 'expired', 'replaced'));

-- One sequence numbers every ticket. CACHE 1 is load-bearing: with a larger cache a session could
-- draw positions long before it writes them, and the low-water mark of the claim would step over them.
create sequence stem.ticket_pos as bigint cache 1;

-- The ring of eight leaves (docs/adr/0003-ring.md). Time is cut into periods counted from origin, and period n belongs to leaf
-- n & 7. An envelope goes to the leaf of its id's own time, so an id has one leaf whoever enqueues it, when, and with whatever
-- snapshot; hence neither column may change while ids of the last and next 10 minutes are about. A period below 30 minutes would
-- let those ids touch three leaves.
create table stem.ring (
    only_row boolean primary key default true check (only_row),
    origin timestamptz not null default clock_timestamp() - interval '32 hours',
    period interval not null default '4 hours'
        check (period between '30 minutes' and '30 days' and extract(year from period) = 0 and extract(month from period) = 0)
);
insert into stem.ring default values;

-- How far stem.rotate is. Apart from stem.ring, which every enqueue reads: this row is rewritten with each batch.
create table stem.ring_work (
    emptied bigint not null default 8, -- the period whose leaf was emptied last
    target bigint, -- the period whose leaf is being emptied
    at_pos bigint not null default 0, -- how far this phase has walked, in the order of the primary key that it walks
    rest_until timestamptz,
    at_time timestamptz not null default '-infinity',
    at_job uuid not null default '00000000-0000-0000-0000-000000000000',
    at_lane smallint not null default -1,
    phase smallint not null default 0 check (phase between 0 and 3), -- scheduled, ready, finished, and the rest under the lock
    only_row boolean primary key default true check (only_row),
    at_queue text not null default ''
);
insert into stem.ring_work default values;

create table stem.jobs (
    created_at timestamptz not null default clock_timestamp(),
    issued_at stem.instant not null,
    run_at stem.instant,
    expires_at stem.instant,
    nominal_at stem.instant,
    delay_us stem.delay_us,
    hard_limit_us stem.limit_us,
    soft_limit_us stem.limit_us,
    id uuid not null,
    payload_version stem.payload_version,
    slot smallint not null,
    priority stem.priority not null,
    max_attempts stem.max_attempts not null,
    unique_scope stem.unique_scope not null default 0,
    queue stem.queue_name not null,
    task stem.task_name not null,
    codec stem.media_type not null default 'application/json',
    origin stem.label not null default 'app',
    group_name stem.label,
    payload stem.payload not null,
    headers stem.headers,
    unique_key stem.unique_key,
    sig stem.signature,
    sig_key_id stem.key_id,
    sig_alg stem.algorithm,
    check (num_nulls(sig, sig_key_id, sig_alg) in (0, 3)),
    check (run_at is null or delay_us is null),
    check ((unique_key is null) = (unique_scope = 0)),
    primary key (slot, id)
) partition by list (slot);
comment on table stem.jobs is 'The envelope: inserted once, signed, never updated; leaves with its leaf of the ring.';

-- Unread statistics flip plans on queue tables (docs/adr/0001-shape.md), so hot tables are never analysed
-- and vacuum is eager and unthrottled; truncating the file would take a lock that stops claims.
create table stem.ready (
    pos bigint not null,
    grace_since timestamptz,
    job_id uuid not null,
    attempt stem.attempt not null default 0,
    slot stem.slot not null,
    lane stem.lane not null,
    failures stem.count not null default 0,
    crashes stem.count not null default 0,
    releases stem.count not null default 0,
    generation stem.generation not null default 1,
    max_attempts stem.max_attempts not null,
    unique_scope stem.unique_scope not null default 0,
    wake boolean not null default false,
    queue text not null,
    primary key (queue, lane, pos)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 2000000000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off
);
create index ready_job on stem.ready (job_id);
comment on table stem.ready is 'Tickets of jobs that may be claimed now. Lane = priority, or priority + 100 for a suspect.';

create table stem.scheduled (
    run_at stem.instant not null,
    expires_at timestamptz,
    grace_since timestamptz,
    job_id uuid not null,
    attempt stem.attempt not null default 0,
    slot stem.slot not null,
    lane stem.lane not null,
    failures stem.count not null default 0,
    crashes stem.count not null default 0,
    releases stem.count not null default 0,
    generation stem.generation not null default 1,
    max_attempts stem.max_attempts not null,
    unique_scope stem.unique_scope not null default 0,
    wake boolean not null default true,
    queue text not null,
    primary key (run_at, job_id)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 2000000000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off
);
create index scheduled_job on stem.scheduled (job_id);
comment on table stem.scheduled is 'Tickets of jobs that are due later: delayed, retrying and snoozed ones.';

create table stem.running (
    seq bigint not null,
    pos bigint not null,
    claimed_at timestamptz not null default clock_timestamp(),
    grace_since timestamptz,
    cancel_at timestamptz,
    job_id uuid not null primary key,
    claim_id uuid not null,
    worker uuid not null,
    attempt stem.running_attempt not null,
    slot stem.slot not null,
    lane stem.lane not null,
    failures stem.count not null,
    crashes stem.count not null,
    releases stem.count not null,
    generation stem.generation not null,
    max_attempts stem.max_attempts not null,
    unique_scope stem.unique_scope not null default 0,
    queue text not null
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 2000000000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off
);
comment on table stem.running is 'Claims. claim_id is the fencing token: every later write presents it. seq is the worker''s own claim number.';

create table stem.finished (
    started_at timestamptz,
    finished_at timestamptz not null default clock_timestamp(),
    job_id uuid not null,
    worker uuid,
    attempt stem.attempt not null,
    slot smallint not null,
    generation stem.generation not null default 1,
    outcome stem.outcome not null,
    result bytea,
    primary key (slot, job_id)
) partition by list (slot);

create table stem.attempts (
    started_at timestamptz,
    ended_at timestamptz not null default clock_timestamp(),
    job_id uuid not null,
    worker uuid,
    attempt integer not null,
    slot smallint not null check (slot between 0 and 7),
    generation smallint not null,
    outcome text not null check (outcome in ('failed', 'discarded', 'rejected', 'released', 'waiting', 'lost', 'cancelled')),
    error text check (octet_length(error) <= 65536),
    fingerprint text check (fingerprint ~ '^[0-9a-f]{64}$')
) partition by list (slot);
create index attempts_job on stem.attempts (job_id);
comment on table stem.attempts is 'One row for each attempt that ended in anything but plain success.';

-- Eight leaves each, made once: DETACH, DROP and CREATE … PARTITION OF at run time wait for the parent's
-- strongest lock behind every open transaction that enqueued.
create table stem.jobs_0 partition of stem.jobs for values in (0);
create table stem.jobs_1 partition of stem.jobs for values in (1);
create table stem.jobs_2 partition of stem.jobs for values in (2);
create table stem.jobs_3 partition of stem.jobs for values in (3);
create table stem.jobs_4 partition of stem.jobs for values in (4);
create table stem.jobs_5 partition of stem.jobs for values in (5);
create table stem.jobs_6 partition of stem.jobs for values in (6);
create table stem.jobs_7 partition of stem.jobs for values in (7);
create table stem.finished_0 partition of stem.finished for values in (0);
create table stem.finished_1 partition of stem.finished for values in (1);
create table stem.finished_2 partition of stem.finished for values in (2);
create table stem.finished_3 partition of stem.finished for values in (3);
create table stem.finished_4 partition of stem.finished for values in (4);
create table stem.finished_5 partition of stem.finished for values in (5);
create table stem.finished_6 partition of stem.finished for values in (6);
create table stem.finished_7 partition of stem.finished for values in (7);
create table stem.attempts_0 partition of stem.attempts for values in (0);
create table stem.attempts_1 partition of stem.attempts for values in (1);
create table stem.attempts_2 partition of stem.attempts for values in (2);
create table stem.attempts_3 partition of stem.attempts for values in (3);
create table stem.attempts_4 partition of stem.attempts for values in (4);
create table stem.attempts_5 partition of stem.attempts for values in (5);
create table stem.attempts_6 partition of stem.attempts for values in (6);
create table stem.attempts_7 partition of stem.attempts for values in (7);

-- Where stem.rotate parks the rows that outlive a leaf, within its one transaction.
create table stem.ring_jobs (like stem.jobs);
create table stem.ring_finished (like stem.finished);
create table stem.ring_attempts (like stem.attempts);

create table stem.dead (
    died_at timestamptz not null default clock_timestamp(),
    created_at timestamptz not null,
    issued_at timestamptz not null,
    run_at timestamptz,
    expires_at timestamptz,
    nominal_at timestamptz,
    delay_us bigint,
    hard_limit_us bigint,
    soft_limit_us bigint,
    id uuid not null primary key,
    worker uuid,
    payload_version integer,
    attempt integer not null check (attempt >= 0),
    priority smallint not null,
    max_attempts smallint not null,
    failures smallint not null check (failures >= 0),
    crashes smallint not null check (crashes >= 0),
    releases smallint not null check (releases >= 0),
    generation smallint not null check (generation >= 1),
    unique_scope smallint not null default 0,
    queue text not null,
    task text not null,
    codec text not null,
    origin text not null,
    group_name text,
    reason text not null check (reason ~ '^[a-z0-9_]+$' and octet_length(reason) <= 64),
    error text,
    fingerprint text not null check (fingerprint ~ '^[0-9a-f]{64}$'),
    history jsonb not null default '[]',
    payload bytea not null,
    headers jsonb,
    unique_key bytea,
    sig bytea,
    sig_key_id text,
    sig_alg text,
    check (num_nulls(sig, sig_key_id, sig_alg) in (0, 3)),
    check (failures <= max_attempts)
);
create index dead_died_at on stem.dead (died_at);
create index dead_fingerprint on stem.dead (fingerprint);
comment on table stem.dead is 'Jobs that were given up: a full copy of the envelope, the reason and the history.';

-- scope: 1 until the job is first claimed, 2 until it is finished or dead, 3 until the period is over.
create table stem.unique_keys (
    until timestamptz,
    job_id uuid not null,
    scope smallint not null check (scope between 1 and 3),
    key bytea not null primary key check (octet_length(key) between 1 and 2100),
    check ((scope = 3) = (until is not null))
);
create index unique_keys_job on stem.unique_keys (job_id);
create index unique_keys_until on stem.unique_keys (until) where until is not null;

-- Heartbeats and idle flags are HOT updates: no index beside the key, half of each page kept free.
create table stem.workers (
    started_at timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp(),
    lease_until timestamptz not null,
    id uuid not null primary key,
    epoch bigint not null,
    pid integer not null,
    -- A day at most: what a worker holds when it falls silent cannot be had back before its lease is over.
    lease_us bigint not null check (lease_us between 1 and 86400000000),
    node text not null check (octet_length(node) between 1 and 128),
    namespace text not null check (octet_length(namespace) between 1 and 128),
    host text not null check (octet_length(host) <= 256),
    boot text not null check (octet_length(boot) <= 128),
    version text not null check (octet_length(version) <= 256),
    tasks jsonb not null check (jsonb_typeof(tasks) = 'object' and octet_length(tasks::text) <= 1048576),
    slots jsonb not null check (jsonb_typeof(slots) = 'object' and octet_length(slots::text) <= 1048576),
    idle text[] not null default '{}',
    stats jsonb not null default '{}'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
comment on column stem.workers.tasks is 'By name what the worker says of each task: {"kind": "go", "queue": "mail", "max_attempts": 5, "soft_limit_us": 1000000, "hard_limit_us": 2000000}, each member optional. The names keep a job from being given up as unknown; the rest is shown by stem.list_tasks and used for nothing else.';

create table stem.lost_workers (
    started_at timestamptz not null,
    heartbeat_at timestamptz not null,
    lost_at timestamptz not null default clock_timestamp(),
    cleared_at timestamptz,
    id uuid not null primary key,
    lost_by uuid,
    pid integer not null,
    node text not null,
    namespace text not null,
    host text not null,
    begun uuid[],
    slots jsonb not null
);
comment on column stem.lost_workers.begun is 'The jobs that its handlers may have begun: decided once, by the first rescue, and charged.';

-- A queue needs no row: without one it is not paused, keeps its history, and takes priorities 0 to 9.
create table stem.queues (
    paused_since timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    paused boolean not null default false,
    keep_finished boolean not null default true,
    name text not null primary key check (name ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(name) <= 128),
    paused_by text,
    paused_why text,
    check (paused = (paused_since is not null))
);

-- Which worker runs the suspects of a queue at the moment (contract.md, section 6: isolate before burying).
create table stem.suspect_duty (
    until timestamptz not null,
    worker uuid not null,
    queue text not null primary key
);

create table stem.audit (
    at timestamptz not null default clock_timestamp(),
    id bigint generated always as identity primary key,
    affected bigint not null default 0,
    actor text not null default session_user,
    application text not null default current_setting('application_name', true),
    action text not null,
    target text not null,
    reason text,
    detail jsonb not null default '{}'
);
comment on table stem.audit is 'Who did what, to what, why: one row for each operator''s action, in the transaction of the action.';

revoke all on schema stem from public;
revoke all on all tables in schema stem from public;
-- Whoever may use a type may make a column of it, if only of a temporary table, and a migration could not change it any more.
-- +goose StatementBegin
do $$
declare
    v_type regtype;
begin
    for v_type in select t.oid from pg_type t where t.typnamespace = 'stem'::regnamespace and t.typtype in ('c', 'd') loop
        execute format('revoke all on type %s from public', v_type);
    end loop;
end $$;
-- +goose StatementEnd

-- +goose Down
drop schema stem cascade;
