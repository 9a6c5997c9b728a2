-- Schedules: standing orders, and the ledger of what became of each of their instants (docs/adr/0014-schedules.md).
--
-- The instants are computed in Go alone (scheduler/spec) and stored in UTC. A scheduler locks the rows that are due, enqueues
-- their jobs, writes the ledger and moves the rows on, in one transaction; who dies in between leaves nothing behind. The primary key
-- of the ledger, with the condition of stem.record_runs, is what makes a second job for the same instant impossible (C1), whoever calls.

-- +goose Up

-- What is signed stands apart from what schedulers write: state, from due_at on down, is nobody's word but the database's.
create table stem.schedules (
    id stem.task_name not null primary key,
    version bigint not null check (version > 0),
    enabled boolean not null,
    spec text not null check (octet_length(spec) between 1 and 4096),
    zone text not null check (octet_length(zone) between 1 and 128),
    policies text not null check (octet_length(policies) <= 8192),
    jitter_us bigint not null check (jitter_us between 0 and 86400000000),
    expire_at stem.instant,
    task stem.task_name not null,
    queue stem.queue_name not null,
    codec stem.media_type not null,
    payload stem.payload not null,
    headers stem.headers,
    priority stem.priority not null,
    max_attempts stem.max_attempts not null,
    hard_limit_us stem.limit_us,
    soft_limit_us stem.limit_us,
    sig stem.signature,
    sig_key_id stem.key_id,
    sig_alg stem.algorithm,
    description text check (octet_length(description) <= 4096),
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    updated_by text not null default session_user,

    due_at timestamptz, -- when a scheduler looks: the next instant and its jitter, or later where something failed; null: never
    next_at timestamptz, -- the nominal instant that is decided next; null: none
    last_at timestamptz, -- the latest that was decided
    queued_at timestamptz, -- one that waits for the previous run to end
    last_job uuid,
    fired bigint not null default 0,
    resumed_at timestamptz, -- runs before this count as nobody's failures
    paused_at timestamptz,
    paused_why text check (octet_length(paused_why) <= 4096),
    refused text check (octet_length(refused) <= 4096), -- why its signature was not accepted at the last look
    failed text check (octet_length(failed) <= 4096), -- why it could not be fired at the last look
    check (num_nulls(sig, sig_key_id, sig_alg) in (0, 3)),
    check (paused_at is null or due_at is null)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000000000, vacuum_truncate = off
);
-- Whoever has the table may switch a schedule off and leave due_at as it is: nobody looks at it then.
create index schedules_due on stem.schedules (due_at) where due_at is not null and enabled;
comment on table stem.schedules is 'Standing orders: a job at each instant of a spec. Signed when applied, verified before each fire.';

create table stem.schedule_runs (
    nominal_at timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp(),
    jitter_us bigint not null default 0,
    drift_us bigint, -- from the instant and its jitter to the enqueue; null: nothing was enqueued
    job_id uuid,
    schedule text not null,
    outcome text not null check (outcome in (
        'fired', 'late', 'caught_up', 'skipped', 'overlapped', 'queued', 'duplicate', 'rejected', 'triggered', 'backfilled')),
    note text check (octet_length(note) <= 4096),
    primary key (schedule, nominal_at),
    check (job_id is not null or outcome not in ('fired', 'late', 'caught_up', 'triggered', 'backfilled'))
);
create index schedule_runs_recorded on stem.schedule_runs (recorded_at, schedule);
comment on table stem.schedule_runs is 'One row for each instant of a schedule: what became of it. Forgotten after a while.';

-- Locks schedules until the end of the transaction: those that are due and that no other scheduler holds, at most p_limit, the most
-- overdue first; or those named, and then it waits for them. done are instants that the ledger knows already: from next_at on, and after
-- last_at, where a scheduler goes on when next_at is none of the spec's; and the queued one, if it was backfilled.
--
-- p_back_us is how long ago they may have come due, null for no limit. A snapshot that somebody holds keeps an entry of the index for each
-- fire since, and a look from the beginning passes all of them: 300 schedules fired each second for a minute made it four times as long.
--
-- Two statements, because what the first has waited for is seen by the snapshot of the second only [race]: with one, a schedule that another
-- scheduler moved on meanwhile would come with the new next_at and a ledger of before.
-- +goose StatementBegin
create function stem.lock_schedules(p_ids text[], p_limit integer, p_back_us bigint default null)
returns table (id text, server_time timestamptz, done timestamptz[])
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
    v_from timestamptz := coalesce(v_now - p_back_us * interval '1 microsecond', '-infinity');
    v_rows tid[];
