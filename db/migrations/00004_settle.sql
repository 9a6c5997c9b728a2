-- Settle: running → finished, scheduled, ready or dead. Every statement presents (job id, claim id); what does not come back
-- was not moved, and stem.claim_states says why.

-- +goose Up

-- Gives a job up: envelope, reason and history are copied to stem.dead. Called by settle and rescue for each job they bury,
-- after its attempt was recorded. A ticket without an envelope is buried too, under a task that says so.
-- +goose StatementBegin
create function stem._bury(
    p_slot smallint, p_job uuid, p_queue text, p_lane smallint, p_attempt integer, p_failures smallint, p_crashes smallint,
    p_releases smallint, p_generation smallint, p_max_attempts smallint, p_worker uuid, p_reason text, p_error text, p_fingerprint text
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    insert into stem.dead (
        id, queue, task, payload, codec, headers, priority, run_at, delay_us, nominal_at, expires_at, max_attempts,
        hard_limit_us, soft_limit_us, unique_key, unique_scope, origin, payload_version, group_name, issued_at, created_at,
        sig, sig_key_id, sig_alg, attempt, failures, crashes, releases, generation, worker, reason, error, fingerprint, history)
    select
        p_job, p_queue, coalesce(j.task, 'envelope_missing'), coalesce(j.payload, ''), coalesce(j.codec, 'application/json'), j.headers,
        coalesce(j.priority, p_lane % 100), j.run_at, j.delay_us, j.nominal_at, j.expires_at, p_max_attempts,
        j.hard_limit_us, j.soft_limit_us, j.unique_key, coalesce(j.unique_scope, 0), coalesce(j.origin, 'unknown'), j.payload_version,
        j.group_name, coalesce(j.issued_at, clock_timestamp()), coalesce(j.created_at, clock_timestamp()),
        j.sig, j.sig_key_id, j.sig_alg, p_attempt, least(p_failures, p_max_attempts), p_crashes, p_releases, p_generation, p_worker,
        p_reason, p_error,
        coalesce(p_fingerprint, encode(sha256(convert_to(coalesce(j.task, 'envelope_missing') || E'\n' || coalesce(p_error, p_reason), 'UTF8')), 'hex')),
        coalesce((
            select jsonb_agg(jsonb_build_object(
                'attempt', a.attempt, 'generation', a.generation, 'worker', a.worker, 'startedAt', a.started_at, 'endedAt', a.ended_at,
                'outcome', a.outcome, 'error', a.error, 'fingerprint', a.fingerprint) order by a.attempt, a.ended_at)
            from stem.attempts a where a.slot = p_slot and a.job_id = p_job), '[]')
    from (values (1)) one
    left join lateral (select * from stem.jobs e where e.slot = p_slot and e.id = p_job limit 1) j on true
    on conflict (id) do nothing;
    delete from stem.unique_keys u where u.job_id = p_job and u.scope = 2;
end $$;
-- +goose StatementEnd

-- The hot path: jobs that ended well, were cancelled while running, or had expired before they began.
--
-- SKIP LOCKED on a running row that another transaction has marked [race]: with a plain lock one open stem.complete transaction of
-- 700 ms held up the 999 other outcomes of its batch, and two batches in crossed order deadlocked. A row with xmax = 0 in this snapshot is
-- nobody's, and is deleted without a lock before, which would be a log record of 54 bytes for each job; who comes in between, an
-- operator's cancel or this very batch sent a second time, is waited for 100 ms, and then the batch is sent again. p reads the row once and carries the parameters with it
-- (a join back by id would be a nested loop of n × n); d is the truth about what was moved: a row whose cancel flag was
-- updated after this statement's snapshot is locked in its new version, which d does not see, so it is reported as not moved
-- and tried again. Returns the jobs that were not moved, which is none as a rule. As in stem.enqueue_many, one outcome stands for all jobs,
-- and p_results is null when there is none.
--
-- "(… in (select …)) is true", here and below: alone, the planner makes a semi join of it, which without hash joins is a nested
-- loop of n × n as soon as a vacuum has seen stem.running empty (57 µs a job at 500 a batch, against 17 as a hashed subplan).
-- +goose StatementBegin
create function stem.finish(
    p_worker uuid, p_jobs uuid[], p_claims uuid[], p_outcomes text[], p_ages_us bigint[], p_results bytea[]
) returns setof uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_drop text[] := stem._keep_nothing();
    v_outcomes stem.outcome[] := p_outcomes; -- here the domain checks each element once, not each row
    v_now timestamptz := clock_timestamp();
begin
    return query
    with p as materialized (
        select u.ord, coalesce(u.outcome, v_outcomes[1]) as outcome, u.age_us, u.result, r.*
        from unnest(p_jobs, p_claims, v_outcomes, p_ages_us, p_results) with ordinality u(job_id, claim_id, outcome, age_us, result, ord)
        cross join lateral (
            select x.ctid as t, x.xmax as holder, x.job_id, x.slot, x.attempt, x.generation, x.queue, x.unique_scope
            from stem.running x
            where x.job_id = u.job_id and x.claim_id = u.claim_id
            limit 1) r
        where r.holder = 0 or exists (
            select from stem.running h where h.job_id = r.job_id and h.claim_id = u.claim_id for update skip locked)
    ), d as materialized (
        delete from stem.running where ctid = any (array(select p.t from p)) returning running.job_id
    ), f as (
        insert into stem.finished (slot, job_id, generation, attempt, worker, outcome, started_at, result)
        select p.slot, p.job_id, p.generation, p.attempt, p_worker, p.outcome,
            v_now - p.age_us * interval '1 microsecond', p.result
        from p
        -- As many as were named, as a rule. Else what d says, and of a job that is named twice the first outcome stands: 23505 would come
        -- back with every repeat of the batch.
        where p.queue <> all (v_drop) and (
            (select count(*) from d) = cardinality(p_jobs)
            or p.job_id in (select d.job_id from d) and p.ord in (select min(x.ord) from p x group by x.job_id))
    ), freed as (
        delete from stem.unique_keys where ctid = any (array(
            select k.t from p
            cross join lateral (select u.ctid as t from stem.unique_keys u where u.job_id = p.job_id limit 1 for update) k
            where p.unique_scope = 2 and (p.job_id in (select d.job_id from d)) is true))
    )
    select u.id
    from unnest(p_jobs) u(id)
    where (select count(*) from d) < cardinality(p_jobs) and (u.id in (select d.job_id from d)) is not true;
end $$;
-- +goose StatementEnd

-- Everything else that can end an attempt. Verbs:
--   fail     a charged failure: due again after the delay, or dead once failures reach max_attempts
--   discard  a charged failure that is not to be tried again: dead
--   reject   refused before any user code ran: dead, nothing charged
--   release  put back uncharged after the delay (shutdown, snooze, exit 75); dead after 1 000 releases
--   wait     put back uncharged within a grace (unknown task, unknown key); dead when the grace is over, unless a live worker
--            of the queue has registered the task that this one does not know (docs/adr/0004-unknown-tasks.md)
-- Cancellation wins over being put back: a job whose cancel flag is set ends as cancelled.
-- +goose StatementBegin
create function stem.put_back(
    p_worker uuid, p_jobs uuid[], p_claims uuid[], p_verbs text[], p_delays_us bigint[], p_graces_us bigint[], p_ages_us bigint[],
    p_reasons text[], p_errors text[], p_fingerprints text[]
) returns table (job_id uuid, target text)
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
    v_drop text[] := stem._keep_nothing();
    m record;
begin
    for m in
        with p as materialized (
            select u.ord, u.verb, u.delay_us, u.grace_us, u.age_us, u.reason, u.error, u.fingerprint, r.*
            from unnest(p_jobs, p_claims, p_verbs, p_delays_us, p_graces_us, p_ages_us, p_reasons, p_errors, p_fingerprints)
                with ordinality u(job_id, claim_id, verb, delay_us, grace_us, age_us, reason, error, fingerprint, ord)
            cross join lateral (
                select x.ctid as t, x.*
                from stem.running x
                where x.job_id = u.job_id and x.claim_id = u.claim_id
                limit 1
                for update skip locked) r
        ), d as materialized (
            delete from stem.running where ctid = any (array(select p.t from p)) returning running.job_id
        ), moved as materialized (
            select p.*,
                (p.failures + (p.verb in ('fail', 'discard'))::integer)::smallint as new_failures,
                (case when p.verb in ('fail', 'discard') then 0 else p.crashes end)::smallint as new_crashes,
                (p.releases + (p.verb in ('release', 'wait'))::integer)::smallint as new_releases,
                case when p.verb = 'wait' then coalesce(p.grace_since, clock_timestamp()) end as new_grace,
                case
                    when p.cancel_at is not null and p.verb in ('fail', 'release', 'wait') then 'cancelled'
                    when p.verb in ('discard', 'reject') then 'dead'
                    when p.verb = 'fail' then case when p.failures + 1 >= p.max_attempts then 'dead' else 'scheduled' end
                    when p.releases >= 1000 then 'dead'
                    when p.verb = 'wait' then case
                        when p.grace_since + p.grace_us * interval '1 microsecond' > clock_timestamp() or p.grace_since is null then 'scheduled'
                        -- Whoever could run it may just be busy.
                        when p.reason = 'unknown_task' and exists (
                            select from stem.workers w
                            where w.id <> p_worker and w.lease_until > clock_timestamp() and w.slots ? p.queue
                              and w.tasks ? (select e.task from stem.jobs e where e.slot = p.slot and e.id = p.job_id limit 1)) then 'scheduled'
                        else 'dead' end
                    when p.delay_us > 0 then 'scheduled'
                    else 'ready'
                end as target
            -- A job that is named twice moves once, by its first verb.
            from (select distinct on (x.job_id) x.* from p x order by x.job_id, x.ord) p
            where (p.job_id in (select d.job_id from d)) is true
        ), put_ready as (
            insert into stem.ready (
                queue, lane, pos, job_id, slot, attempt, failures, crashes, releases, generation, grace_since, max_attempts, unique_scope, wake)
            select
                n.queue, n.lane % 100 + case when n.new_crashes > 0 then 100 else 0 end, nextval('stem.ticket_pos'), n.job_id, n.slot,
                n.attempt, n.new_failures, n.new_crashes, n.new_releases, n.generation, n.new_grace, n.max_attempts, n.unique_scope,
                row_number() over (partition by n.queue) = 1
            from moved n where n.target = 'ready'
            order by n.ord
        ), put_scheduled as (
            insert into stem.scheduled (
                run_at, expires_at, queue, lane, job_id, slot, attempt, failures, crashes, releases, generation, grace_since, max_attempts, unique_scope)
            select
                clock_timestamp() + n.delay_us * interval '1 microsecond', e.expires_at, n.queue,
                n.lane % 100 + case when n.new_crashes > 0 then 100 else 0 end, n.job_id, n.slot,
                n.attempt, n.new_failures, n.new_crashes, n.new_releases, n.generation, n.new_grace, n.max_attempts, n.unique_scope
            from moved n
            left join lateral (select j.expires_at from stem.jobs j where j.slot = n.slot and j.id = n.job_id limit 1) e on true
            where n.target = 'scheduled'
        ), put_finished as (
            insert into stem.finished (slot, job_id, generation, attempt, worker, outcome, started_at)
            select n.slot, n.job_id, n.generation, n.attempt, p_worker, 'cancelled', clock_timestamp() - n.age_us * interval '1 microsecond'
            from moved n where n.target = 'cancelled' and n.queue <> all (v_drop)
            on conflict (slot, job_id) do nothing
        ), freed as (
            delete from stem.unique_keys where ctid = any (array(
                select k.t from moved n
                cross join lateral (select u.ctid as t from stem.unique_keys u where u.job_id = n.job_id limit 1 for update) k
                where n.unique_scope = 2 and n.target = 'cancelled'))
        ), recorded as (
            insert into stem.attempts (slot, job_id, attempt, generation, worker, started_at, outcome, error, fingerprint)
            select n.slot, n.job_id, n.attempt, n.generation, p_worker, clock_timestamp() - n.age_us * interval '1 microsecond',
                case when n.target = 'cancelled' then 'cancelled'
                    else case n.verb when 'fail' then 'failed' when 'discard' then 'discarded' when 'reject' then 'rejected'
                        when 'wait' then 'waiting' else 'released' end end,
                n.error, n.fingerprint
            from moved n
            -- A job that was released before it began leaves no trace: nothing happened to it.
            where n.verb <> 'release' or n.age_us is not null or n.error is not null
        )
        select n.job_id, n.target, n.slot, n.queue, n.lane, n.attempt, n.new_failures, n.new_crashes, n.new_releases, n.generation,
            n.max_attempts, n.verb, n.reason, n.error, n.fingerprint, n.releases
        from moved n
    loop
        if m.target = 'dead' then
            perform stem._bury(m.slot, m.job_id, m.queue, m.lane, m.attempt, m.new_failures, m.new_crashes, m.new_releases, m.generation,
                m.max_attempts, p_worker,
                case when m.verb = 'fail' then 'exhausted'
                    when m.verb in ('release', 'wait') and m.releases >= 1000 then 'release_limit'
                    else coalesce(m.reason, m.verb) end,
                m.error, m.fingerprint);
        end if;
        job_id := m.job_id;
        target := m.target;
        return next;
    end loop;
end $$;
-- +goose StatementEnd

-- Completes one job in the caller's own transaction, or spoils that transaction: ST001 cannot be ignored, the COMMIT that
-- follows reports a rollback. It touches no parent of stem.jobs, because the caller may keep its locks for long.
-- +goose StatementBegin
create function stem.complete(p_job uuid, p_claim uuid, p_worker uuid, p_age_us bigint, p_result bytea) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    r record;
begin
    delete from stem.running x where x.job_id = p_job and x.claim_id = p_claim
    returning x.slot, x.attempt, x.generation, x.queue, x.unique_scope into r;
    if not found then
        raise exception using errcode = 'ST001', message = format('the claim on job %s is gone', p_job),
            detail = 'The lease was lost, or the job was completed before.',
            hint = 'Roll back. The job is with another worker, or done.';
    end if;
    insert into stem.finished (slot, job_id, generation, attempt, worker, outcome, started_at, result)
    select r.slot, p_job, r.generation, r.attempt, p_worker, 'completed', clock_timestamp() - p_age_us * interval '1 microsecond', p_result
    where r.queue <> all (stem._keep_nothing());
    if r.unique_scope = 2 then
        delete from stem.unique_keys u where u.job_id = p_job;
    end if;
end $$;
-- +goose StatementEnd

-- What became of claims that a settle did not return, or whose handler called stem.complete:
--   free      still running under this claim, and no transaction holds it
--   locked    still running under this claim; an open transaction holds it
--   finished  finished under this very attempt
--   gone      somebody else's, dead, or finished in a queue that keeps nothing
-- +goose StatementBegin
create function stem.claim_states(p_jobs uuid[], p_claims uuid[], p_attempts integer[])
returns table (job_id uuid, state text)
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
begin
    return query
    select u.job_id,
        case
            when held.there is not null then case when free.there is not null then 'free' else 'locked' end
            when done.there is not null then 'finished'
            else 'gone'
        end
    from unnest(p_jobs, p_claims, p_attempts) u(job_id, claim_id, attempt)
    left join lateral (select 1 as there from stem.running r where r.job_id = u.job_id and r.claim_id = u.claim_id limit 1) held on true
    left join lateral (
        select 1 as there from stem.running r where r.job_id = u.job_id and r.claim_id = u.claim_id limit 1 for update skip locked) free on true
    left join lateral (
        -- In any leaf: stem.rotate may have carried the row from the one that the worker knew.
        select 1 as there from generate_series(0, 7) g(slot)
        cross join lateral (
            select from stem.finished e where e.slot = g.slot and e.job_id = u.job_id and e.attempt = u.attempt limit 1) f limit 1) done on true;
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;

-- +goose Down
drop function stem.claim_states;
drop function stem.complete;
drop function stem.put_back;
drop function stem.finish;
drop function stem._bury;
