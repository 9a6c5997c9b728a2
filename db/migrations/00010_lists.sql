-- What an operator sees: lists by keyset, counts, and views for people in psql. Every filter is a bound parameter and null
-- means any; nothing here changes anything.

-- +goose Up

-- A payload as text, null when it is not UTF-8 or holds a zero byte (Postgres text cannot). Never raises, so that one bad row
-- does not hide the others from a view. Whoever may read stem.job_payloads needs EXECUTE on this and on payload_json.
-- +goose StatementBegin
create function stem.payload_text(p_payload bytea) returns text
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return convert_from(p_payload, 'UTF8');
exception when others then
    return null;
end $$;
-- +goose StatementEnd

-- A payload as jsonb, null when it is not JSON that jsonb can hold: "\u0000", lone surrogates, numbers out of range and
-- nesting deeper than the server's stack raise errors of different classes, hence "others".
-- +goose StatementBegin
create function stem.payload_json(p_payload bytea) returns jsonb
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return convert_from(p_payload, 'UTF8')::jsonb;
exception when others then
    return null;
end $$;
-- +goose StatementEnd

-- Every ticket, one row a job. One branch a leaf with its slot as a constant, so that each branch comes in the order of the
-- ids from its primary key and a page is a merge of the heads, never a sort of the whole. The planner does not look for an
-- order in a branch that has a WHERE, hence their own ORDER BY: without it a page over 500 000 tickets took 255 ms.
-- kind is a constant in each branch: a branch that is not asked for is not entered. The casts take the columns out of their
-- domains: branches of different types are not merged.
create view stem._tickets as
select 'ready' as kind, 'ready' as state, r.job_id, r.slot::smallint as slot, r.queue, r.lane::smallint as lane, r.attempt::integer as attempt,
    r.failures::smallint as failures, r.crashes::smallint as crashes, r.releases::smallint as releases, r.generation::smallint as generation,
    null::timestamptz as due_at, null::uuid as worker, null::timestamptz as claimed_at, null::timestamptz as cancel_at,
    null::timestamptz as started_at, null::timestamptz as ended_at
from stem.ready r
union all
select 'scheduled', 'scheduled', s.job_id, s.slot::smallint, s.queue, s.lane::smallint, s.attempt::integer, s.failures::smallint, s.crashes::smallint,
    s.releases::smallint, s.generation::smallint,
    s.run_at::timestamptz, null, null, null, null, null
from stem.scheduled s
union all
select 'running', 'running', x.job_id, x.slot::smallint, x.queue, x.lane::smallint, x.attempt::integer, x.failures::smallint, x.crashes::smallint,
    x.releases::smallint, x.generation::smallint,
    null, x.worker, x.claimed_at, x.cancel_at, null, null
from stem.running x
union all
select 'dead', 'dead', d.id, null, d.queue, d.priority, d.attempt, d.failures, d.crashes, d.releases, d.generation,
    null, d.worker, null, null, null, d.died_at
from stem.dead d
union all
(select 'finished', f.outcome::text, f.job_id, f.slot, null, null, f.attempt::integer, null, null, null, f.generation::smallint,
    null, f.worker, null, null, f.started_at, f.finished_at
from stem.finished_0 f where f.slot = 0 order by f.job_id desc)
union all
(select 'finished', f.outcome::text, f.job_id, f.slot, null, null, f.attempt::integer, null, null, null, f.generation::smallint,
    null, f.worker, null, null, f.started_at, f.finished_at
from stem.finished_1 f where f.slot = 1 order by f.job_id desc)
union all
(select 'finished', f.outcome::text, f.job_id, f.slot, null, null, f.attempt::integer, null, null, null, f.generation::smallint,
    null, f.worker, null, null, f.started_at, f.finished_at
from stem.finished_2 f where f.slot = 2 order by f.job_id desc)
union all
(select 'finished', f.outcome::text, f.job_id, f.slot, null, null, f.attempt::integer, null, null, null, f.generation::smallint,
    null, f.worker, null, null, f.started_at, f.finished_at
from stem.finished_3 f where f.slot = 3 order by f.job_id desc)
union all
(select 'finished', f.outcome::text, f.job_id, f.slot, null, null, f.attempt::integer, null, null, null, f.generation::smallint,
    null, f.worker, null, null, f.started_at, f.finished_at
from stem.finished_4 f where f.slot = 4 order by f.job_id desc)
union all
(select 'finished', f.outcome::text, f.job_id, f.slot, null, null, f.attempt::integer, null, null, null, f.generation::smallint,
    null, f.worker, null, null, f.started_at, f.finished_at
from stem.finished_5 f where f.slot = 5 order by f.job_id desc)
union all
(select 'finished', f.outcome::text, f.job_id, f.slot, null, null, f.attempt::integer, null, null, null, f.generation::smallint,
    null, f.worker, null, null, f.started_at, f.finished_at
from stem.finished_6 f where f.slot = 6 order by f.job_id desc)
union all
(select 'finished', f.outcome::text, f.job_id, f.slot, null, null, f.attempt::integer, null, null, null, f.generation::smallint,
    null, f.worker, null, null, f.started_at, f.finished_at
from stem.finished_7 f where f.slot = 7 order by f.job_id desc);

