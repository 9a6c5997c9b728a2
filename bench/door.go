package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

func doorScenarios() []scenario {
	return []scenario{{name: "door", about: "Stem alone, one connection: its functions beside the same statements sent as text by the owner", unit: "jobs/s", takes: 4, gives: costs, open: openDoor}}
}

const (
	throughFunctions = "Stem's functions, as its library calls them"
	asText           = "the same work as prepared statements of the owner, with the planner settings of the functions set for the session"
)

func openDoor(ctx context.Context, l *lab) ([]variant, func(), error) {
	s, err := openStem(ctx, l, "bench_door", 4)
	if err != nil {
		return nil, nil, err
	}
	of := func(name string, run func(ctx context.Context, text bool) (sample, error)) variant {
		return variant{name: name, contenders: []contender{
			{name: "stem, functions", settings: throughFunctions, run: func(ctx context.Context) (sample, error) { return run(ctx, false) }},
			{name: "stem, plain text", settings: asText, run: func(ctx context.Context) (sample, error) { return run(ctx, true) }},
		}}
	}
	work := l.count(200_000, 40_000, 2_000)
	var list []variant
	for _, batch := range []int{1000, 100} {
		list = append(list, of(fmt.Sprintf("claim and finish, %d jobs a batch", batch), func(ctx context.Context, text bool) (sample, error) {
			return doorWork(ctx, l, s, text, batch, work)
		}))
	}
	for _, e := range []struct {
		name    string
		batch   int
		in      int
		builder func(context.Context, *pgx.Conn, bool) (enqueuer, error)
	}{
		{"enqueue, one job a call", 1, l.count(20_000, 3_000, 100), oneByOne},
		{"enqueue, 1 000 jobs a call", 1000, l.count(200_000, 40_000, 2_000), manyAtOnce},
	} {
		list = append(list, of(e.name, func(ctx context.Context, text bool) (sample, error) {
			return doorEnqueue(ctx, l, s, text, e.batch, e.in, e.builder)
		}))
	}
	return list, s.close, nil
}

// doorSession connects as the owner. For text it takes over what the functions set for themselves.
func doorSession(ctx context.Context, l *lab, s *stemSide, text bool, names ...string) (*pgx.Conn, []function, error) {
	conn, err := pgx.Connect(ctx, l.url(s.database()))
	if err != nil {
		return nil, nil, err
	}
	var list []function
	for _, name := range names {
		f, err := describeFunction(ctx, conn, name)
		if err != nil {
			return conn, nil, err
		}
		list = append(list, f)
	}
	if !text {
		return conn, list, nil
	}
	for _, f := range list {
		for _, setting := range f.settings {
			key, value, _ := strings.Cut(setting, "=")
			if _, err := conn.Exec(ctx, "select set_config($1, $2, false)", key, value); err != nil {
				return conn, nil, err
			}
		}
	}
	return conn, list, nil
}

// timed measures what do costs, a batch each time, until n jobs are done. A call before prepares the statements.
func timed(ctx context.Context, l *lab, s *stemSide, batch, n int, do func() error) (sample, error) {
	if err := do(); err != nil {
		return sample{}, err
	}
	if err := settleDown(ctx, s.p); err != nil {
		return sample{}, err
	}
	g, err := l.gauge(ctx, s.p)
	if err != nil {
		return sample{}, err
	}
	for done := 0; done < n; done += batch {
		if err := do(); err != nil {
			return sample{}, err
		}
	}
	if err := g.stop(ctx); err != nil {
		return sample{}, err
	}
	return g.sample(ctx, n)
}

// doorWork claims and finishes n jobs in batches, in turn.
func doorWork(ctx context.Context, l *lab, s *stemSide, text bool, batch, n int) (sample, error) {
	if err := s.reset(ctx); err != nil {
		return sample{}, err
	}
	if err := fillStem(ctx, s, shape{ready: n + batch, priorities: 1, queues: 1}); err != nil {
		return sample{}, err
	}
	conn, functions, err := doorSession(ctx, l, s, text, "stem.claim", "stem.finish")
	if conn != nil {
		defer conn.Close(context.WithoutCancel(ctx))
	}
	if err != nil {
		return sample{}, err
	}
	w, err := newDoorWorker(ctx, conn, functions[0], functions[1], text)
	if err != nil {
		return sample{}, err
	}
	one, err := timed(ctx, l, s, batch, n, func() error { return w.round(ctx, batch) })
	if err != nil {
		return sample{}, err
	}
	return one, checkFinished(ctx, s, n+batch)
}

