-- Enqueue: envelope, ticket, unique key and wake flag in one call on the caller's own handle.
-- Every text column is checked by the table; what the table cannot see is checked here.

-- +goose Up

-- A UUIDv7 (RFC 9562) of the server's clock, for producers that have no library.
-- +goose StatementBegin
create function stem.uuid7() returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Bits 52 and 53 turn the version nibble of a v4 id from 4 into 7.
    return encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
        from 1 for 6), 52, 1), 53, 1), 'hex')::uuid;
end $$;
-- +goose StatementEnd

-- The smallest UUIDv7 of an instant: ids are compared with two of these to bound their time.
-- +goose StatementBegin
create function stem._uuid7_floor(p_at timestamptz) returns uuid
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return rpad(lpad(to_hex(floor(extract(epoch from p_at) * 1000)::bigint), 12, '0'), 32, '0')::uuid;
end $$;
-- +goose StatementEnd

-- The instant of a UUIDv7, to the millisecond.
-- +goose StatementBegin
create function stem._uuid7_time(p_id uuid) returns timestamptz
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return to_timestamp(('x' || translate(left(p_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0);
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function stem._refuse_id(p_id uuid, p_now timestamptz) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'ST002',
        message = format('job id %s is not of this time', coalesce(p_id::text, 'null')),
        detail = format('server_time=%s', extract(epoch from p_now)),
        hint = 'Ids are UUIDv7 and may differ from the server''s clock by 10 minutes. Set the producer''s clock right.';
end $$;
-- +goose StatementEnd

-- The period of the ring that an instant belongs to; its leaf is that & 7.
-- +goose StatementBegin
create function stem._period_at(p_at timestamptz) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select floor(extract(epoch from p_at - r.origin) / extract(epoch from r.period))::bigint from stem.ring r);
end $$;
-- +goose StatementEnd

-- Checks the ids of new jobs, and says where their envelopes go: ids below bound to leaf below, the others to leaf above.
--
-- A captured signed row must not be enqueued a second time. Its id may be used for 20 minutes (10 on each side of the server's
-- clock), and for that long its envelope stays in the one leaf that its own time says: the leaf's primary key refuses the second
-- [race]. A leaf chosen by the instant of the call let a repeated id in wherever the ring turned in between: during a wait for
-- a unique key, beside an open transaction, and under an old snapshot. There is no handler for the key's 23505 anywhere: it
-- would open a savepoint for every enqueue.
-- +goose StatementBegin
create function stem._leaves(p_ids uuid[], out bound uuid, out below smallint, out above smallint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_low uuid := stem._uuid7_floor(v_now - interval '10 minutes');
    v_high uuid := stem._uuid7_floor(v_now + interval '10 minutes');
    v_period bigint;
    v_start timestamptz;
    v_bad uuid;
begin
    select u.id into v_bad from unnest(p_ids) u(id) where u.id is null or u.id not between v_low and v_high limit 1;
    if found then
        perform stem._refuse_id(v_bad, v_now);
    end if;
    -- The 20 minutes hold one boundary at most: the start of the period that ends them.
    select p.number, r.origin + p.number * r.period into v_period, v_start
    from stem.ring r
    cross join lateral (
        select floor(extract(epoch from v_now + interval '10 minutes' - r.origin) / extract(epoch from r.period))::bigint as number) p;
    bound := case when v_start > v_now - interval '10 minutes' then stem._uuid7_floor(v_start) else v_low end;
    below := (v_period - 1) & 7;
    above := v_period & 7;
end $$;
-- +goose StatementEnd

-- Raises unless each statement of the transaction sees what was committed before it. For functions that wait for another
-- transaction and then look what it left behind: in an older snapshot that is not there, and what it left would be forgotten.
-- +goose StatementBegin
create function stem._wants_fresh_snapshots(p_function text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        raise exception using errcode = '25000',
            message = format('stem.%s: the transaction is %s, want read committed', p_function, current_setting('transaction_isolation')),
            hint = 'Call it on its own, with default_transaction_isolation = ''read committed''.';
    end if;
end $$;
-- +goose StatementEnd

-- The queues that keep nothing of what is finished. Every statement that writes to stem.finished leaves these out; a test holds
-- all of them to it. Read once a call and not once a row.
-- +goose StatementBegin
create function stem._keep_nothing() returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(select q.name from stem.queues q where not q.keep_finished);
end $$;
-- +goose StatementEnd

-- Takes a waiting job out of the line with outcome "replaced". False when it is not waiting any more.
--
-- A ticket moves while it is looked for: a due move carries it from scheduled to ready, a retry from running to scheduled [race].
-- So each look is a statement of its own, with a fresh snapshot, and "not waiting" is what one statement over both tables says.
-- +goose StatementBegin
create function stem._replace_waiting(p_job uuid) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_slot smallint;
    v_attempt integer;
    v_generation smallint;
    v_queue text;
begin
    -- One round is enough but for a ticket that moved during it; each further round needs another move in the same instant.
    for round in 1..5 loop
        delete from stem.ready r where r.job_id = p_job
        returning r.slot, r.attempt, r.generation, r.queue into v_slot, v_attempt, v_generation, v_queue;
        if not found then
            delete from stem.scheduled s where s.job_id = p_job
            returning s.slot, s.attempt, s.generation, s.queue into v_slot, v_attempt, v_generation, v_queue;
        end if;
        if found then
            insert into stem.finished (slot, job_id, generation, attempt, outcome)
            select v_slot, p_job, v_generation, v_attempt, 'replaced' where v_queue <> all (stem._keep_nothing())
            on conflict (slot, job_id) do nothing;
            return true;
        end if;
        if not exists (
            select from stem.ready r where r.job_id = p_job
            union all select from stem.scheduled s where s.job_id = p_job) then
            return false;
        end if;
    end loop;
    raise exception using errcode = '40001', message = format('job %s, which is to be replaced, moved five times during this enqueue', p_job),
        hint = 'Retry the transaction.';
end $$;
-- +goose StatementEnd

-- Takes unique keys for new jobs. Returns, for each, the job that holds the key now: itself when it won.
-- Keys are inserted in sorted order, so that two calls never wait for each other in a circle. A conflict with an
-- open transaction waits for it (ON CONFLICT reads the index, not the snapshot); what lost is read back by the next
-- statement, whose snapshot is fresh under READ COMMITTED. A key that was freed in between is tried again.
-- +goose StatementBegin
create function stem._take_keys(
    p_ids uuid[], p_keys bytea[], p_scopes smallint[], p_untils timestamptz[], p_replace boolean[]
) returns uuid[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_holders uuid[] := array_fill(null::uuid, array[cardinality(p_ids)]);
    v_open integer;
    r record;
begin
    for attempt in 1..3 loop
        insert into stem.unique_keys (key, job_id, scope, until)
        select u.key, u.id, u.scope, u.until
        from unnest(p_keys, p_ids, p_scopes, p_untils) with ordinality u(key, id, scope, until, ord)
        where u.key is not null and v_holders[u.ord] is null
        order by u.key, u.ord
        on conflict (key) do nothing;

        v_open := 0;
        for r in
            select u.ord, u.key, u.id, u.scope, u.until, p_replace[u.ord] as replace, k.job_id as holder
            from unnest(p_keys, p_ids, p_scopes, p_untils) with ordinality u(key, id, scope, until, ord)
            left join lateral (select job_id from stem.unique_keys where unique_keys.key = u.key limit 1) k on true
            where u.key is not null and v_holders[u.ord] is null
            order by u.key, u.ord
        loop
            if r.holder = r.id then
                v_holders[r.ord] := r.id;
            elsif r.holder is null then
                v_open := v_open + 1;
            elsif r.replace and r.holder <> all (p_ids) and stem._replace_waiting(r.holder) then
                -- The old ticket was ours to delete, so nobody else can be replacing the same holder.
                update stem.unique_keys k set job_id = r.id, scope = r.scope, until = r.until where k.key = r.key;
                if not found then
                    insert into stem.unique_keys (key, job_id, scope, until) values (r.key, r.id, r.scope, r.until)
                    on conflict (key) do nothing;
                    if not found then
                        v_open := v_open + 1;
                        continue;
                    end if;
                end if;
                v_holders[r.ord] := r.id;
            elsif r.replace and not exists (select from stem.unique_keys k where k.key = r.key and k.job_id = r.holder) then
                -- The claim that took the holder out of the line freed its key (scope 1) [race]: try again.
                v_open := v_open + 1;
            else
                v_holders[r.ord] := r.holder;
            end if;
        end loop;
        exit when v_open = 0;
    end loop;
    if v_open > 0 then
        raise exception using errcode = '40001', message = 'a unique key changed hands three times during this enqueue',
            hint = 'Retry the transaction.';
    end if;
    return v_holders;
end $$;
-- +goose StatementEnd

-- One job. Same contract as stem.enqueue_many, faster than arrays of one. The leaf is that of the id's own time, as in stem._leaves:
-- an id is as long as its millisecond, and a period that begins within it takes it.
-- +goose StatementBegin
create function stem.enqueue_one(
    p_id uuid, p_task text, p_queue text, p_payload bytea, p_codec text, p_headers jsonb, p_priority smallint,
    p_run_at timestamptz, p_delay_us bigint, p_nominal_at timestamptz, p_expires_at timestamptz,
    p_max_attempts smallint, p_hard_limit_us bigint, p_soft_limit_us bigint,
    p_unique_key bytea, p_unique_scope smallint, p_unique_period_us bigint, p_replace boolean,
    p_origin text, p_payload_version integer, p_group_name text, p_issued_at timestamptz,
    p_sig bytea, p_sig_key_id text, p_sig_alg text, p_wake boolean,
    out job_id uuid, out duplicate boolean, out server_time timestamptz, out xid text
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now timestamptz := clock_timestamp();
    v_at timestamptz := stem._uuid7_time(p_id);
    v_last timestamptz := v_at + interval '999 microseconds';
    v_scope smallint := coalesce(p_unique_scope, 0::smallint);
    v_slot smallint;
    v_due timestamptz := coalesce(p_run_at, v_now + p_delay_us * interval '1 microsecond', v_now);
begin
    server_time := v_now;
    if v_at is null or v_at not between v_now - interval '10 minutes' and v_now + interval '10 minutes' then
        perform stem._refuse_id(p_id, v_now);
    end if;
    if p_unique_key is not null then
        job_id := (stem._take_keys(
            array[p_id],
            array[case when p_unique_scope = 3 then stem._period_key(p_unique_key, p_unique_period_us, v_now) else p_unique_key end],
            array[p_unique_scope],
            array[case when p_unique_scope = 3 then stem._period_end(p_unique_period_us, v_now) end],
            array[p_replace]))[1];
        if job_id <> p_id then
            duplicate := true;
            xid := pg_current_xact_id()::text;
            return;
        end if;
    end if;
    insert into stem.jobs (
        slot, id, queue, task, payload, codec, headers, priority, run_at, delay_us, nominal_at, expires_at, max_attempts,
        hard_limit_us, soft_limit_us, unique_key, unique_scope, origin, payload_version, group_name, issued_at,
        sig, sig_key_id, sig_alg, created_at)
    select
        floor(extract(epoch from v_last - r.origin) / extract(epoch from r.period))::bigint & 7,
        p_id, p_queue, p_task, p_payload, p_codec, p_headers, p_priority, p_run_at, p_delay_us, p_nominal_at,
        p_expires_at, p_max_attempts, p_hard_limit_us, p_soft_limit_us, p_unique_key, v_scope,
        p_origin, p_payload_version, p_group_name, p_issued_at, p_sig, p_sig_key_id, p_sig_alg, v_now
    from stem.ring r
    returning slot into v_slot;
    -- The envelope is in, so this transaction has its xid before it draws a position: the claim's low-water mark rests on that.
    if v_due <= v_now then
        insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts, unique_scope, wake)
        values (p_queue, p_priority, nextval('stem.ticket_pos'), p_id, v_slot, p_max_attempts, v_scope, p_wake);
    else
        insert into stem.scheduled (run_at, job_id, slot, queue, lane, expires_at, max_attempts, unique_scope, wake)
        values (v_due, p_id, v_slot, p_queue, p_priority, p_expires_at, p_max_attempts, v_scope, p_wake);
    end if;
    job_id := p_id;
    duplicate := false;
    xid := pg_current_xact_id()::text;
end $$;
-- +goose StatementEnd

-- A period key carries its bucket, so nothing is ever rewritten when a period ends.
-- +goose StatementBegin
create function stem._period_key(p_key bytea, p_period_us bigint, p_now timestamptz) returns bytea
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return p_key || int8send(p_period_us) || int8send((extract(epoch from p_now) * 1000000)::bigint / p_period_us);
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function stem._period_end(p_period_us bigint, p_now timestamptz) returns timestamptz
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return to_timestamp((((extract(epoch from p_now) * 1000000)::bigint / p_period_us + 1) * p_period_us) / 1000000.0);
end $$;
-- +goose StatementEnd

-- Many jobs, one statement, all or nothing. An array of one element stands for all jobs, and null for "none has it": most
-- columns of a batch are alike, and what is not sent need not be parsed, unnested and joined (docs/adr/0006-enqueue-columns.md).
-- Variables and arrays are of the columns' domains: then what is sent once is checked once, and not for each row.
-- holders is null when every job was enqueued; otherwise it names for each job, in the order given, the one that stands
-- for it: itself, or the job that holds its unique key.
-- +goose StatementBegin
create function stem.enqueue_many(
    p_ids uuid[], p_tasks text[], p_queues text[], p_payloads bytea[], p_codecs text[], p_headers jsonb[], p_priorities smallint[],
    p_run_ats timestamptz[], p_delays_us bigint[], p_nominal_ats timestamptz[], p_expires_ats timestamptz[],
    p_max_attempts smallint[], p_hard_limits_us bigint[], p_soft_limits_us bigint[],
    p_unique_keys bytea[], p_unique_scopes smallint[], p_unique_periods_us bigint[], p_replace boolean[],
    p_origins text[], p_payload_versions integer[], p_group_names text[], p_issued_ats timestamptz[],
    p_sigs bytea[], p_sig_key_ids text[], p_sig_algs text[], p_wake boolean
) returns table (holders uuid[], server_time timestamptz, xid text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_leaves record := stem._leaves(p_ids);
    v_bound uuid := v_leaves.bound;
    v_below smallint := v_leaves.below;
    v_above smallint := v_leaves.above;
    v_holders uuid[];
    v_wake uuid[] := '{}';
    v_scope stem.unique_scope := 0;
    v_task stem.task_name := case when cardinality(p_tasks) = 1 then p_tasks[1] end;
    v_queue stem.queue_name := case when cardinality(p_queues) = 1 then p_queues[1] end;
    v_payload stem.payload := case when cardinality(p_payloads) = 1 then p_payloads[1] end;
    v_codec stem.media_type := case when cardinality(p_codecs) = 1 then p_codecs[1] end;
    v_headers stem.headers := case when cardinality(p_headers) = 1 then p_headers[1] end;
    v_priority stem.priority := case when cardinality(p_priorities) = 1 then p_priorities[1] end;
    v_run_at stem.instant := case when cardinality(p_run_ats) = 1 then p_run_ats[1] end;
    v_delay stem.delay_us := case when cardinality(p_delays_us) = 1 then p_delays_us[1] end;
    v_nominal_at stem.instant := case when cardinality(p_nominal_ats) = 1 then p_nominal_ats[1] end;
    v_expires_at stem.instant := case when cardinality(p_expires_ats) = 1 then p_expires_ats[1] end;
    v_max_attempts stem.max_attempts := case when cardinality(p_max_attempts) = 1 then p_max_attempts[1] end;
    v_hard_limit stem.limit_us := case when cardinality(p_hard_limits_us) = 1 then p_hard_limits_us[1] end;
    v_soft_limit stem.limit_us := case when cardinality(p_soft_limits_us) = 1 then p_soft_limits_us[1] end;
    v_origin stem.label := case when cardinality(p_origins) = 1 then p_origins[1] end;
    v_version stem.payload_version := case when cardinality(p_payload_versions) = 1 then p_payload_versions[1] end;
    v_group stem.label := case when cardinality(p_group_names) = 1 then p_group_names[1] end;
    v_issued_at stem.instant := case when cardinality(p_issued_ats) = 1 then p_issued_ats[1] end;
    v_key_id stem.key_id := case when cardinality(p_sig_key_ids) = 1 then p_sig_key_ids[1] end;
    v_alg stem.algorithm := case when cardinality(p_sig_algs) = 1 then p_sig_algs[1] end;
begin
    if cardinality(array_remove(p_unique_keys, null)) > 0 then
        v_holders := stem._take_keys(
            p_ids,
            array(select case when p_unique_scopes[u.ord] = 3 then stem._period_key(u.key, p_unique_periods_us[u.ord], v_now) else u.key end
                  from unnest(p_unique_keys) with ordinality u(key, ord) order by u.ord),
            p_unique_scopes,
            array(select case when u.scope = 3 then stem._period_end(p_unique_periods_us[u.ord], v_now) end
                  from unnest(p_unique_scopes) with ordinality u(scope, ord) order by u.ord),
            p_replace);
    end if;
    -- One waking ticket a queue: the first that is due now.
    if p_wake and v_queue is not null and v_holders is null and p_run_ats is null and p_delays_us is null then
        v_wake := p_ids[1:1];
    elsif p_wake then
        v_wake := array(
            select p_ids[min(u.ord)] from unnest(p_ids, p_queues, p_run_ats, p_delays_us) with ordinality u(id, queue, run_at, delay_us, ord)
            where coalesce(u.run_at, v_run_at, v_now + coalesce(u.delay_us, v_delay) * interval '1 microsecond', v_now) <= v_now
              and (v_holders[u.ord] is null or v_holders[u.ord] = u.id)
            group by coalesce(u.queue, v_queue));
    end if;
    with envelope as (
        insert into stem.jobs (
            slot, id, queue, task, payload, codec, headers, priority, run_at, delay_us, nominal_at, expires_at, max_attempts,
            hard_limit_us, soft_limit_us, unique_key, unique_scope, origin, payload_version, group_name, issued_at,
            sig, sig_key_id, sig_alg, created_at)
        select
            case when u.id < v_bound then v_below else v_above end, u.id, coalesce(u.queue, v_queue), coalesce(u.task, v_task), coalesce(u.payload, v_payload), coalesce(u.codec, v_codec),
            coalesce(u.headers, v_headers), coalesce(u.priority, v_priority), coalesce(u.run_at, v_run_at), coalesce(u.delay_us, v_delay),
            coalesce(u.nominal_at, v_nominal_at), coalesce(u.expires_at, v_expires_at), coalesce(u.max_attempts, v_max_attempts),
            coalesce(u.hard_limit_us, v_hard_limit), coalesce(u.soft_limit_us, v_soft_limit), u.unique_key,
            coalesce(u.unique_scope, v_scope), coalesce(u.origin, v_origin), coalesce(u.payload_version, v_version),
            coalesce(u.group_name, v_group), coalesce(u.issued_at, v_issued_at), u.sig, coalesce(u.sig_key_id, v_key_id),
            coalesce(u.sig_alg, v_alg), v_now
        from unnest(
            p_ids, p_tasks::stem.task_name[], p_queues::stem.queue_name[], p_payloads::stem.payload[], p_codecs::stem.media_type[],
            p_headers::stem.headers[], p_priorities::stem.priority[], p_run_ats::stem.instant[], p_delays_us::stem.delay_us[],
            p_nominal_ats::stem.instant[], p_expires_ats::stem.instant[], p_max_attempts::stem.max_attempts[],
            p_hard_limits_us::stem.limit_us[], p_soft_limits_us::stem.limit_us[], p_unique_keys::stem.unique_key[],
            p_unique_scopes::stem.unique_scope[], p_origins::stem.label[], p_payload_versions::stem.payload_version[],
            p_group_names::stem.label[], p_issued_ats::stem.instant[], p_sigs::stem.signature[], p_sig_key_ids::stem.key_id[],
            p_sig_algs::stem.algorithm[]
        ) with ordinality u(
            id, task, queue, payload, codec, headers, priority, run_at, delay_us, nominal_at,
            expires_at, max_attempts, hard_limit_us, soft_limit_us, unique_key, unique_scope, origin,
            payload_version, group_name, issued_at, sig, sig_key_id, sig_alg, ord)
        where v_holders[u.ord] is null or v_holders[u.ord] = u.id
        returning id, slot, queue, priority, max_attempts, unique_scope, expires_at,
            coalesce(run_at, v_now + delay_us * interval '1 microsecond', v_now) as due
    ), ready as (
        -- Reads from the envelopes' RETURNING, never from a sibling: the transaction must have its xid before it
        -- draws a position (sibling CTEs run in any order, and did draw first).
        insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts, unique_scope, wake)
        select e.queue, e.priority, nextval('stem.ticket_pos'), e.id, e.slot, e.max_attempts, e.unique_scope, e.id = any (v_wake)
        from envelope e where e.due <= v_now
    )
    insert into stem.scheduled (run_at, job_id, slot, queue, lane, expires_at, max_attempts, unique_scope, wake)
    select e.due, e.id, e.slot, e.queue, e.priority, e.expires_at, e.max_attempts, e.unique_scope, p_wake
    from envelope e where e.due > v_now;

    return query
        select case when v_holders is not null and v_holders <> p_ids
            then array(select coalesce(v_holders[u.ord], u.id) from unnest(p_ids) with ordinality u(id, ord) order by u.ord) end,
            v_now, pg_current_xact_id()::text;
end $$;
-- +goose StatementEnd

-- For SQL, triggers and other languages. Its rows are unsigned: a worker under policy "required" does not run them.
-- +goose StatementBegin
create function stem.enqueue(
    task text, args jsonb default '{}', queue text default 'default', priority integer default 5,
    run_at timestamptz default null, delay interval default null, expires_at timestamptz default null,
    max_attempts integer default 20, hard_limit interval default null, soft_limit interval default null,
    unique_key text default null, unique_for interval default null, replace boolean default false,
    headers jsonb default null, notify boolean default true
) returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_job uuid;
    v_bad text;
begin
    if enqueue.headers is not null then
        select h.key into v_bad from jsonb_each(enqueue.headers) h where jsonb_typeof(h.value) <> 'string' limit 1;
        if found then
            raise exception using errcode = '22023', message = format('stem.enqueue: header "%s" is not a string', v_bad),
                hint = 'Headers are a flat object of strings, such as {"tenant": "t1"}.';
        end if;
    end if;
    select e.job_id into v_job from stem.enqueue_one(
        stem.uuid7(), enqueue.task, enqueue.queue, convert_to(enqueue.args::text, 'UTF8'), 'application/json', enqueue.headers,
        enqueue.priority::smallint, enqueue.run_at, (extract(epoch from enqueue.delay) * 1000000)::bigint, null, enqueue.expires_at,
        enqueue.max_attempts::smallint, (extract(epoch from enqueue.hard_limit) * 1000000)::bigint,
        (extract(epoch from enqueue.soft_limit) * 1000000)::bigint,
        -- Scoped by the task, as the Go library does: task, a zero byte, the key.
        convert_to(enqueue.task, 'UTF8') || '\x00'::bytea || convert_to(enqueue.unique_key, 'UTF8'),
        (case when enqueue.unique_key is null then 0 when enqueue.unique_for is null then 2 else 3 end)::smallint,
        (extract(epoch from enqueue.unique_for) * 1000000)::bigint, enqueue.replace,
        'app', null, null, clock_timestamp(), null, null, null, enqueue.notify) e;
    return v_job;
end $$;
-- +goose StatementEnd

-- For CREATE TRIGGER … EXECUTE FUNCTION stem.enqueue_trigger('task' [, 'queue']): one job a row, with
-- {"op", "schema", "table", "new", "old"} as its arguments.
--
-- Not SECURITY DEFINER, so whoever writes to the table must be a producer: to_jsonb runs the casts to json of the row's types, and
-- those are anybody's code. As the owner it would be the owner's password.
-- +goose StatementBegin
create function stem.enqueue_trigger() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_nargs < 1 or tg_nargs > 2 then
        raise exception using errcode = '22023', message = format('trigger %s: stem.enqueue_trigger wants a task and, if you like, a queue', tg_name),
            hint = 'EXECUTE FUNCTION stem.enqueue_trigger(''invoice.created'', ''billing'')';
    end if;
    perform stem.enqueue(
        tg_argv[0],
        jsonb_build_object(
            'op', lower(tg_op), 'schema', tg_table_schema, 'table', tg_table_name,
            'new', case when tg_op in ('INSERT', 'UPDATE') then to_jsonb(new) end,
            'old', case when tg_op in ('UPDATE', 'DELETE') then to_jsonb(old) end),
        coalesce(tg_argv[1], 'default'));
    return null;
end $$;
-- +goose StatementEnd

-- The gate of the notification. It looks at COMMIT (deferred), because a job that is enqueued in a long transaction
-- must wake a worker that went idle in between; and it notifies only when a worker that wants this queue is idle,
-- because every NOTIFY serialises commits.
-- +goose StatementBegin
create function stem._wake() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from stem.workers w where new.queue = any (w.idle)) then
        perform pg_notify('stem_wake', new.queue);
    end if;
    return null;
end $$;
-- +goose StatementEnd
create constraint trigger ready_wake after insert on stem.ready
deferrable initially deferred for each row when (new.wake) execute function stem._wake();

revoke execute on all functions in schema stem from public;

-- +goose Down
drop trigger ready_wake on stem.ready;
drop function stem._wake;
drop function stem.enqueue_trigger;
drop function stem.enqueue;
drop function stem.enqueue_many;
drop function stem.enqueue_one;
drop function stem._period_end;
drop function stem._period_key;
drop function stem._take_keys;
drop function stem._replace_waiting;
drop function stem._keep_nothing;
drop function stem._wants_fresh_snapshots;
drop function stem._leaves;
drop function stem._refuse_id;
drop function stem._uuid7_time;
drop function stem._period_at;
drop function stem._uuid7_floor;
drop function stem.uuid7;
