package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/worker"
)

var stemTask = queue.NewTask[load]("bench.noop")

// stemSide is Stem.
type stemSide struct {
	p    *pgxpool.Pool
	q    *queue.Queue
	keys *signing.Ring
}

func openStem(ctx context.Context, l *lab, database string, conns int32) (*stemSide, error) {
	if err := l.database(ctx, database); err != nil {
		return nil, err
	}
	m, err := db.NewMigrator(ctx, l.url(database), "")
	if err != nil {
		return nil, err
	}
	defer m.Close() //nolint:errcheck // the connection was only read from since Up
	if _, err := m.Up(ctx); err != nil {
		return nil, err
	}
	p, err := l.pool(ctx, database, conns)
	if err != nil {
		return nil, err
	}
	return newStem(p)
}

// attachStem is for a worker in a process of its own.
func attachStem(ctx context.Context, url string) (*stemSide, error) {
	p, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	return newStem(p)
}

func newStem(p *pgxpool.Pool) (*stemSide, error) {
	q, err := queue.New(queue.Config{})
	return &stemSide{p: p, q: q}, err
}

func (*stemSide) name() string          { return "stem" }
func (s *stemSide) database() string    { return s.p.Config().ConnConfig.Database }
func (s *stemSide) pool() *pgxpool.Pool { return s.p }
func (s *stemSide) close()              { s.p.Close() }

func (s *stemSide) describe(c setting) string {
	text := fmt.Sprintf("Stem (this checkout): %d slots, everything else default; enqueue in calls of up to 1 000 jobs", c.slots)
	if s.keys != nil {
		text += "; every job signed"
	}
	return text
}

func (s *stemSide) reset(ctx context.Context) error {
	_, err := s.p.Exec(ctx, `truncate stem.jobs, stem.ready, stem.scheduled, stem.running, stem.finished, stem.attempts,
		stem.dead, stem.unique_keys`)
	return err
}

func (s *stemSide) enqueue(ctx context.Context, tx pgx.Tx, jobs []load) error {
	return s.enqueueOn(ctx, tx, jobs)
}

func (s *stemSide) enqueueOn(ctx context.Context, tx pgx.Tx, jobs []load, options ...queue.Option) error {
	requests := make([]queue.Request, len(jobs))
	for i, j := range jobs {
		requests[i] = stemTask.New(j, options...)
	}
	var on queue.DB = s.p
	if tx != nil {
		on = tx
	}
	_, err := s.q.Enqueue(ctx, on, requests...)
	return err
}

func (s *stemSide) work(ctx context.Context, c setting, handler func(load)) (func() error, error) {
	var reg worker.Registry
	worker.Handle(&reg, stemTask, func(_ context.Context, job *queue.Job[load]) error {
		handler(job.Args)
		return nil
	})
	queues := map[string]int{"default": c.slots}
	for i := 1; i < c.queues; i++ {
		queues[fmt.Sprintf("q%d", i)] = c.slots
	}
	w, err := worker.New(s.p, &reg, worker.Config{Queues: queues, Lease: c.lease, Keys: s.keys})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

func (s *stemSide) unfinished(ctx context.Context) (bool, error) {
	return query1[bool](ctx, s.p, "select exists (select from stem.ready) or exists (select from stem.running)")
}

func (s *stemSide) finished(ctx context.Context) (int, error) {
	return query1[int](ctx, s.p, "select count(*) from stem.finished where outcome = 'completed'")
}