// doorWorker is a worker without a runtime.
type doorWorker struct {
	conn                  *pgx.Conn
	claim, finish         function
	claimText, finishText string
	job, pos              int // columns
	me                    claimant
	lanes                 *lanes
	seq                   int64
}

func newDoorWorker(ctx context.Context, conn *pgx.Conn, claim, finish function, text bool) (*doorWorker, error) {
	w := &doorWorker{
		conn: conn, claim: claim, finish: finish, claimText: claim.call(), finishText: finish.call(),
		me: claimant{id: uuid.New()}, lanes: newLanes(1),
	}
	var err error
	if text {
		if w.claimText, err = claim.statement(); err != nil {
			return nil, err
		}
		if w.finishText, err = finish.statement(); err != nil {
			return nil, err
		}
	}
	if w.job, err = claim.column("job_id"); err != nil {
		return nil, err
	}
	if w.pos, err = claim.column("pos"); err != nil {
		return nil, err
	}
	w.me.epoch, err = query1[int64](ctx, conn, registerWorker, w.me.id)
	return w, err
}

// round claims a batch and finishes it.
func (w *doorWorker) round(ctx context.Context, batch int) error {
	w.seq++
	claim := uuid.New()
	v := w.lanes
	args, err := w.claim.arguments(map[string]any{
		"p_worker": w.me.id, "p_epoch": w.me.epoch, "p_claim": claim, "p_seq": w.seq, "p_total": batch, "p_queues": v.queues,
		"p_limits": []int{batch}, "p_first": v.first, "p_last": v.last, "p_lanes": v.numbers, "p_lows": v.lows,
	})
	if err != nil {
		return err
	}
	rows, err := w.conn.Query(ctx, w.claimText, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	jobs := make([]uuid.UUID, 0, batch)
	for rows.Next() {
		raw := rows.RawValues() // in binary: a uuid is its 16 bytes, a bigint its 8
		id, err := uuid.FromBytes(raw[w.job])
		if err != nil {
			return err
		}
		jobs = append(jobs, id)
		var pos int64
		for _, b := range raw[w.pos] {
			pos = pos<<8 | int64(b)
		}
		v.lows[0] = max(v.lows[0], pos) // fillStem fills the first lane
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if args, err = w.finish.arguments(map[string]any{
		"p_worker": w.me.id, "p_jobs": jobs, "p_claims": slices.Repeat([]uuid.UUID{claim}, len(jobs)),
		"p_outcomes": slices.Repeat([]string{"completed"}, len(jobs)), "p_ages_us": make([]int64, len(jobs)), "p_results": make([][]byte, len(jobs)),
	}); err != nil {
		return err
	}
	tag, err := w.conn.Exec(ctx, w.finishText, args...)
	if left := tag.RowsAffected(); err == nil && (left > 0 || len(jobs) != batch) {
		err = fmt.Errorf("of a batch of %d, %d jobs were claimed and %d of those not finished", batch, len(jobs), left)
	}
	return err
}

// enqueuer enqueues jobs with these ids, all with the same payload.
type enqueuer func(ctx context.Context, ids []uuid.UUID) error

func doorEnqueue(ctx context.Context, l *lab, s *stemSide, text bool, batch, n int, build func(context.Context, *pgx.Conn, bool) (enqueuer, error)) (sample, error) {
	if err := s.reset(ctx); err != nil {
		return sample{}, err
	}
	conn, _, err := doorSession(ctx, l, s, text, "stem.enqueue_one", "stem.enqueue_many")
	if conn != nil {
		defer conn.Close(context.WithoutCancel(ctx))
	}
	if err != nil {
		return sample{}, err
	}
	enqueue, err := build(ctx, conn, text)
	if err != nil {
		return sample{}, err
	}
	one, err := timed(ctx, l, s, batch, n, func() error {
		ids := make([]uuid.UUID, batch)
		for i := range ids {
			if ids[i], err = uuid.NewV7(); err != nil {
				return err
			}
		}
		return enqueue(ctx, ids)
	})
	if err != nil {
		return sample{}, err
	}
	return one, checkWaiting(ctx, s, n+batch)
}

// enqueueText is what a library without functions would send: every column that stem.enqueue_one and stem.enqueue_many write,
// the check of the ids and the mark for the wake-up. It differs in the leaf, which is that of now, and it does not know
// unique keys, delays nor what differs from job to job but the payload: so it errs in favour of the text.
const enqueueText = `with l as materialized (
	select clock_timestamp() as at,
		(floor(extract(epoch from clock_timestamp() - r.origin) / extract(epoch from r.period))::bigint & 7)::smallint as slot,
		rpad(lpad(to_hex(floor(extract(epoch from clock_timestamp() - interval '10 minutes') * 1000)::bigint), 12, '0'), 32, '0')::uuid as low,
		rpad(lpad(to_hex(floor(extract(epoch from clock_timestamp() + interval '10 minutes') * 1000)::bigint), 12, '0'), 32, '0')::uuid as high
	from stem.ring r
), e as (
	insert into stem.jobs (
		slot, id, queue, task, payload, codec, headers, priority, run_at, delay_us, nominal_at, expires_at, max_attempts,
		hard_limit_us, soft_limit_us, unique_key, unique_scope, origin, payload_version, group_name, issued_at,
		sig, sig_key_id, sig_alg, created_at)
	select l.slot, u.id, $3, $4, u.payload, $5, null, $6, null, null, null, null, $7, null, null, null, 0, $8, null, null, $9, null, null, null, l.at
	from l, %s u(id, payload)
	where u.id between l.low and l.high
	returning id, slot, queue, priority, max_attempts, unique_scope
), t as (
	insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts, unique_scope, wake)
	select e.queue, e.priority, nextval('stem.ticket_pos'), e.id, e.slot, e.max_attempts, e.unique_scope, %s
	from e
)
select l.at, pg_current_xact_id()::text from l`

func oneByOne(ctx context.Context, conn *pgx.Conn, text bool) (enqueuer, error) {
	f, err := describeFunction(ctx, conn, "stem.enqueue_one")
	payload := doorPayload()
	if text {
		statement := fmt.Sprintf(enqueueText, "(values ($1::uuid, $2::bytea))", "true")
		return func(ctx context.Context, ids []uuid.UUID) error {
			_, err := conn.Exec(ctx, statement, ids[0], payload, "default", "bench.noop", "application/json", int16(5), int16(20), "app", time.Now())
			return err
		}, err
	}
	return func(ctx context.Context, ids []uuid.UUID) error {
		args, err := f.arguments(map[string]any{
			"p_id": ids[0], "p_task": "bench.noop", "p_queue": "default", "p_payload": payload, "p_codec": "application/json", "p_priority": int16(5),
			"p_max_attempts": int16(20), "p_origin": "app", "p_issued_at": time.Now(), "p_wake": true,
		})
		if err == nil {
			_, err = conn.Exec(ctx, f.call(), args...)
		}
		return err
	}, err
}

func manyAtOnce(ctx context.Context, conn *pgx.Conn, text bool) (enqueuer, error) {
	f, err := describeFunction(ctx, conn, "stem.enqueue_many")
	payload := doorPayload()
	if text {
		statement := fmt.Sprintf(enqueueText, "unnest($1::uuid[], $2::bytea[])", "e.id = ($1::uuid[])[1]")
		return func(ctx context.Context, ids []uuid.UUID) error {
			_, err := conn.Exec(ctx, statement, ids, slices.Repeat([][]byte{payload}, len(ids)), "default", "bench.noop", "application/json",
				int16(5), int16(20), "app", time.Now())
			return err
		}, err
	}
	return func(ctx context.Context, ids []uuid.UUID) error {
		args, err := f.arguments(map[string]any{
			"p_ids": ids, "p_tasks": []string{"bench.noop"}, "p_queues": []string{"default"}, "p_payloads": slices.Repeat([][]byte{payload}, len(ids)),
			"p_codecs": []string{"application/json"}, "p_priorities": []int16{5}, "p_max_attempts": []int16{20}, "p_origins": []string{"app"},
			"p_issued_ats": []time.Time{time.Now()}, "p_wake": true,
		})
		if err == nil {
			_, err = conn.Exec(ctx, f.call(), args...)
		}
		return err
	}, err
}

func doorPayload() []byte { return []byte(`{"n":0,"sent":0,"pad":"` + padding + `"}`) }
