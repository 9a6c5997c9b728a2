-- name: Cancel :many
select c.job_id::uuid as job_id, c.result::text as result from stem.cancel(@jobs::uuid[], @reason::text) c;

-- name: Replay :many
select r.job_id::uuid as job_id, r.result::text as result from stem.replay(@jobs::uuid[], @delay_us::bigint, @reason::text) r;

-- name: RetryNow :many
select r.job_id::uuid as job_id, r.result::text as result from stem.retry_now(@jobs::uuid[], @reason::text) r;

-- name: PurgeDead :many
select p.job_id::uuid as job_id, p.result::text as result from stem.purge_dead(@jobs::uuid[], @reason::text) p;

-- name: SupersedeDead :one
select stem.supersede_dead(@dead::uuid, @new::uuid, @reason::text)::text as result;

-- name: PauseQueue :one
select stem.pause_queue(@queue::text, @reason::text)::boolean as changed;

-- name: ResumeQueue :one
select stem.resume_queue(@queue::text, @reason::text)::boolean as changed;

-- name: SetQueue :one
select stem.set_queue(@queue::text, sqlc.narg('keep_finished')::boolean, @reason::text)::boolean as changed;

-- name: ForgetQueue :one
select stem.forget_queue(@queue::text, @reason::text)::boolean as changed;

-- name: PurgeQueue :one
select stem.purge_queue(@queue::text, @max::integer, @reason::text)::bigint as cancelled;

-- name: CountWaiting :one
select stem.count_waiting(@queue::text)::bigint as waiting;

-- name: ListJobs :many
select
    l.job_id::uuid as job_id, l.state::text as state, coalesce(l.queue, '')::text as queue, coalesce(l.task, '')::text as task,
    coalesce(l.origin, '')::text as origin, coalesce(l.group_name, '')::text as group_name, coalesce(l.priority, 0)::smallint as priority,
    coalesce(l.max_attempts, 0)::smallint as max_attempts, coalesce(l.attempt, 0)::integer as attempt,
    coalesce(l.failures, 0)::smallint as failures, coalesce(l.crashes, 0)::smallint as crashes,
    coalesce(l.releases, 0)::smallint as releases, coalesce(l.generation, 0)::smallint as generation,
    l.due_at::timestamptz as due_at, coalesce(l.worker, '00000000-0000-0000-0000-000000000000')::uuid as worker,
    l.claimed_at::timestamptz as claimed_at, l.cancel_at::timestamptz as cancel_at, l.started_at::timestamptz as started_at,
    l.ended_at::timestamptz as ended_at, l.created_at::timestamptz as created_at, l.expires_at::timestamptz as expires_at,
    coalesce(l.reason, '')::text as reason
from stem.list_jobs(
    @states::text[], nullif(@queue::text, ''), nullif(@task::text, ''), nullif(@origin::text, ''), nullif(@group_name::text, ''),
    @since::timestamptz, @until::timestamptz, nullif(@before::uuid, '00000000-0000-0000-0000-000000000000'), @max::integer, @scan::integer) l;

-- name: CountJobs :one
select c.matched::bigint as matched, coalesce(c.next_before, '00000000-0000-0000-0000-000000000000')::uuid as next_before
from stem.count_jobs(
    @states::text[], nullif(@queue::text, ''), nullif(@task::text, ''), nullif(@origin::text, ''), nullif(@group_name::text, ''),
    @since::timestamptz, @until::timestamptz, nullif(@before::uuid, '00000000-0000-0000-0000-000000000000'), @scan::integer) c;

