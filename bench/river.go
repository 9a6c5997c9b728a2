package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverSide is River.
type riverSide struct {
	p      *pgxpool.Pool
	insert *river.Client[pgx.Tx]
	// A client that inserts notifies at most once per FetchCooldown, its own, not the worker's: with the default of
	// 100 ms a quick worker would hear of few jobs, so there is one for each.
	rare, eager *river.Client[pgx.Tx]
	// plain inserts with InsertMany where COPY (InsertManyFast) is the default.
	plain bool
}

var quiet = slog.New(slog.DiscardHandler)

func openRiver(ctx context.Context, l *lab, database string, conns int32) (*riverSide, error) {
	if err := l.database(ctx, database); err != nil {
		return nil, err
	}
	p, err := l.pool(ctx, database, conns)
	if err != nil {
		return nil, err
	}
	m, err := rivermigrate.New(riverpgxv5.New(p), &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	return newRiver(p)
}

// attachRiver is for a worker in a process of its own.
func attachRiver(ctx context.Context, url string) (*riverSide, error) {
	p, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	return newRiver(p)
}

func newRiver(p *pgxpool.Pool) (*riverSide, error) {
	rare, err := river.NewClient(riverpgxv5.New(p), &river.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	eager, err := river.NewClient(riverpgxv5.New(p), &river.Config{Logger: quiet, FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond})
	return &riverSide{p: p, insert: rare, rare: rare, eager: eager}, err
}

func (*riverSide) name() string          { return "river" }
func (r *riverSide) database() string    { return r.p.Config().ConnConfig.Database }
func (r *riverSide) pool() *pgxpool.Pool { return r.p }

// use chooses the client that inserts.
func (r *riverSide) use(s setting) {
	r.insert = r.eager
	if s.defaults || s.rare {
		r.insert = r.rare
	}
}

func (r *riverSide) close() { r.p.Close() }

// riverVersion is what was linked in.
func riverVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/riverqueue/river" {
				return m.Version
			}
		}
	}
	return "unknown version"
}

func (*riverSide) describe(c setting) string {
	how := "FetchCooldown 2 ms, FetchPollInterval 20 ms, JobTimeout -1"
	if c.defaults {
		how = "its defaults (FetchCooldown 100 ms, FetchPollInterval 1 s, JobTimeout 1 min)"
	}
	if c.rare {
		how += ", the inserting client at the default FetchCooldown (at most one notification each 100 ms, which is faster)"
	}
	return fmt.Sprintf("River %s: MaxWorkers %d, %s; pool of 4 for the worker; InsertManyFast in calls of up to 5 000", riverVersion(), c.slots, how)
}

func (r *riverSide) reset(ctx context.Context) error {
	_, err := r.p.Exec(ctx, "truncate river_job, river_queue, river_leader")
	return err
}

func (r *riverSide) enqueue(ctx context.Context, tx pgx.Tx, jobs []load) error {
	if len(jobs) == 1 {
		var err error
		if tx != nil {
			_, err = r.insert.InsertTx(ctx, tx, jobs[0], nil)
		} else {
			_, err = r.insert.Insert(ctx, jobs[0], nil)
		}
		return err
	}
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i].Args = j
	}
	var err error
	switch {
	case r.plain && tx == nil:
		_, err = r.insert.InsertMany(ctx, params)
	case tx == nil:
		_, err = r.insert.InsertManyFast(ctx, params)
	case r.plain:
		_, err = r.insert.InsertManyTx(ctx, tx, params)
	default:
		_, err = r.insert.InsertManyFastTx(ctx, tx, params)
	}
	return err
}

type riverWorker struct {
	river.WorkerDefaults[load]
	handler func(load)
}

func (w *riverWorker) Work(_ context.Context, job *river.Job[load]) error {
	w.handler(job.Args)
	return nil
}

func (r *riverSide) work(ctx context.Context, c setting, handler func(load)) (func() error, error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &riverWorker{handler: handler}); err != nil {
		return nil, err
	}
	queues := map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: c.slots}}
	for i := 1; i < c.queues; i++ {
		queues[fmt.Sprintf("q%d", i)] = river.QueueConfig{MaxWorkers: c.slots}
	}
	config := &river.Config{Queues: queues, Workers: workers, Logger: quiet}
	if !c.defaults {
		config.FetchCooldown, config.FetchPollInterval, config.JobTimeout = 2*time.Millisecond, 20*time.Millisecond, -1
	}
	if c.rescueAfter > 0 {
		config.JobTimeout, config.RescueStuckJobsAfter = c.rescueAfter, c.rescueAfter
	}
	// A pool of its own, as Stem's worker has: producers must not starve it.
	own := r.p.Config().Copy()
	own.MaxConns = 4
	p, err := pgxpool.NewWithConfig(ctx, own)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(p), config)
	if err == nil {
		err = client.Start(ctx)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return func() error {
		defer p.Close()
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return client.Stop(limit)
	}, nil
}

func (r *riverSide) unfinished(ctx context.Context) (bool, error) {
	return query1[bool](ctx, r.p, `select exists (select from river_job where state = 'available')
		or exists (select from river_job where state = 'running')`)
}

func (r *riverSide) finished(ctx context.Context) (int, error) {
	return query1[int](ctx, r.p, "select count(*) from river_job where state = 'completed'")
}
