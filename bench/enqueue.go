package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

func enqueueScenarios() []scenario {
	return []scenario{
		{name: "bulk", about: "enqueue in bulk, no worker", unit: "jobs/s", takes: 3, gives: costs, open: openBulk},
		{name: "single", about: "one job per call, notifications on, a worker attached", unit: "jobs/s", takes: 7, gives: costs, open: openSingle},
		{name: "transaction", about: "one job and three other rows in each transaction, 8 producers", unit: "tx/s", takes: 2, gives: costs, open: openTransaction},
	}
}

func openBulk(ctx context.Context, l *lab) ([]variant, func(), error) {
	p, err := openPair(ctx, l, 8)
	if err != nil {
		return nil, nil, err
	}
	n := l.count(300_000, 60_000, 10_000)
	of := func(conns int) variant {
		v := variant{name: fmt.Sprintf("connections: %d", conns), reference: riverInsertCopy}
		add := func(name, settings string, s side, plain bool, batch int) {
			v.contenders = append(v.contenders, contender{name: name, settings: settings, run: func(ctx context.Context) (sample, error) {
				p.river.plain = plain
				defer func() { p.river.plain = false }()
				return bulk(ctx, l, s, conns, batch, n)
			}})
		}
		add("stem", "calls of 5 000 jobs", p.stem, false, 5000)
		add("river", "InsertManyFast (COPY), calls of 5 000", p.river, false, 5000)
		add("stem, 1 000 a call", "calls of 1 000 jobs", p.stem, false, 1000)
		add("river, InsertMany", "InsertMany, calls of 5 000", p.river, true, 5000)
		return v
	}
	return []variant{of(1), of(4)}, p.close, nil
}

func bulk(ctx context.Context, l *lab, s side, conns, batch, n int) (sample, error) {
	if err := s.reset(ctx); err != nil {
		return sample{}, err
	}
	if err := settleDown(ctx, s.pool()); err != nil {
		return sample{}, err
	}
	chunks := slices.Collect(slices.Chunk(loads(n), batch))
	g, err := l.gauge(ctx, s.pool())
	if err != nil {
		return sample{}, err
	}
	var next atomic.Int64
	group, ctx2 := errgroup.WithContext(ctx)
	for range conns {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(chunks) {
					return nil
				}
				if err := s.enqueue(ctx2, nil, chunks[i]); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return sample{}, err
	}
	if err := g.stop(ctx); err != nil {
		return sample{}, err
	}
	if err := checkWaiting(ctx, s, n); err != nil {
		return sample{}, err
	}
	return g.sample(ctx, n)
}

func checkWaiting(ctx context.Context, s side, want int) error {
	table := "stem.ready"
	if s.name() == "river" {
		table = "river_job"
	}
	got, err := query1[int](ctx, s.pool(), "select count(*) from "+table)
	if err == nil && got != want {
		err = fmt.Errorf("%s: the database holds %d jobs, %d were enqueued: the run does not count", s.name(), got, want)
	}
	return err
}

func openSingle(ctx context.Context, l *lab) ([]variant, func(), error) {
	p, err := openPair(ctx, l, 40)
	if err != nil {
		return nil, nil, err
	}
	var list []variant
	for _, producers := range []int{8, 32, 1} {
		for _, busy := range []bool{true, false} {
			name, reference := fmt.Sprintf("%d producers, a busy worker", producers), 0.0
			if !busy {
				name = fmt.Sprintf("%d producers, an idle worker", producers)
			}
			switch { // the reference had no worker
			case busy && producers == 1:
				reference = riverSingle1
			case busy && producers == 8:
				reference = riverSingle8
			}
			list = append(list, variant{name: name, reference: reference, contenders: p.contend(setting{slots: 100, rare: true}, func(ctx context.Context, s side, c setting) (sample, error) {
				return single(ctx, l, s, c, producers, busy)
			})})
		}
	}
	return list, p.close, nil
}

// single enqueues one by one. A busy worker is one whose slots are all taken by jobs that run as long as the section; an
// idle one works what comes.
func single(ctx context.Context, l *lab, s side, c setting, producers int, busy bool) (sample, error) {
	hold := make(chan struct{})
	var running atomic.Int64
	if busy {
		if err := s.enqueue(ctx, nil, loads(c.slots)); err != nil {
			return sample{}, err
		}
	}
	stop, err := s.work(ctx, c, func(j load) {
		running.Add(1)
		if busy && j.Sent == 0 {
			<-hold
		}
	})
	if err != nil {
		return sample{}, err
	}
	defer func() {
		close(hold)
		_ = stop()
	}()
	if busy {
		if err := waitFor(ctx, "every slot taken", time.Minute, func() (bool, error) { return running.Load() == int64(c.slots), nil }); err != nil {
			return sample{}, err
		}
	}
	if err := settleDown(ctx, s.pool()); err != nil {
		return sample{}, err
	}
	return produce(ctx, l, s, producers, l.span(10*time.Second, 2*time.Second, 300*time.Millisecond), func(ctx context.Context) error {
		return s.enqueue(ctx, nil, []load{newLoad(0, time.Now().UnixNano())})
	})
}

// produce calls do from so many goroutines for that long.
func produce(ctx context.Context, l *lab, s side, producers int, span time.Duration, do func(context.Context) error) (sample, error) {
	g, err := l.gauge(ctx, s.pool())
	if err != nil {
		return sample{}, err
	}
	deadline := time.Now().Add(span)
	var done atomic.Int64
	group, inner := errgroup.WithContext(ctx)
	for range producers {
		group.Go(func() error {
			for time.Now().Before(deadline) {
				if err := do(inner); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return sample{}, err
	}
	if err := g.stop(ctx); err != nil {
		return sample{}, err
	}
	return g.sample(ctx, int(done.Load()))
}

func openTransaction(ctx context.Context, l *lab) ([]variant, func(), error) {
	p, err := openPair(ctx, l, 12)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range []side{p.stem, p.river} {
		if _, err := s.pool().Exec(ctx, "create table orders (id bigint generated always as identity primary key, note text not null)"); err != nil {
			p.close()
			return nil, nil, err
		}
	}
	return []variant{{name: "8 producers", contenders: p.contend(setting{slots: 100, rare: true}, func(ctx context.Context, s side, _ setting) (sample, error) {
		if _, err := s.pool().Exec(ctx, "truncate orders"); err != nil {
			return sample{}, err
		}
		if err := settleDown(ctx, s.pool()); err != nil {
			return sample{}, err
		}
		return produce(ctx, l, s, 8, l.span(10*time.Second, 2*time.Second, 300*time.Millisecond), func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, s.pool(), func(tx pgx.Tx) error {
				for range 3 {
					if _, err := tx.Exec(ctx, "insert into orders (note) values ($1)", padding[:40]); err != nil {
						return err
					}
				}
				return s.enqueue(ctx, tx, []load{newLoad(0, time.Now().UnixNano())})
			})
		})
	})}}, p.close, nil
}
