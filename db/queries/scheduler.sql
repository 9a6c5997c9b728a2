-- name: LockSchedules :many
select l.id::text as id, l.server_time::timestamptz as server_time, l.done::timestamptz[] as done
from stem.lock_schedules(@ids::text[], @max::integer, nullif(@back_us::bigint, 0)) l;

-- name: ReadSchedules :many
select
    s.id::text as id, s.version::bigint as version, s.enabled::boolean as enabled, s.spec::text as spec, s.zone::text as zone,
    s.policies::text as policies, s.jitter_us::bigint as jitter_us, s.expire_at::timestamptz as expire_at, s.task::text as task,
    s.queue::text as queue, s.codec::text as codec, s.payload::bytea as payload, s.headers::jsonb as headers,
    s.priority::smallint as priority, s.max_attempts::smallint as max_attempts, coalesce(s.hard_limit_us, 0)::bigint as hard_limit_us,
    coalesce(s.soft_limit_us, 0)::bigint as soft_limit_us, s.sig::bytea as sig, coalesce(s.sig_key_id, '')::text as sig_key_id,
    coalesce(s.sig_alg, '')::text as sig_alg, coalesce(s.description, '')::text as description, s.created_at::timestamptz as created_at,
    s.updated_at::timestamptz as updated_at, s.updated_by::text as updated_by, s.due_at::timestamptz as due_at,
    s.next_at::timestamptz as next_at, s.last_at::timestamptz as last_at, s.queued_at::timestamptz as queued_at,
    coalesce(s.last_job, '00000000-0000-0000-0000-000000000000')::uuid as last_job, s.fired::bigint as fired,
    s.paused_at::timestamptz as paused_at, coalesce(s.paused_why, '')::text as paused_why, coalesce(s.refused, '')::text as refused,
    coalesce(s.failed, '')::text as failed
from stem.read_schedules(@ids::text[], @after::text, @max::integer) s;

-- name: ListSchedules :many
select
    s.id::text as id, s.version::bigint as version, s.enabled::boolean as enabled, s.spec::text as spec, s.zone::text as zone,
    s.policies::text as policies, s.jitter_us::bigint as jitter_us, s.expire_at::timestamptz as expire_at, s.task::text as task,
    s.queue::text as queue, coalesce(s.sig_key_id, '')::text as sig_key_id, coalesce(s.sig_alg, '')::text as sig_alg,
    coalesce(s.description, '')::text as description, s.updated_at::timestamptz as updated_at, s.updated_by::text as updated_by,
    s.due_at::timestamptz as due_at, s.next_at::timestamptz as next_at, s.last_at::timestamptz as last_at,
    s.queued_at::timestamptz as queued_at, coalesce(s.last_job, '00000000-0000-0000-0000-000000000000')::uuid as last_job,
    s.fired::bigint as fired, s.paused_at::timestamptz as paused_at, coalesce(s.paused_why, '')::text as paused_why,
    coalesce(s.refused, '')::text as refused, coalesce(s.failed, '')::text as failed, s.drift_us::int8 as drift_us, s.server_time::timestamptz as server_time
from stem.list_schedules(@after::text, @max::integer) s;

-- name: RecordRuns :exec
select stem.record_runs(
    @schedules::text[], @nominals::timestamptz[], @outcomes::text[],
    array_replace(@jobs::uuid[], '00000000-0000-0000-0000-000000000000', null), @jitters_us::bigint[], @drifts_us::int8[],
    array_replace(@notes::text[], '', null), nullif(@action::text, ''), @reason::text);

-- name: AdvanceSchedules :one
select stem.advance_schedules(
    @ids::text[], @versions::bigint[], @next_ats::timestamptz[], @due_ats::timestamptz[], @last_ats::timestamptz[],
    @queued_ats::timestamptz[], array_replace(@last_jobs::uuid[], '00000000-0000-0000-0000-000000000000', null), @fired::integer[],
    array_replace(@paused::text[], '', null), array_replace(@refused::text[], '', null), array_replace(@failed::text[], '', null))::integer as moved;

-- name: NextSchedule :one
select coalesce(stem.next_schedule(nullif(@back_us::bigint, 0)), -1)::bigint as next_us;

-- name: RecentRuns :many
select r.schedule::text as schedule, r.job_id::uuid as job_id from stem.recent_runs(@ids::text[], @max::integer) r;

-- name: CancelPrevious :many
select c.schedule::text as schedule, c.job_id::uuid as job_id, c.result::text as result from stem.cancel_previous(@ids::text[]) c;

-- name: PruneRuns :one
select stem.prune_runs(@keep_us::bigint, @max::integer)::integer as pruned;

-- name: ApplySchedules :exec
select stem.apply_schedules(@entries::jsonb, @action::text, @reason::text);

-- name: DisableSchedule :one
select stem.disable_schedule(@id::text, @reason::text)::boolean as disabled;

-- name: DeleteSchedules :exec
select stem.delete_schedules(@ids::text[], @versions::bigint[], @reason::text);

-- name: ListRuns :many
select
    r.schedule::text as schedule, r.nominal_at::timestamptz as nominal_at, r.recorded_at::timestamptz as recorded_at,
    r.outcome::text as outcome, coalesce(r.job_id, '00000000-0000-0000-0000-000000000000')::uuid as job_id,
    r.jitter_us::bigint as jitter_us, r.drift_us::int8 as drift_us, coalesce(r.note, '')::text as note, coalesce(r.state, '')::text as state
from stem.list_runs(
    nullif(@schedule::text, ''), @outcomes::text[], @since::timestamptz, @until::timestamptz, @before::timestamptz,
    nullif(@before_schedule::text, ''), @max::integer) r;

-- name: ServerTime :one
select pg_catalog.clock_timestamp()::timestamptz as server_time;

-- name: RunsWithJobs :many
select r::timestamptz as nominal_at from stem.runs_with_jobs(@schedule::text, @first::timestamptz, @last::timestamptz) r;
