package control

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
)

// A Queue is a queue as the operator sees it. A queue needs no row of its own: one with a job or a worker is listed too.
type Queue struct {
	Name         string
	Paused       bool
	PausedBy     string // the login
	PausedWhy    string
	PausedSince  time.Time
	KeepFinished bool // false: nothing is kept of jobs that have finished

	Ready     Count
	Scheduled Count
	Running   int64
	Dead      Count
	Oldest    time.Duration // how long the oldest head of a lane has been ready; zero when nothing is
	Workers   int64         // those that serve it, on this side of rescue
	Slots     int64         // of all of them together
}

// A Count is exact, or an estimate from a sample of a table that is too large to count at every look.
type Count struct {
	N     int64
	Exact bool
}

// Queues lists every queue, by name.
func (p *Plane) Queues(ctx context.Context) ([]Queue, error) {
	rows, err := p.queries.ListQueues(ctx, "")
	if err != nil {
		return nil, wrap("list queues", err)
	}
	list := make([]Queue, 0, len(rows))
	for _, r := range rows {
		list = append(list, queueOf(r))
	}
	return list, nil
}

// Queue returns one queue, ErrNotFound when nothing bears that name: no row, no job, no worker.
func (p *Plane) Queue(ctx context.Context, name string) (Queue, error) {
	if name == "" {
		return Queue{}, wrap("queue", ErrNotFound)
	}
	rows, err := p.queries.ListQueues(ctx, name)
	if err != nil {
		return Queue{}, wrap("queue", err)
	}
	for _, r := range rows {
		if r.HasRow || r.Ready > 0 || r.Scheduled > 0 || r.Running > 0 || r.Dead > 0 || r.Workers > 0 {
			return queueOf(r), nil
		}
	}
	return Queue{}, fmt.Errorf("control: queue %.128q: %w", name, ErrNotFound)
}

// Pause stops claims from a queue: none starts after Pause has returned, what is running goes on. False: it was paused before,
// and by whom and why stays as it was.
func (p *Plane) Pause(ctx context.Context, queue, reason string) (changed bool, err error) {
	err = p.act(ctx, func(q *store.Queries) error {
		changed, err = q.PauseQueue(ctx, queue, reason)
		return err
	})
	return changed, wrap("pause", err)
}

// Resume ends a pause. False: the queue was not paused.
func (p *Plane) Resume(ctx context.Context, queue, reason string) (changed bool, err error) {
	err = p.act(ctx, func(q *store.Queries) error {
		changed, err = q.ResumeQueue(ctx, queue, reason)
		return err
	})
	return changed, wrap("resume", err)
}

// QueueSettings says how a queue is kept. Nil leaves a setting as it is.
type QueueSettings struct {
	KeepFinished *bool // false: nothing is kept of jobs that finish from now on
}

// SetQueue changes the settings of a queue, which need not have been heard of. False: they were so before.
func (p *Plane) SetQueue(ctx context.Context, queue string, s QueueSettings, reason string) (changed bool, err error) {
	keep := pgtype.Bool{}
	if s.KeepFinished != nil {
		keep = pgtype.Bool{Bool: *s.KeepFinished, Valid: true}
	}
	err = p.act(ctx, func(q *store.Queries) error {
		changed, err = q.SetQueue(ctx, queue, keep, reason)
		return err
	})
	return changed, wrap("set queue", err)
}

// ForgetQueue takes a queue's settings back to the defaults and forgets that it had any: a queue without a job, a worker and settings
// is not listed. False: it had none, or is paused, which only Resume ends. Its jobs are not touched.
func (p *Plane) ForgetQueue(ctx context.Context, queue, reason string) (changed bool, err error) {
	err = p.act(ctx, func(q *store.Queries) error {
		changed, err = q.ForgetQueue(ctx, queue, reason)
		return err
	})
	return changed, wrap("forget queue", err)
}

// Waiting counts a queue's waiting jobs, exactly.
func (p *Plane) Waiting(ctx context.Context, queue string) (int64, error) {
	n, err := p.queries.CountWaiting(ctx, queue)
	return n, wrap("count waiting jobs", err)
}

// PurgeQueue cancels a queue's waiting jobs, in batches, until none is left that nobody holds; what producers enqueue meanwhile
// goes too. It can be called again after an error, and goes on with the rest.
func (p *Plane) PurgeQueue(ctx context.Context, queue string, b Bulk) (Progress, error) {
	done := Progress{Outcomes: map[string]int64{}}
	size, err := b.size()
	if err != nil {
		return done, err
	}
	for {
		var n int64
		err := p.act(ctx, func(q *store.Queries) (err error) {
			n, err = q.PurgeQueue(ctx, queue, int32(size), b.Reason) //nolint:gosec // at most 10 000
			return err
		})
		if err != nil {
			return done, wrap("purge queue", err)
		}
		done.Seen += n
		done.Done += n
		done.Outcomes["cancelled"] += n
		if n == 0 {
			return done, nil
		}
		b.report(done)
	}
}

func queueOf(r *store.ListQueuesRow) Queue {
	return Queue{
		Name: r.Name, Paused: r.Paused, PausedBy: r.PausedBy, PausedWhy: r.PausedWhy, PausedSince: store.Instant(r.PausedSince),
		KeepFinished: r.KeepFinished,
		Ready:        Count{r.Ready, r.ReadyExact}, Scheduled: Count{r.Scheduled, r.ScheduledExact}, Running: r.Running,
		Dead: Count{r.Dead, r.DeadExact}, Oldest: store.Span(r.OldestUs), Workers: r.Workers, Slots: r.Slots,
	}
}
