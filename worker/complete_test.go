package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// newEffectsBench is a bench with a table for what handlers write.
func newEffectsBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	labtest.Run(t, b.owner, "create table effects (job uuid, note text); grant all on effects to public")
	return b
}

func scan[T any](t *testing.T, pool *pgxpool.Pool, query string, args ...any) T {
	t.Helper()
	var v T
	if err := pool.QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// patience bounds waiting for what has no limit of its own. It is for a machine that has much more to do than this test.
const patience = 3 * time.Minute

// eventually polls a condition that others bring about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("after %v still not: %s", patience, what)
		case <-tick.C:
		}
	}
}

func raw(task string, options ...queue.Option) queue.Request {
	return queue.Raw(task, []byte("{}"), "", options...)
}

func TestRowsAndCompletionCommitTogether(t *testing.T) {
	t.Parallel()
	b := newEffectsBench(t)
	var reg worker.Registry
	worker.Handle(&reg, hello, func(ctx context.Context, job *queue.Job[greeting]) error {
		tx, err := b.pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(ctx)
		if _, err := tx.Exec(ctx, "insert into effects values ($1, $2)", job.ID, job.Args.Name); err != nil {
			return err
		}
		if _, err := b.q.Enqueue(ctx, tx, raw("child")); err != nil {
			return err
		}
		if err := job.SetResult("done"); err != nil {
			return err
		}
		if err := worker.Complete(ctx, tx, job); err != nil {
			return err
		}
		if got := scan[int](t, b.owner, "select count(*) from stem.finished where job_id = $1", job.ID); got != 0 {
			t.Error("finished before the commit")
		}
		return tx.Commit(ctx)
	})
	reg.HandleFunc("child", func(context.Context, *queue.Run) error { return nil })
	b.work(&reg, worker.Config{})
	r := b.enqueue(hello.New(greeting{Name: "Ada"}))[0]
	got := b.wait(r)
	if got.State != "completed" || string(got.Value) != `"done"` || got.Attempt != 1 {
		t.Errorf("got %s, %s, attempt %d", got.State, got.Value, got.Attempt)
	}
	if n := scan[int](t, b.owner, "select count(*) from effects where job = $1", r.ID); n != 1 {
		t.Errorf("%d rows of the handler, want 1", n)
	}
	eventually(t, "the child completed", func() bool {
		return scan[int](t, b.owner, "select count(*) from stem.finished") == 2
	})
}

func TestCompleteThenRollbackDoesNotComplete(t *testing.T) {
	t.Parallel()
	b := newEffectsBench(t)
	var reg worker.Registry
	worker.Handle(&reg, hello, func(ctx context.Context, job *queue.Job[greeting]) error {
		tx, err := b.pool.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "insert into effects values ($1, 'x')", job.ID); err != nil {
			return err
		}
		if err := worker.Complete(ctx, tx, job); err != nil {
			return err
		}
		return tx.Rollback(ctx)
	})
	b.work(&reg, worker.Config{})
	r := b.enqueue(hello.New(greeting{}, queue.MaxAttempts(1)))[0]
	got := b.wait(r)
	if got.State != "dead" || got.Reason != "exhausted" || !strings.HasPrefix(got.Error, "complete_not_committed") {
		t.Errorf("got %s (%s): %s", got.State, got.Reason, got.Error)
	}
	if n := scan[int](t, b.owner, "select count(*) from effects"); n != 0 {
		t.Errorf("%d rows of the handler, want none", n)
	}
}

func TestCompleteWithoutTheClaimSpoilsTheTransaction(t *testing.T) {
	t.Parallel()
	for name, steal := range map[string]string{
		"deleted": "delete from stem.running where job_id = $1",
		"claimed": "update stem.running set claim_id = gen_random_uuid(), attempt = attempt + 1 where job_id = $1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEffectsBench(t)
			type answer struct{ complete, commit error }
			answers := make(chan answer, 1)
			var reg worker.Registry
			worker.Handle(&reg, hello, func(ctx context.Context, job *queue.Job[greeting]) error {
				if _, err := b.owner.Exec(ctx, steal, job.ID); err != nil {
					return err
				}
				tx, err := b.pool.Begin(ctx)
				if err != nil {
					return err
				}
				defer tx.Rollback(ctx)
				if _, err := tx.Exec(ctx, "insert into effects values ($1, 'zombie')", job.ID); err != nil {
					return err
				}
				var a answer
				a.complete = worker.Complete(ctx, tx, job)
				a.commit = tx.Commit(ctx) // although Complete said no
				answers <- a
				return nil
			})
			b.work(&reg, worker.Config{Lease: time.Hour}) // no heartbeat tells the handler first
			b.enqueue(hello.New(greeting{}))
			a := <-answers
			if !errors.Is(a.complete, worker.ErrLeaseLost) {
				t.Errorf("Complete: got %v, want ErrLeaseLost", a.complete)
			}
			if !errors.Is(a.commit, pgx.ErrTxCommitRollback) {
				t.Errorf("Commit: got %v, want ErrTxCommitRollback", a.commit)
			}
			if n := scan[int](t, b.owner, "select (select count(*) from effects) + (select count(*) from stem.finished)"); n != 0 {
				t.Errorf("%d rows were written, want none", n)
			}
		})
	}
}

func TestAnOpenCompleteHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	b := newEffectsBench(t)
	entered, leave := make(chan uuid.UUID, 1), make(chan struct{})
	var reg worker.Registry
	reg.HandleFunc("slow", func(ctx context.Context, run *queue.Run) error {
		tx, err := b.pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(ctx)
		if err := worker.CompleteRun(ctx, tx, run); err != nil {
			return err
		}
		entered <- run.ID
		<-leave
		return tx.Commit(ctx)
	})
	reg.HandleFunc("quick", func(context.Context, *queue.Run) error { return nil })
	b.work(&reg, worker.Config{Queues: map[string]int{"default": 5}})
	slow := b.enqueue(raw("slow"))[0]
	<-entered
	opened := time.Now()
	requests := make([]queue.Request, 200)
	for i := range requests {
		requests[i] = raw("quick")
	}
	for _, r := range b.enqueue(requests...) {
		if got := b.wait(r); got.State != "completed" {
			t.Fatalf("got %s", got.State)
		}
	}
	t.Logf("200 other jobs took %v", time.Since(opened))
	<-time.After(time.Until(opened.Add(time.Second)))
	close(leave)
	if got := b.wait(slow); got.State != "completed" || got.Attempt != 1 {
		t.Errorf("got %s after %d attempts", got.State, got.Attempt)
	}
}

func TestCompleteThroughDatabaseSQL(t *testing.T) {
	t.Parallel()
	b := newEffectsBench(t)
	db, err := sql.Open("pgx", b.pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var reg worker.Registry
	worker.Handle(&reg, hello, func(ctx context.Context, job *queue.Job[greeting]) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "insert into effects values ($1, $2)", job.ID, job.Args.Name); err != nil {
			return err
		}
		if err := job.SetResult(7); err != nil {
			return err
		}
		if err := worker.Complete(ctx, queue.SQL(tx), job); err != nil {
			return err
		}
		return tx.Commit()
	})
	b.work(&reg, worker.Config{})
	got := b.wait(b.enqueue(hello.New(greeting{Name: "Ada"}))[0])
	if got.State != "completed" || string(got.Value) != "7" {
		t.Errorf("got %s, %s: %s", got.State, got.Value, got.Error)
	}
	if n := scan[int](t, b.owner, "select count(*) from effects where note = 'Ada'"); n != 1 {
		t.Errorf("%d rows of the handler, want 1", n)
	}
}
