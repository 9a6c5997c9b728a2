package worker_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// running is a worker that a test shuts down itself.
type running struct {
	*worker.Worker
	t     *testing.T
	log   *journal
	ended chan error
}

func start(t *testing.T, pool *pgxpool.Pool, reg *worker.Registry, config worker.Config) *running {
	t.Helper()
	r := &running{t: t, log: &journal{}, ended: make(chan error, 1)}
	config.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(r.log, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug}))
	w, err := worker.New(pool, reg, config)
	if err != nil {
		t.Fatal(err)
	}
	r.Worker = w
	go func() { r.ended <- w.Run(context.WithoutCancel(t.Context())); close(r.ended) }()
	t.Cleanup(func() {
		w.Shutdown(worker.Hard)
		for range r.ended { // until it is closed
		}
	})
	return r
}

// within waits for Run to return in that time, plus ten seconds for a machine that has more to do: what has no limit of its
// own takes longer, a connection in the middle of a statement 15 s until it is closed.
func (r *running) within(limit time.Duration) error {
	r.t.Helper()
	began := time.Now()
	select {
	case err := <-r.ended:
		r.t.Logf("Run returned after %v: %v", time.Since(began).Round(time.Millisecond), err)
		return err
	case <-time.After(limit + 10*time.Second):
		r.t.Fatalf("Run has not returned after %v and ten seconds more", limit)
	}
	return nil
}

// blocking are tasks that run until they are let go: "obeys" also ends with its context, "ignores" does not.
type blocking struct {
	reg    worker.Registry
	began  chan *queue.Run
	causes chan error
	free   chan struct{}
}

func newBlocking() *blocking {
	b := &blocking{began: make(chan *queue.Run, 100), causes: make(chan error, 100), free: make(chan struct{})}
	b.reg.HandleFunc("obeys", func(ctx context.Context, run *queue.Run) error {
		b.began <- run
		select {
		case <-ctx.Done():
			b.causes <- context.Cause(ctx)
			return ctx.Err()
		case <-b.free:
			return nil
		}
	})
	b.reg.HandleFunc("ignores", func(_ context.Context, run *queue.Run) error {
		b.began <- run
		<-b.free
		return nil
	})
	return b
}

// isBack tells whether the one job of the database waits again, uncharged, and no worker is left.
func isBack(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	const back = "select (select count(*) from stem.ready where failures = 0 and crashes = 0) + (select count(*) from stem.scheduled where failures = 0 and crashes = 0)"
	if n := scan[int](t, pool, back); n != 1 {
		t.Errorf("%d jobs are back, uncharged, want 1", n)
	}
	if n := scan[int](t, pool, "select (select count(*) from stem.running) + (select count(*) from stem.workers)"); n != 0 {
		t.Errorf("%d claims and workers are left", n)
	}
}

func TestAWarmShutdownLetsHandlersFinish(t *testing.T) {
	t.Parallel()
	b, tasks := newBench(t), newBlocking()
	w := start(t, b.pool, &tasks.reg, worker.Config{ShutdownGrace: time.Minute})
	r := b.enqueue(raw("obeys"))[0]
	<-tasks.began
	w.Shutdown(worker.Warm)
	eventually(t, "it drains", func() bool { return w.log.count("msg=draining") == 1 })
	late := b.enqueue(raw("obeys"))[0]
	close(tasks.free)
	if err := w.within(patience); err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := b.wait(r); got.State != "completed" || got.Attempt != 1 {
		t.Errorf("got %s after %d attempts", got.State, got.Attempt)
	}
	if n := scan[int](t, b.owner, "select count(*) from stem.ready where job_id = $1", late.ID); n != 1 {
		t.Error("a job was claimed after the shutdown had begun")
	}
}

func TestAWarmShutdownCancelsAfterTheGrace(t *testing.T) {
	t.Parallel()
	b, tasks := newBench(t), newBlocking()
	w := start(t, b.pool, &tasks.reg, worker.Config{ShutdownGrace: 300 * time.Millisecond})
	b.enqueue(raw("obeys"))
	<-tasks.began
	w.Shutdown(worker.Warm)
	if err := w.within(2300 * time.Millisecond); err != nil {
		t.Errorf("Run: %v", err)
	}
	if cause := <-tasks.causes; !errors.Is(cause, worker.ErrShutdown) {
		t.Errorf("cancelled with %v, want ErrShutdown", cause)
	}
	isBack(t, b.owner)
}

