package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
)

// What a quiet machine of 2 vCPU gave for River 0.51.1 (PG 15, TCP, 160 bytes of padding).
const (
	riverDrain1000  = 22_700
	riverDrain100   = 8_900
	riverDefault    = 1_000 // not measured then: 100 slots each cooldown of 100 ms
	riverInsertCopy = 60_000
	riverSingle1    = 2_000
	riverSingle8    = 5_400
	riverCycle      = 20_000
	riverPickup     = 47 // ms, p50, default settings
)

func drainScenarios() []scenario {
	return []scenario{
		{name: "drain", about: "preloaded no-op jobs, from the worker's start until the last one is stored as completed", unit: "jobs/s", takes: 15, gives: costs, open: func(ctx context.Context, l *lab) ([]variant, func(), error) {
			p, err := openPair(ctx, l, 8)
			if err != nil {
				return nil, nil, err
			}
			n := l.count(200_000, 50_000, 2_000)
			both := func(name string, s setting, reference float64, jobs int) variant {
				return variant{name: name, reference: reference, contenders: p.contend(s, func(ctx context.Context, side side, s setting) (sample, error) {
					return drain(ctx, l, side, s, jobs)
				})}
			}
			return []variant{
				both("1 000 slots, both at their best", setting{slots: 1000}, riverDrain1000, n),
				both("2 000 slots, both at their best", setting{slots: 2000}, riverDrain1000, n),
				both("100 slots, both at their best", setting{slots: 100}, riverDrain100, l.count(200_000, 20_000, 1_000)),
				both("100 slots, default settings", setting{slots: 100, defaults: true}, riverDefault, l.count(200_000, 10_000, 500)),
			}, p.close, nil
		}},
		{name: "signing", about: "Stem alone: the drain with every job signed and verified (hmac-sha256, policy required), beside the one without", unit: "jobs/s", takes: 2, gives: costs, open: signedDrain},
	}
}

// signedDrain are two producers and workers on one database, of which one has a key.
func signedDrain(ctx context.Context, l *lab) ([]variant, func(), error) {
	plain, err := openStem(ctx, l, "bench_stem", 8)
	if err != nil {
		return nil, nil, err
	}
	keyed, err := plain.signed()
	if err != nil {
		plain.close()
		return nil, nil, err
	}
	v := variant{name: "1 000 slots"}
	for _, c := range []struct { // the ratio is that of the first to the second
		name string
		side *stemSide
	}{{"stem, signed", keyed}, {"stem", plain}} {
		name, s := c.name, c.side
		v.contenders = append(v.contenders, contender{name: name, settings: s.describe(setting{slots: 1000}), run: func(ctx context.Context) (sample, error) {
			if err := s.reset(ctx); err != nil {
				return sample{}, err
			}
			took, err := drain(ctx, l, s, setting{slots: 1000}, l.count(200_000, 50_000, 2_000))
			if err != nil {
				return sample{}, err
			}
			mixed, err := query1[bool](ctx, s.p, "select exists (select from stem.jobs where (sig is not null) <> $1)", s.keys != nil)
			if err == nil && mixed {
				err = fmt.Errorf("%s: there are envelopes of the other kind: the run does not count", name)
			}
			return took, err
		}})
	}
	return []variant{v}, plain.close, nil
}

// signed is the same with a key.
func (s *stemSide) signed() (*stemSide, error) {
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("stem"), 8))
	ring, err := signing.FromEnviron([]string{"STEM_SIGNING_KEYS=v1:" + key, "STEM_SIGNING_ACTIVE_KEY=v1"})
	if err != nil {
		return nil, err
	}
	q, err := queue.New(queue.Config{Signer: ring})
	return &stemSide{p: s.p, q: q, keys: ring}, err
}

// pair is both systems, each in a database of its own.
type pair struct {
	stem  *stemSide
	river *riverSide
}

func openPair(ctx context.Context, l *lab, conns int32) (*pair, error) {
	s, err := openStem(ctx, l, "bench_stem", conns)
	if err != nil {
		return nil, fmt.Errorf("stem: %w", err)
	}
	r, err := openRiver(ctx, l, "bench_river", conns)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("river: %w", err)
	}
	return &pair{stem: s, river: r}, nil
}

func (p *pair) close() {
	p.stem.close()
	p.river.close()
}

// contend makes the two contenders of a variant. Every run begins with an empty queue on both sides, so that neither
// pays for the other's leftovers.
func (p *pair) contend(s setting, run func(context.Context, side, setting) (sample, error)) []contender {
	var list []contender
	for _, one := range []side{p.stem, p.river} {
		name := one.name()
		list = append(list, contender{name: name, settings: one.describe(s), run: func(ctx context.Context) (sample, error) {
			for _, each := range []side{p.stem, p.river} {
				if err := each.reset(ctx); err != nil {
					return sample{}, err
				}
			}
			p.river.use(s)
			return run(ctx, one, s)
		}})
	}
	return list
}

// preload enqueues n jobs and makes the database ready for a timed section.
func preload(ctx context.Context, s side, n int) error {
	for chunk := range slices.Chunk(loads(n), 5000) {
		if err := s.enqueue(ctx, nil, chunk); err != nil {
			return err
		}
	}
	return settleDown(ctx, s.pool())
}

// drain times from the worker's start until nothing waits or runs any more, and then counts the finished rows.
func drain(ctx context.Context, l *lab, s side, c setting, n int) (sample, error) {
	before, err := s.finished(ctx)
	if err != nil {
		return sample{}, err
	}
	if err := preload(ctx, s, n); err != nil {
		return sample{}, err
	}
	var handled atomic.Int64
	all := make(chan struct{})
	g, err := l.gauge(ctx, s.pool())
	if err != nil {
		return sample{}, err
	}
	stop, err := s.work(ctx, c, func(load) {
		if handled.Add(1) == int64(n) {
			close(all)
		}
	})
	if err != nil {
		return sample{}, err
	}
	if err := finish(ctx, s, all, 10*time.Minute); err != nil {
		_ = stop()
		return sample{}, fmt.Errorf("%w (%d of %d handled)", err, handled.Load(), n)
	}
	if err := g.stop(ctx); err != nil {
		_ = stop()
		return sample{}, err
	}
	if err := stop(); err != nil {
		return sample{}, err
	}
	if err := checkFinished(ctx, s, before+n); err != nil {
		return sample{}, err
	}
	return g.sample(ctx, n)
}

// finish waits until every handler ran, and then until the database holds no unfinished job.
func finish(ctx context.Context, s side, handled <-chan struct{}, limit time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(limit):
		return fmt.Errorf("handlers did not end within %v", limit)
	case <-handled:
	}
	return waitFor(ctx, "every outcome stored", time.Minute, func() (bool, error) {
		left, err := s.unfinished(ctx)
		return !left, err
	})
}

func checkFinished(ctx context.Context, s side, want int) error {
	got, err := s.finished(ctx)
	if err == nil && got != want {
		err = fmt.Errorf("%s: the database holds %d completed jobs, %d were enqueued: the run does not count", s.name(), got, want)
	}
	return err
}
