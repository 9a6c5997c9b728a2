package worker_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// A pooler in transaction mode needs pgx's mode exec, in which an argument is encoded by its Go type.
func TestProducersAndWorkersRunWithoutPreparedStatements(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	unprepared := func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec }
	b.pool = pgtest.Open(t, b.pool.Config().ConnString(), unprepared)
	b.producer = pgtest.Open(t, b.producer.Config().ConnString(), unprepared)
	var reg worker.Registry
	worker.Handle(&reg, hello, func(ctx context.Context, job *queue.Job[greeting]) error {
		tx, err := b.pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		if err := job.SetResult(job.Args.Name + job.Headers["mark"]); err != nil {
			return err
		}
		if err := worker.Complete(ctx, tx, job); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
	b.work(&reg, worker.Config{PollOnly: true})

	receipts := b.enqueue(hello.New(greeting{Name: "one"}, queue.Header("mark", `"!`)))
	receipts = append(receipts, b.enqueue(
		hello.New(greeting{Name: "two"}, queue.Header("mark", "?"), queue.UntilFinished("k")), hello.New(greeting{Name: "three"}))...)
	for i, want := range []string{`"one\"!"`, `"two?"`, `"three"`} {
		got := b.wait(receipts[i])
		if got.State != "completed" || string(got.Value) != want {
			t.Errorf("got %s, %s, want completed, %s", got.State, got.Value, want)
		}
	}
}