-- For people: where every job is. Without payload, headers and errors, so that an observer may read it.
create view stem.job_status with (security_barrier) as
select t.job_id, t.state, coalesce(t.queue, e.queue) as queue, e.task, t.attempt, t.failures, t.crashes, t.generation, t.due_at, t.worker,
    t.claimed_at, t.cancel_at, t.started_at, t.ended_at, e.reason, e.created_at
from stem._tickets t
left join lateral (
    select j.queue, j.task, null as reason, j.created_at from stem.jobs j where j.slot = t.slot and j.id = t.job_id
    union all
    select d.queue, d.task, d.reason, d.created_at from stem.dead d where t.kind = 'dead' and d.id = t.job_id
    limit 1) e on true;
comment on view stem.job_status is 'Where every job is, for people. Not for lists of millions: use stem.list_jobs.';

-- For people: payloads, readable when they are text or JSON. Bad bytes give nulls, never an error.
create view stem.job_payloads with (security_barrier) as
select j.id as job_id, j.queue, j.task, j.codec, octet_length(j.payload) as bytes, stem.payload_json(j.payload) as json,
    stem.payload_text(j.payload) as text
from stem.jobs j
union all
select d.id, d.queue, d.task, d.codec, octet_length(d.payload), stem.payload_json(d.payload), stem.payload_text(d.payload)
from stem.dead d
where not exists (
    select from generate_series(0, 7) g(slot)
    cross join lateral (select from stem.jobs j where j.slot = g.slot and j.id = d.id limit 1) x);
comment on view stem.job_payloads is 'Payloads as jsonb and text; null where the bytes are neither.';

-- The smallest id of an instant, for time windows; instants that no UUIDv7 can have give the ends of all ids.
-- +goose StatementBegin
create function stem._id_bound(p_at timestamptz, p_default uuid) returns uuid
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return case
        when p_at is null then p_default
        when p_at < '1970-01-01T00:00:00Z' then '00000000-0000-0000-0000-000000000000'
        when p_at >= '5000-01-01T00:00:00Z' then 'ffffffff-ffff-ffff-ffff-ffffffffffff'
        else stem._uuid7_floor(p_at)
    end;
end $$;
-- +goose StatementEnd

