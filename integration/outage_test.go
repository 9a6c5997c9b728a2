package integration_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/devpg"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// outages returns the lease and how long the server is away. STEM_TEST_LONG_OUTAGE=1 takes the real ones.
func outages() (lease, away time.Duration) {
	if os.Getenv("STEM_TEST_LONG_OUTAGE") == "1" {
		return 20 * time.Second, time.Minute
	}
	return 6 * time.Second, 13 * time.Second // a starved worker is not lost yet, and the leases are long over
}

// run runs a worker until the returned function is called.
func run(t *testing.T, pool *pgxpool.Pool, reg *worker.Registry, config worker.Config) (log *lines, stop func() error) {
	t.Helper()
	log = &lines{}
	config.Logger = slog.New(slog.NewTextHandler(log, nil))
	w, err := worker.New(pool, reg, config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		_ = stop()
		if t.Failed() {
			t.Logf("%s", log.all.String())
		}
	})
	return log, stop
}

// ownServer is a fleet on a server of its own, which may be crashed.
func ownServer(t *testing.T) (*fleet, *devpg.Server) {
	t.Helper()
	server := pgtest.Private(t, devpg.Config{Durable: true})
	pgtest.Migrate(t, server.URL)
	return fleetOn(t, server.URL), server
}

func TestAnOutageTakesNothingFromAnybody(t *testing.T) {
	t.Parallel()
	f, server := ownServer(t)
	lease, away := outages()
	var began atomic.Int64
	causes := make(chan error, 100)
	var reg worker.Registry
	reg.HandleFunc("blocks", func(ctx context.Context, run *queue.Run) error {
		began.Add(1)
		if run.Attempt > 1 {
			return nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return context.Cause(ctx)
	})
	reg.HandleFunc("quick", func(context.Context, *queue.Run) error { return nil })
	var logs []*lines
	for range 2 {
		log, _ := run(t, f.workers, &reg, worker.Config{Queues: map[string]int{"default": 2}, Lease: lease})
		logs = append(logs, log)
	}
	receipts := f.enqueue(raw("blocks"), raw("blocks"), raw("blocks"), raw("blocks"))
	f.eventually("all four have begun", func() bool { return began.Load() == 4 })

	if err := server.StopImmediate(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	for range 4 {
		select {
		case cause := <-causes:
			if !errors.Is(cause, worker.ErrLeaseLost) {
				t.Errorf("cancelled with %v", cause)
			}
		case <-time.After(patience):
			t.Fatal("a handler goes on although the lease is over")
		}
	}
	t.Logf("handlers were cancelled %v after the server went away (lease %v)", time.Since(gone).Round(time.Millisecond), lease)
	<-time.After(time.Until(gone.Add(away)))
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for _, r := range receipts {
		if got := f.wait(r); got.State != "completed" || got.Attempt != 2 {
			t.Errorf("got %s after %d attempts: %s", got.State, got.Attempt, got.Error)
		}
	}
	var more []queue.Request
	for range 100 {
		more = append(more, raw("quick"))
	}
	for _, r := range f.enqueue(more...) {
		if got := f.wait(r); got.State != "completed" { // one that was prefetched for a slot in vain has another attempt, uncharged
			t.Errorf("afterwards: got %s after %d attempts", got.State, got.Attempt)
		}
	}
	t.Logf("everything done %v after the server came back", time.Since(back).Round(time.Millisecond))
	if n := f.number("select count(*) from stem.attempts where outcome <> 'released'"); n != 0 {
		t.Errorf("%d attempts were charged or lost", n)
	}
	if n := f.number("select count(*) from stem.lost_workers"); n != 0 {
		t.Errorf("%d workers were declared lost", n)
	}
	for _, log := range logs {
		if log.has("worker lost") {
			t.Error("a worker took from another")
		}
	}
}

func TestAWorkerStopsAlthoughTheServerIsAway(t *testing.T) {
	t.Parallel()
	f, server := ownServer(t)
	var reg worker.Registry
	reg.HandleFunc("quick", func(context.Context, *queue.Run) error { return nil })
	log, stop := run(t, f.workers, &reg, worker.Config{Lease: 10 * time.Second, ShutdownGrace: time.Second, PollInterval: 100 * time.Millisecond})
	f.wait(f.enqueue(raw("quick"))[0])
	if err := server.StopImmediate(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.eventually("a claim failed", func() bool { return log.has("claim failed") })
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	select {
	case err := <-ended:
		t.Logf("Run returned after %v: %v", time.Since(began).Round(time.Millisecond), err)
	case <-time.After(13 * time.Second):
		t.Error("Run did not return within the grace of 1 s + 2 s (and 10 more)")
	}
	if err := server.Restart(t.Context()); err != nil { // also lets the cleanup end
		t.Fatal(err)
	}
}
