package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/queue"
)

// args is what a job of the bench carries.
type args struct {
	Sent    int64  `json:"sent"` // when its enqueue was called, in nanoseconds since the run began; 0: nobody wants to know
	Padding string `json:"padding"`
}

// payload is a job of about 200 bytes, as those of bench/ are.
var (
	padding = strings.Repeat("stem ", 36)
	payload = `{"sent":0,"padding":"` + padding + `"}`
)

var task = queue.NewTask[args]("stem.bench")

func (r *run) enqueue(ctx context.Context, db queue.DB, requests ...queue.Request) error {
	ctx, cancel := steady(ctx)
	defer cancel()
	r.sent.Add(int64(len(requests)))
	r.waiting.Add(int64(len(requests)))
	_, err := r.producer.Enqueue(ctx, db, requests...)
	return err
}

func (r *run) request(options ...queue.Option) queue.Request {
	return task.New(args{Padding: padding}, append(options, queue.On(r.name))...)
}

// stamped is a request that knows when it was made.
func (r *run) stamped(options ...queue.Option) queue.Request {
	return task.New(args{Sent: int64(time.Since(r.base)), Padding: padding}, append(options, queue.On(r.name))...)
}

func (r *run) requests(n int) []queue.Request {
	list := make([]queue.Request, n)
	for i := range list {
		list[i] = r.request()
	}
	return list
}

// together calls do from n goroutines, and waits for all. The first failure ends the context of the others.
func together(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if err := do(ctx, i); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	group.Wait()
	close(errs)
	return <-errs
}

// bulk enqueues half of the jobs on one connection and the rest on four.
func (r *run) bulk(ctx context.Context) error {
	if err := together(ctx, 4, func(ctx context.Context, _ int) error {
		return r.enqueue(ctx, r.pool, r.requests(2)...)
	}); err != nil {
		return err
	}
	half := r.Jobs / 2
	one, err := r.load(ctx, half, 1)
	if err != nil {
		return err
	}
	four, err := r.load(ctx, r.Jobs-half, 4)
	if err != nil {
		return err
	}
	r.report.Rates = append(r.report.Rates,
		Rate{bulkOne, fmt.Sprintf("enqueue, %d a call, 1 connection", size(half, 1)), half, one},
		Rate{bulkFour, fmt.Sprintf("enqueue, %d a call, 4 connections", size(r.Jobs-half, 4)), r.Jobs - half, four})
	return nil
}

// size is how many jobs a call has, so that every connection has one to make.
func size(jobs, connections int) int { return min(batch, max(1, jobs/connections)) }

func (r *run) load(ctx context.Context, jobs, connections int) (time.Duration, error) {
	chunks := slices.Collect(slices.Chunk(r.requests(jobs), size(jobs, connections)))
	var next atomic.Int64
	began := time.Now()
	err := together(ctx, connections, func(ctx context.Context, _ int) error {
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(chunks) {
				return nil
			}
			if err := r.enqueue(ctx, r.pool, chunks[i]...); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	})
	return time.Since(began), err
}

// single enqueues one job a call, while no worker serves the queue.
func (r *run) single(ctx context.Context) error {
	for _, s := range []struct {
		name, what string
		producers  int
	}{{singleOne, "enqueue, one a call, 1 producer", 1}, {singleEight, "enqueue, one a call, 8 producers", 8}} {
		if _, err := r.produce(ctx, s.producers, 3*s.producers, r.Duration); err != nil {
			return err
		}
		began := time.Now()
		took, err := r.produce(ctx, s.producers, r.Jobs/2, r.Duration)
		if err != nil {
			return err
		}
		r.report.Rates = append(r.report.Rates, Rate{s.name, s.what, len(took), time.Since(began)})
		r.report.Latencies = append(r.report.Latencies, latencyOf(s.name, s.what, took))
	}
	return nil
}

// produce calls for so long or so many times, whichever is sooner, but once at least, and returns how long each call took.
func (r *run) produce(ctx context.Context, producers, most int, span time.Duration) ([]time.Duration, error) {
	var calls atomic.Int64
	took := make([][]time.Duration, producers)
	deadline := time.Now().Add(span)
	err := together(ctx, producers, func(ctx context.Context, i int) error {
		for ctx.Err() == nil && calls.Add(1) <= int64(most) {
			began := time.Now()
			if err := r.enqueue(ctx, r.pool, r.request()); err != nil {
				return err
			}
			took[i] = append(took[i], time.Since(began))
			if time.Now().After(deadline) {
				return nil
			}
		}
		return context.Cause(ctx)
	})
	return slices.Concat(took...), err
}

// synchronous enqueues in turn on two connections that differ in synchronous_commit. It is a parameter of their start, so that it
// cannot stick to a server connection that a pooler gives to somebody else.
func (r *run) synchronous(ctx context.Context) error {
	cost := Cost{Name: synchronous, What: "commit waits for the disk"}
	defer func() { r.report.Costs = append(r.report.Costs, cost) }()
	values := []string{"on", "off"}
	var conns []*pgx.Conn
	for _, value := range values {
		conn, why, err := r.session(ctx, value)
		if conn == nil {
			cost.Skipped = why
			return err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		conns = append(conns, conn)
	}
	took := make([][]time.Duration, 2)
	deadline := time.Now().Add(r.Duration)
	for n := range max(r.Jobs/2, 8) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		began := time.Now()
		if err := r.enqueue(ctx, conns[n%2], r.request()); err != nil {
			return err
		}
		if n >= 6 { // the first calls of a connection make its plans
			took[n%2] = append(took[n%2], time.Since(began))
		}
		if n%2 == 1 && n > 6 && time.Now().After(deadline) {
			break
		}
	}
	cost.On, cost.Off, cost.Samples = median(took[0]), median(took[1]), len(took[1])
	return nil
}

// session opens a connection with another synchronous_commit. Without an error and a connection it says why there is none.
func (r *run) session(ctx context.Context, value string) (*pgx.Conn, string, error) {
	const refused = "a pooler refuses session settings"
	ctx, cancel := steady(ctx)
	defer cancel()
	config := r.pool.Config().ConnConfig.Copy()
	config.RuntimeParams[synchronous] = value
	conn, err := pgx.ConnectConfig(ctx, config)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && strings.Contains(pe.Message, "unsupported startup parameter") {
		return nil, refused, nil
	}
	if err != nil {
		return nil, "", err
	}
	var got string
	err = conn.QueryRow(ctx, "select current_setting('synchronous_commit')").Scan(&got)
	if err == nil && got == value {
		return conn, "", nil
	}
	return nil, refused, cmp.Or(err, conn.Close(ctx))
}