-- name: ShowJobs :many
select
    u.id::uuid as job_id, s.state::text as state, coalesce(s.queue, '')::text as queue, coalesce(s.task, '')::text as task,
    coalesce(s.origin, '')::text as origin, coalesce(s.group_name, '')::text as group_name, coalesce(s.priority, 0)::smallint as priority,
    coalesce(s.max_attempts, 0)::smallint as max_attempts, coalesce(s.attempt, 0)::integer as attempt,
    coalesce(s.failures, 0)::smallint as failures, coalesce(s.crashes, 0)::smallint as crashes,
    coalesce(s.releases, 0)::smallint as releases, coalesce(s.generation, 0)::smallint as generation,
    s.due_at::timestamptz as due_at, coalesce(s.worker, '00000000-0000-0000-0000-000000000000')::uuid as worker,
    s.claimed_at::timestamptz as claimed_at, s.cancel_at::timestamptz as cancel_at, s.started_at::timestamptz as started_at,
    s.ended_at::timestamptz as ended_at, s.created_at::timestamptz as created_at, s.expires_at::timestamptz as expires_at,
    coalesce(s.reason, '')::text as reason,
    s.envelope::boolean as envelope, s.payload::bytea as payload, coalesce(s.codec, '')::text as codec, s.headers::jsonb as headers,
    s.run_at::timestamptz as run_at, coalesce(s.delay_us, 0)::bigint as delay_us, s.nominal_at::timestamptz as nominal_at,
    coalesce(s.hard_limit_us, 0)::bigint as hard_limit_us, coalesce(s.soft_limit_us, 0)::bigint as soft_limit_us,
    s.unique_key::bytea as unique_key, coalesce(s.unique_scope, 0)::smallint as unique_scope,
    coalesce(s.payload_version, 0)::integer as payload_version, s.issued_at::timestamptz as issued_at,
    s.sig::bytea as sig, coalesce(s.sig_key_id, '')::text as sig_key_id, coalesce(s.sig_alg, '')::text as sig_alg,
    coalesce(s.error, '')::text as error, coalesce(s.fingerprint, '')::text as fingerprint, s.result::bytea as result,
    coalesce(s.ahead, -1)::bigint as ahead
from unnest(@jobs::uuid[]) with ordinality u(id, ord)
cross join lateral stem.show_job(u.id) s
order by u.ord;

-- name: ListAttempts :many
select
    u.id::uuid as job_id, a.attempt::integer as attempt, coalesce(a.generation, 0)::smallint as generation,
    coalesce(a.worker, '00000000-0000-0000-0000-000000000000')::uuid as worker,
    a.started_at::timestamptz as started_at, a.ended_at::timestamptz as ended_at, coalesce(a.outcome, '')::text as outcome,
    coalesce(a.error, '')::text as error, coalesce(a.fingerprint, '')::text as fingerprint
from unnest(@jobs::uuid[]) with ordinality u(id, ord)
cross join lateral stem.list_attempts(u.id) with ordinality a(attempt, generation, worker, started_at, ended_at, outcome, error, fingerprint, nth)
order by u.ord, a.nth;

-- name: ListDead :many
select
    d.id::uuid as id, d.queue::text as queue, d.task::text as task, d.reason::text as reason, coalesce(d.error, '')::text as error,
    d.fingerprint::text as fingerprint, d.died_at::timestamptz as died_at, d.created_at::timestamptz as created_at,
    d.attempt::integer as attempt, d.failures::smallint as failures, d.crashes::smallint as crashes, d.releases::smallint as releases,
    d.generation::smallint as generation, d.max_attempts::smallint as max_attempts, d.priority::smallint as priority,
    d.origin::text as origin, coalesce(d.group_name, '')::text as group_name,
    coalesce(d.worker, '00000000-0000-0000-0000-000000000000')::uuid as worker,
    coalesce(d.sig_key_id, '')::text as sig_key_id, d.bytes::integer as bytes
from stem.list_dead(
    nullif(@queue::text, ''), nullif(@task::text, ''), nullif(@reason::text, ''), nullif(@fingerprint::text, ''),
    nullif(@sig_key_id::text, ''), @since::timestamptz, @until::timestamptz, @before_at::timestamptz, @before_id::uuid, @max::integer) d;

-- name: DeadGroups :many
select
    coalesce(g.reason, '')::text as reason, coalesce(g.fingerprint, '')::text as fingerprint, g.tasks::text[] as tasks,
    g.queues::text[] as queues, g.letters::bigint as letters, g.first_at::timestamptz as first_at, g.last_at::timestamptz as last_at,
    g.sample_id::uuid as sample_id, coalesce(g.sample_error, '')::text as sample_error
from stem.dead_groups(
    @by::text, nullif(@queue::text, ''), nullif(@task::text, ''), nullif(@reason::text, ''), nullif(@fingerprint::text, ''),
    nullif(@sig_key_id::text, ''), @since::timestamptz, @until::timestamptz) g;

