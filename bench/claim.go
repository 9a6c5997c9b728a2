package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

func claimScenarios() []scenario {
	return []scenario{
		{name: "claim", about: "Stem alone: one claim of 100 jobs, committed, from lines of several sizes and shapes; value: p99", unit: "ms", takes: 30, gives: percentiles, open: openClaim},
	}
}

// shape is what lies in the line before the claims.
type shape struct {
	name                              string
	ready, future, priorities, queues int
}

// claimShapes names the longest line and the one that it is compared with first.
func claimShapes(z size) []shape {
	switch z {
	case quick:
		return []shape{
			{"200 thousand ready", 200_000, 0, 1, 1},
			{"10 thousand ready", 10_000, 0, 1, 1},
			{"50 thousand due later", 10_000, 50_000, 1, 1},
			{"ten priorities", 10_000, 0, 10, 1},
			{"a hundred queues", 10_000, 0, 1, 100},
		}
	case smoke:
		return []shape{{"20 thousand ready", 20_000, 0, 1, 1}, {"2 thousand ready", 2_000, 0, 1, 1}, {"all at once", 2_000, 2_000, 10, 100}}
	default:
		return []shape{
			{"10 million ready", 10_000_000, 0, 1, 1},
			{"10 thousand ready", 10_000, 0, 1, 1},
			{"100 thousand ready", 100_000, 0, 1, 1},
			{"1 million ready", 1_000_000, 0, 1, 1},
			{"100 thousand ready, a million due later", 100_000, 1_000_000, 1, 1},
			{"100 thousand ready, ten priorities", 100_000, 0, 10, 1},
			{"100 thousand ready, a hundred queues", 100_000, 0, 1, 100},
		}
	}
}

func openClaim(ctx context.Context, l *lab) ([]variant, func(), error) {
	s, err := openStem(ctx, l, "bench_claim", 4)
	if err != nil {
		return nil, nil, err
	}
	of := func(name string, sh shape) contender {
		return contender{
			name: name, settings: "stem.claim called as a worker calls it: ten lanes a queue, each beginning behind the last position it gave",
			run: func(ctx context.Context) (sample, error) { return claims(ctx, l, s, sh) },
		}
	}
	shapes := claimShapes(l.size)
	list := []variant{{name: "a long line beside a short one", contenders: []contender{
		of("stem, "+shapes[0].name, shapes[0]), of("stem, "+shapes[1].name, shapes[1]),
	}}}
	for _, sh := range shapes[2:] {
		list = append(list, variant{name: sh.name, contenders: []contender{of("stem", sh)}})
	}
	return list, s.close, nil
}

func queueName(i int) string {
	if i == 0 {
		return "default"
	}
	return fmt.Sprintf("q%d", i)
}

// leafOfNow is the leaf of the ring where a whole fill goes. Ids that are made across the start of a period belong to the next
// one, but a claim looks where the ticket says.
const leafOfNow = `select (stem._period_at(clock_timestamp()) & 7)::smallint as slot`

// fillStem loads jobs as stem.enqueue_many would, without its checks and round trips: ten million take minutes so.
func fillStem(ctx context.Context, s *stemSide, sh shape) error {
	const chunk = 500_000
	for _, part := range []struct {
		rows   int
		insert string
	}{
		{sh.ready, `insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts)
			select queue, priority, nextval('stem.ticket_pos'), id, slot, max_attempts from e`},
		{sh.future, `insert into stem.scheduled (run_at, job_id, slot, queue, lane, max_attempts)
			select clock_timestamp() + interval '1 day' + random() * interval '10 days', id, slot, queue, priority, max_attempts from e`},
	} {
		for done := 0; done < part.rows; done += chunk {
			_, err := s.p.Exec(ctx, `with leaf as materialized (`+leafOfNow+`), e as (
				insert into stem.jobs (issued_at, id, slot, priority, max_attempts, queue, task, payload)
				select clock_timestamp(), stem.uuid7(), leaf.slot, (9 - i % $2)::smallint, 20::smallint,
					case when i % $3 = 0 then 'default' else 'q' || i % $3 end, 'bench.noop', convert_to($4, 'UTF8')
				from leaf, generate_series(1, $1) i
				returning id, slot, queue, priority, max_attempts)`+part.insert,
				min(chunk, part.rows-done), sh.priorities, sh.queues, `{"n":0,"sent":0,"pad":"`+padding+`"}`)
			if err != nil {
				return err
			}
		}
	}
	return settleDown(ctx, s.p)
}