-- The tables that can hold jobs in these states. Null: all. A state that does not exist is an error, never an empty list.
-- +goose StatementBegin
create function stem._kinds(p_states text[]) returns text[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bad text;
begin
    if p_states is null then
        return array['ready', 'scheduled', 'running', 'dead', 'finished'];
    end if;
    select s into v_bad from unnest(p_states) s
    where s is null or s not in ('ready', 'scheduled', 'running', 'dead', 'completed', 'cancelled', 'expired', 'replaced') limit 1;
    if found then
        raise exception using errcode = '22023', message = format('there is no job state %s', coalesce(quote_literal(left(v_bad, 64)), 'null')),
            hint = 'ready, scheduled, running, dead, completed, cancelled, expired, replaced';
    end if;
    return array(select distinct case when s in ('ready', 'scheduled', 'running', 'dead') then s else 'finished' end from unnest(p_states) s);
end $$;
-- +goose StatementEnd

-- A page of jobs, newest id first, with ids below p_before (null: from the newest). The window [p_since, p_until) is that of the
-- ids, which carry the producer's clock. At most p_scan tickets are looked at, so that a rare filter over millions is many short
-- calls and not one that runs into statement_timeout. A last row with an empty state carries the id to go on from; when the page
-- is full (p_limit rows) that is the id of its last row; a page that is neither full nor has that row ends the list.
--
-- A job that moves between two pages is in exactly one table in each, and its id decides on which page it is: no job comes twice,
-- none that stays within the filter is missed, and what is enqueued meanwhile has a newer id.
-- +goose StatementBegin
create function stem.list_jobs(
    p_states text[], p_queue text, p_task text, p_origin text, p_group text, p_since timestamptz, p_until timestamptz,
    p_before uuid, p_limit integer, p_scan integer
) returns table (
    job_id uuid, state text, queue text, task text, origin text, group_name text, priority smallint, max_attempts smallint,
    attempt integer, failures smallint, crashes smallint, releases smallint, generation smallint,
    due_at timestamptz, worker uuid, claimed_at timestamptz, cancel_at timestamptz, started_at timestamptz, ended_at timestamptz,
    created_at timestamptz, expires_at timestamptz, reason text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_kinds text[] := stem._kinds(p_states);
    v_below uuid := least(p_before, stem._id_bound(p_until, 'ffffffff-ffff-ffff-ffff-ffffffffffff'));
    v_floor uuid := stem._id_bound(p_since, '00000000-0000-0000-0000-000000000000');
    v_count integer;
begin
    return query
    select c.job_id, c.state, coalesce(c.queue, e.queue), e.task, e.origin, e.group_name, coalesce(e.priority, c.lane % 100::smallint)::smallint,
        e.max_attempts, c.attempt, c.failures, c.crashes, c.releases, c.generation, c.due_at, c.worker, c.claimed_at, c.cancel_at,
        c.started_at, c.ended_at, e.created_at, e.expires_at, e.reason
    from (
        select * from stem._tickets t
        where t.kind = any (v_kinds) and t.job_id < v_below and t.job_id >= v_floor
        order by t.job_id desc
        limit p_scan) c
    left join lateral (
        select j.queue, j.task, j.origin, j.group_name, j.priority, j.max_attempts, j.created_at, j.expires_at, null as reason
        from stem.jobs j where j.slot = c.slot and j.id = c.job_id
        union all
        select d.queue, d.task, d.origin, d.group_name, d.priority, d.max_attempts, d.created_at, d.expires_at, d.reason
        from stem.dead d where c.kind = 'dead' and d.id = c.job_id
        limit 1) e on true
    where (p_states is null or c.state = any (p_states))
      and (p_queue is null or coalesce(c.queue, e.queue) = p_queue)
      and (p_task is null or e.task = p_task)
      and (p_origin is null or e.origin = p_origin)
      and (p_group is null or e.group_name = p_group)
    order by c.job_id desc
    limit p_limit;
    get diagnostics v_count = row_count;
    if v_count < p_limit then
        -- Same snapshot (the function is STABLE), so this is the last of the very tickets that were looked at.
        select t.job_id into job_id from stem._tickets t
        where t.kind = any (v_kinds) and t.job_id < v_below and t.job_id >= v_floor
        order by t.job_id desc
        offset p_scan - 1 limit 1;
        if found then
            state := '';
            return next;
        end if;
    end if;
end $$;
-- +goose StatementEnd

-- How many of the next p_scan tickets match, and the id to go on from (null at the end). Same filter, same set as list_jobs.
-- +goose StatementBegin
create function stem.count_jobs(
    p_states text[], p_queue text, p_task text, p_origin text, p_group text, p_since timestamptz, p_until timestamptz,
    p_before uuid, p_scan integer
) returns table (matched bigint, next_before uuid)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- One page of p_scan rows over p_scan tickets is full only if all of them match.
    select count(*) filter (where l.state <> ''), coalesce(
            (array_agg(l.job_id) filter (where l.state = ''))[1],
            case when count(*) = p_scan then (array_agg(l.job_id order by l.job_id))[1] end)
    into matched, next_before
    from stem.list_jobs(p_states, p_queue, p_task, p_origin, p_group, p_since, p_until, p_before, p_scan, p_scan) l;
    return next;
end $$;
-- +goose StatementEnd

-- Everything about one job, its payload and result too; no row when it is not known. state "unknown": its envelope is there, but
-- it has no ticket (finished in a queue that keeps nothing, or purged). ahead: how many ready jobs of the queue are claimed
-- before this one, at most 10 000 are counted; null unless it is ready.
-- +goose StatementBegin
create function stem.show_job(p_job uuid) returns table (
    state text, queue text, task text, origin text, group_name text, priority smallint, max_attempts smallint,
    attempt integer, failures smallint, crashes smallint, releases smallint, generation smallint,
    due_at timestamptz, worker uuid, claimed_at timestamptz, cancel_at timestamptz, started_at timestamptz, ended_at timestamptz,
    created_at timestamptz, expires_at timestamptz, reason text,
    envelope boolean, payload bytea, codec text, headers jsonb, run_at timestamptz, delay_us bigint, nominal_at timestamptz,
    hard_limit_us bigint, soft_limit_us bigint, unique_key bytea, unique_scope smallint, payload_version integer, issued_at timestamptz,
    sig bytea, sig_key_id text, sig_alg text, error text, fingerprint text, result bytea, ahead bigint
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    with t as materialized (select * from stem._tickets x where x.job_id = p_job limit 1)
    select coalesce(t.state, 'unknown'), coalesce(t.queue, e.queue), e.task, e.origin, e.group_name,
        coalesce(e.priority, t.lane % 100::smallint)::smallint, e.max_attempts, coalesce(t.attempt, 0), t.failures, t.crashes, t.releases,
        coalesce(t.generation, 1::smallint), t.due_at, t.worker, t.claimed_at, t.cancel_at, t.started_at, t.ended_at,
        e.created_at, e.expires_at, e.reason,
        e.id is not null, e.payload, e.codec, e.headers, e.run_at, e.delay_us, e.nominal_at, e.hard_limit_us, e.soft_limit_us,
        e.unique_key, e.unique_scope, e.payload_version, e.issued_at, e.sig, e.sig_key_id, e.sig_alg, e.error, e.fingerprint,
        (select f.result from stem.finished f where f.slot = t.slot and f.job_id = p_job and t.kind = 'finished'),
        case when t.kind = 'ready' then (
            select count(*) from (
                select from stem.ready r, stem.ready m
                where m.job_id = p_job and r.queue = m.queue and (r.lane > m.lane or r.lane = m.lane and r.pos < m.pos)
                limit 10000) a) end
    from (values (1)) one
    left join t on true
    left join lateral (
        -- The dead letter's own copy, then the ticket's leaf, then any leaf: an envelope may be in two after a replay.
        (select d.id, d.queue, d.task, d.origin, d.group_name, d.priority, d.max_attempts, d.created_at, d.expires_at, d.reason, d.payload,
            d.codec, d.headers, d.run_at, d.delay_us, d.nominal_at, d.hard_limit_us, d.soft_limit_us, d.unique_key, d.unique_scope,
            d.payload_version, d.issued_at, d.sig, d.sig_key_id, d.sig_alg, d.error, d.fingerprint
         from stem.dead d where t.kind = 'dead' and d.id = p_job)
        union all
        (select j.id, j.queue, j.task, j.origin, j.group_name, j.priority, j.max_attempts, j.created_at, j.expires_at, null, j.payload,
            j.codec, j.headers, j.run_at, j.delay_us, j.nominal_at, j.hard_limit_us, j.soft_limit_us, j.unique_key, j.unique_scope,
            j.payload_version, j.issued_at, j.sig, j.sig_key_id, j.sig_alg, null, null
         from generate_series(0, 7) g(slot)
         cross join lateral (select * from stem.jobs y where y.slot = g.slot and y.id = p_job limit 1) j
         where t.slot is null or t.slot = g.slot)
        limit 1) e on true
    where t.job_id is not null or e.id is not null;
end $$;
-- +goose StatementEnd

-- The attempts of a job that ended in anything but plain success, oldest first: from the leaves of the ring, and from the
-- dead letter, whose leaf may be gone. A row that is in both comes once.
-- +goose StatementBegin
create function stem.list_attempts(p_job uuid) returns table (
    attempt integer, generation smallint, worker uuid, started_at timestamptz, ended_at timestamptz, outcome text, error text, fingerprint text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
begin
    return query
    select u.* from (
        select a.attempt, a.generation, a.worker, a.started_at, a.ended_at, a.outcome, a.error, a.fingerprint
        from stem.attempts a where a.job_id = p_job
        union
        select h.attempt, h.generation, h.worker, h."startedAt", h."endedAt", h.outcome, h.error, h.fingerprint
        from stem.dead d
        cross join lateral jsonb_to_recordset(d.history) h(
            attempt integer, generation smallint, worker uuid, "startedAt" timestamptz, "endedAt" timestamptz, outcome text, error text,
            fingerprint text)
        where d.id = p_job) u
    order by u.attempt, u.ended_at, u.outcome;
end $$;
-- +goose StatementEnd

-- A page of dead letters, latest death first. The cursor is (p_before_at, p_before_id); both null from the start. What dies while
-- somebody pages is newer than the cursor, so a bulk replay never meets the same letter twice.
-- +goose StatementBegin
create function stem.list_dead(
    p_queue text, p_task text, p_reason text, p_fingerprint text, p_sig_key_id text, p_since timestamptz, p_until timestamptz,
    p_before_at timestamptz, p_before_id uuid, p_limit integer
) returns table (
    id uuid, queue text, task text, reason text, error text, fingerprint text, died_at timestamptz, created_at timestamptz,
    attempt integer, failures smallint, crashes smallint, releases smallint, generation smallint, max_attempts smallint,
    priority smallint, origin text, group_name text, worker uuid, sig_key_id text, bytes integer
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select d.id, d.queue, d.task, d.reason, d.error, d.fingerprint, d.died_at, d.created_at,
        d.attempt, d.failures, d.crashes, d.releases, d.generation, d.max_attempts,
        d.priority, d.origin, d.group_name, d.worker, d.sig_key_id, octet_length(d.payload)
    from stem.dead d
    where (p_queue is null or d.queue = p_queue)
      and (p_task is null or d.task = p_task)
      and (p_reason is null or d.reason = p_reason)
      and (p_fingerprint is null or d.fingerprint = p_fingerprint)
      and (p_sig_key_id is null or d.sig_key_id = p_sig_key_id)
      and (p_since is null or d.died_at >= p_since)
      and (p_until is null or d.died_at < p_until)
      and (p_before_at is null or (d.died_at, d.id) < (p_before_at, p_before_id))
    order by d.died_at desc, d.id desc
    limit p_limit;
end $$;
-- +goose StatementEnd

-- Counts of the same set, by reason or by fingerprint (p_by), the largest first, with the latest as a sample.
-- +goose StatementBegin
create function stem.dead_groups(
    p_by text, p_queue text, p_task text, p_reason text, p_fingerprint text, p_sig_key_id text, p_since timestamptz, p_until timestamptz
) returns table (
    reason text, fingerprint text, tasks text[], queues text[], letters bigint, first_at timestamptz, last_at timestamptz, sample_id uuid, sample_error text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    if p_by is null or p_by not in ('reason', 'fingerprint') then
        raise exception using errcode = '22023', message = 'dead letters are grouped by reason or by fingerprint';
    end if;
    return query
    select
        case when p_by = 'reason' then g.key end, case when p_by = 'fingerprint' then g.key end,
        g.tasks[1:20], g.queues[1:20], g.n, g.first_at, g.last_at, g.sample, (select d.error from stem.dead d where d.id = g.sample)
    from (
        select k.key, count(*) as n, min(d.died_at) as first_at, max(d.died_at) as last_at,
            array_agg(distinct d.task) as tasks, array_agg(distinct d.queue) as queues,
            (array_agg(d.id order by d.died_at desc, d.id desc))[1] as sample
        from stem.dead d
        cross join lateral (values (case p_by when 'reason' then d.reason else d.fingerprint end)) k(key)
        where (p_queue is null or d.queue = p_queue)
          and (p_task is null or d.task = p_task)
          and (p_reason is null or d.reason = p_reason)
          and (p_fingerprint is null or d.fingerprint = p_fingerprint)
      and (p_sig_key_id is null or d.sig_key_id = p_sig_key_id)
          and (p_since is null or d.died_at >= p_since)
          and (p_until is null or d.died_at < p_until)
        group by k.key) g
    order by g.n desc, g.last_at desc, g.key
    limit 1000;
end $$;
-- +goose StatementEnd

-- Queues: those that have a row, a job or a worker; or only p_queue, which then always has one row.
--
-- Counts are exact while they are small: up to 10 000 ready jobs of a queue by its line, scheduled and dead jobs while their
-- tables have at most 512 and 4 096 pages. Beyond, a sample of that many pages is counted and scaled, and the …_exact column is
-- false. (These tables are never analysed, so the planner's statistics are of no use.) A table that is small but bloated is
-- sampled too: a sample counts only what is visible.
-- oldest_us: how long the oldest head of a lane has been ready; since its last attempt ended, when it has one.
-- +goose StatementBegin
create function stem.list_queues(p_queue text) returns table (
    name text, paused boolean, paused_by text, paused_why text, paused_since timestamptz, keep_finished boolean, has_row boolean,
    ready bigint, ready_exact boolean, scheduled bigint, scheduled_exact boolean, running bigint, dead bigint, dead_exact boolean,
    oldest_us bigint, workers bigint, slots bigint
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
#variable_conflict use_column
declare
    v_ready_pct real := least(100, 100.0 * 512 / greatest(1, pg_relation_size('stem.ready') / current_setting('block_size')::bigint));
    v_scheduled_pct real := least(100, 100.0 * 512 / greatest(1, pg_relation_size('stem.scheduled') / current_setting('block_size')::bigint));
    v_dead_pct real := least(100, 100.0 * 4096 / greatest(1, pg_relation_size('stem.dead') / current_setting('block_size')::bigint));
begin
    return query
    with recursive line(queue) as (
        -- The distinct queues of the line: one index probe each, whatever its length.
        (select r.queue from stem.ready r order by r.queue limit 1)
        union all
        select (select r.queue from stem.ready r where r.queue > l.queue order by r.queue limit 1) from line l where l.queue is not null
    ), later as materialized (
        select s.queue, (count(*) * 100 / v_scheduled_pct)::bigint as n
        from stem.scheduled s tablesample system (v_scheduled_pct) group by s.queue
    ), held as materialized (
        select x.queue, count(*) as n from stem.running x group by x.queue
    ), given_up as materialized (
        select d.queue, (count(*) * 100 / v_dead_pct)::bigint as n
        from stem.dead d tablesample system (v_dead_pct) group by d.queue
    ), served as materialized (
        select k.key as queue, count(*) as n, sum(case when k.value ~ '^[0-9]{1,9}$' then k.value::bigint else 0 end)::bigint as slots
        from stem.workers w cross join lateral jsonb_each_text(w.slots) k
        group by k.key
    ), names as (
        select p_queue as queue where p_queue is not null
        union
        select n.queue from (
            select l.queue from line l where l.queue is not null
            union select l.queue from later l
            union select h.queue from held h
            union select g.queue from given_up g
            union select s.queue from served s
            union select q.name from stem.queues q) n
        where p_queue is null
    ), counted as materialized (
        select n.queue, (select count(*) from (select from stem.ready r where r.queue = n.queue limit 10001) x) as n from names n
    ), sampled as materialized (
        select r.queue, (count(*) * 100 / v_ready_pct)::bigint as n
        from stem.ready r tablesample system (v_ready_pct)
        where exists (select from counted c where c.n > 10000)
        group by r.queue
    )
    select
        c.queue, coalesce(q.paused, false), q.paused_by, q.paused_why, q.paused_since, coalesce(q.keep_finished, true), q.name is not null,
        case when c.n <= 10000 then c.n else greatest(10001, coalesce(sampled.n, 0)) end, c.n <= 10000,
        coalesce(later.n, 0), v_scheduled_pct >= 100, coalesce(held.n, 0), coalesce(given_up.n, 0), v_dead_pct >= 100,
        (select max((extract(epoch from clock_timestamp() - coalesce(a.ended_at, j.run_at,
                j.created_at + coalesce(j.delay_us, 0) * interval '1 microsecond')) * 1000000)::bigint)
         from (values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (100), (101), (102), (103), (104), (105), (106), (107), (108), (109)) lanes(lane)
         cross join lateral (
            select r.slot, r.job_id, r.attempt from stem.ready r where r.queue = c.queue and r.lane = lanes.lane::smallint order by r.pos limit 1) head
         left join lateral (select y.run_at, y.created_at, y.delay_us from stem.jobs y where y.slot = head.slot and y.id = head.job_id limit 1) j on true
         left join lateral (
            select max(z.ended_at) as ended_at from stem.attempts z where head.attempt > 0 and z.slot = head.slot and z.job_id = head.job_id) a on true),
        coalesce(served.n, 0), coalesce(served.slots, 0)
    from counted c
    left join stem.queues q on q.name = c.queue
    left join sampled on sampled.queue = c.queue
    left join later on later.queue = c.queue
    left join held on held.queue = c.queue
    left join given_up on given_up.queue = c.queue
    left join served on served.queue = c.queue
    order by c.queue;
end $$;
-- +goose StatementEnd

-- Workers, live ones first. state: live; silent (its lease is over and nobody has declared it lost yet); lost (within 24 hours).
-- +goose StatementBegin
create function stem.list_workers(p_namespace text) returns table (
    id uuid, state text, node text, namespace text, host text, pid integer, boot text, version text, epoch bigint,
    started_at timestamptz, heartbeat_at timestamptz, silent_us bigint, lease_left_us bigint, lost_at timestamptz,
    slots jsonb, idle text[], tasks text[], stats jsonb, running bigint
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with held as materialized (select x.worker, count(*) as n from stem.running x group by x.worker)
    select u.* from (
    select w.id, case when w.lease_until < clock_timestamp() then 'silent' else 'live' end as state, w.node, w.namespace, w.host, w.pid, w.boot, w.version,
        w.epoch, w.started_at, w.heartbeat_at, (extract(epoch from clock_timestamp() - w.heartbeat_at) * 1000000)::bigint,
        (extract(epoch from w.lease_until - clock_timestamp()) * 1000000)::bigint, null::timestamptz,
        w.slots, w.idle, array(select k.task from jsonb_object_keys(w.tasks) k(task) order by k.task), w.stats, coalesce((select h.n from held h where h.worker = w.id), 0)
    from stem.workers w
    where p_namespace is null or w.namespace = p_namespace
    union all
    select l.id, 'lost', l.node, l.namespace, l.host, l.pid, null, null,
        null, l.started_at, l.heartbeat_at, (extract(epoch from clock_timestamp() - l.heartbeat_at) * 1000000)::bigint,
        0::bigint, l.lost_at, l.slots, '{}'::text[], '{}'::text[], '{}'::jsonb, coalesce((select h.n from held h where h.worker = l.id), 0)
    from stem.lost_workers l
    where (p_namespace is null or l.namespace = p_namespace) and l.lost_at > clock_timestamp() - interval '24 hours'
      -- A worker that deregistered with jobs in hand stands here too, until they are rescued; then it just went away.
      and (l.lost_by is distinct from l.id or l.cleared_at is null)) u
    order by array_position(array['live', 'silent', 'lost'], u.state), u.node, u.started_at, u.id;
end $$;
-- +goose StatementEnd

-- What live workers have registered: a row for each task, or several where workers say different things about it.
--
-- Nothing here trusts a worker's words: what is not of the right form is null and named in malformed ("name" and "entry" are
-- the task's name and what stands behind it). Members that nobody knows are ignored: a newer worker may say more. The queues
-- of a worker are reduced to 100 before they meet its tasks, or the product of the two could be as large as a worker likes.
-- +goose StatementBegin
create function stem.list_tasks(p_namespace text) returns table (
    task text, kind text, queue text, max_attempts integer, soft_limit_us bigint, hard_limit_us bigint, malformed text[],
    workers bigint, nodes text[], queues text[]
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with live as materialized (
        select w.node, w.tasks,
            to_jsonb(array(select k.queue from jsonb_object_keys(w.slots) k(queue) order by k.queue limit 100)) as served
        from stem.workers w
        where w.lease_until >= clock_timestamp() and (p_namespace is null or w.namespace = p_namespace)
    ), said as (
        -- A number is taken as text first: it may have 131 072 digits.
        select l.node, l.served, t.name, t.entry, t.entry -> 'kind' as kind, t.entry -> 'queue' as queue,
            case when jsonb_typeof(t.entry -> 'max_attempts') = 'number' then t.entry ->> 'max_attempts' end as attempts,
            case when jsonb_typeof(t.entry -> 'soft_limit_us') = 'number' then t.entry ->> 'soft_limit_us' end as soft,
            case when jsonb_typeof(t.entry -> 'hard_limit_us') = 'number' then t.entry ->> 'hard_limit_us' end as hard
        from live l cross join lateral jsonb_each(l.tasks) t(name, entry)
    ), understood as (
        -- Of 16 digits only those up to 8…: 9223372036854775 µs is the longest duration of Go.
        select s.*,
            case when jsonb_typeof(s.kind) = 'string' and s.kind #>> '{}' ~ '^[a-z][a-z0-9_-]{0,15}$' then s.kind #>> '{}' end as kind_text,
            case when jsonb_typeof(s.queue) = 'string' and s.queue #>> '{}' ~ '^[A-Za-z0-9_.:/-]+$' and octet_length(s.queue #>> '{}') <= 128
                then s.queue #>> '{}' end as queue_text,
            case when s.attempts ~ '^([1-9][0-9]{0,2}|1000)$' then s.attempts::integer end as attempts_n,
            case when s.soft ~ '^([0-9]{1,15}|[0-8][0-9]{15})$' then s.soft::bigint end as soft_n,
            case when s.hard ~ '^([0-9]{1,15}|[0-8][0-9]{15})$' then s.hard::bigint end as hard_n
        from said s
    ), judged as (
        select u.*, left(u.name, 128) as shown, array_remove(array[
            case when u.name !~ '^[A-Za-z0-9_.:/-]+$' or octet_length(u.name) > 128 then 'name' end,
            case when jsonb_typeof(u.entry) <> 'object' then 'entry' end,
            case when jsonb_typeof(u.entry -> 'kind') <> 'null' and u.kind_text is null then 'kind' end,
            case when jsonb_typeof(u.entry -> 'queue') <> 'null' and u.queue_text is null then 'queue' end,
            case when jsonb_typeof(u.entry -> 'max_attempts') <> 'null' and u.attempts_n is null then 'max_attempts' end,
            case when jsonb_typeof(u.entry -> 'soft_limit_us') <> 'null' and u.soft_n is null then 'soft_limit_us' end,
            case when jsonb_typeof(u.entry -> 'hard_limit_us') <> 'null' and u.hard_n is null then 'hard_limit_us' end], null) as wrong
        from understood u
    ), grouped as (
        select j.shown, j.kind_text, j.queue_text, j.attempts_n, j.soft_n, j.hard_n, j.wrong,
            count(*) as n, (array_agg(distinct j.node))[1:100] as nodes, jsonb_agg(distinct j.served) as served
        from judged j
        group by j.shown, j.kind_text, j.queue_text, j.attempts_n, j.soft_n, j.hard_n, j.wrong
    )
    select g.shown, g.kind_text, g.queue_text, g.attempts_n, g.soft_n, g.hard_n, g.wrong, g.n, g.nodes,
        array(select distinct q.queue from jsonb_array_elements(g.served) s(list)
              cross join lateral jsonb_array_elements_text(s.list) q(queue) order by q.queue limit 100)
    from grouped g
    order by g.shown, g.n desc, g.kind_text, g.queue_text, g.attempts_n, g.soft_n, g.hard_n, g.wrong;
end $$;
-- +goose StatementEnd

-- A page of the audit log, newest first, with ids below p_before (null: from the newest).
-- +goose StatementBegin
create function stem.list_audit(
    p_action text, p_actor text, p_target text, p_since timestamptz, p_until timestamptz, p_before bigint, p_limit integer
) returns table (
    id bigint, at timestamptz, actor text, application text, action text, target text, reason text, affected bigint, detail jsonb
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select a.id, a.at, a.actor, a.application, a.action, a.target, a.reason, a.affected, a.detail
    from stem.audit a
    where (p_action is null or a.action = p_action)
      and (p_actor is null or a.actor = p_actor)
      and (p_target is null or a.target = p_target)
      and (p_since is null or a.at >= p_since)
      and (p_until is null or a.at < p_until)
      and (p_before is null or a.id < p_before)
    order by a.id desc
    limit p_limit;
end $$;
-- +goose StatementEnd

-- A page of envelopes as they stand in the table, with what they are signed with, newest id first, below p_before (null: from the
-- newest): for those who verify them. States: ready, scheduled, running, dead. It ends early once its payloads come to p_bytes, and
-- the list ends with an empty page. due_at is when a worker claimed the job or may claim it, null for a dead one; ticket_queue is where its
-- ticket stands; task is null when there is no envelope.
-- +goose StatementBegin
create function stem.list_envelopes(p_states text[], p_before uuid, p_limit integer, p_bytes bigint) returns table (
    job_id uuid, state text, ticket_queue text, due_at timestamptz, queue text, task text, origin text, group_name text, priority smallint,
    max_attempts smallint, created_at timestamptz, expires_at timestamptz, payload bytea, codec text, headers jsonb, run_at timestamptz,
    delay_us bigint, nominal_at timestamptz, hard_limit_us bigint, soft_limit_us bigint, unique_key bytea, payload_version integer,
    issued_at timestamptz, sig bytea, sig_key_id text, sig_alg text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_kinds text[] := stem._kinds(p_states);
    v_below uuid := coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    v_bytes bigint := 0;
begin
    if 'finished' = any (v_kinds) then
        raise exception using errcode = '22023', message = 'jobs that have ended are verified by nobody', hint = 'ready, scheduled, running, dead';
    end if;
    for
        job_id, state, ticket_queue, due_at, queue, task, origin, group_name, priority, max_attempts, created_at, expires_at, payload, codec,
        headers, run_at, delay_us, nominal_at, hard_limit_us, soft_limit_us, unique_key, payload_version, issued_at, sig, sig_key_id, sig_alg
    in
        select c.job_id, c.state, coalesce(c.queue, e.queue),
            case c.kind when 'running' then c.claimed_at when 'scheduled' then c.due_at when 'ready' then clock_timestamp() end,
            e.queue, e.task, e.origin, e.group_name, e.priority, e.max_attempts, e.created_at, e.expires_at, e.payload, e.codec, e.headers, e.run_at,
            e.delay_us, e.nominal_at, e.hard_limit_us, e.soft_limit_us, e.unique_key, e.payload_version, e.issued_at, e.sig, e.sig_key_id, e.sig_alg
        from (
            select * from stem._tickets t
            where t.kind = any (v_kinds) and t.job_id < v_below
            order by t.job_id desc
            limit p_limit) c
        left join lateral (
            select j.queue::text, j.task::text, j.origin::text, j.group_name::text, j.priority::smallint, j.max_attempts::smallint, j.created_at,
                j.expires_at::timestamptz, j.payload::bytea, j.codec::text, j.headers::jsonb, j.run_at::timestamptz, j.delay_us::bigint,
                j.nominal_at::timestamptz, j.hard_limit_us::bigint, j.soft_limit_us::bigint, j.unique_key::bytea, j.payload_version::integer,
                j.issued_at::timestamptz, j.sig::bytea, j.sig_key_id::text, j.sig_alg::text
            from stem.jobs j where j.slot = c.slot and j.id = c.job_id
            union all
            select d.queue, d.task, d.origin, d.group_name, d.priority, d.max_attempts, d.created_at, d.expires_at, d.payload, d.codec, d.headers,
                d.run_at, d.delay_us, d.nominal_at, d.hard_limit_us, d.soft_limit_us, d.unique_key, d.payload_version, d.issued_at, d.sig,
                d.sig_key_id, d.sig_alg
            from stem.dead d where c.kind = 'dead' and d.id = c.job_id
            limit 1) e on true
    loop
        return next;
        v_bytes := v_bytes + coalesce(octet_length(payload), 0);
        exit when v_bytes >= p_bytes;
    end loop;
end $$;
-- +goose StatementEnd

-- How many jobs that have not ended and how many dead letters each key has signed, of the next p_scan tickets below p_before (null: from
-- the newest id). key_id is null for unsigned ones, state is the table: ready, scheduled, running, dead. next_before is where to go
-- on, in every row and null at the end; a row with an empty state carries nothing else. What has no envelope is not counted. A job
-- that moves between two pages is counted once: see stem.list_jobs.
-- +goose StatementBegin
create function stem.signature_usage(p_before uuid, p_scan integer) returns table (
    key_id text, alg text, state text, jobs bigint, next_before uuid
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_kinds text[] := array['ready', 'scheduled', 'running', 'dead'];
    v_below uuid := coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    v_last uuid;
begin
    select t.job_id into v_last from stem._tickets t
    where t.kind = any (v_kinds) and t.job_id < v_below
    order by t.job_id desc
    offset p_scan - 1 limit 1;
    return query
    select e.sig_key_id, e.sig_alg, c.kind, count(*), v_last
    from (
        -- Same snapshot (the function is STABLE), so the last of these is the one above.
        select t.kind, t.slot, t.job_id from stem._tickets t
        where t.kind = any (v_kinds) and t.job_id < v_below
        order by t.job_id desc
        limit p_scan) c
    cross join lateral (
        select j.sig_key_id::text, j.sig_alg::text from stem.jobs j where j.slot = c.slot and j.id = c.job_id
        union all
        select d.sig_key_id, d.sig_alg from stem.dead d where c.kind = 'dead' and d.id = c.job_id
        limit 1) e
    group by e.sig_key_id, e.sig_alg, c.kind
    union all
    select null, null, '', 0::bigint, v_last where v_last is not null;
end $$;
-- +goose StatementEnd

-- The version of the schema, for programs, which have no right on goose's table. Each migration replaces it.
-- +goose StatementBegin
create function stem.schema_version() returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return 10;
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;
revoke all on all tables in schema stem from public;
revoke all on type stem._tickets, stem.job_status, stem.job_payloads from public;

-- +goose Down
drop function stem.schema_version;
drop function stem.signature_usage;
drop function stem.list_envelopes;
drop function stem.list_audit;
drop function stem.list_tasks;
drop function stem.list_workers;
drop function stem.list_queues;
drop function stem.dead_groups;
drop function stem.list_dead;
drop function stem.list_attempts;
drop function stem.show_job;
drop function stem.count_jobs;
drop function stem.list_jobs;
drop function stem._kinds;
drop function stem._id_bound;
drop view stem.job_payloads;
drop view stem.job_status;
drop view stem._tickets;
drop function stem.payload_json;
drop function stem.payload_text;
