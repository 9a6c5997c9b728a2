-- Workers: register, heartbeat, idle flags, and the rescue of what a silent worker held.

-- +goose Up

-- The epoch is random and known to nobody but this worker: ids are known to all of them (stem.watch), and whoever logs in as one
-- must not be able to end another, which would be to run its jobs a second time. Who chooses it can call stem.deregister without having had
-- the answer.
-- +goose StatementBegin
create function stem.register(
    p_worker uuid, p_node text, p_namespace text, p_host text, p_pid integer, p_boot text, p_version text,
    p_lease_us bigint, p_slots jsonb, p_tasks jsonb, p_epoch bigint default null
) returns table (epoch bigint, server_time timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    insert into stem.workers (id, epoch, node, namespace, host, pid, boot, version, lease_us, lease_until, slots, tasks)
    values (p_worker, coalesce(p_epoch, ('x' || left(replace(gen_random_uuid()::text, '-', ''), 12))::bit(48)::bigint),
        p_node, p_namespace, p_host, p_pid, p_boot, p_version, p_lease_us,
        clock_timestamp() + p_lease_us * interval '1 microsecond', p_slots, p_tasks)
    returning workers.epoch, clock_timestamp();
end $$;
-- +goose StatementEnd

-- Renews the lease. alive = false: the row is gone, which means that this worker was declared lost; it must stop everything
-- and take a new identity. An expired lease that nobody acted upon is simply renewed.
-- cancelled: of the jobs named, those that an operator wants stopped. lost: those that this worker no longer holds.
-- +goose StatementBegin
create function stem.heartbeat(p_worker uuid, p_epoch bigint, p_stats jsonb, p_jobs uuid[], p_claims uuid[])
returns table (alive boolean, server_time timestamptz, cancelled uuid[], lost uuid[])
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
    v_alive boolean;
begin
    update stem.workers w set
        heartbeat_at = clock_timestamp(),
        lease_until = clock_timestamp() + w.lease_us * interval '1 microsecond',
        stats = coalesce(p_stats, w.stats)
    where w.id = p_worker and w.epoch = p_epoch;
    v_alive := found;
    return query
    select v_alive, clock_timestamp(),
        array(select u.job_id from unnest(p_jobs, p_claims) u(job_id, claim_id)
            where exists (select from stem.running r where r.job_id = u.job_id and r.claim_id = u.claim_id and r.cancel_at is not null)),
        array(select u.job_id from unnest(p_jobs, p_claims) u(job_id, claim_id)
            where not exists (select from stem.running r where r.job_id = u.job_id and r.claim_id = u.claim_id));
end $$;
-- +goose StatementEnd

-- Says for which queues this worker is about to sleep. It commits, then looks once more, and only then sleeps.
-- +goose StatementBegin
create function stem.set_idle(p_worker uuid, p_epoch bigint, p_queues text[]) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    update stem.workers w set idle = coalesce(p_queues, '{}')
    where w.id = p_worker and w.epoch = p_epoch and w.idle is distinct from coalesce(p_queues, '{}');
end $$;
-- +goose StatementEnd

-- The end of a worker. What it still holds (a handler that would not stop) is left to rescue, at once and not after a lease.
-- +goose StatementBegin
create function stem.deregister(p_worker uuid, p_epoch bigint) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    g stem.workers;
begin
    perform stem._wants_fresh_snapshots('deregister');
    -- Two statements [race]: the DELETE waits for a claim of this worker that is in flight on a lost connection, and only the
    -- next statement's snapshot sees what that claim took.
    delete from stem.workers w where w.id = p_worker and w.epoch = p_epoch returning * into g;
    if not found then
        return false;
    end if;
    insert into stem.lost_workers (id, node, namespace, host, pid, started_at, heartbeat_at, slots, lost_by)
    select g.id, g.node, g.namespace, g.host, g.pid, g.started_at, g.heartbeat_at, g.slots, g.id
    where exists (select from stem.running r where r.worker = g.id)
    on conflict (id) do update set cleared_at = null, begun = null, slots = excluded.slots, lost_by = excluded.lost_by;
    delete from stem.suspect_duty s where s.worker = p_worker;
    return true;
end $$;
-- +goose StatementEnd

-- Everybody else's heartbeat, for the rescuer's own watch: it judges by its own monotonic clock how long one stood still.
-- lost: declared lost by somebody, but not cleared yet.
-- +goose StatementBegin
create function stem.watch(p_worker uuid) returns table (id uuid, node text, heartbeat_at timestamptz, lease_us bigint, expired boolean, lost boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select w.id, w.node, w.heartbeat_at, w.lease_us, w.lease_until < clock_timestamp(), false from stem.workers w where w.id <> p_worker
    union all
    select l.id, l.node, l.heartbeat_at, 0::bigint, true, true from stem.lost_workers l where l.cleared_at is null;
end $$;
-- +goose StatementEnd

-- Declares a silent worker lost. It is a DELETE, because the claim's guard (FOR KEY SHARE) does not see a non-key update made
-- after its snapshot [race]; and it must commit before stem.rescue looks, so that rescue's fresh snapshot sees every claim that
-- was in flight. p_seen is the heartbeat that the rescuer saw stand still for a whole lease: one renewed since is left alone.
-- +goose StatementBegin
create function stem.declare_lost(p_rescuer uuid, p_epoch bigint, p_victim uuid, p_seen timestamptz) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
declare
    v_lost boolean;
begin
    with me as materialized (
        select from stem.workers w where w.id = p_rescuer and w.epoch = p_epoch for key share
    ), gone as (
        delete from stem.workers w
        where w.id = p_victim and w.id <> p_rescuer and w.heartbeat_at = p_seen and w.lease_until < clock_timestamp()
          and exists (select from me)
        returning *
    ), kept as (
        insert into stem.lost_workers (id, node, namespace, host, pid, started_at, heartbeat_at, slots, lost_by)
        select g.id, g.node, g.namespace, g.host, g.pid, g.started_at, g.heartbeat_at, g.slots, p_rescuer from gone g
        -- A worker that registered under the id of a lost one must not be safe from rescue.
        on conflict (id) do update set cleared_at = null, begun = null, slots = excluded.slots, lost_by = excluded.lost_by
    )
    select count(*) > 0 into v_lost from gone;
    return v_lost;
end $$;
-- +goose StatementEnd

-- Moves what a lost worker held. Of the rows in a queue with S slots only the first S in claim order can have begun, because a
-- worker frees a slot only when the outcome is stored and starts jobs in claim order: those are charged, the prefetched rest
-- goes back as it was. Which those are is decided once, by the first call, and kept [race]: a prefetched job that another transaction
-- held then would be among the first S of a later call, because those before it are gone. Charged jobs are suspects from then on: they stand in their own lane and wait 0 s, 30 s, 2 min.
-- SKIP LOCKED: a completing transaction may hold a row; remaining > 0 says to come again.
-- Sequential scans are allowed here: running has no index on the worker, and a rescue is rare.
-- +goose StatementBegin
create function stem.rescue(p_rescuer uuid, p_epoch bigint, p_victim uuid, p_max_crashes integer)
returns table (moved integer, charged integer, buried integer, remaining integer)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
    m record;
    v_slots jsonb;
    v_begun uuid[];
    v_drop text[] := stem._keep_nothing();
begin
    -- A claim that committed after an older snapshot would be missed, and the victim cleared without it [race].
    perform stem._wants_fresh_snapshots('rescue');
    moved := 0; charged := 0; buried := 0;
    select l.slots, l.begun into v_slots, v_begun from stem.lost_workers l where l.id = p_victim for update skip locked;
    if not found or not exists (select from stem.workers w where w.id = p_rescuer and w.epoch = p_epoch) then
        remaining := 0;
        return next;
        return;
    end if;
    if v_begun is null then
        -- A worker's own words about its slots must not stop its rescue: what is no number counts as "all may have begun".
        v_begun := array(
            select h.job_id
            from (
                select r.job_id, r.queue, row_number() over (partition by r.queue order by r.seq, r.lane desc, r.pos) as place
                from stem.running r where r.worker = p_victim) h
            where h.place <= case when jsonb_typeof(v_slots -> h.queue) = 'number' then (v_slots ->> h.queue)::numeric else 2147483647 end);
        update stem.lost_workers l set begun = v_begun where l.id = p_victim;
    end if;
    for m in
        with held as materialized (
            select r.job_id from stem.running r where r.worker = p_victim
        ), p as materialized (
            select r.*
            from held h
            cross join lateral (
                select x.ctid as t, x.* from stem.running x where x.job_id = h.job_id and x.worker = p_victim limit 1 for update skip locked) r
        ), d as materialized (
            delete from stem.running where ctid = any (array(select p.t from p)) returning running.job_id
        ), judged as materialized (
            select p.*, p.job_id in (select b.id from unnest(v_begun) b(id)) as begun
            from p where (p.job_id in (select d.job_id from d)) is true
        ), target as materialized (
            select j.*,
                (j.failures + j.begun::integer)::smallint as new_failures,
                (j.crashes + j.begun::integer)::smallint as new_crashes,
                case
                    when j.cancel_at is not null then 'cancelled'
                    when j.begun and j.crashes + 1 >= p_max_crashes then 'dead'
                    when j.begun and j.failures + 1 >= j.max_attempts then 'dead'
                    else 'scheduled'
                end as target
            from judged j
        ), put_scheduled as (
            insert into stem.scheduled (
                run_at, expires_at, queue, lane, job_id, slot, attempt, failures, crashes, releases, generation, grace_since, max_attempts, unique_scope)
            select
                clock_timestamp() + case when not n.begun then interval '0' when n.new_crashes = 1 then interval '0'
                    when n.new_crashes = 2 then interval '30 seconds' else interval '2 minutes' end,
                e.expires_at, n.queue, n.lane % 100 + case when n.new_crashes > 0 then 100 else 0 end, n.job_id, n.slot,
                n.attempt, n.new_failures, n.new_crashes, n.releases, n.generation, n.grace_since, n.max_attempts, n.unique_scope
            from target n
            left join lateral (select j.expires_at from stem.jobs j where j.slot = n.slot and j.id = n.job_id limit 1) e on true
            where n.target = 'scheduled'
        ), put_finished as (
            insert into stem.finished (slot, job_id, generation, attempt, worker, outcome)
            select n.slot, n.job_id, n.generation, n.attempt, p_victim, 'cancelled'
            from target n where n.target = 'cancelled' and n.queue <> all (v_drop)
            on conflict (slot, job_id) do nothing
        ), freed as (
            delete from stem.unique_keys u using target n where n.target = 'cancelled' and n.unique_scope = 2 and u.job_id = n.job_id
        ), recorded as (
            insert into stem.attempts (slot, job_id, attempt, generation, worker, started_at, outcome, error)
            select n.slot, n.job_id, n.attempt, n.generation, p_victim, n.claimed_at, 'lost', 'the worker was lost while it held this job'
            from target n where n.begun
        )
        select n.* from target n
    loop
        moved := moved + 1;
        charged := charged + m.begun::integer;
        if m.target = 'dead' then
            buried := buried + 1;
            perform stem._bury(m.slot, m.job_id, m.queue, m.lane, m.attempt, m.new_failures, m.new_crashes, m.releases, m.generation,
                m.max_attempts, p_victim, case when m.new_crashes >= p_max_crashes then 'poison' else 'exhausted' end,
                'the worker was lost while it held this job', null);
        end if;
    end loop;
    select count(*) into remaining from stem.running r where r.worker = p_victim;
    if remaining = 0 then
        update stem.lost_workers l set cleared_at = clock_timestamp() where l.id = p_victim;
    end if;
    return next;
end $$;
-- +goose StatementEnd

-- Claims whose worker is neither alive nor lost (a restored dump, a hand's edit): their workers are declared lost here.
-- +goose StatementBegin
create function stem.adopt_orphans() returns integer
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_count integer;
begin
    insert into stem.lost_workers (id, node, namespace, host, pid, started_at, heartbeat_at, slots)
    select distinct r.worker, 'unknown', 'unknown', 'unknown', 0, min(r.claimed_at) over (partition by r.worker),
        max(r.claimed_at) over (partition by r.worker), '{}'::jsonb
    from stem.running r
    where not exists (select from stem.workers w where w.id = r.worker)
      -- A claim's worker row cannot vanish under it without a row in lost_workers, except by hand: one minute is long enough
      -- for this statement's snapshot to be no excuse.
      and r.claimed_at < clock_timestamp() - interval '1 minute'
    on conflict (id) do update set cleared_at = null, begun = null where lost_workers.cleared_at is not null;
    get diagnostics v_count = row_count;
    delete from stem.lost_workers l where l.cleared_at < clock_timestamp() - interval '24 hours';
    return v_count;
end $$;
-- +goose StatementEnd

-- Suspects run alone (contract.md, section 6). On a busy fleet one worker a queue takes this duty, runs dry, and runs them.
-- +goose StatementBegin
create function stem.take_duty(p_worker uuid, p_epoch bigint, p_queue text, p_for_us bigint) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from stem.workers w where w.id = p_worker and w.epoch = p_epoch) then
        return false;
    end if;
    insert into stem.suspect_duty as s (queue, worker, until)
    values (p_queue, p_worker, clock_timestamp() + p_for_us * interval '1 microsecond')
    on conflict (queue) do update set worker = excluded.worker, until = excluded.until
    where s.worker = excluded.worker or s.until < clock_timestamp()
       or not exists (select from stem.workers w where w.id = s.worker);
    return found;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function stem.drop_duty(p_worker uuid) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from stem.suspect_duty s where s.worker = p_worker;
end $$;
-- +goose StatementEnd

-- How many suspects wait in each of these queues.
-- +goose StatementBegin
create function stem.suspects(p_queues text[]) returns table (queue text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    select q.name from unnest(p_queues) q(name)
    where exists (
        select from generate_series(100, 109) l(lane)
        cross join lateral (select from stem.ready r where r.queue = q.name and r.lane = l.lane::smallint limit 1) x)
      and not exists (select from stem.queues s where s.name = q.name and s.paused);
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;

-- +goose Down
drop function stem.suspects;
drop function stem.drop_duty;
drop function stem.take_duty;
drop function stem.adopt_orphans;
drop function stem.rescue;
drop function stem.declare_lost;
drop function stem.watch;
drop function stem.deregister;
drop function stem.set_idle;
drop function stem.heartbeat;
drop function stem.register;
