package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/queue"
)

// Options says how much is measured.
type Options struct {
	Jobs     int             // that are enqueued in bulk and drained; at least 8
	Duration time.Duration   // of each section that is timed; those with one job a call end at Jobs/2 if that is sooner
	Node     string          // the worker's name for people; "" is the host's
	Poll     time.Duration   // the worker's poll interval; nought is its default
	Listen   *pgx.ConnConfig // the worker's connection for LISTEN; nil is the pool's
	Logger   *slog.Logger    // the worker's; nil discards

	// Progress is told of each section when it begins, and once at the end. From Run's goroutine; nil means
	// nobody looks.
	Progress func(done, total int, section string)
}

// MostJobs is how many jobs such a run enqueues at most.
func (o Options) MostJobs() int {
	paced := 2 * (int(o.Duration/pace) + 1)
	return o.Jobs + 3*(o.Jobs/2) + paced + warmUps
}

const (
	slots = 100
	batch = 500
	pace  = 20 * time.Millisecond // between two jobs of the sections that need an idle worker

	// warmUps bounds the jobs that are enqueued so that what follows meets connections with warm plans.
	warmUps = 100

	// patience bounds one statement, and cleaning up.
	patience = 30 * time.Second

	reason = "stem bench"
)

// run is one run of the bench.
type run struct {
	Options
	pool     *pgxpool.Pool
	plane    *control.Plane
	producer *queue.Queue
	name     string    // the queue
	base     time.Time // what the times in the jobs are counted from
	waiting  atomic.Int64
	sent     atomic.Int64
	facts    Facts
	report   Report
}

// Run measures the database of the pool, which should have twelve connections or more to give. The login needs EXECUTE on the
// functions of producers, workers and operators, and no right on a table. When ctx ends, Run stops between two statements and cleans up.
func Run(ctx context.Context, pool *pgxpool.Pool, o Options) (Report, error) {
	r, err := begin(pool, o)
	if err != nil {
		return Report{}, err
	}
	err = r.measure(ctx)
	r.report.Took = time.Since(r.base)
	r.report.Warnings = warnings(&r.facts)
	r.report.Meaning = r.report.meaning(r.Poll)
	return r.report, err
}

func begin(pool *pgxpool.Pool, o Options) (*run, error) {
	producer, err := queue.New(queue.Config{})
	if err != nil {
		return nil, err
	}
	r := &run{
		Options: o, pool: pool, plane: control.New(pool), producer: producer, base: time.Now(),
		name: "stem-bench-" + strings.ToLower(rand.Text()[:10]),
	}
	r.report = Report{
		Queue: r.name, Payload: len(payload), Batch: batch, Slots: slots, Jobs: o.Jobs, Duration: o.Duration,
	}
	return r, nil
}

// measure runs the sections, and takes back what they made.
func (r *run) measure(ctx context.Context) (err error) {
	r.say(0, "the server")
	if err := r.look(ctx); err != nil {
		return err
	}
	err = r.open(ctx)
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return err // there is no queue
	}
	defer func() { err = errors.Join(err, r.tidy(ctx)) }()
	if err != nil {
		return err
	}
	for i, s := range sections {
		r.say(i+1, s.name)
		if err := s.measure(r, ctx); err != nil {
			return err
		}
	}
	r.say(len(sections)+1, "done")
	return nil
}

func (r *run) say(done int, section string) {
	if r.Progress != nil {
		r.Progress(done, len(sections)+1, section)
	}
}

// sections are in the order in which they leave each other what they need: the drain works off what the bulk sections enqueued, and
// pickup begins with an empty queue.
var sections = []struct {
	name    string
	measure func(*run, context.Context) error
}{
	{"round trip and commit", (*run).floor},
	{"bulk enqueue", (*run).bulk},
	{"drain", (*run).drain},
	{"single enqueue", (*run).single},
	{"synchronous_commit", (*run).synchronous},
	{"pickup and notifications", (*run).idle},
}

// steady is a context for one statement. The end of ctx ends the bench between statements and never during one: whether that took
// effect would not be known, and what it enqueued could come after the queue was cleaned up.
func steady(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// open makes the queue, which keeps nothing of jobs that finish.
func (r *run) open(ctx context.Context) error {
	ctx, cancel := steady(ctx)
	defer cancel()
	_, err := r.plane.SetQueue(ctx, r.name, control.QueueSettings{KeepFinished: new(false)}, reason)
	return err
}

// purge takes what waits out of the queue.
func (r *run) purge(ctx context.Context) error {
	ctx, cancel := steady(ctx)
	defer cancel()
	done, err := r.plane.PurgeQueue(ctx, r.name, control.Bulk{Reason: reason, Batch: 10_000})
	r.report.Left.Cancelled += done.Done
	r.waiting.Store(0)
	return err
}

// tidy takes back everything but the envelopes, and then looks whether that is so.
func (r *run) tidy(ctx context.Context) error {
	r.report.Left.Envelopes = int(r.sent.Load())
	r.report.Left.Bytes = r.sent.Load() * envelopeBytes
	r.report.Left.Queue = true
	if err := r.purge(ctx); err != nil {
		return fmt.Errorf("bench: clean up queue %s: %w", r.name, err)
	}
	ctx, cancel := steady(ctx)
	defer cancel()
	if _, err := r.plane.ForgetQueue(ctx, r.name, reason); err != nil {
		return fmt.Errorf("bench: clean up queue %s: %w", r.name, err)
	}
	q, err := r.plane.Queue(ctx, r.name)
	switch {
	case errors.Is(err, control.ErrNotFound):
		r.report.Left.Queue = false
		return nil
	case err != nil:
		return fmt.Errorf("bench: clean up queue %s: %w", r.name, err)
	case q.Paused:
		return fmt.Errorf("bench: clean up queue %s: %s has paused it", r.name, q.PausedBy)
	}
	return fmt.Errorf("bench: clean up queue %s: it still has %d waiting, %d running and %d dead jobs, and %d workers",
		r.name, q.Ready.N+q.Scheduled.N, q.Running, q.Dead.N, q.Workers)
}
