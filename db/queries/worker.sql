-- name: Register :one
select r.epoch::bigint as epoch, r.server_time::timestamptz as server_time
from stem.register(
    @worker::uuid, @node::text, @namespace::text, @host::text, @pid::integer, @boot::text, @version::text,
    @lease_us::bigint, @slots::jsonb, @tasks::jsonb) r;

-- name: Heartbeat :one
select h.alive::boolean as alive, h.server_time::timestamptz as server_time, h.cancelled::uuid[] as cancelled, h.lost::uuid[] as lost
from stem.heartbeat(@worker::uuid, @epoch::bigint, @stats::jsonb, @jobs::uuid[], @claims::uuid[]) h;

-- name: SetIdle :exec
select stem.set_idle(@worker::uuid, @epoch::bigint, @queues::text[]);

-- name: Deregister :one
select stem.deregister(@worker::uuid, @epoch::bigint)::boolean as gone;

-- name: Watch :many
select w.id::uuid as id, w.node::text as node, w.heartbeat_at::timestamptz as heartbeat_at, w.lease_us::bigint as lease_us,
    w.expired::boolean as expired, w.lost::boolean as lost
from stem.watch(@worker::uuid) w;

-- name: DeclareLost :one
select stem.declare_lost(@rescuer::uuid, @epoch::bigint, @victim::uuid, @seen::timestamptz)::boolean as lost;

-- name: Rescue :one
select r.moved::integer as moved, r.charged::integer as charged, r.buried::integer as buried, r.remaining::integer as remaining
from stem.rescue(@rescuer::uuid, @epoch::bigint, @victim::uuid, @max_crashes::integer) r;

-- name: AdoptOrphans :one
select stem.adopt_orphans()::integer as adopted;

-- name: TakeDuty :one
select stem.take_duty(@worker::uuid, @epoch::bigint, @queue::text, @for_us::bigint)::boolean as taken;

-- name: DropDuty :exec
select stem.drop_duty(@worker::uuid);

-- name: Suspects :many
select s.queue::text as queue from stem.suspects(@queues::text[]) s;

-- name: Claim :many
select
    c.queue::text as queue, c.lane::smallint as lane, c.pos::bigint as pos, c.job_id::uuid as job_id,
    c.slot::smallint as slot, c.attempt::integer as attempt, c.failures::smallint as failures, c.crashes::smallint as crashes,
    c.releases::smallint as releases, c.generation::smallint as generation, c.grace_since::timestamptz as grace_since,
    c.claimed_at::timestamptz as claimed_at, c.xid::bigint as xid, c.expired::boolean as expired,
    coalesce(c.task, '')::text as task, coalesce(c.envelope_queue, '')::text as envelope_queue,
    c.payload::bytea as payload, coalesce(c.codec, '')::text as codec,
    c.headers::jsonb as headers, coalesce(c.priority, 0)::smallint as priority, c.run_at::timestamptz as run_at,
    coalesce(c.delay_us, 0)::bigint as delay_us, c.nominal_at::timestamptz as nominal_at, c.expires_at::timestamptz as expires_at,
    coalesce(c.max_attempts, 0)::smallint as max_attempts, coalesce(c.hard_limit_us, 0)::bigint as hard_limit_us,
    coalesce(c.soft_limit_us, 0)::bigint as soft_limit_us, c.unique_key::bytea as unique_key, coalesce(c.origin, '')::text as origin,
    coalesce(c.payload_version, 0)::integer as payload_version, coalesce(c.group_name, '')::text as group_name,
    c.issued_at::timestamptz as issued_at, c.created_at::timestamptz as created_at,
    c.sig::bytea as sig, coalesce(c.sig_key_id, '')::text as sig_key_id, coalesce(c.sig_alg, '')::text as sig_alg
from stem.claim(
    @worker::uuid, @epoch::bigint, @claim::uuid, @seq::bigint, @total::integer,
    @queues::text[], @limits::integer[], @first::integer[], @last::integer[], @lanes::smallint[], @lows::bigint[]) c;

-- name: DropStrays :one
select stem.drop_strays(@queues::text[], @limits::integer[], @first::integer[], @last::integer[], @lanes::smallint[], @lows::bigint[])::integer as dropped;

-- name: Horizon :one
select h.last_pos::bigint as last_pos, h.oldest_xid::text as oldest_xid,
    (select array_agg(coalesce(x, 0)) from unnest(h.heads) x)::bigint[] as heads
from stem.horizon(@queues::text[], @lanes::smallint[], @lows::bigint[]) h;

-- name: RaiseEpoch :one
select coalesce(stem.raise_epoch(@worker::uuid, @epoch::bigint), 0)::bigint as epoch;

-- name: VoidClaim :one
select stem.void_claim(@worker::uuid, @claim::uuid)::integer as released;

-- name: Finish :many
select f.job_id::uuid as job_id
from stem.finish(
    @worker::uuid, @jobs::uuid[], @claims::uuid[], @outcomes::text[],
    array_replace(@ages_us::bigint[], -1, null), @results::bytea[]) f(job_id);

-- name: PutBack :many
select p.job_id::uuid as job_id, p.target::text as target
from stem.put_back(
    @worker::uuid, @jobs::uuid[], @claims::uuid[], @verbs::text[], @delays_us::bigint[], @graces_us::bigint[],
    array_replace(@ages_us::bigint[], -1, null), array_replace(@reasons::text[], '', null), array_replace(@errors::text[], '', null),
    array_replace(@fingerprints::text[], '', null)) p;

-- name: Complete :exec
select stem.complete(@job::uuid, @claim::uuid, @worker::uuid, nullif(@age_us::bigint, -1), @result::bytea);

-- name: ClaimStates :many
select s.job_id::uuid as job_id, s.state::text as state
from stem.claim_states(@jobs::uuid[], @claims::uuid[], @attempts::integer[]) s;

-- name: Due :one
select d.moved::integer as moved, d.expired::integer as expired, coalesce(d.next_us, -1)::bigint as next_us
from stem.due(@max::integer) d;

-- name: PruneKeys :one
select stem.prune_keys(@max::integer)::integer as pruned;

-- name: Rotate :one
select stem.rotate()::text as result;
