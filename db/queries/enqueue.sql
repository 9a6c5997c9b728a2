-- name: EnqueueOne :one
select
    e.job_id::uuid as job_id, e.duplicate::boolean as duplicate, e.server_time::timestamptz as server_time, e.xid::text as xid
from stem.enqueue_one(
    @id::uuid, @task::text, @queue::text, @payload::bytea, @codec::text, @headers::jsonb, @priority::smallint,
    @run_at::timestamptz, nullif(@delay_us::bigint, 0), @nominal_at::timestamptz, @expires_at::timestamptz,
    @max_attempts::smallint, nullif(@hard_limit_us::bigint, 0), nullif(@soft_limit_us::bigint, 0),
    @unique_key::bytea, @unique_scope::smallint, nullif(@unique_period_us::bigint, 0), @replace::boolean,
    @origin::text, nullif(@payload_version::integer, 0), nullif(@group_name::text, ''), @issued_at::timestamptz,
    @sig::bytea, nullif(@sig_key_id::text, ''), nullif(@sig_alg::text, ''), @wake::boolean) e;

-- name: EnqueueMany :one
select coalesce(array_to_string(e.holders, ','), '')::text as holders, e.server_time::timestamptz as server_time, e.xid::text as xid
from stem.enqueue_many(
    @ids::uuid[], @tasks::text[], @queues::text[], @payloads::bytea[], @codecs::text[], @headers::jsonb[], @priorities::smallint[],
    @run_ats::timestamptz[], array_replace(@delays_us::bigint[], 0, null), @nominal_ats::timestamptz[], @expires_ats::timestamptz[],
    @max_attempts::smallint[], array_replace(@hard_limits_us::bigint[], 0, null), array_replace(@soft_limits_us::bigint[], 0, null),
    @unique_keys::bytea[], @unique_scopes::smallint[], array_replace(@unique_periods_us::bigint[], 0, null), @replace::boolean[],
    @origins::text[], array_replace(@payload_versions::integer[], 0, null), array_replace(@group_names::text[], '', null), @issued_ats::timestamptz[],
    @sigs::bytea[], array_replace(@sig_key_ids::text[], '', null), array_replace(@sig_algs::text[], '', null), @wake::boolean) e;

-- name: CommitStatus :one
select coalesce(pg_xact_status(xid8(cast(sqlc.arg(xid) as text))), '')::text as status;

-- name: JobStates :many
select
    s.job_id::uuid as job_id, s.state::text as state, s.reason::text as reason, s.error::text as error, s.attempt::integer as attempt,
    s.generation::smallint as generation, s.result::bytea as result
from stem.job_states(@jobs::uuid[]) s;
