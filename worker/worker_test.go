package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

func TestMain(m *testing.M) { pgtest.MainWithExamples(m) }

type greeting struct {
	Name string `json:"name"`
}

var hello = queue.NewTask[greeting]("hello")

// bench is what a test of a running worker needs: a database, a producer, and workers that end with the test, each with a login
// of its own.
type bench struct {
	t        *testing.T
	pool     *pgxpool.Pool // the worker's
	producer *pgxpool.Pool
	owner    *pgxpool.Pool // to look into tables, and to change them behind the worker's back
	q        *queue.Queue
}

func newBench(t *testing.T) *bench {
	t.Helper()
	url := pgtest.Database(t)
	q, err := queue.New(queue.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{
		t: t, pool: pgtest.Open(t, pgtest.Login(t, url, "worker")), producer: pgtest.Open(t, pgtest.Login(t, url, "producer")),
		owner: pgtest.Open(t, url), q: q,
	}
}

// work runs a worker and returns the function that drains it and reports what Run returned.
func (b *bench) work(reg *worker.Registry, config worker.Config) (stop func() error) {
	b.t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(b.t.Output(), nil))
	}
	w, err := worker.New(b.pool, reg, config)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	var result error
	var stopped atomic.Bool
	stop = func() error {
		if !stopped.Swap(true) {
			cancel()
			result = <-ended
		}
		return result
	}
	b.t.Cleanup(func() {
		if err := stop(); err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
	return stop
}

func (b *bench) enqueue(requests ...queue.Request) []queue.Receipt {
	b.t.Helper()
	receipts, err := b.q.Enqueue(b.t.Context(), b.producer, requests...)
	if err != nil {
		b.t.Fatal(err)
	}
	return receipts
}

func (b *bench) wait(r queue.Receipt) queue.Result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	result, err := queue.Wait(ctx, b.producer, r.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// whileItWaits changes the row of a job that waits for a key. Between two tries it is in the line for a moment, and has none.
func (b *bench) whileItWaits(id uuid.UUID, set string) {
	b.t.Helper()
	eventually(b.t, "the job waits, uncharged", func() bool {
		tag, err := b.owner.Exec(b.t.Context(),
			"update stem.scheduled set "+set+" where job_id = $1 and grace_since is not null and failures = 0", id)
		if err != nil {
			b.t.Fatal(err)
		}
		return tag.RowsAffected() == 1
	})
}

func TestAJobRunsAndItsResultIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var reg worker.Registry
	worker.Handle(&reg, hello, func(_ context.Context, job *queue.Job[greeting]) error {
		return job.SetResult("Hello, " + job.Args.Name)
	})
	b.work(&reg, worker.Config{})
	got := b.wait(b.enqueue(hello.New(greeting{Name: "Ada"}))[0])
	if got.State != "completed" || string(got.Value) != `"Hello, Ada"` || got.Attempt != 1 {
		t.Errorf("got %s, %s after %d attempts", got.State, got.Value, got.Attempt)
	}
}

func TestEveryOutcomeEndsWhereItShould(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var reg worker.Registry
	tasks := map[string]func(*queue.Run) error{
		"ok":      func(*queue.Run) error { return nil },
		"fails":   func(*queue.Run) error { return errors.New("always") },
		"second":  func(r *queue.Run) error { return failUntil(r, 2) },
		"panics":  func(*queue.Run) error { panic("at the disco") },
		"discard": func(*queue.Run) error { return worker.Discard(errors.New("no use")) },
		"snooze": func(r *queue.Run) error {
			if r.Releases == 0 {
				return worker.Snooze(time.Millisecond)
			}
			return nil
		},
	}
	for name, run := range tasks {
		reg.HandleFunc(name, func(_ context.Context, r *queue.Run) error { return run(r) })
	}
	b.work(&reg, worker.Config{})
	quick := queue.Backoff(time.Millisecond, time.Millisecond)
	for _, tt := range []struct {
		task, state, reason string
		attempt             int
		payload             string
	}{
		{task: "ok", state: "completed", attempt: 1},
		{task: "fails", state: "dead", reason: "exhausted", attempt: 2},
		{task: "second", state: "completed", attempt: 2},
		{task: "panics", state: "dead", reason: "exhausted", attempt: 2},
		{task: "discard", state: "dead", reason: "discarded", attempt: 1},
		{task: "snooze", state: "completed", attempt: 2},
	} {
		receipt := b.enqueue(queue.Raw(tt.task, []byte("{}"), "", queue.MaxAttempts(2), quick))[0]
		got := b.wait(receipt)
		if got.State != tt.state || got.Reason != tt.reason || got.Attempt != tt.attempt {
			t.Errorf("%s: got %s (%s) after %d attempts, want %s (%s) after %d; error %s",
				tt.task, got.State, got.Reason, got.Attempt, tt.state, tt.reason, tt.attempt, got.Error)
		}
	}
}

func failUntil(r *queue.Run, attempt int) error {
	if r.Attempt < attempt {
		return fmt.Errorf("attempt %d", r.Attempt)
	}
	return nil
}

func TestManyJobsEachOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const jobs = 3000
	var ran atomic.Int64
	var reg worker.Registry
	worker.Handle(&reg, hello, func(context.Context, *queue.Job[greeting]) error { ran.Add(1); return nil })
	for range 2 {
		b.work(&reg, worker.Config{Queues: map[string]int{"default": 20}})
	}
	requests := make([]queue.Request, jobs)
	for i := range requests {
		requests[i] = hello.New(greeting{}, queue.Priority(i%10))
	}
	for _, r := range b.enqueue(requests...) {
		if got := b.wait(r); got.State != "completed" {
			t.Fatalf("job %s: %s", r.ID, got.State)
		}
	}
	if got := ran.Load(); got != jobs {
		t.Errorf("%d runs of %d jobs", got, jobs)
	}
}
