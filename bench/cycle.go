package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

func cycleScenarios() []scenario {
	return []scenario{
		{name: "cycle", about: "producers and workers together, from insert to completed", unit: "jobs/s", takes: 7, gives: costs, open: openCycle(false)},
		{name: "held", about: "the full cycle while another transaction holds an old snapshot; series: jobs/s per slice", unit: "jobs/s", takes: 10, gives: append(slices.Clone(costs), "last_third_to_first"), open: openCycle(true)},
	}
}

func openCycle(held bool) func(context.Context, *lab) ([]variant, func(), error) {
	return func(ctx context.Context, l *lab) ([]variant, func(), error) {
		p, err := openPair(ctx, l, 8)
		if err != nil {
			return nil, nil, err
		}
		v := variant{name: "1 000 slots, 2 producers, both at their best", reference: riverCycle}
		if held {
			v.name, v.reference = v.name+", snapshot held", 0 // River falls to a third of itself
		}
		v.contenders = p.contend(setting{slots: 1000}, func(ctx context.Context, s side, c setting) (sample, error) {
			return cycle(ctx, l, s, c, l.span(time.Minute, 6*time.Second, 2*time.Second), held)
		})
		if held { // beside it Stem's own rate without the snapshot
			free := p.contend(setting{slots: 1000}, func(ctx context.Context, s side, c setting) (sample, error) {
				return cycle(ctx, l, s, c, l.span(time.Minute, 6*time.Second, 2*time.Second), false)
			})[0]
			free.name = "stem, no snapshot"
			v.contenders = append(v.contenders, free)
		}
		return []variant{v}, p.close, nil
	}
}

const (
	backlog    = 50_000 // producers wait while so many are not handled yet
	cycleSlice = 2 * time.Second
)

// cycle lets producers and a worker run for a time, and counts what was handled in it. The costs are those of all jobs, from
// insert to finished: what is left when the time is over is worked off before they are read, or a backlog that is only inserted
// would count as work on what was handled. All that was enqueued must be stored as completed then.
func cycle(ctx context.Context, l *lab, s side, c setting, span time.Duration, held bool) (sample, error) {
	if err := settleDown(ctx, s.pool()); err != nil {
		return sample{}, err
	}
	if held {
		release, err := holdSnapshot(ctx, l, s.database())
		if err != nil {
			return sample{}, err
		}
		defer release()
	}
	var handled, produced atomic.Int64
	stop, err := s.work(ctx, c, func(load) { handled.Add(1) })
	if err != nil {
		return sample{}, err
	}
	batch := 1000
	if s.name() == "river" {
		batch = 5000
	}
	g, err := l.gauge(ctx, s.pool())
	if err != nil {
		return sample{}, errors.Join(err, stop())
	}
	timed, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	var series []float64
	slice := min(cycleSlice, span/3)
	group, inner := errgroup.WithContext(ctx)
	for range 2 {
		group.Go(func() error { return fill(inner, timed, s, batch, &produced, &handled) })
	}
	group.Go(func() error {
		series = watch(timed, &handled, slice)
		return nil
	})
	err = group.Wait()
	inTime, seconds := float64(handled.Load()), time.Since(g.at).Seconds()
	if err == nil {
		err = waitFor(ctx, "the backlog worked off", 10*time.Minute, func() (bool, error) { return handled.Load() >= produced.Load(), nil })
	}
	if err := errors.Join(err, stop()); err != nil { // what was handled is stored when this returns
		return sample{}, err
	}
	if err := g.stop(ctx); err != nil {
		return sample{}, err
	}
	if err := checkFinished(ctx, s, int(produced.Load())); err != nil {
		return sample{}, err
	}
	one, err := g.sample(ctx, int(produced.Load()))
	one.Value, one.Series, one.Slice = inTime/seconds, series, slice.Seconds()
	one.Metrics["seconds"] = seconds
	third := max(len(series)/3, 1)
	if len(series) > 0 {
		one.Metrics["last_third_to_first"] = quantile(series[len(series)-third:], 0.5) / max(quantile(series[:third], 0.5), 1)
	}
	return one, err
}

// fill enqueues until timed is over, and never runs further ahead than the backlog.
func fill(ctx, timed context.Context, s side, batch int, produced, handled *atomic.Int64) error {
	jobs := loads(batch)
	for timed.Err() == nil {
		if err := waitFor(timed, "room in the backlog", time.Hour, func() (bool, error) {
			return produced.Load()-handled.Load() < backlog, nil
		}); err != nil {
			return ctx.Err() // timed is over
		}
		if err := s.enqueue(ctx, nil, jobs); err != nil {
			return err
		}
		produced.Add(int64(batch))
	}
	return nil
}

// watch notes the rate of each slice.
func watch(timed context.Context, handled *atomic.Int64, slice time.Duration) []float64 {
	tick := time.NewTicker(slice)
	defer tick.Stop()
	var series []float64
	last, at := handled.Load(), time.Now()
	for {
		select {
		case <-timed.Done():
			return series
		case <-tick.C:
			now, took := handled.Load(), time.Since(at)
			series = append(series, float64(now-last)/took.Seconds())
			last, at = now, time.Now()
		}
	}
}

// holdSnapshot keeps vacuum from removing anything that dies from now on.
func holdSnapshot(ctx context.Context, l *lab, database string) (release func(), err error) {
	conn, err := pgx.Connect(ctx, l.url(database))
	if err != nil {
		return nil, err
	}
	release = func() { _ = conn.Close(context.WithoutCancel(ctx)) }
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err == nil {
		_, err = query1[int64](ctx, tx, "select count(*) from pg_class")
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("hold a snapshot: %w", err)
	}
	return release, nil
}
