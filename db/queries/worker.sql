-- name: Register :one
select r.epoch::bigint as epoch, r.server_time::timestamptz as server_time
from stem.register(
    @worker::uuid, @node::text, @namespace::text, @host::text, @pid::integer, @boot::text, @version::text,
    @lease_us::bigint, @slots::jsonb, @tasks::jsonb, nullif(@epoch::bigint, 0)) r;

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
    c.attempt::integer as attempt, c.failures::int2 as failures, c.crashes::int2 as crashes, c.releases::int2 as releases,
    c.generation::int2 as generation, c.claimed_at::timestamptz as claimed_at, c.xid::bigint as xid, c.expired::bool as expired,
    c.task::varchar as task, c.envelope_queue::varchar as envelope_queue, c.payload::bytea as payload, c.codec::varchar as codec,
    c.headers::jsonb as headers, c.priority::int2 as priority, c.run_at::timestamptz as run_at, c.delay_us::int8 as delay_us,
    c.nominal_at::timestamptz as nominal_at, c.expires_at::timestamptz as expires_at, c.max_attempts::int2 as max_attempts,
    c.hard_limit_us::int8 as hard_limit_us, c.soft_limit_us::int8 as soft_limit_us, c.unique_key::bytea as unique_key,
    c.origin::varchar as origin, c.payload_version::int4 as payload_version, c.group_name::varchar as group_name,
    c.issued_at::timestamptz as issued_at, c.created_at::timestamptz as created_at,
    c.sig::bytea as sig, c.sig_key_id::varchar as sig_key_id, c.sig_alg::varchar as sig_alg
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
