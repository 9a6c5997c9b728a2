package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

func pickupScenarios() []scenario {
	return []scenario{
		{name: "pickup", about: "50 single enqueues a second: from before the call to the handler's start; value: p50", unit: "ms", takes: 4, gives: slices.Concat(costs, percentiles), open: openPickup},
		{name: "halfload", about: "pickup at half of what River sustains, the same rate for both; value: p99", unit: "ms", takes: 6, gives: slices.Concat(costs, percentiles), open: openHalfLoad},
	}
}

// stopwatch collects when handlers began, without a lock.
type stopwatch struct {
	next  atomic.Int64
	jobs  []int64
	sent  []int64
	begun []int64
}

func newStopwatch(most int) *stopwatch {
	return &stopwatch{jobs: make([]int64, most), sent: make([]int64, most), begun: make([]int64, most)}
}

func (w *stopwatch) handler(j load) {
	if i := w.next.Add(1) - 1; int(i) < len(w.begun) {
		w.jobs[i], w.sent[i], w.begun[i] = j.N, j.Sent, time.Now().UnixNano()
	}
}

// since returns begun less what from says for each.
func (w *stopwatch) since(from func(i int) int64) []time.Duration {
	list := make([]time.Duration, min(int(w.next.Load()), len(w.begun)))
	for i := range list {
		list[i] = time.Duration(max(w.begun[i]-from(i), 0))
	}
	return list
}

func openPickup(ctx context.Context, l *lab) ([]variant, func(), error) {
	p, err := openPair(ctx, l, 8)
	if err != nil {
		return nil, nil, err
	}
	run := func(ctx context.Context, side side, s setting) (sample, error) {
		return steady(ctx, l, side, s, l.count(1000, 200, 25))
	}
	// Stem has no other settings than its defaults, so it stands beside River's and beside River at its best.
	list := p.contend(setting{slots: 100, defaults: true}, run)
	list = append(list, p.contend(setting{slots: 100}, run)[1])
	list[1].name, list[2].name = "river, defaults", "river, best"
	return []variant{{name: "50/s, default settings", reference: riverPickup, contenders: list}}, p.close, nil
}

// steady enqueues n jobs, one each 20 ms.
func steady(ctx context.Context, l *lab, s side, c setting, n int) (sample, error) {
	w := newStopwatch(n)
	return timedWork(ctx, l, s, c, w, n, func() error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range n {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-tick.C:
			}
			if err := s.enqueue(ctx, nil, []load{newLoad(int64(i), time.Now().UnixNano())}); err != nil {
				return err
			}
		}
		return nil
	}, func(i int) int64 { return w.sent[i] }, "p50_ms")
}

// timedWork runs a worker under the producer and turns the stopwatch into a sample.
func timedWork(ctx context.Context, l *lab, s side, c setting, w *stopwatch, n int, produce func() error, from func(i int) int64, value string) (sample, error) {
	if err := settleDown(ctx, s.pool()); err != nil {
		return sample{}, err
	}
	stop, err := s.work(ctx, c, w.handler)
	if err != nil {
		return sample{}, err
	}
	g, err := timeSection(ctx, l, s, w, n, produce)
	if err := errors.Join(err, stop()); err != nil {
		return sample{}, err
	}
	if err := checkFinished(ctx, s, n+1); err != nil {
		return sample{}, err
	}
	one, err := g.sample(ctx, n)
	maps.Copy(one.Metrics, latencies(w.since(from)))
	one.Value = one.Metrics[value]
	one.Metrics["rate"] = float64(n) / g.elapsed.Seconds()
	return one, err
}

// timeSection lets the producer run against a worker that is up: one that has done a job, which does not count.
func timeSection(ctx context.Context, l *lab, s side, w *stopwatch, n int, produce func() error) (*gauge, error) {
	if err := s.enqueue(ctx, nil, stamped(1, 0)); err != nil {
		return nil, err
	}
	if err := waitFor(ctx, "the worker's first job", time.Minute, func() (bool, error) { return w.next.Load() > 0, nil }); err != nil {
		return nil, err
	}
	w.next.Store(0)
	g, err := l.gauge(ctx, s.pool())
	if err != nil {
		return nil, err
	}
	if err := produce(); err != nil {
		return nil, err
	}
	if err := waitFor(ctx, "every job handled", time.Minute, func() (bool, error) { return w.next.Load() >= int64(n), nil }); err != nil {
		return nil, err
	}
	return g, g.stop(ctx)
}

