-- Where a job is: for those who wait for a result, and for the producer role, which may ask about ids it knows.

-- +goose Up

-- state: scheduled, ready, running, dead, one of the outcomes of stem.finished, or unknown (never enqueued, purged, retired).
-- The finished leaves are probed one by one, by key, because the caller does not know the slot.
-- +goose StatementBegin
create function stem.job_states(p_jobs uuid[])
returns table (job_id uuid, state text, reason text, error text, attempt integer, generation smallint, result bytea)
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
    select u.id, coalesce(x.state, 'unknown'), coalesce(x.reason, ''), coalesce(x.error, ''), coalesce(x.attempt, 0), coalesce(x.generation, 1::smallint), x.result
    from unnest(p_jobs) with ordinality u(id, ord)
    left join lateral (
        -- Running and waiting first: a job that was replayed or is being retried has older rows behind it.
        (select 'running' as state, null as reason, null as error, r.attempt::integer, r.generation::smallint, null::bytea as result from stem.running r where r.job_id = u.id limit 1)
        union all
        (select 'ready', null, null, r.attempt, r.generation, null from stem.ready r where r.job_id = u.id limit 1)
        union all
        (select 'scheduled', null, null, s.attempt, s.generation, null from stem.scheduled s where s.job_id = u.id limit 1)
        union all
        (select 'dead', d.reason, d.error, d.attempt, d.generation, null from stem.dead d where d.id = u.id limit 1)
        union all
        (select f.outcome, null, null, f.attempt, f.generation, f.result
         from generate_series(0, 7) g(slot)
         cross join lateral (select * from stem.finished e where e.slot = g.slot and e.job_id = u.id limit 1) f limit 1)
        limit 1) x on true
    order by u.ord;
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;

-- +goose Down
drop function stem.job_states;