func TestASoftShutdownCancelsAtOnce(t *testing.T) {
	t.Parallel()
	b, tasks := newBench(t), newBlocking()
	w := start(t, b.pool, &tasks.reg, worker.Config{ShutdownGrace: time.Minute})
	b.enqueue(raw("obeys"))
	<-tasks.began
	w.Shutdown(worker.Soft)
	w.Shutdown(worker.Warm) // never back again
	if err := w.within(2 * time.Second); err != nil {
		t.Errorf("Run: %v", err)
	}
	if cause := <-tasks.causes; !errors.Is(cause, worker.ErrShutdown) {
		t.Errorf("cancelled with %v, want ErrShutdown", cause)
	}
	isBack(t, b.owner)
}

func TestAHardShutdownPutsBackWhatGoesOn(t *testing.T) {
	t.Parallel()
	b, tasks := newBench(t), newBlocking()
	w := start(t, b.pool, &tasks.reg, worker.Config{ShutdownGrace: time.Minute})
	b.enqueue(raw("ignores"))
	<-tasks.began
	w.Shutdown(worker.Warm)
	w.Shutdown(worker.Hard)
	if err := w.within(2 * time.Second); err == nil {
		t.Error("Run returned nil although a handler is still running")
	}
	isBack(t, b.owner)
	close(tasks.free)
}

func TestAShutdownBeforeRunEndsIt(t *testing.T) {
	t.Parallel()
	b, tasks := newBench(t), newBlocking()
	w, err := worker.New(b.pool, &tasks.reg, worker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w.Shutdown(worker.Warm)
	if err := w.Run(t.Context()); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Packets that vanish give no error: without bounds of its own a worker waits for claims, heartbeats and pools to time out.
func TestAShutdownIsNotHeldUpByAFrozenDatabase(t *testing.T) {
	t.Parallel()
	const grace = 300 * time.Millisecond
	for _, tt := range []struct {
		name, task string
		mode       worker.ShutdownMode
		limit      time.Duration
	}{
		{"a claim without an answer", "", worker.Warm, grace + 2*time.Second},
		{"an outcome that cannot be stored", "obeys", worker.Warm, grace + 2*time.Second},
		{"a handler that goes on", "ignores", worker.Warm, grace + 2*time.Second},
		{"soft", "obeys", worker.Soft, 2 * time.Second},
		{"hard", "ignores", worker.Hard, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, tasks := newBench(t), newBlocking()
			l := newLink(t, b)
			w := start(t, l.pool, &tasks.reg, worker.Config{Queues: map[string]int{"default": 2}, ShutdownGrace: grace, PollInterval: 100 * time.Millisecond})
			eventually(t, "it works", func() bool { return w.log.count("worker started") == 1 })
			if tt.task != "" {
				b.enqueue(raw(tt.task))
				<-tasks.began
			}
			l.freeze()
			w.Shutdown(tt.mode)
			if err := w.within(tt.limit); err == nil {
				t.Error("Run returned nil although it could not store anything")
			}
			close(tasks.free)
		})
	}
}

// TestAnInterruptedRegistrationIsWithdrawn: the row is stored, its answer is lost, and the shutdown comes meanwhile. Nobody is to look
// for that worker a lease later. Mutant that it catches: withdrawing with another epoch than the registration's.
func TestAnInterruptedRegistrationIsWithdrawn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	l := newLink(t, b, func(c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // one message: the answer to a Prepare would be lost first
	})
	l.registering = func() { l.deaf.Store(true) }
	w, err := worker.New(l.pool, &worker.Registry{}, worker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	const workers = "select count(*) from stem.workers"
	eventually(t, "it is registered", func() bool { return scan[int](t, b.owner, workers) == 1 })
	l.deaf.Store(false)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := scan[int](t, b.owner, workers); n != 0 {
		t.Errorf("%d workers are left", n)
	}
}