func openHalfLoad(ctx context.Context, l *lab) ([]variant, func(), error) {
	p, err := openPair(ctx, l, 24)
	if err != nil {
		return nil, nil, err
	}
	best := setting{slots: 1000}
	p.river.use(best)
	sustained, err := cycle(ctx, l, p.river, best, l.span(10*time.Second, 4*time.Second, time.Second), false)
	if err != nil {
		p.close()
		return nil, nil, err
	}
	rate := sustained.Value / 2
	if sustained, err = cycle(ctx, l, p.stem, best, l.span(10*time.Second, 4*time.Second, time.Second), false); err != nil {
		p.close()
		return nil, nil, err
	}
	own := sustained.Value / 2
	l.say("halfload: Stem sustains %.0f jobs/s now", sustained.Value)
	l.say("halfload: River sustains %.0f jobs/s now; both get half of that", 2*rate)
	span := l.span(20*time.Second, 5*time.Second, time.Second)
	return []variant{
		{name: fmt.Sprintf("from commit to start, enqueued inside transactions of 200 ms, %.0f jobs/s", rate), contenders: p.contend(best, func(ctx context.Context, s side, c setting) (sample, error) {
			return longTransactions(ctx, l, s, c, rate, span)
		})},
		{name: fmt.Sprintf("from call to start, batches each 10 ms, %.0f jobs/s", rate), contenders: p.contend(best, func(ctx context.Context, s side, c setting) (sample, error) {
			return batches(ctx, l, s, c, rate, span)
		})},
		{name: fmt.Sprintf("Stem at half of what it sustains itself, inside transactions of 200 ms, %.0f jobs/s", own), contenders: p.contend(best, func(ctx context.Context, s side, c setting) (sample, error) {
			return longTransactions(ctx, l, s, c, own, span)
		})[:1]},
	}, p.close, nil
}

const tick = 10 * time.Millisecond

// batches enqueues a hundred times a second.
func batches(ctx context.Context, l *lab, s side, c setting, rate float64, span time.Duration) (sample, error) {
	size, times := max(int(rate*tick.Seconds()), 1), int(span/tick)
	w := newStopwatch(size*times + 1)
	return timedWork(ctx, l, s, c, w, size*times, func() error {
		group, inner := errgroup.WithContext(ctx)
		group.SetLimit(8)
		beat := time.NewTicker(tick)
		defer beat.Stop()
		for range times {
			select {
			case <-inner.Done():
				return group.Wait()
			case <-beat.C:
			}
			group.Go(func() error { return s.enqueue(inner, nil, stamped(size, 0)) })
		}
		return group.Wait()
	}, func(i int) int64 { return w.sent[i] }, "p99_ms")
}

func stamped(n int, number int64) []load {
	list := make([]load, n)
	now := time.Now().UnixNano()
	for i := range list {
		list[i] = newLoad(number, now)
	}
	return list
}

// longTransactions keeps ten transactions open that enqueue first and commit 200 ms later; N is the transaction's number.
// The commit's time is when the client has its answer, so a job that begins before that counts as zero.
func longTransactions(ctx context.Context, l *lab, s side, c setting, rate float64, span time.Duration) (sample, error) {
	const open, lasting = 10, 200 * time.Millisecond
	size, each := max(int(rate*lasting.Seconds())/open, 1), int(span/lasting)
	committed := make([]int64, open*each)
	w := newStopwatch(size*open*each + 1)
	var mu sync.Mutex // guards committed
	return timedWork(ctx, l, s, c, w, size*open*each, func() error {
		group, inner := errgroup.WithContext(ctx)
		for k := range open {
			group.Go(func() error {
				// The producers are spread over the 200 ms, as callers are.
				if err := pause(inner, lasting/open*time.Duration(k)); err != nil {
					return err
				}
				for i := range each {
					number := k*each + i
					err := pgx.BeginFunc(inner, s.pool(), func(tx pgx.Tx) error {
						began := time.Now()
						if err := s.enqueue(inner, tx, stamped(size, int64(number))); err != nil {
							return err
						}
						return pause(inner, lasting-time.Since(began))
					})
					if err != nil {
						return err
					}
					mu.Lock()
					committed[number] = time.Now().UnixNano()
					mu.Unlock()
				}
				return nil
			})
		}
		return group.Wait()
	}, func(i int) int64 { return committed[w.jobs[i]] }, "p99_ms")
}

// pause is what a caller's transaction does meanwhile.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