begin
    if p_ids is null then
        v_rows := array(
            select s.ctid from stem.schedules s where s.due_at between v_from and v_now and s.enabled
            order by s.due_at limit p_limit for update skip locked);
    else
        v_rows := array(select s.ctid from stem.schedules s where s.id = any (p_ids) order by s.id for update);
        v_now := clock_timestamp();
    end if;
    return query
        select s.id::text, v_now, array(
            select r.nominal_at from stem.schedule_runs r
            where r.schedule = s.id and r.nominal_at > least(s.next_at - interval '1 microsecond', s.last_at) and r.outcome <> 'triggered'
            order by r.nominal_at limit 1000) || array(
            select r.nominal_at from stem.schedule_runs r
            where r.schedule = s.id and r.nominal_at = s.queued_at and r.job_id is not null)
        from stem.schedules s where s.ctid = any (v_rows)
        order by s.due_at, s.id;
end $$;
-- +goose StatementEnd

-- Whole schedules, by id: those named, or the next p_limit after p_after.
-- +goose StatementBegin
create function stem.read_schedules(p_ids text[], p_after text, p_limit integer) returns setof stem.schedules
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    if p_ids is null then
        return query select s.* from stem.schedules s where s.id > coalesce(p_after, '') order by s.id limit p_limit;
    else
        return query select s.* from stem.schedules s where s.id = any (p_ids) order by s.id;
    end if;
end $$;
-- +goose StatementEnd

