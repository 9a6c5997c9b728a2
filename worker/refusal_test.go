package worker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// TestARefusedOutcomeDoesNotHoldUpItsBatch: one of ten jobs that end together has ended before (a restored dump), so the server
// refuses the statement that finishes all of them. The nine are stored; the one counts as a failure that says why.
func TestARefusedOutcomeDoesNotHoldUpItsBatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	requests := make([]queue.Request, 10)
	for i := range requests {
		requests[i] = hello.New(greeting{}, queue.Backoff(time.Hour, time.Hour)) // failed once, it does not come back
	}
	receipts := b.enqueue(requests...)
	stray := receipts[4].ID
	labtest.Run(t, b.owner, "insert into stem.finished (slot, job_id, attempt, outcome) select slot, id, 0, 'expired' from stem.jobs where id = $1", stray)

	var together sync.WaitGroup
	together.Add(len(requests))
	var reg worker.Registry
	worker.Handle(&reg, hello, func(context.Context, *queue.Job[greeting]) error {
		together.Done()
		together.Wait()
		return nil
	})
	b.work(&reg, worker.Config{Queues: map[string]int{"default": len(requests)}})
	for _, r := range receipts {
		if r.ID != stray {
			if got := b.wait(r); got.State != "completed" || got.Attempt != 1 {
				t.Errorf("got %s after %d attempts, want completed after one", got.State, got.Attempt)
			}
		}
	}
	eventually(t, "the refused outcome is a failed attempt", func() bool {
		return scan[bool](t, b.owner, `select exists (select from stem.attempts
			where job_id = $1 and outcome = 'failed' and error = 'the outcome could not be stored: SQLSTATE 23505')`, stray)
	})
	if got := scan[int](t, b.owner, "select failures from stem.scheduled where job_id = $1", stray); got != 1 {
		t.Errorf("%d failures are charged, want 1", got)
	}
}

func TestConfigMistakesAreAllNamed(t *testing.T) {
	t.Parallel()
	_, err := worker.New(nil, &worker.Registry{}, worker.Config{
		Queues: map[string]int{"two words": 1, "mail": 0},
		Lease:  10 * time.Millisecond, Heartbeat: 5 * time.Millisecond, PollInterval: -1, MaxCrashes: -1,
	})
	if err == nil {
		t.Fatal("every setting is wrong, and New says nothing")
	}
	for _, want := range []string{
		`worker: queue: names are 1-128 of letters, digits, _ . : / -; got "two words"`,
		`worker: queue "mail": want 1 to `,
		"worker: lease: want 100ms to 24h, got 10ms",
		"worker: heartbeat 5ms must be less than half the lease 10ms",
		"worker: poll interval -1ns and rescue interval 5ms must be above 0",
		"worker: max crashes: want 1 or more, got -1",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing says %q:\n%v", want, err)
		}
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != 6 {
		t.Errorf("%d lines, want 6:\n%v", got, err)
	}
}

// TestARoleWithStricterIsolationIsRefused: rescue, the pause and the claim's guard need a fresh snapshot in each statement.
func TestARoleWithStricterIsolationIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	config := b.pool.Config().Copy()
	config.ConnConfig.RuntimeParams["default_transaction_isolation"] = "repeatable read"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	w, err := worker.New(pool, &worker.Registry{}, worker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `this role's default_transaction_isolation is "repeatable read"; Stem's statements need "read committed"`
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "Run was called before") {
		t.Errorf("got %v from a second Run", err)
	}
}
