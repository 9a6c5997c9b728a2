package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// namespace keeps the bench's worker apart from those that control commands address.
const namespace = "stem-bench"

// stall is how long nothing may be handled before a section is given up.
const stall = time.Minute

// tally counts what handlers do.
type tally struct {
	base time.Time

	mu      sync.Mutex
	handled int
	target  int
	reached chan struct{}   // closed when handled is target
	waits   []time.Duration // from the call of the enqueue, of jobs that carry its time
}

func (t *tally) handle(_ context.Context, job *queue.Job[args]) error {
	at := time.Since(t.base)
	t.mu.Lock()
	defer t.mu.Unlock()
	if job.Args.Sent > 0 {
		t.waits = append(t.waits, at-time.Duration(job.Args.Sent))
	}
	if t.handled++; t.handled == t.target {
		close(t.reached)
	}
	return nil
}

// expect returns a channel that is closed when n jobs have been handled, counted from the start.
func (t *tally) expect(n int) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.target, t.reached = n, make(chan struct{})
	if t.handled >= n {
		close(t.reached)
	}
	return t.reached
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.handled
}

// shift is a worker at work.
type shift struct {
	tally
	stop  func() error // drains it and returns how it ended; may be called again
	ended <-chan struct{}
}

// work starts a worker. The caller stops it.
func (r *run) work(ctx context.Context) (*shift, error) {
	s := &shift{tally: tally{base: r.base}}
	var reg worker.Registry
	worker.Handle(&reg, task, s.handle)
	w, err := worker.New(r.pool, &reg, worker.Config{
		Queues: map[string]int{r.name: slots}, Node: r.Node, Namespace: namespace, PollInterval: r.Poll,
		ShutdownGrace: 5 * time.Second, ListenConfig: r.Listen, Logger: r.Logger,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	var result error
	go func() {
		defer close(ended)
		result = w.Run(ctx)
	}()
	s.ended = ended
	s.stop = func() error {
		cancel()
		<-ended
		return result
	}
	return s, nil
}

// await waits until n jobs have been handled.
func (s *shift) await(ctx context.Context, n int) error {
	reached := s.expect(n)
	tick := time.NewTicker(stall)
	defer tick.Stop()
	for before := s.count(); ; {
		select {
		case <-reached:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.ended:
			return cmp.Or(s.stop(), errors.New("bench: the worker ended"))
		case <-tick.C:
			now := s.count()
			if now == before {
				return fmt.Errorf("bench: no job was handled for %s; %d of %d were", stall, now, n)
			}
			before = now
		}
	}
}

// drain works off what the bulk sections enqueued: from the worker's start until the last outcome is stored.
func (r *run) drain(ctx context.Context) error {
	jobs := int(r.waiting.Load())
	began := time.Now()
	s, err := r.work(ctx)
	if err != nil {
		return err
	}
	err = s.await(ctx, jobs)
	err = cmp.Or(err, s.stop())
	if err != nil {
		return err
	}
	r.report.Rates = append(r.report.Rates, Rate{drained, fmt.Sprintf("work off, 1 worker with %d slots", slots), jobs, time.Since(began)})
	r.waiting.Store(0)
	return nil
}

// idle measures what needs a worker with nothing to do: how soon it picks a job up, and what waking it costs the producer.
func (r *run) idle(ctx context.Context) (err error) {
	if err := r.purge(ctx); err != nil {
		return err
	}
	s, err := r.work(ctx)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, s.stop()) }()
	// Until the worker has done something, so that it is up.
	n := 1
	if err := r.enqueue(ctx, r.pool, r.request()); err != nil {
		return err
	}
	if err := s.await(ctx, n); err != nil {
		return err
	}
	times := int(r.Duration/pace) + 1
	if err := r.paced(ctx, times, func(int) queue.Request { return r.stamped() }, nil); err != nil {
		return err
	}
	n += times
	if err := s.await(ctx, n); err != nil {
		return err
	}
	r.report.Latencies = append(r.report.Latencies, latencyOf(pickup, "pickup, an idle worker", s.waits))

	took := make([][]time.Duration, 2)
	if err := r.paced(ctx, times, func(i int) queue.Request {
		if i%2 == 1 {
			return r.request(queue.NoNotify())
		}
		return r.request()
	}, took); err != nil {
		return err
	}
	r.report.Costs = append(r.report.Costs, Cost{
		Name: notify, What: "enqueue wakes a worker",
		Samples: len(took[1]), On: median(took[0]), Off: median(took[1]),
	})
	return s.await(ctx, n+times)
}

// paced enqueues one job each pace, and sorts how long the calls took into the lists in turn.
func (r *run) paced(ctx context.Context, times int, request func(i int) queue.Request, took [][]time.Duration) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := range times {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		began := time.Now()
		if err := r.enqueue(ctx, r.pool, request(i)); err != nil {
			return err
		}
		if took != nil {
			took[i%len(took)] = append(took[i%len(took)], time.Since(began))
		}
	}
	return nil
}
