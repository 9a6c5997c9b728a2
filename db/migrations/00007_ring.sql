-- Retention: a ring of eight leaves, no DDL at run time (docs/adr/0003-ring.md).

-- +goose Up

-- Carries envelopes and their attempts from one leaf to another, before the first is emptied. Copies: what stays behind goes
-- with its leaf, and until then a statement that still has the old slot finds the envelope there.
-- +goose StatementBegin
create function stem._ring_copy(p_jobs uuid[], p_from smallint, p_to smallint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    insert into stem.jobs (
        slot, id, queue, task, payload, codec, headers, priority, run_at, delay_us, nominal_at, expires_at, max_attempts,
        hard_limit_us, soft_limit_us, unique_key, unique_scope, origin, payload_version, group_name, issued_at, created_at,
        sig, sig_key_id, sig_alg)
    select
        p_to, j.id, j.queue, j.task, j.payload, j.codec, j.headers, j.priority, j.run_at, j.delay_us, j.nominal_at, j.expires_at,
        j.max_attempts, j.hard_limit_us, j.soft_limit_us, j.unique_key, j.unique_scope, j.origin, j.payload_version, j.group_name,
        j.issued_at, j.created_at, j.sig, j.sig_key_id, j.sig_alg
    from unnest(p_jobs) u(id)
    cross join lateral (select * from stem.jobs e where e.slot = p_from and e.id = u.id limit 1) j
    on conflict (slot, id) do nothing;
    insert into stem.attempts (slot, job_id, attempt, generation, worker, started_at, ended_at, outcome, error, fingerprint)
    select p_to, a.job_id, a.attempt, a.generation, a.worker, a.started_at, a.ended_at, a.outcome, a.error, a.fingerprint
    from stem.attempts a where a.slot = p_from and a.job_id = any (p_jobs);
end $$;
-- +goose StatementEnd

-- One step of the walk that carries what outlives leaf p_from to leaf p_to: scheduled tickets, waiting ones (in this order: a due move carries tickets that way), and finished jobs
-- younger than p_cutoff. Looks at 50 000 rows at most, moves p_limit at most, and remembers in stem.ring_work how far it came.
-- Returns how many it moved.
--
-- A ticket keeps its place in the line, only its slot changes, so the claim's low-water marks hold. Its row is locked before
-- anything is copied [race]: what a claim, a cancel or a due move has in hand is passed over (and kept in its old leaf by the last
-- step, if it comes back), and while it is locked here they pass it over or wait. Running jobs are not moved: their workers go on
-- writing attempts to the leaf that they know.
-- +goose StatementBegin
create function stem._ring_move(p_from smallint, p_to smallint, p_cutoff timestamptz, p_limit integer) returns integer
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    w stem.ring_work;
    v_tickets tid[];
    v_jobs uuid[];
    v_full boolean;
    v_seen bigint;
    v_last record;
begin
    select * into strict w from stem.ring_work;
    if w.phase = 0 then
        with seen as materialized (
            select s.run_at, s.job_id, s.slot from stem.scheduled s
            where (s.run_at, s.job_id) > (w.at_time, w.at_job)
            order by s.run_at, s.job_id limit 50000
        ), picked as materialized (
            select s.* from seen s where s.slot = p_from order by s.run_at, s.job_id limit p_limit
        ), held as materialized (
            select h.* from picked p
            cross join lateral (
                select s.ctid as t, s.job_id from stem.scheduled s
                where s.run_at = p.run_at and s.job_id = p.job_id and s.slot = p_from
                limit 1 for update skip locked) h
        ), reached as (
            select s.* from (select (select count(*) from picked) = p_limit) f(already)
            cross join lateral (
                (select p.* from picked p where f.already order by p.run_at desc, p.job_id desc limit 1)
                union all
                (select n.* from seen n where not f.already order by n.run_at desc, n.job_id desc limit 1)) s
        )
        select array(select h.t from held h), array(select h.job_id from held h), (select count(*) from picked) = p_limit,
            (select count(*) from seen), x.run_at, x.job_id
        into v_tickets, v_jobs, v_full, v_seen, w.at_time, w.at_job
        from (values (1)) one left join reached x on true;
        perform stem._ring_copy(v_jobs, p_from, p_to);
        update stem.scheduled set slot = p_to where ctid = any (v_tickets);
    elsif w.phase = 1 then
        with seen as materialized (
            select r.queue, r.lane, r.pos, r.slot from stem.ready r
            where (r.queue, r.lane, r.pos) > (w.at_queue, w.at_lane, w.at_pos)
            order by r.queue, r.lane, r.pos limit 50000
        ), picked as materialized (
            select s.* from seen s where s.slot = p_from order by s.queue, s.lane, s.pos limit p_limit
        ), held as materialized (
            select h.* from picked p
            cross join lateral (
                select r.ctid as t, r.job_id from stem.ready r
                where r.queue = p.queue and r.lane = p.lane and r.pos = p.pos and r.slot = p_from
                limit 1 for update skip locked) h
        ), reached as (
            select s.* from (select (select count(*) from picked) = p_limit) f(already)
            cross join lateral (
                (select p.* from picked p where f.already order by p.queue desc, p.lane desc, p.pos desc limit 1)
                union all
                (select n.* from seen n where not f.already order by n.queue desc, n.lane desc, n.pos desc limit 1)) s
        )
        select array(select h.t from held h), array(select h.job_id from held h), (select count(*) from picked) = p_limit,
            (select count(*) from seen), x.queue, x.lane, x.pos
        into v_tickets, v_jobs, v_full, v_seen, w.at_queue, w.at_lane, w.at_pos
        from (values (1)) one left join reached x on true;
        perform stem._ring_copy(v_jobs, p_from, p_to);
        update stem.ready set slot = p_to where ctid = any (v_tickets);
    else
        -- Finished rows are never changed, and nobody but the ring takes them away: no lock is needed.
        with seen as materialized (
            select f.job_id, f.finished_at from stem.finished f
            where f.slot = p_from and f.job_id > w.at_job
            order by f.job_id limit 50000
        ), picked as materialized (
            select s.* from seen s where s.finished_at > p_cutoff order by s.job_id limit p_limit
        )
        select array(select p.job_id from picked p), (select count(*) from picked) = p_limit, (select count(*) from seen),
            case when (select count(*) from picked) = p_limit then (select p.job_id from picked p order by p.job_id desc limit 1)
                else (select s.job_id from seen s order by s.job_id desc limit 1) end
        into v_jobs, v_full, v_seen, w.at_job;
        perform stem._ring_copy(v_jobs, p_from, p_to);
        with gone as (
            delete from stem.finished f where f.slot = p_from and f.job_id = any (v_jobs) returning f.*
        )
        insert into stem.finished (slot, job_id, generation, attempt, worker, outcome, started_at, finished_at, result)
        select p_to, g.job_id, g.generation, g.attempt, g.worker, g.outcome, g.started_at, g.finished_at, g.result from gone g
        on conflict (slot, job_id) do nothing;
    end if;
    if v_full or v_seen = 50000 then
        update stem.ring_work set at_queue = w.at_queue, at_lane = w.at_lane, at_pos = w.at_pos, at_time = w.at_time, at_job = w.at_job;
    else
        perform stem._ring_phase(w.target, (w.phase + 1)::smallint);
    end if;
    return cardinality(v_jobs);
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function stem._ring_phase(p_target bigint, p_phase smallint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update stem.ring_work set target = p_target, phase = p_phase, at_queue = default, at_lane = default, at_pos = default,
        at_time = default, at_job = default;
end $$;
-- +goose StatementEnd

-- Keeps writers away from one leaf, until the end of the transaction. There is no dynamic SQL behind the door, hence the list.
-- +goose StatementBegin
create function stem._ring_hold(p_leaf smallint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    case p_leaf
        when 0 then lock table stem.jobs_0, stem.finished_0, stem.attempts_0 in share mode;
        when 1 then lock table stem.jobs_1, stem.finished_1, stem.attempts_1 in share mode;
        when 2 then lock table stem.jobs_2, stem.finished_2, stem.attempts_2 in share mode;
        when 3 then lock table stem.jobs_3, stem.finished_3, stem.attempts_3 in share mode;
        when 4 then lock table stem.jobs_4, stem.finished_4, stem.attempts_4 in share mode;
        when 5 then lock table stem.jobs_5, stem.finished_5, stem.attempts_5 in share mode;
        when 6 then lock table stem.jobs_6, stem.finished_6, stem.attempts_6 in share mode;
        when 7 then lock table stem.jobs_7, stem.finished_7, stem.attempts_7 in share mode;
    end case;
end $$;
-- +goose StatementEnd

-- Keeps everybody away.
-- +goose StatementBegin
create function stem._ring_lock(p_leaf smallint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    case p_leaf
        when 0 then lock table stem.jobs_0, stem.finished_0, stem.attempts_0 in access exclusive mode;
        when 1 then lock table stem.jobs_1, stem.finished_1, stem.attempts_1 in access exclusive mode;
        when 2 then lock table stem.jobs_2, stem.finished_2, stem.attempts_2 in access exclusive mode;
        when 3 then lock table stem.jobs_3, stem.finished_3, stem.attempts_3 in access exclusive mode;
        when 4 then lock table stem.jobs_4, stem.finished_4, stem.attempts_4 in access exclusive mode;
        when 5 then lock table stem.jobs_5, stem.finished_5, stem.attempts_5 in access exclusive mode;
        when 6 then lock table stem.jobs_6, stem.finished_6, stem.attempts_6 in access exclusive mode;
        when 7 then lock table stem.jobs_7, stem.finished_7, stem.attempts_7 in access exclusive mode;
    end case;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function stem._ring_truncate(p_leaf smallint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    case p_leaf
        when 0 then truncate stem.jobs_0, stem.finished_0, stem.attempts_0;
        when 1 then truncate stem.jobs_1, stem.finished_1, stem.attempts_1;
        when 2 then truncate stem.jobs_2, stem.finished_2, stem.attempts_2;
        when 3 then truncate stem.jobs_3, stem.finished_3, stem.attempts_3;
        when 4 then truncate stem.jobs_4, stem.finished_4, stem.attempts_4;
        when 5 then truncate stem.jobs_5, stem.finished_5, stem.attempts_5;
        when 6 then truncate stem.jobs_6, stem.finished_6, stem.attempts_6;
        when 7 then truncate stem.jobs_7, stem.finished_7, stem.attempts_7;
    end case;
end $$;
-- +goose StatementEnd

-- The last step: empties the leaf and puts back what is left in it, under a lock on that leaf alone. Null when there is too much
-- to put back, which means that it should be moved first.
-- +goose StatementBegin
create function stem._ring_empty(p_leaf smallint, p_cutoff timestamptz, p_limit integer) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tickets uuid[];
    v_waiting bigint;
    v_young uuid[];
    v_kept uuid[];
begin
    -- Wait for transactions that wrote to this leaf when it was current, six periods ago, and still have tickets to commit [race]:
    -- what they enqueued must be among what is kept. Claims and enqueues go on under this lock; a settlement waits if it writes
    -- here, which is of a job that was claimed before its ticket could be moved.
    perform stem._ring_hold(p_leaf);
    -- Nothing can get a new ticket in this leaf now, so these sets only shrink until the stronger lock is ours. One statement
    -- over all three tables [race]: a ticket that goes back from running to ready must not slip between two looks.
    select coalesce(array_agg(t.job_id), '{}'), count(*) filter (where t.waits) into v_tickets, v_waiting
    from (
        select r.job_id, true as waits from stem.ready r where r.slot = p_leaf
        union all select s.job_id, true from stem.scheduled s where s.slot = p_leaf
        union all select x.job_id, false from stem.running x where x.slot = p_leaf) t;
    v_young := array(select f.job_id from stem.finished f where f.slot = p_leaf and f.finished_at > p_cutoff);
    if v_waiting + cardinality(v_young) > p_limit then
        return null;
    end if;
    v_kept := v_tickets || v_young;
    insert into stem.ring_finished select f.* from stem.finished f where f.slot = p_leaf and f.job_id = any (v_kept);
    insert into stem.ring_jobs select j.* from stem.jobs j where j.slot = p_leaf and j.id = any (v_kept);
    insert into stem.ring_attempts select a.* from stem.attempts a where a.slot = p_leaf and a.job_id = any (v_kept);

    perform stem._ring_lock(p_leaf);
    perform stem._ring_truncate(p_leaf);
    insert into stem.jobs select * from stem.ring_jobs;
    insert into stem.finished select * from stem.ring_finished;
    insert into stem.attempts select * from stem.ring_attempts;
    truncate stem.ring_jobs, stem.ring_finished, stem.ring_attempts;
    return 'turned';
end $$;
-- +goose StatementEnd

-- Empties the leaf of the next period, from a quarter of this one on. Any worker may call it, on its own and under READ
-- COMMITTED. What outlives the leaf (envelopes that still have a ticket, finished jobs younger than six periods) is first carried to
-- the current leaf in batches, one a call, so that the locked step at the end is short. Returns what happened:
--   not due  the next leaf is empty, or this period is young
--   moving   a batch was moved: call again, after a pause as long as this call took
--   taken    another worker is at it
--   busy     the leaf is locked, by a dump for instance; try again later
--   turned   the leaf was emptied
--   late     it was not emptied in time. Its old rows stay for one more turn of the ring; new ones join them
-- +goose StatementBegin
create function stem.rotate() returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_period interval;
    v_start timestamptz;
    v_number bigint := stem._period_at(v_now);
    v_leaf smallint := (v_number + 1) & 7;
    v_rest timestamptz;
    v_phase smallint;
    v_moved integer := 0;
    v_result text;
begin
    -- Under a stricter level the set of what is to be kept would be read in a snapshot older than the SHARE lock [race]: an
    -- envelope whose ticket was committed in between would be lost.
    perform stem._wants_fresh_snapshots('rotate');
    select r.period, r.origin + v_number * r.period into strict v_period, v_start from stem.ring r;
    if v_now < v_start + v_period / 4 or exists (select from stem.ring_work w where w.emptied = v_number + 1) then
        return 'not due';
    end if;
    -- Ids of the next 10 minutes are enqueued already: from then on the leaf holds what must stay.
    if v_now > v_start + v_period - interval '11 minutes' then
        return 'late';
    end if;
    select case when w.target = v_number + 1 then w.phase end, w.rest_until into v_phase, v_rest from stem.ring_work w for update skip locked;
    if not found or v_rest between v_now and v_now + interval '10 seconds' then
        return 'taken';
    end if;
    if v_phase is null then
        perform stem._ring_phase(v_number + 1, 0::smallint);
    end if;
    while v_moved = 0 and clock_timestamp() < v_now + interval '100 milliseconds' loop
        select w.phase into v_phase from stem.ring_work w;
        exit when v_phase = 3;
        v_moved := stem._ring_move(v_leaf, (v_number & 7)::smallint, v_now - 6 * v_period, 2000);
    end loop;
    if v_moved = 0 and v_phase = 3 then
        v_result := stem._ring_empty(v_leaf, v_now - 6 * v_period, 5000);
        if v_result is null then
            perform stem._ring_phase(v_number + 1, 0::smallint);
        else
            update stem.ring_work set emptied = v_number + 1, target = null;
            return v_result;
        end if;
    end if;
    -- However many workers there are, the ring works half of the time at most.
    update stem.ring_work set rest_until = clock_timestamp() + (clock_timestamp() - v_now);
    return 'moving';
exception
    when lock_not_available then
        return 'busy';
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;

-- +goose Down
drop function stem.rotate;
drop function stem._ring_empty;
drop function stem._ring_truncate;
drop function stem._ring_lock;
drop function stem._ring_hold;
drop function stem._ring_phase;
drop function stem._ring_move;
drop function stem._ring_copy;