-- name: ListQueues :many
select
    q.name::text as name, q.paused::boolean as paused, coalesce(q.paused_by, '')::text as paused_by,
    coalesce(q.paused_why, '')::text as paused_why, q.paused_since::timestamptz as paused_since, q.keep_finished::boolean as keep_finished,
    q.has_row::boolean as has_row,
    q.ready::bigint as ready, q.ready_exact::boolean as ready_exact, q.scheduled::bigint as scheduled,
    q.scheduled_exact::boolean as scheduled_exact, q.running::bigint as running, q.dead::bigint as dead, q.dead_exact::boolean as dead_exact,
    coalesce(q.oldest_us, 0)::bigint as oldest_us, q.workers::bigint as workers, q.slots::bigint as slots
from stem.list_queues(nullif(@queue::text, '')) q;

-- name: ListWorkers :many
select
    w.id::uuid as id, w.state::text as state, w.node::text as node, w.namespace::text as namespace, w.host::text as host,
    w.pid::integer as pid, coalesce(w.boot, '')::text as boot, coalesce(w.version, '')::text as version, coalesce(w.epoch, 0)::bigint as epoch,
    w.started_at::timestamptz as started_at, w.heartbeat_at::timestamptz as heartbeat_at, w.silent_us::bigint as silent_us,
    w.lease_left_us::bigint as lease_left_us, w.lost_at::timestamptz as lost_at, w.slots::jsonb as slots, w.idle::text[] as idle,
    w.tasks::text[] as tasks, w.stats::jsonb as stats, w.running::bigint as running
from stem.list_workers(nullif(@namespace::text, '')) w;

-- name: ListTasks :many
select
    t.task::text as task, coalesce(t.kind, '')::text as kind, coalesce(t.queue, '')::text as queue,
    coalesce(t.max_attempts, 0)::integer as max_attempts, coalesce(t.soft_limit_us, 0)::bigint as soft_limit_us,
    coalesce(t.hard_limit_us, 0)::bigint as hard_limit_us, t.malformed::text[] as malformed,
    t.workers::bigint as workers, t.nodes::text[] as nodes, t.queues::text[] as queues
from stem.list_tasks(nullif(@namespace::text, '')) t;

-- name: ListAudit :many
select
    a.id::bigint as id, a.at::timestamptz as at, a.actor::text as actor, coalesce(a.application, '')::text as application,
    a.action::text as action, a.target::text as target, coalesce(a.reason, '')::text as reason, a.affected::bigint as affected,
    a.detail::jsonb as detail
from stem.list_audit(
    nullif(@action::text, ''), nullif(@actor::text, ''), nullif(@target::text, ''), @since::timestamptz, @until::timestamptz,
    nullif(@before::bigint, 0), @max::integer) a;

-- name: ListEnvelopes :many
select
    e.job_id::uuid as job_id, e.state::text as state, coalesce(e.ticket_queue, '')::text as ticket_queue, e.due_at::timestamptz as due_at,
    coalesce(e.queue, '')::text as queue, coalesce(e.task, '')::text as task, coalesce(e.origin, '')::text as origin,
    coalesce(e.group_name, '')::text as group_name, coalesce(e.priority, 0)::smallint as priority,
    coalesce(e.max_attempts, 0)::smallint as max_attempts, e.created_at::timestamptz as created_at, e.expires_at::timestamptz as expires_at,
    e.payload::bytea as payload, coalesce(e.codec, '')::text as codec, e.headers::jsonb as headers, e.run_at::timestamptz as run_at,
    coalesce(e.delay_us, 0)::bigint as delay_us, e.nominal_at::timestamptz as nominal_at, coalesce(e.hard_limit_us, 0)::bigint as hard_limit_us,
    coalesce(e.soft_limit_us, 0)::bigint as soft_limit_us, e.unique_key::bytea as unique_key,
    coalesce(e.payload_version, 0)::integer as payload_version, e.issued_at::timestamptz as issued_at, e.sig::bytea as sig,
    coalesce(e.sig_key_id, '')::text as sig_key_id, coalesce(e.sig_alg, '')::text as sig_alg
from stem.list_envelopes(
    @states::text[], nullif(@before::uuid, '00000000-0000-0000-0000-000000000000'), @max::integer, @bytes::bigint) e;

-- name: SignatureUsage :many
select
    coalesce(u.key_id, '')::text as key_id, coalesce(u.alg, '')::text as alg, u.state::text as state, u.jobs::bigint as jobs,
    coalesce(u.next_before, '00000000-0000-0000-0000-000000000000')::uuid as next_before
from stem.signature_usage(nullif(@before::uuid, '00000000-0000-0000-0000-000000000000'), @scan::integer) u;
