-- Claim: ready → running, by a worker whose row is still there with its epoch.

-- +goose Up

-- The lanes of queue q are p_lanes[q.first..q.last], each with its low-water mark in p_lows: positions at or below it
-- are dead entries that this worker need not walk over again. A mark is a hint; where it comes from is worker/marks.go.
--
-- Why this form:
--   * The guard (me) sits inside the LIMIT of the ctid array. A CTE that nobody reads never runs, and one that is joined
--     only to the INSERT lost 3 of 10 jobs. FOR KEY SHARE does not see a non-key update made after its snapshot, so a
--     worker is declared lost by DELETE (00005_workers.sql).
--   * The pause is looked at by the same statement, so no claim starts after a pause has committed.
--   * ctid = any (array(…)): a LIMIT inside IN (…) may claim more than asked; the array form does not.
--   * A ticket whose job is running already, or that is there twice, is a stray (a restored dump, a hand's edit). The claim fails with
--     23505 on running_pkey and takes nothing; call stem.drop_strays with the same lanes, and claim again. ON CONFLICT DO
--     NOTHING passed over it, for 1 µs and a third log record for every job of everyone (speculative insertion), and let a job
--     that was there twice run twice.
--   * A ticket without an envelope comes back with a null task, and the worker buries it. An inner join hid it for ever.
--
-- What is as usual is not sent, since each value costs a tenth of a microsecond on its way: envelope_queue is null when it is the
-- ticket's, priority when it is the lane, codec when it is application/json, origin when it is app, generation when it is 1, a
-- counter when it is 0, expired when the job has no expiry. claimed_at and xid, the claim's own transaction, are the same in each row.
-- +goose StatementBegin
create function stem.claim(
    p_worker uuid, p_epoch bigint, p_claim uuid, p_seq bigint, p_total integer,
    p_queues text[], p_limits integer[], p_first integer[], p_last integer[], p_lanes smallint[], p_lows bigint[]
) returns table (
    queue text, lane smallint, pos bigint, job_id uuid,
    attempt integer, failures smallint, crashes smallint, releases smallint, generation smallint,
    claimed_at timestamptz, xid bigint, expired boolean,
    task text, envelope_queue text, payload bytea, codec text, headers jsonb, priority smallint, run_at timestamptz, delay_us bigint,
    nominal_at timestamptz, expires_at timestamptz, max_attempts smallint, hard_limit_us bigint, soft_limit_us bigint,
    unique_key bytea, origin text, payload_version integer, group_name text, issued_at timestamptz, created_at timestamptz,
    sig bytea, sig_key_id text, sig_alg text
)
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
begin
    return query
    with me as materialized (
        select from stem.workers w where w.id = p_worker and w.epoch = p_epoch for key share
    ), got as materialized (
        delete from stem.ready where ctid = any (array(
            select x.t
            from unnest(p_queues, p_limits, p_first, p_last) q(queue, lim, first, last)
            cross join lateral (
                select l.t
                from generate_series(q.first, q.last) i
                cross join lateral (
                    select r.ctid as t
                    from stem.ready r
                    where r.queue = q.queue and r.lane = p_lanes[i] and r.pos > p_lows[i]
                      and not exists (select from stem.queues s where s.name = q.queue and s.paused)
                    order by r.pos
                    limit q.lim
                    for update of r skip locked) l
                limit q.lim) x
            limit (select case when exists (select from me) then p_total else 0 end)))
        returning *
    ), run as (
        insert into stem.running (
            job_id, claim_id, worker, seq, pos, queue, lane, slot, attempt, failures, crashes, releases, generation,
            grace_since, max_attempts, unique_scope)
        select
            g.job_id, p_claim, p_worker, p_seq, g.pos, g.queue, g.lane, g.slot, g.attempt + 1, g.failures, g.crashes, g.releases,
            g.generation, g.grace_since, g.max_attempts, g.unique_scope
        from got g
    ), freed as (
        -- Keys that are held only until the job is first claimed.
        delete from stem.unique_keys where ctid = any (array(
            select k.t from got g
            cross join lateral (
                select u.ctid as t from stem.unique_keys u where u.job_id = g.job_id limit 1 for update) k
            where g.unique_scope = 1))
    )
    select
        g.queue, g.lane::smallint, g.pos, g.job_id,
        g.attempt + 1, nullif(g.failures, 0)::smallint, nullif(g.crashes, 0)::smallint, nullif(g.releases, 0)::smallint,
        nullif(g.generation, 1)::smallint,
        v_now, (select pg_current_xact_id()::text::bigint), j.expires_at <= v_now,
        j.task::text, nullif(j.queue, g.queue), j.payload::bytea, nullif(j.codec, 'application/json'), j.headers::jsonb,
        nullif(j.priority, g.lane)::smallint, j.run_at::timestamptz, j.delay_us::bigint, j.nominal_at::timestamptz, j.expires_at::timestamptz, j.max_attempts::smallint, j.hard_limit_us::bigint,
        j.soft_limit_us::bigint, j.unique_key::bytea, nullif(j.origin, 'app'), j.payload_version::integer, j.group_name::text,
        j.issued_at::timestamptz, j.created_at, j.sig::bytea, j.sig_key_id::text, j.sig_alg::text
    from got g
    left join lateral (select * from stem.jobs e where e.slot = g.slot and e.id = g.job_id limit 1) j on true;
end $$;
-- +goose StatementEnd

-- Deletes the strays among the tickets that stem.claim would look at with these arguments: those of jobs that run, and of those that
-- have another ticket before this one. Returns how many.
-- +goose StatementBegin
create function stem.drop_strays(
    p_queues text[], p_limits integer[], p_first integer[], p_last integer[], p_lanes smallint[], p_lows bigint[]
) returns integer
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_count integer;
begin
    delete from stem.ready where ctid = any (array(
        select s.t
        from unnest(p_queues, p_limits, p_first, p_last) q(queue, lim, first, last)
        cross join lateral (
            select l.pos, l.lane
            from generate_series(q.first, q.last) i
            cross join lateral (
                select r.pos, r.lane, r.job_id
                from stem.ready r
                where r.queue = q.queue and r.lane = p_lanes[i] and r.pos > p_lows[i]
                order by r.pos
                limit q.lim) l
            where exists (select from stem.running x where x.job_id = l.job_id)
               or exists (select from stem.ready o where o.job_id = l.job_id and o.pos < l.pos)) n
        cross join lateral (
            select r.ctid as t from stem.ready r
            where r.queue = q.queue and r.lane = n.lane and r.pos = n.pos
            limit 1
            for update skip locked) s));
    get diagnostics v_count = row_count;
    return v_count;
end $$;
-- +goose StatementEnd

-- What a worker needs to move its marks: the last position drawn, the oldest transaction that is still running, and for
-- each lane the lowest visible ticket above the given mark, all in one snapshot, by plain reads: a row that another claim
-- is deleting still counts.
-- +goose StatementBegin
create function stem.horizon(p_queues text[], p_lanes smallint[], p_lows bigint[])
returns table (last_pos bigint, oldest_xid text, heads bigint[])
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select
        -- A sequence that was never drawn from says 1 as well: then the first position is still to come.
        (select case when s.is_called then s.last_value else s.last_value - 1 end from stem.ticket_pos s),
        pg_snapshot_xmin(pg_current_snapshot())::text,
        array(
            select (select r.pos from stem.ready r
                    where r.queue = w.queue and r.lane = w.lane and r.pos > w.low order by r.pos limit 1)
            from unnest(p_queues, p_lanes, p_lows) with ordinality w(queue, lane, low, ord)
            order by w.ord);
end $$;
-- +goose StatementEnd

-- An ambiguous claim: the connection died, and the statement may still be running. First the epoch is raised (this waits for
-- a claim in flight, which holds the row FOR KEY SHARE, and voids one that has not started); then, in a second statement,
-- what the claim took goes back to the line uncharged: nobody has begun it. The second waits a second for whoever holds a row
-- (an operator's cancel that is not committed) and then gives all of it up, 55P03: call both again.
-- +goose StatementBegin
create function stem.raise_epoch(p_worker uuid, p_epoch bigint) returns bigint
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_epoch bigint;
begin
    -- FOR UPDATE conflicts with KEY SHARE; an UPDATE of a column outside every key would not. Repeating the call is safe: its
    -- answer, too, may get lost.
    perform from stem.workers w where w.id = p_worker and w.epoch in (p_epoch, p_epoch + 1) for update;
    update stem.workers w set epoch = p_epoch + 1 where w.id = p_worker and w.epoch in (p_epoch, p_epoch + 1) returning w.epoch into v_epoch;
    return v_epoch;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function stem.void_claim(p_worker uuid, p_claim uuid) returns integer
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
set plan_cache_mode = force_generic_plan
as $$
declare
    v_drop text[] := stem._keep_nothing();
    v_count integer;
begin
    perform stem._wants_fresh_snapshots('void_claim'); -- raise_epoch waited for the claim [race]
    with back as materialized (
        delete from stem.running r where r.worker = p_worker and r.claim_id = p_claim returning *
    ), put_ready as (
        insert into stem.ready (
            queue, lane, pos, job_id, slot, attempt, failures, crashes, releases, generation, grace_since, max_attempts, unique_scope, wake)
        select
            b.queue, b.lane, nextval('stem.ticket_pos'), b.job_id, b.slot, b.attempt, b.failures, b.crashes, b.releases, b.generation,
            b.grace_since, b.max_attempts, b.unique_scope, row_number() over (partition by b.queue) = 1
        from back b where b.cancel_at is null
    ), put_finished as (
        -- Cancellation wins over being put back, as in stem.put_back: the flag would be lost with the row.
        insert into stem.finished (slot, job_id, generation, attempt, worker, outcome)
        select b.slot, b.job_id, b.generation, b.attempt, p_worker, 'cancelled'
        from back b where b.cancel_at is not null and b.queue <> all (v_drop)
        on conflict (slot, job_id) do nothing
    ), freed as (
        delete from stem.unique_keys u using back b where b.cancel_at is not null and b.unique_scope = 2 and u.job_id = b.job_id
    )
    select count(*) into v_count from back;
    return v_count;
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;

-- +goose Down
drop function stem.void_claim;
drop function stem.raise_epoch;
drop function stem.horizon;
drop function stem.drop_strays;
drop function stem.claim;