const (
	claimSize  = 100
	claimTimes = 500 // so many calls make a p99 that is more than the worst of them
)

// claims times 500 claims. A line that is too short for them is filled again.
func claims(ctx context.Context, l *lab, s *stemSide, sh shape) (sample, error) {
	conn, err := pgx.Connect(ctx, l.url(s.database()))
	if err != nil {
		return sample{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	me := uuid.New()
	epoch, err := query1[int64](ctx, conn, registerWorker, me)
	if err != nil {
		return sample{}, err
	}
	defer s.p.Exec(context.WithoutCancel(ctx), "select stem.deregister($1, $2)", me, epoch) //nolint:errcheck // the database is dropped anyhow
	calls := min(sh.ready/claimSize, claimTimes)
	var took []time.Duration
	for range claimTimes / calls {
		if err := s.reset(ctx); err != nil {
			return sample{}, err
		}
		l.say("claim: loading %s", sh.name)
		if err := fillStem(ctx, s, sh); err != nil {
			return sample{}, err
		}
		part, err := claimAll(ctx, s, conn, newLanes(sh.queues), claimant{me, epoch}, calls)
		if err != nil {
			return sample{}, err
		}
		took = append(took, part...)
		if l.size == smoke {
			break
		}
	}
	one := sample{Metrics: latencies(took)}
	one.Value = one.Metrics["p99_ms"]
	return one, nil
}

const registerWorker = `select epoch from stem.register($1, 'bench', 'stem', 'bench', 0, '', '', 3600000000, '{}', '{}')`

// claimant is a worker as the database knows it.
type claimant struct {
	id    uuid.UUID
	epoch int64
}

func claimAll(ctx context.Context, s *stemSide, conn *pgx.Conn, lanes *lanes, c claimant, calls int) ([]time.Duration, error) {
	var took []time.Duration
	for i := range calls {
		began := time.Now()
		n, err := lanes.claim(ctx, conn, c, int64(i+1), claimSize)
		if err != nil {
			return nil, err
		}
		if n != claimSize {
			return nil, fmt.Errorf("claim %d of %d gave %d jobs, want %d", i+1, calls, n, claimSize)
		}
		if i >= 5 { // the first plan, and cold caches
			took = append(took, time.Since(began))
		}
	}
	held, err := query1[int](ctx, s.p, "select count(*) from stem.running")
	if err == nil && held != calls*claimSize {
		err = fmt.Errorf("%d jobs were claimed and %d are running: the run does not count", calls*claimSize, held)
	}
	return took, err
}

// lanes are the arguments of stem.claim: ten for each queue, the highest priority first.
type lanes struct {
	queues              []string
	limits, first, last []int32
	numbers             []int16
	lows                []int64
	at                  map[string]int
}

func newLanes(queues int) *lanes {
	v := &lanes{at: map[string]int{}}
	for i := range queues {
		name := queueName(i)
		v.queues, v.limits = append(v.queues, name), append(v.limits, 100)
		v.first, v.last = append(v.first, int32(i*10+1)), append(v.last, int32(i*10+10))
		v.at[name] = i * 10
		for lane := int16(9); lane >= 0; lane-- {
			v.numbers, v.lows = append(v.numbers, lane), append(v.lows, 0)
		}
	}
	return v
}

func (v *lanes) claim(ctx context.Context, conn *pgx.Conn, c claimant, seq int64, n int) (int, error) {
	rows, err := conn.Query(ctx, "select queue, lane, pos, payload from stem.claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		c.id, c.epoch, uuid.New(), seq, n, v.queues, v.limits, v.first, v.last, v.numbers, v.lows)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	count := 0
	var queue string
	var lane int16
	var pos int64
	var payload []byte
	for rows.Next() {
		if err := rows.Scan(&queue, &lane, &pos, &payload); err != nil {
			return 0, err
		}
		i := v.at[queue] + 9 - int(lane)
		v.lows[i] = max(v.lows[i], pos)
		count++
	}
	return count, rows.Err()
}
