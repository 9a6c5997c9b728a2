-- Retention: a ring of eight leaves, no DDL at run time (docs/adr/0003-ring.md).

-- +goose Up

-- Turns the ring when its period is over: empties the next leaf and makes it the current one. Any worker may call it.
-- Returns what happened: "not due", "busy" (another worker is at it, or the leaf is locked, by a dump for instance; the ring
-- stays where it is), or "turned". What outlives the leaf is put back: envelopes that still have a ticket, and finished jobs
-- younger than six periods. The lock is on that leaf alone and is waited for at most 100 ms.
-- +goose StatementBegin
create function stem.rotate() returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
    v_current smallint;
    v_period interval;
    v_next smallint;
    v_ids uuid[];
begin
    -- Under a stricter level the set of what is to be kept would be read in a snapshot older than the SHARE lock [race]: an
    -- envelope whose ticket was committed in between would be lost.
    perform stem._wants_fresh_snapshots('rotate');
    select r.current, r.period into v_current, v_period from stem.ring r where r.since + r.period <= clock_timestamp() for update skip locked;
    if not found then
        return case when exists (select from stem.ring r where r.since + r.period <= clock_timestamp()) then 'busy' else 'not due' end;
    end if;
    v_next := (v_current + 1) % 8;

    -- Wait for transactions that began when this leaf was current, seven periods ago, and still have tickets to commit
    -- [race]: what they enqueue must be in the set below. Readers and claims go on under this lock, and nobody else writes here.
    case v_next
        when 0 then lock table stem.jobs_0 in share mode;
        when 1 then lock table stem.jobs_1 in share mode;
        when 2 then lock table stem.jobs_2 in share mode;
        when 3 then lock table stem.jobs_3 in share mode;
        when 4 then lock table stem.jobs_4 in share mode;
        when 5 then lock table stem.jobs_5 in share mode;
        when 6 then lock table stem.jobs_6 in share mode;
        when 7 then lock table stem.jobs_7 in share mode;
    end case;

    -- Nothing can get a new ticket in this leaf now, so this set only shrinks until the stronger lock is ours.
    v_ids := array(
        select r.job_id from stem.ready r where r.slot = v_next
        union all select s.job_id from stem.scheduled s where s.slot = v_next
        union all select x.job_id from stem.running x where x.slot = v_next);

    case v_next
        when 0 then lock table stem.jobs_0, stem.finished_0, stem.attempts_0 in access exclusive mode;
        when 1 then lock table stem.jobs_1, stem.finished_1, stem.attempts_1 in access exclusive mode;
        when 2 then lock table stem.jobs_2, stem.finished_2, stem.attempts_2 in access exclusive mode;
        when 3 then lock table stem.jobs_3, stem.finished_3, stem.attempts_3 in access exclusive mode;
        when 4 then lock table stem.jobs_4, stem.finished_4, stem.attempts_4 in access exclusive mode;
        when 5 then lock table stem.jobs_5, stem.finished_5, stem.attempts_5 in access exclusive mode;
        when 6 then lock table stem.jobs_6, stem.finished_6, stem.attempts_6 in access exclusive mode;
        when 7 then lock table stem.jobs_7, stem.finished_7, stem.attempts_7 in access exclusive mode;
    end case;

    insert into stem.ring_finished
    select f.* from stem.finished f where f.slot = v_next and (f.finished_at > clock_timestamp() - 6 * v_period or f.job_id = any (v_ids));
    insert into stem.ring_jobs
    select j.* from stem.jobs j
    where j.slot = v_next and (j.id = any (v_ids) or j.id in (select f.job_id from stem.ring_finished f));
    insert into stem.ring_attempts
    select a.* from stem.attempts a where a.slot = v_next and a.job_id in (select j.id from stem.ring_jobs j);

    case v_next
        when 0 then truncate stem.jobs_0, stem.finished_0, stem.attempts_0;
        when 1 then truncate stem.jobs_1, stem.finished_1, stem.attempts_1;
        when 2 then truncate stem.jobs_2, stem.finished_2, stem.attempts_2;
        when 3 then truncate stem.jobs_3, stem.finished_3, stem.attempts_3;
        when 4 then truncate stem.jobs_4, stem.finished_4, stem.attempts_4;
        when 5 then truncate stem.jobs_5, stem.finished_5, stem.attempts_5;
        when 6 then truncate stem.jobs_6, stem.finished_6, stem.attempts_6;
        when 7 then truncate stem.jobs_7, stem.finished_7, stem.attempts_7;
    end case;

    insert into stem.jobs select * from stem.ring_jobs;
    insert into stem.finished select * from stem.ring_finished;
    insert into stem.attempts select * from stem.ring_attempts;
    truncate stem.ring_jobs, stem.ring_finished, stem.ring_attempts;
    update stem.ring set current = v_next, since = clock_timestamp();
    return 'turned';
exception
    when lock_not_available then
        return 'busy';
end $$;
-- +goose StatementEnd

revoke execute on all functions in schema stem from public;

-- +goose Down
drop function stem.rotate;
