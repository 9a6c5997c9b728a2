-- What an operator does: cancel, retry, replay, purge, pause, resume. Each call writes one row of stem.audit in its own
-- transaction, whether or not it changed anything, with session_user as the actor.
--
-- Every call returns one row for each job named: what was done, or what the job is when nothing could be done:
--   ready, scheduled, running, dead, finished, unknown    where the job is; nothing was done (but see stem.cancel on "running")
--   busy                                                  another transaction holds the job: ask again
--   needs_resign                                          its signature was refused: see stem._replay_job
--
-- Where sequential scans are off, so is jit: a plan that cannot avoid one costs 10^10, far above jit_above_cost, and would be
-- compiled at every call (20 ms).

-- +goose Up

-- One row for one action. A reason is for people, and is bounded so that nobody stores a file in it.
-- +goose StatementBegin
create function stem._audit(p_action text, p_target text, p_reason text, p_affected bigint, p_detail jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if octet_length(p_reason) > 4096 then
        raise exception using errcode = '22023', message = format('a reason of %s bytes is too long', octet_length(p_reason)),
            hint = 'At most 4096 bytes.';
    end if;
    insert into stem.audit (action, target, reason, affected, detail)
    values (p_action, p_target, nullif(p_reason, ''), p_affected, p_detail);
end $$;
-- +goose StatementEnd

-- The jobs of one call: sorted, without repetitions and nulls, at most 10 000. Sorted, because calls that wait for rows in one
-- and the same order cannot wait for each other in a circle.
-- +goose StatementBegin
create function stem._job_list(p_jobs uuid[]) returns uuid[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if cardinality(p_jobs) > 10000 then
        raise exception using errcode = '22023', message = format('%s jobs in one call', cardinality(p_jobs)),
            hint = 'At most 10000: split the list.';
    end if;
    return array(select distinct u.id from unnest(p_jobs) u(id) where u.id is not null order by u.id);
end $$;
-- +goose StatementEnd

-- The audit row of a call about jobs: every id with what became of it, so that "who cancelled this one" has an answer.
-- +goose StatementBegin
create function stem._audit_jobs(p_action text, p_reason text, p_jobs uuid[], p_results text[], p_done text[], p_detail jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform stem._audit(
        p_action,
        case when cardinality(p_jobs) = 1 then 'job ' || p_jobs[1]::text else cardinality(p_jobs)::text || ' jobs' end,
        p_reason,
        (select count(*) from unnest(p_results) x(result) where x.result = any (p_done)),
        p_detail || jsonb_build_object('jobs', (
            select coalesce(jsonb_object_agg(x.job, x.result), '{}') from unnest(p_jobs, p_results) x(job, result))));
end $$;
-- +goose StatementEnd

-- Where a job is that could not be acted upon.
-- +goose StatementBegin
create function stem._whereabouts(p_job uuid) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
    return case
        when exists (select from stem.ready r where r.job_id = p_job) then 'ready'
        when exists (select from stem.scheduled s where s.job_id = p_job) then 'scheduled'
        when exists (select from stem.running x where x.job_id = p_job) then 'running'
        when exists (select from stem.dead d where d.id = p_job) then 'dead'
        when exists (
            select from generate_series(0, 7) g(slot)
            cross join lateral (select from stem.finished e where e.slot = g.slot and e.job_id = p_job limit 1) f) then 'finished'
        else 'unknown'
    end;
end $$;
-- +goose StatementEnd

-- One job: its ticket is deleted and its end recorded, or its running row gets the flag.
--
-- p_wait = false looks at rows that nobody holds. p_wait = true waits for whoever holds the ticket and then looks again,
-- because what it waited for has carried the ticket elsewhere: a due move to ready, a claim to running, a retry to
-- scheduled. Each look is a statement of its own, with a fresh snapshot. Null: not found in this form.
-- +goose StatementBegin
create function stem._cancel_job(p_job uuid, p_wait boolean) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    v_slot smallint;
    v_attempt integer;
    v_generation smallint;
    v_scope smallint;
    v_queue text;
    v_where text;
begin
    -- One round is enough but for a ticket that moved during it; each further round needs another move in the same instant.
    for round in 1..5 loop
        if p_wait then
            delete from stem.ready r where r.job_id = p_job
            returning r.slot, r.attempt, r.generation, r.unique_scope, r.queue into v_slot, v_attempt, v_generation, v_scope, v_queue;
        else
            delete from stem.ready where ctid = any (array(
                select r.ctid from stem.ready r where r.job_id = p_job limit 1 for update skip locked))
            returning slot, attempt, generation, unique_scope, queue into v_slot, v_attempt, v_generation, v_scope, v_queue;
        end if;
        if not found then
            if p_wait then
                delete from stem.scheduled s where s.job_id = p_job
                returning s.slot, s.attempt, s.generation, s.unique_scope, s.queue into v_slot, v_attempt, v_generation, v_scope, v_queue;
            else
                delete from stem.scheduled where ctid = any (array(
                    select s.ctid from stem.scheduled s where s.job_id = p_job limit 1 for update skip locked))
                returning slot, attempt, generation, unique_scope, queue into v_slot, v_attempt, v_generation, v_scope, v_queue;
            end if;
        end if;
        if found then
            insert into stem.finished (slot, job_id, generation, attempt, outcome)
            select v_slot, p_job, v_generation, v_attempt, 'cancelled' where v_queue <> all (stem._keep_nothing())
            on conflict (slot, job_id) do nothing;
            if v_scope in (1, 2) then
                delete from stem.unique_keys u where u.job_id = p_job and u.scope in (1, 2);
            end if;
            return 'cancelled';
        end if;
        if p_wait then
            -- The first request stands, but the row is locked all the same: what holds it may be about to move it.
            update stem.running x set cancel_at = coalesce(x.cancel_at, clock_timestamp()) where x.job_id = p_job;
        else
            update stem.running set cancel_at = coalesce(cancel_at, clock_timestamp()) where ctid = any (array(
                select x.ctid from stem.running x where x.job_id = p_job limit 1 for update skip locked));
        end if;
        if found then
            return 'running';
        end if;
        exit when not p_wait;
        -- One statement over all tables: what it does not find is nowhere, and what waits or runs has moved since we looked.
        v_where := stem._whereabouts(p_job);
        if v_where in ('dead', 'finished', 'unknown') then
            return v_where;
        end if;
    end loop;
    return case when p_wait then 'busy' end;
end $$;
-- +goose StatementEnd

-- Takes waiting jobs out of the line ("cancelled") and asks for running ones to be stopped ("running": the flag is set, the
-- worker ends the job as cancelled at its next heartbeat, or sooner by the notification).
--
-- In the order of the ids, one job after the other through all its tables, so that two bulk cancels cannot deadlock, whatever
-- their order and whatever moves under them. Another's lock is waited for at most a second, and after the first that lasted
-- longer no other is waited for: a transaction that completes a job (stem.complete) may stay open for as long as it likes, and
-- then that job is "busy" and the other 999 are not kept waiting.
-- +goose StatementBegin
create function stem.cancel(p_jobs uuid[], p_reason text) returns table (job_id uuid, result text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
    v_jobs uuid[] := stem._job_list(p_jobs);
    v_results text[] := '{}';
    v_result text;
    v_job uuid;
begin
    foreach v_job in array v_jobs loop
        v_result := stem._cancel_job(v_job, false);
        if v_result is null then
            -- The savepoint that this block opens costs only where there was something to wait for.
            begin
                v_result := stem._cancel_job(v_job, true);
            exception when lock_not_available then
                v_result := 'busy';
                perform set_config('lock_timeout', '1ms', true); -- until this function ends
            end;
        end if;
        v_results := v_results || v_result;
    end loop;
    if 'running' = any (v_results) then
        perform pg_notify('stem_control', 'cancel');
    end if;
    perform stem._audit_jobs('cancel', p_reason, v_jobs, v_results, array['cancelled', 'running'], '{}');
    return query select u.id, u.result from unnest(v_jobs, v_results) u(id, result);
end $$;
-- +goose StatementEnd

-- One dead letter back to the line, T12: same id, same envelope byte for byte, one generation more. The caller holds the row's
-- lock. Results: replayed; "duplicate of <id>" when its unique key is taken; "expired" when its time is over, because it would
-- only be dropped; "envelope_missing" when there is nothing to run; "needs_resign" when its signature was refused, because its bytes
-- stay as they are: somebody must look at it, and it needs a new id (stem.supersede_dead). The key that was unknown may be known now.
-- +goose StatementBegin
create function stem._replay_job(p_job uuid, p_delay_us bigint, p_wake boolean) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    d record;
    v_slot smallint;
    v_due timestamptz;
    v_holder uuid;
begin
    select * into strict d from stem.dead x where x.id = p_job;
    if d.reason = 'envelope_missing' or (d.task = 'envelope_missing' and d.origin = 'unknown') then
        return 'envelope_missing';
    end if;
    if d.reason in ('signature_missing', 'signature_invalid', 'signature_revoked', 'signature_stale') then
        return 'needs_resign';
    end if;
    -- Never before the signed run_at.
    v_due := greatest(clock_timestamp() + p_delay_us * interval '1 microsecond', d.run_at);
    if d.expires_at <= v_due then
        return 'expired';
    end if;
    if d.unique_scope = 2 then
        -- Waits for an open transaction that holds the key; what lost is read back with a fresh snapshot (see _take_keys).
        for attempt in 1..3 loop
            insert into stem.unique_keys (key, job_id, scope) values (d.unique_key, p_job, 2) on conflict (key) do nothing;
            exit when found;
            select k.job_id into v_holder from stem.unique_keys k where k.key = d.unique_key;
            if found then
                return 'duplicate of ' || v_holder::text;
            end if;
        end loop;
        if not exists (select from stem.unique_keys k where k.key = d.unique_key and k.job_id = p_job) then
            return 'busy';
        end if;
    end if;

    delete from stem.dead x where x.id = p_job;
    v_slot := stem._period_at(clock_timestamp()) & 7;
    -- It is there already when the leaf has not been emptied since the job was enqueued or last replayed.
    insert into stem.jobs (
        slot, id, queue, task, payload, codec, headers, priority, run_at, delay_us, nominal_at, expires_at, max_attempts,
        hard_limit_us, soft_limit_us, unique_key, unique_scope, origin, payload_version, group_name, issued_at, created_at,
        sig, sig_key_id, sig_alg)
    values (
        v_slot, d.id, d.queue, d.task, d.payload, d.codec, d.headers, d.priority, d.run_at, d.delay_us, d.nominal_at, d.expires_at,
        d.max_attempts, d.hard_limit_us, d.soft_limit_us, d.unique_key, d.unique_scope, d.origin, d.payload_version, d.group_name,
        d.issued_at, d.created_at, d.sig, d.sig_key_id, d.sig_alg)
    on conflict (slot, id) do nothing;
    insert into stem.attempts (slot, job_id, attempt, generation, worker, started_at, ended_at, outcome, error, fingerprint)
    select v_slot, d.id, h.attempt, h.generation, h.worker, h."startedAt", h."endedAt", h.outcome, h.error, h.fingerprint
    from jsonb_to_recordset(d.history) h(
        attempt integer, generation smallint, worker uuid, "startedAt" timestamptz, "endedAt" timestamptz, outcome text, error text,
        fingerprint text)
    where not exists (select from stem.attempts a where a.slot = v_slot and a.job_id = d.id);

    -- The transaction has its xid (the DELETE above) before it draws a position: the claim's low-water mark rests on that.
    if v_due <= clock_timestamp() then
        insert into stem.ready (queue, lane, pos, job_id, slot, attempt, generation, max_attempts, unique_scope, wake)
        values (d.queue, d.priority, nextval('stem.ticket_pos'), d.id, v_slot, d.attempt, d.generation + 1, d.max_attempts, d.unique_scope, p_wake);
    else
        insert into stem.scheduled (run_at, expires_at, queue, lane, job_id, slot, attempt, generation, max_attempts, unique_scope, wake)
        values (v_due, d.expires_at, d.queue, d.priority, d.id, v_slot, d.attempt, d.generation + 1, d.max_attempts, d.unique_scope, p_wake);
    end if;
    return 'replayed';
end $$;
-- +goose StatementEnd

-- Several dead letters. Their rows are taken with SKIP LOCKED, so that two replays of one set share it out; the only thing
-- waited for is a unique key, in the order of the keys, as enqueue takes them. Results are in the order of p_jobs; null for a
-- job that is not among the dead letters (or is locked).
-- +goose StatementBegin
create function stem._replay_jobs(p_jobs uuid[], p_delay_us bigint) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
declare
    v_results text[] := array_fill(null::text, array[cardinality(p_jobs)]);
    v_woken text[] := '{}';
    v_result text;
    d record;
begin
    for d in
        select x.ord, x.id, y.queue, y.unique_scope
        from unnest(p_jobs) with ordinality x(id, ord)
        cross join lateral (
            select z.queue, z.unique_key, z.unique_scope from stem.dead z where z.id = x.id limit 1 for update skip locked) y
        order by y.unique_key nulls first, x.id
    loop
        if d.unique_scope = 2 then
            begin
                v_result := stem._replay_job(d.id, p_delay_us, d.queue <> all (v_woken));
            exception when lock_not_available then
                v_result := 'busy';
                perform set_config('lock_timeout', '1ms', true); -- until this function ends
            end;
        else
            v_result := stem._replay_job(d.id, p_delay_us, d.queue <> all (v_woken));
        end if;
        if v_result = 'replayed' then
            v_woken := v_woken || d.queue; -- one waking ticket a queue
        end if;
        v_results[d.ord] := v_result;
    end loop;
    return v_results;
end $$;
-- +goose StatementEnd

-- Dead letters back to the line after p_delay_us microseconds.
-- +goose StatementBegin
create function stem.replay(p_jobs uuid[], p_delay_us bigint, p_reason text) returns table (job_id uuid, result text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_jobs uuid[] := stem._job_list(p_jobs);
    v_results text[];
    v_where text;
begin
    if p_delay_us is null or p_delay_us not between 0 and 31622400000000 then
        raise exception using errcode = '22023', message = format('a delay of %s microseconds is out of range', coalesce(p_delay_us::text, 'null')),
            hint = 'From 0 to 366 days.';
    end if;
    v_results := stem._replay_jobs(v_jobs, p_delay_us);
    for i in 1..cardinality(v_jobs) loop
        if v_results[i] is null then
            v_where := stem._whereabouts(v_jobs[i]);
            v_results[i] := case v_where when 'dead' then 'busy' else v_where end;
        end if;
    end loop;
    perform stem._audit_jobs('replay', p_reason, v_jobs, v_results, array['replayed'], jsonb_build_object('delay_us', p_delay_us));
    return query select u.id, u.result from unnest(v_jobs, v_results) u(id, result);
end $$;
-- +goose StatementEnd

-- A retrying or snoozed job is made due now ("due"), never before its signed run_at: the next due move takes it to the line.
-- A job that was merely enqueued for later has no attempt behind it and is left alone. Null: not there, or locked.
-- +goose StatementBegin
create function stem._hasten(p_job uuid) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    s record;
    v_signed timestamptz;
begin
    delete from stem.scheduled where ctid = any (array(
        select x.ctid from stem.scheduled x where x.job_id = p_job and x.attempt > 0 limit 1 for update skip locked))
    returning * into s;
    if not found then
        return null;
    end if;
    select j.run_at into v_signed from stem.jobs j where j.slot = s.slot and j.id = p_job limit 1;
    insert into stem.scheduled (
        run_at, expires_at, queue, lane, job_id, slot, attempt, failures, crashes, releases, generation, grace_since, max_attempts,
        unique_scope, wake)
    values (
        greatest(clock_timestamp(), v_signed), s.expires_at, s.queue, s.lane, s.job_id, s.slot, s.attempt, s.failures, s.crashes,
        s.releases, s.generation, s.grace_since, s.max_attempts, s.unique_scope, true);
    perform pg_notify('stem_wake', s.queue); -- idle workers sleep until what was the next due time
    return 'due';
end $$;
-- +goose StatementEnd

-- "Run it now": dead letters are replayed, retrying jobs made due.
-- +goose StatementBegin
create function stem.retry_now(p_jobs uuid[], p_reason text) returns table (job_id uuid, result text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_jobs uuid[] := stem._job_list(p_jobs);
    v_results text[];
begin
    v_results := stem._replay_jobs(v_jobs, 0);
    for i in 1..cardinality(v_jobs) loop
        if v_results[i] is null then
            v_results[i] := stem._hasten(v_jobs[i]);
        end if;
        if v_results[i] is null then
            v_results[i] := stem._whereabouts(v_jobs[i]);
            if v_results[i] = 'dead' or v_results[i] = 'scheduled' and exists (
                select from stem.scheduled s where s.job_id = v_jobs[i] and s.attempt > 0) then
                v_results[i] := 'busy';
            end if;
        end if;
    end loop;
    perform stem._audit_jobs('retry', p_reason, v_jobs, v_results, array['replayed', 'due'], '{}');
    return query select u.id, u.result from unnest(v_jobs, v_results) u(id, result);
end $$;
-- +goose StatementEnd

-- Forgets dead letters, for good: the result is "purged". Their unique keys were freed when they died.
-- +goose StatementBegin
create function stem.purge_dead(p_jobs uuid[], p_reason text) returns table (job_id uuid, result text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_jobs uuid[] := stem._job_list(p_jobs);
    v_gone uuid[];
    v_results text[];
begin
    with d as (
        delete from stem.dead where ctid = any (array(
            select y.t from unnest(v_jobs) x(id)
            cross join lateral (select z.ctid as t from stem.dead z where z.id = x.id limit 1 for update skip locked) y))
        returning id
    )
    select coalesce(array_agg(d.id), '{}') into v_gone from d;
    v_results := array(
        select case when x.id = any (v_gone) then 'purged' else replace(stem._whereabouts(x.id), 'dead', 'busy') end
        from unnest(v_jobs) with ordinality x(id, ord) order by x.ord);
    perform stem._audit_jobs('purge_dead', p_reason, v_jobs, v_results, array['purged'], '{}');
    return query select u.id, u.result from unnest(v_jobs, v_results) u(id, result);
end $$;
-- +goose StatementEnd

-- A dead letter goes because another job has been enqueued in its stead: in the same transaction, and with the origin "replay:<dead>".
-- So whoever may enqueue and operate can put a letter back in another form, signed anew, and the audit log says what became of
-- what, and in what they differ (an encrypted payload always does). Results: superseded; expired, when the new job would only be
-- dropped; or where the old one is. Where it is not "superseded" the caller must roll back, or both are there.
-- +goose StatementBegin
create function stem.supersede_dead(p_dead uuid, p_new uuid, p_reason text) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    d record;
    n record;
    v_result text := 'superseded';
begin
    select j.* into n
    from generate_series(0, 7) g(slot)
    cross join lateral (select * from stem.jobs y where y.slot = g.slot and y.id = p_new limit 1) j
    where j.origin = 'replay:' || p_dead::text;
    if not found then
        raise exception using errcode = '22023', message = format('there is no job %s with the origin replay:%s', p_new, p_dead),
            hint = 'Enqueue it first, in the same transaction.';
    end if;
    select * into d from stem.dead x where x.id = p_dead for update skip locked;
    if not found then
        v_result := replace(stem._whereabouts(p_dead), 'dead', 'busy');
    elsif n.expires_at <= clock_timestamp() then
        v_result := 'expired';
    else
        delete from stem.dead x where x.id = p_dead;
    end if;
    perform stem._audit_jobs('supersede', p_reason, array[p_dead], array[v_result], array['superseded'], jsonb_build_object(
        'new', p_new, 'reason', d.reason, 'signed_with', jsonb_build_object('before', d.sig_key_id, 'after', n.sig_key_id),
        'changed', array_remove(array[
            case when n.task is distinct from d.task then 'task' end,
            case when n.queue is distinct from d.queue then 'queue' end,
            case when n.payload is distinct from d.payload then 'payload' end,
            case when n.codec is distinct from d.codec then 'codec' end,
            case when n.headers is distinct from d.headers then 'headers' end,
            case when n.priority is distinct from d.priority then 'priority' end,
            case when n.max_attempts is distinct from d.max_attempts then 'max_attempts' end,
            case when n.hard_limit_us is distinct from d.hard_limit_us then 'hard_limit' end,
            case when n.soft_limit_us is distinct from d.soft_limit_us then 'soft_limit' end,
            case when n.expires_at is distinct from d.expires_at then 'expires_at' end,
            case when n.unique_key is distinct from d.unique_key then 'unique_key' end,
            case when n.group_name is distinct from d.group_name then 'group' end], null)));
    return v_result;
end $$;
-- +goose StatementEnd

-- No claim starts after this has committed; what is running goes on. False: the queue was paused before, by whom and why stays.
-- +goose StatementBegin
create function stem.pause_queue(p_queue text, p_reason text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_changed boolean;
begin
    insert into stem.queues as q (name, paused, paused_since, paused_by, paused_why)
    values (p_queue, true, clock_timestamp(), session_user, nullif(p_reason, ''))
    on conflict (name) do update set
        paused = true, paused_since = excluded.paused_since, paused_by = excluded.paused_by, paused_why = excluded.paused_why
    where not q.paused;
    v_changed := found;
    perform stem._audit('pause', 'queue ' || p_queue, p_reason, v_changed::integer, '{}');
    return v_changed;
end $$;
-- +goose StatementEnd

-- False: it was not paused. Idle workers are told to look, because no ticket is inserted that would wake them.
-- +goose StatementBegin
create function stem.resume_queue(p_queue text, p_reason text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_before jsonb;
begin
    -- Locked by the first statement, so that the second changes what the first has read.
    select jsonb_build_object('paused_by', q.paused_by, 'paused_why', q.paused_why, 'paused_since', q.paused_since) into v_before
    from stem.queues q where q.name = p_queue and q.paused for update;
    if found then
        update stem.queues q set paused = false, paused_since = null, paused_by = null, paused_why = null where q.name = p_queue;
        perform pg_notify('stem_wake', p_queue);
    end if;
    perform stem._audit('resume', 'queue ' || p_queue, p_reason, (v_before is not null)::integer, coalesce(v_before, '{}'));
    return v_before is not null;
end $$;
-- +goose StatementEnd

-- Changes the settings of a queue, and makes its row if it has none. Null leaves a setting as it is. False: nothing changed.
-- What is settled while this runs goes by either setting; what is kept already stays until its leaf of the ring is emptied.
-- +goose StatementBegin
create function stem.set_queue(p_queue text, p_keep_finished boolean, p_reason text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_before boolean;
    v_changed boolean;
begin
    insert into stem.queues (name) values (p_queue) on conflict (name) do nothing;
    -- Locked by one statement, so that the next changes what this one has read.
    select q.keep_finished into v_before from stem.queues q where q.name = p_queue for update;
    update stem.queues q set keep_finished = p_keep_finished where q.name = p_queue and q.keep_finished <> p_keep_finished;
    v_changed := found;
    perform stem._audit('set_queue', 'queue ' || p_queue, p_reason, v_changed::integer, jsonb_build_object(
        'before', jsonb_build_object('keep_finished', v_before),
        'after', jsonb_build_object('keep_finished', coalesce(p_keep_finished, v_before))));
    return v_changed;
end $$;
-- +goose StatementEnd

-- Cancels at most p_limit waiting jobs of a queue and returns how many; call it until it returns 0. Rows that others hold are
-- left (a claim has them), so 0 may leave some: stem.count_waiting says.
-- +goose StatementBegin
create function stem.purge_queue(p_queue text, p_limit integer, p_reason text) returns bigint
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
    v_drop text[] := stem._keep_nothing();
    v_count bigint;
    v_more bigint;
begin
    if p_limit is null or p_limit not between 1 and 10000 then
        raise exception using errcode = '22023', message = format('a batch of %s is out of range', coalesce(p_limit::text, 'null')),
            hint = 'From 1 to 10000.';
    end if;
    with d as materialized (
        delete from stem.ready where ctid = any (array(
            select r.ctid from stem.ready r where r.queue = p_queue order by r.lane, r.pos limit p_limit for update skip locked))
        returning job_id, slot, attempt, generation, unique_scope
    ), put_finished as (
        insert into stem.finished (slot, job_id, generation, attempt, outcome)
        select d.slot, d.job_id, d.generation, d.attempt, 'cancelled' from d
        where p_queue <> all (v_drop)
        on conflict (slot, job_id) do nothing
    ), freed as (
        delete from stem.unique_keys where ctid = any (array(
            select k.t from d
            cross join lateral (select u.ctid as t from stem.unique_keys u where u.job_id = d.job_id limit 1 for update) k
            where d.unique_scope in (1, 2)))
    )
    select count(*) into v_count from d;
    if v_count < p_limit then
        -- scheduled has no index on the queue: this walks it in the order of its due times.
        with d as materialized (
            delete from stem.scheduled where ctid = any (array(
                select s.ctid from stem.scheduled s where s.queue = p_queue order by s.run_at, s.job_id limit p_limit - v_count
                for update skip locked))
            returning job_id, slot, attempt, generation, unique_scope
        ), put_finished as (
            insert into stem.finished (slot, job_id, generation, attempt, outcome)
            select d.slot, d.job_id, d.generation, d.attempt, 'cancelled' from d
            where p_queue <> all (v_drop)
            on conflict (slot, job_id) do nothing
        ), freed as (
            delete from stem.unique_keys where ctid = any (array(
                select k.t from d
                cross join lateral (select u.ctid as t from stem.unique_keys u where u.job_id = d.job_id limit 1 for update) k
                where d.unique_scope in (1, 2)))
        )
        select count(*) into v_more from d;
        v_count := v_count + v_more;
    end if;
    perform stem._audit('purge_queue', 'queue ' || p_queue, p_reason, v_count, '{}');
    return v_count;
end $$;
-- +goose StatementEnd

-- How many jobs of a queue wait, exactly: a scan of its part of the line and of everything scheduled.
-- +goose StatementBegin
create function stem.count_waiting(p_queue text) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select count(*) from stem.ready r where r.queue = p_queue) + (select count(*) from stem.scheduled s where s.queue = p_queue);
end $$;
-- +goose StatementEnd

-- Forgets the row of a queue, and with it its settings: a queue needs none. False: it has no row, or is paused, and a pause is
-- ended by who resumes it. Jobs are not touched: those that are still there go by the defaults from now on.
-- +goose StatementBegin
create function stem.forget_queue(p_queue text, p_reason text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_keep boolean;
    v_changed boolean;
begin
    delete from stem.queues q where q.name = p_queue and not q.paused returning q.keep_finished into v_keep;
    v_changed := found;
    perform stem._audit('forget_queue', 'queue ' || p_queue, p_reason, v_changed::integer, jsonb_build_object(
        'before', jsonb_build_object('keep_finished', v_keep)));
    return v_changed;
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;

-- +goose Down
drop function stem.forget_queue;
drop function stem.count_waiting;
drop function stem.purge_queue;
drop function stem.set_queue;
drop function stem.resume_queue;
drop function stem.pause_queue;
drop function stem.supersede_dead;
drop function stem.purge_dead;
drop function stem.retry_now;
drop function stem._hasten;
drop function stem.replay;
drop function stem._replay_jobs;
drop function stem._replay_job;
drop function stem._cancel_job;
drop function stem.cancel;
drop function stem._whereabouts;
drop function stem._audit_jobs;
drop function stem._job_list;
drop function stem._audit;
