-- Upkeep that is part of every worker's loop: the due move, and keys whose period is over. Nothing is elected.

-- +goose Up

-- Moves what is due to the line, at most p_limit at once. SKIP LOCKED: any number of workers may do it at the same time.
-- statement_timestamp() as the bound: clock_timestamp() is volatile and cannot be an index bound, and now() would stand still
-- in a long transaction. next_us: microseconds until the next job is due, null when there is none.
-- +goose StatementBegin
create function stem.due(p_limit integer) returns table (moved integer, expired integer, next_us bigint)
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
begin
    with d as materialized (
        delete from stem.scheduled where ctid = any (array(
            select s.ctid from stem.scheduled s
            where s.run_at <= statement_timestamp()
            order by s.run_at
            limit p_limit
            for update skip locked))
        returning *, coalesce(scheduled.expires_at <= clock_timestamp(), false) as too_late
    ), put_ready as (
        insert into stem.ready (
            queue, lane, pos, job_id, slot, attempt, failures, crashes, releases, generation, grace_since, max_attempts, unique_scope, wake)
        select
            d.queue, d.lane, nextval('stem.ticket_pos'), d.job_id, d.slot, d.attempt, d.failures, d.crashes, d.releases, d.generation,
            d.grace_since, d.max_attempts, d.unique_scope, d.wake and row_number() over (partition by d.queue order by d.run_at) = 1
        from d where not d.too_late
        order by d.run_at
    ), put_finished as (
        insert into stem.finished (slot, job_id, generation, attempt, outcome)
        select d.slot, d.job_id, d.generation, d.attempt, 'expired' from d where d.too_late and d.queue <> all (v_drop)
        on conflict (slot, job_id) do nothing
    ), freed as (
        delete from stem.unique_keys where ctid = any (array(
            select k.t from d
            cross join lateral (select u.ctid as t from stem.unique_keys u where u.job_id = d.job_id limit 1 for update) k
            where d.too_late and d.unique_scope in (1, 2)))
    )
    select count(*) filter (where not d.too_late), count(*) filter (where d.too_late) into moved, expired from d;
    select greatest(0, (extract(epoch from s.run_at - clock_timestamp()) * 1000000)::bigint) into next_us
    from stem.scheduled s order by s.run_at limit 1;
    return next;
end $$;
-- +goose StatementEnd

-- Forgets unique keys whose period is over, in batches.
-- +goose StatementBegin
create function stem.prune_keys(p_limit integer) returns integer
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_count integer;
begin
    delete from stem.unique_keys where ctid = any (array(
        select u.ctid from stem.unique_keys u where u.until <= statement_timestamp() order by u.until limit p_limit for update skip locked));
    get diagnostics v_count = row_count;
    return v_count;
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;

-- +goose Down
drop function stem.prune_keys;
drop function stem.due;