-- The same without what jobs carry, and without what the signature covers of it: for those who look. drift_us is that of the last run, if it
-- is among the latest 20 rows of the ledger.
-- +goose StatementBegin
create function stem.list_schedules(p_after text, p_limit integer) returns table (
    id text, version bigint, enabled boolean, spec text, zone text, policies text, jitter_us bigint, expire_at timestamptz,
    task text, queue text, sig_key_id text, sig_alg text, description text, updated_at timestamptz, updated_by text,
    due_at timestamptz, next_at timestamptz, last_at timestamptz, queued_at timestamptz, last_job uuid, fired bigint,
    paused_at timestamptz, paused_why text, refused text, failed text, drift_us bigint, server_time timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
begin
    return query
        select s.id::text, s.version, s.enabled, s.spec, s.zone, s.policies, s.jitter_us, s.expire_at::timestamptz,
            s.task::text, s.queue::text, s.sig_key_id::text, s.sig_alg::text, s.description, s.updated_at, s.updated_by,
            s.due_at, s.next_at, s.last_at, s.queued_at, s.last_job, s.fired,
            s.paused_at, s.paused_why, s.refused, s.failed, d.drift_us, clock_timestamp()
        from stem.schedules s
        left join lateral (
            select x.drift_us from (
                select r.drift_us, r.nominal_at from stem.schedule_runs r where r.schedule = s.id order by r.nominal_at desc limit 20) x
            where x.drift_us is not null order by x.nominal_at desc limit 1) d on true
        where s.id > coalesce(p_after, '') order by s.id limit p_limit;
end $$;
-- +goose StatementEnd

-- Writes the ledger. An instant that has a row without a job may get one (what was queued, what is backfilled), and what was queued may
-- end without. One that has a job is a unique violation, and the caller's transaction is spoilt together with the job that it enqueued.
-- An action, trigger or backfill, is somebody's, and goes to the audit log.
-- +goose StatementBegin
create function stem.record_runs(
    p_schedules text[], p_nominals timestamptz[], p_outcomes text[], p_jobs uuid[], p_jitters_us bigint[], p_drifts_us bigint[],
    p_notes text[], p_action text, p_reason text
) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_twice record;
begin
    with given as (
        select * from unnest(p_schedules, p_nominals, p_outcomes, p_jobs, p_jitters_us, p_drifts_us, p_notes)
            u(schedule, nominal_at, outcome, job_id, jitter_us, drift_us, note)
    ), put as (
        insert into stem.schedule_runs as r (schedule, nominal_at, outcome, job_id, jitter_us, drift_us, note)
        select g.schedule, g.nominal_at, g.outcome, g.job_id, coalesce(g.jitter_us, 0), g.drift_us, g.note from given g
        order by g.schedule, g.nominal_at
        on conflict (schedule, nominal_at) do update set
            outcome = excluded.outcome, job_id = excluded.job_id, drift_us = excluded.drift_us, note = excluded.note,
            recorded_at = clock_timestamp()
        where r.job_id is null and (excluded.job_id is not null or r.outcome = 'queued' and excluded.outcome <> 'queued')
        returning r.schedule, r.nominal_at
    )
    select g.schedule, g.nominal_at into v_twice from given g
    where not exists (select from put p where p.schedule = g.schedule and p.nominal_at = g.nominal_at)
    limit 1;
    if found then
        raise exception using errcode = '23505', message = format('schedule "%s" has had its run of %s', v_twice.schedule, v_twice.nominal_at);
    end if;
    if p_action is not null then
        if p_action not in ('trigger', 'backfill') then
            raise exception using errcode = '22023', message = format('stem.record_runs: no action %s', p_action), hint = 'trigger, backfill';
        end if;
        perform stem._audit(
            p_action || '_schedule', 'schedule ' || p_schedules[1], p_reason, cardinality(p_schedules),
            jsonb_build_object('first', p_nominals[1], 'last', p_nominals[cardinality(p_nominals)], 'jobs', to_jsonb(p_jobs[1:100])));
    end if;
end $$;
-- +goose StatementEnd

-- Moves schedules on that the caller's transaction has locked. An array element of last_at or last_job that is null leaves what is there;
-- so does a last_at that is earlier, of a run that has waited.
-- +goose StatementBegin
create function stem.advance_schedules(
    p_ids text[], p_versions bigint[], p_next_ats timestamptz[], p_due_ats timestamptz[], p_last_ats timestamptz[],
    p_queued_ats timestamptz[], p_last_jobs uuid[], p_fired integer[], p_paused text[], p_refused text[], p_failed text[]
) returns integer
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_mergejoin = off
set enable_nestloop = off
set jit = off
as $$
declare
    v_moved integer;
begin
    update stem.schedules s set
        next_at = u.next_at, due_at = u.due_at, last_at = greatest(u.last_at, s.last_at), queued_at = u.queued_at,
        last_job = coalesce(u.last_job, s.last_job), fired = s.fired + u.fired,
        paused_at = case when u.paused is not null then clock_timestamp() end, paused_why = u.paused,
        refused = u.refused, failed = u.failed
    from unnest(p_ids, p_versions, p_next_ats, p_due_ats, p_last_ats, p_queued_ats, p_last_jobs, p_fired, p_paused, p_refused, p_failed)
        u(id, version, next_at, due_at, last_at, queued_at, last_job, fired, paused, refused, failed)
    where s.id = any (p_ids) and s.id = u.id and s.version = u.version and s.enabled and s.paused_at is null; -- any: a page is read once
    get diagnostics v_moved = row_count;
    return v_moved;
end $$;
-- +goose StatementEnd

-- Microseconds until the next schedule is due by the server's clock, 0 when one is (perhaps another scheduler holds it), null for none.
-- p_back_us is that of stem.lock_schedules.
-- +goose StatementBegin
create function stem.next_schedule(p_back_us bigint default null) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_from timestamptz := coalesce(clock_timestamp() - p_back_us * interval '1 microsecond', '-infinity');
begin
    return (
        select greatest(0, ceil(extract(epoch from s.due_at - clock_timestamp()) * 1000000))::bigint
        from stem.schedules s where s.due_at >= v_from and s.enabled order by s.due_at limit 1);
end $$;
-- +goose StatementEnd

-- The latest jobs of schedules since they were last resumed, newest first.
-- +goose StatementBegin
create function stem.recent_runs(p_ids text[], p_limit integer) returns table (schedule text, job_id uuid)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
    return query
        select s.id::text, r.job_id
        from stem.schedules s
        cross join lateral (
            select x.job_id, x.nominal_at from stem.schedule_runs x
            where x.schedule = s.id and x.job_id is not null and x.recorded_at > coalesce(s.resumed_at, '-infinity')
            order by x.nominal_at desc limit least(p_limit, 1000)) r
        where s.id = any (p_ids)
        order by s.id, r.nominal_at desc;
end $$;
-- +goose StatementEnd

-- Cancels the last job of schedules whose next one takes its place: only a job that says that this schedule made it, since what
-- stands in last_job came from a scheduler. One that somebody else holds at the moment is "busy", and left.
-- +goose StatementBegin
create function stem.cancel_previous(p_ids text[]) returns table (schedule text, job_id uuid, result text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_running boolean := false;
begin
    for schedule, job_id in
        select s.id::text, s.last_job from stem.schedules s where s.id = any (p_ids) and s.last_job is not null order by s.last_job
    loop
        if exists (
            select from generate_series(0, 7) g(slot)
            cross join lateral (
                select from stem.jobs j where j.slot = g.slot and j.id = job_id and j.origin = 'schedule:' || schedule limit 1) x) then
            result := coalesce(stem._cancel_job(job_id, false), 'busy');
            v_running := v_running or result = 'running';
            return next;
        end if;
    end loop;
    if v_running then
        perform pg_notify('stem_control', 'cancel');
    end if;
end $$;
-- +goose StatementEnd

-- The instants of a schedule, both ends included, that have had a job: what a backfill leaves alone.
-- +goose StatementBegin
create function stem.runs_with_jobs(p_schedule text, p_from timestamptz, p_to timestamptz) returns setof timestamptz
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
    return query
        select r.nominal_at from stem.schedule_runs r
        where r.schedule = p_schedule and r.nominal_at between p_from and p_to and r.job_id is not null;
end $$;
-- +goose StatementEnd

-- Forgets ledger rows that were written more than p_keep_us ago, at most p_limit, and returns how many. An hour is the least to keep:
-- what the ledger has forgotten, a backfill would do again.
-- +goose StatementBegin
create function stem.prune_runs(p_keep_us bigint, p_limit integer) returns integer
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
    v_count integer;
begin
    if p_keep_us is null or p_keep_us < 3600000000 then
        raise exception using errcode = '22023', message = format('stem.prune_runs: cannot keep runs for %s µs only', coalesce(p_keep_us::text, 'null')),
            hint = 'An hour or more.';
    end if;
    delete from stem.schedule_runs where ctid = any (array(
        select r.ctid from stem.schedule_runs r where r.recorded_at < clock_timestamp() - p_keep_us * interval '1 microsecond'
        order by r.recorded_at limit least(p_limit, 10000) for update skip locked));
    get diagnostics v_count = row_count;
    return v_count;
end $$;
-- +goose StatementEnd

-- What an operator does. A version that is not the one that the caller has read raises ST003, and nothing of the call is done.
-- +goose StatementBegin
create function stem._schedule_changed(p_id text, p_version bigint, p_expected bigint) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'ST003',
        message = case
            when p_version is null then format('schedule "%s" is gone (yours was version %s)', p_id, p_expected)
            when p_version = p_expected then format('schedule "%s" was switched on or off since you read it (version %s)', p_id, p_version)
            when p_expected = 0 then format('schedule "%s" is there already (version %s)', p_id, p_version)
            else format('schedule "%s" changed since you read it (version %s, yours %s)', p_id, p_version, p_expected) end,
        hint = 'Read it again, and decide anew.';
end $$;
-- +goose StatementEnd

-- Makes and changes schedules, all or none. Of each: expected, the version that the caller has read, 0 for none, and whether it was on,
-- since to switch it off does not need a new version; what is signed, payload and sig in base64; when it is due next, or keep_next, where its timing stays. Paused ones stay paused, unless the action is
-- enable. The action is for the audit log: apply, enable, disable, resign.
-- +goose StatementBegin
create function stem.apply_schedules(p_entries jsonb, p_action text, p_reason text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    e record;
    v_version bigint;
    v_enabled boolean;
    v_done jsonb := '{}';
begin
    if p_action not in ('apply', 'enable', 'disable', 'resign') then
        raise exception using errcode = '22023', message = format('stem.apply_schedules: no action %s', p_action),
            hint = 'apply, enable, disable, resign';
    end if;
    for e in
        select * from jsonb_to_recordset(p_entries) x(
            id text, expected bigint, version bigint, enabled boolean, spec text, zone text, policies text, jitter_us bigint,
            expire_at timestamptz, task text, queue text, codec text, payload text, headers jsonb, priority smallint,
            max_attempts smallint, hard_limit_us bigint, soft_limit_us bigint, sig text, sig_key_id text, sig_alg text,
            description text, next_at timestamptz, due_at timestamptz, keep_next boolean, was_enabled boolean)
        order by x.id -- calls that lock in one order cannot wait for each other in a circle
    loop
        if e.expected = 0 then
            insert into stem.schedules (
                id, version, enabled, spec, zone, policies, jitter_us, expire_at, task, queue, codec, payload, headers, priority,
                max_attempts, hard_limit_us, soft_limit_us, sig, sig_key_id, sig_alg, description, next_at, due_at)
            values (
                e.id, e.version, e.enabled, e.spec, e.zone, e.policies, e.jitter_us, e.expire_at, e.task, e.queue, e.codec,
                decode(e.payload, 'base64'), e.headers, e.priority, e.max_attempts, e.hard_limit_us, e.soft_limit_us,
                decode(e.sig, 'base64'), e.sig_key_id, e.sig_alg, e.description, e.next_at, e.due_at)
            on conflict (id) do nothing;
            if not found then
                perform stem._schedule_changed(e.id, (select s.version from stem.schedules s where s.id = e.id), 0);
            end if;
        else
            select s.version, s.enabled into v_version, v_enabled from stem.schedules s where s.id = e.id for update;
            if v_version is distinct from e.expected or v_enabled <> e.was_enabled then
                perform stem._schedule_changed(e.id, v_version, e.expected);
            end if;
            update stem.schedules s set
                version = e.version, enabled = e.enabled, spec = e.spec, zone = e.zone, policies = e.policies, jitter_us = e.jitter_us,
                expire_at = e.expire_at, task = e.task, queue = e.queue, codec = e.codec, payload = decode(e.payload, 'base64'),
                headers = e.headers, priority = e.priority, max_attempts = e.max_attempts, hard_limit_us = e.hard_limit_us,
                soft_limit_us = e.soft_limit_us, sig = decode(e.sig, 'base64'), sig_key_id = e.sig_key_id, sig_alg = e.sig_alg,
                description = e.description, updated_at = clock_timestamp(), updated_by = session_user,
                next_at = case
                    when s.paused_at is not null and p_action <> 'enable' then null
                    when e.keep_next then s.next_at else e.next_at end,
                due_at = case
                    when s.paused_at is not null and p_action <> 'enable' then null
                    when e.keep_next then s.due_at else e.due_at end,
                queued_at = case when e.enabled then s.queued_at end,
                paused_at = case when p_action <> 'enable' then s.paused_at end,
                paused_why = case when p_action <> 'enable' then s.paused_why end,
                resumed_at = case when p_action = 'enable' then clock_timestamp() else s.resumed_at end,
                refused = null, failed = null
            where s.id = e.id;
        end if;
        v_done := v_done || jsonb_build_object(e.id, e.version);
    end loop;
    perform stem._audit_schedules(p_action, p_reason, v_done);
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function stem._audit_schedules(p_action text, p_reason text, p_versions jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids text[] := array(select k from jsonb_object_keys(p_versions) k);
begin
    perform stem._audit(
        p_action || '_schedule',
        case when cardinality(v_ids) = 1 then 'schedule ' || v_ids[1] else cardinality(v_ids)::text || ' schedules' end,
        p_reason, cardinality(v_ids), jsonb_build_object('versions', p_versions));
    perform pg_notify('stem_schedule', ''); -- sleeping schedulers look when they are due next
end $$;
-- +goose StatementEnd

-- Switches a schedule off without a key: what is signed stays as it was signed, so that who switches it on can verify it. False: it is
-- off, or not there.
-- +goose StatementBegin
create function stem.disable_schedule(p_id text, p_reason text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_version bigint;
begin
    update stem.schedules s set
        enabled = false, next_at = null, due_at = null, queued_at = null, updated_at = clock_timestamp(), updated_by = session_user
    where s.id = p_id and s.enabled
    returning s.version into v_version;
    if not found then
        return false;
    end if;
    perform stem._audit_schedules('disable', p_reason, jsonb_build_object(p_id, v_version));
    return true;
end $$;
-- +goose StatementEnd

-- Removes schedules, all or none; the ledger stays until it is pruned, so a schedule of the same name fires no instant again.
-- +goose StatementBegin
create function stem.delete_schedules(p_ids text[], p_versions bigint[], p_reason text) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    u record;
    v_version bigint;
    v_done jsonb := '{}';
begin
    for u in select x.id, x.version from unnest(p_ids, p_versions) x(id, version) order by x.id loop
        delete from stem.schedules s where s.id = u.id and s.version = u.version;
        if not found then
            select s.version into v_version from stem.schedules s where s.id = u.id;
            perform stem._schedule_changed(u.id, v_version, u.version);
        end if;
        v_done := v_done || jsonb_build_object(u.id, u.version);
    end loop;
    perform stem._audit_schedules('delete', p_reason, v_done);
end $$;
-- +goose StatementEnd

-- The ledger, newest first: of one schedule by its instants, of all by when it was written. Pages begin below p_before (and, of all,
-- p_before_schedule). state is what the job is now: see stem.job_states.
-- +goose StatementBegin
create function stem.list_runs(
    p_schedule text, p_outcomes text[], p_since timestamptz, p_until timestamptz, p_before timestamptz, p_before_schedule text, p_limit integer
) returns table (
    schedule text, nominal_at timestamptz, recorded_at timestamptz, outcome text, job_id uuid, jitter_us bigint, drift_us bigint,
    note text, state text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_rows stem.schedule_runs[];
begin
    if p_schedule is not null then
        v_rows := array(
            select r from stem.schedule_runs r
            where r.schedule = p_schedule and (p_outcomes is null or r.outcome = any (p_outcomes))
              and r.nominal_at >= coalesce(p_since, '-infinity') and r.nominal_at < coalesce(p_until, 'infinity')
              and r.nominal_at < coalesce(p_before, 'infinity')
            order by r.nominal_at desc limit least(p_limit, 10000));
    else
        v_rows := array(
            select r from stem.schedule_runs r
            where (p_outcomes is null or r.outcome = any (p_outcomes))
              and r.recorded_at >= coalesce(p_since, '-infinity') and r.recorded_at < coalesce(p_until, 'infinity')
              and (p_before is null or (r.recorded_at, r.schedule) < (p_before, coalesce(p_before_schedule, '')))
            order by r.recorded_at desc, r.schedule desc limit least(p_limit, 10000));
    end if;
    return query
        select r.schedule, r.nominal_at, r.recorded_at, r.outcome, r.job_id, r.jitter_us, r.drift_us, r.note, j.state
        from unnest(v_rows) with ordinality r
        left join stem.job_states(array(select x.job_id from unnest(v_rows) x where x.job_id is not null)) j on j.job_id = r.job_id
        order by r.ordinality;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create or replace function stem.schema_version() returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return 11;
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;
revoke all on all tables in schema stem from public;
revoke all on type stem.schedules, stem.schedule_runs from public;

-- +goose Down
drop function stem.list_runs;
drop function stem.delete_schedules;
drop function stem.disable_schedule;
drop function stem._audit_schedules;
drop function stem.apply_schedules;
drop function stem._schedule_changed;
drop function stem.prune_runs;
drop function stem.runs_with_jobs;
drop function stem.cancel_previous;
drop function stem.recent_runs;
drop function stem.next_schedule;
drop function stem.advance_schedules;
drop function stem.record_runs;
drop function stem.list_schedules;
drop function stem.read_schedules;
drop function stem.lock_schedules;
drop table stem.schedule_runs;
drop table stem.schedules;
-- +goose StatementBegin
create or replace function stem.schema_version() returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return 10;
end $$;
-- +goose StatementEnd
