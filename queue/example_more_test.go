package queue_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// A transaction of database/sql does as well; the database must have been opened with pgx's driver.
func ExampleSQL() {
	pool, end := pgtest.Example("sql")
	defer end()
	ctx := context.Background()
	db := stdlib.OpenDBFromPool(pool) // or sql.Open("pgx", …)
	defer func() { must(db.Close()) }()

	tx, err := db.BeginTx(ctx, &sql.TxOptions{})
	must(err)
	_, err = enqueuer().Enqueue(ctx, queue.SQL(tx), Welcome.New(WelcomeArgs{UserID: 7}))
	must(err)
	fmt.Println("before the commit:", waiting(ctx, pool))
	must(tx.Commit())
	fmt.Println("after it:", waiting(ctx, pool))
	// Output:
	// before the commit: 0
	// after it: 1
}

// A duplicate is not an error, which would spoil the caller's transaction: the receipt names the job that has the key.
func ExampleUntilFinished() {
	pool, end := pgtest.Example("unique")
	defer end()
	ctx, q := context.Background(), enqueuer()
	request := Welcome.New(WelcomeArgs{UserID: 7}, queue.UntilFinished("user 7"))
	first, err := q.Enqueue(ctx, pool, request)
	must(err)
	second, err := q.Enqueue(ctx, pool, request)
	must(err)
	fmt.Println("first:", first[0].Duplicate)
	fmt.Println("second:", second[0].Duplicate, second[0].ID == first[0].ID)
	fmt.Println("jobs:", waiting(ctx, pool))
	// Output:
	// first: false
	// second: true true
	// jobs: 1
}

// When the connection dies after COMMIT was sent, nobody knows what became of it but the server. Commit says so, and the
// receipt has the transaction id to ask with.
func ExampleCommitStatus() {
	pool, end := pgtest.Example("commit_status")
	defer end()
	ctx, q := context.Background(), enqueuer()

	tx, err := pool.Begin(ctx)
	must(err)
	receipts, err := q.Enqueue(ctx, tx, Welcome.New(WelcomeArgs{UserID: 7}))
	must(err)
	status, err := queue.CommitStatus(ctx, pool, receipts[0].XID)
	must(err)
	fmt.Println("before:", status)

	err = queue.Commit(ctx, tx, receipts...)
	if unknown, ok := errors.AsType[*queue.CommitUnknownError](err); ok {
		fmt.Println("in doubt:", unknown.IDs) // ask below, on a fresh connection
	}
	status, err = queue.CommitStatus(ctx, pool, receipts[0].XID)
	must(err)
	fmt.Println("after:", status)

	tx, err = pool.Begin(ctx)
	must(err)
	receipts, err = q.Enqueue(ctx, tx, Welcome.New(WelcomeArgs{UserID: 8}))
	must(err)
	must(tx.Rollback(ctx))
	status, err = queue.CommitStatus(ctx, pool, receipts[0].XID)
	must(err)
	fmt.Println("rolled back:", status)
	// Output:
	// before: in progress
	// after: committed
	// rolled back: aborted
}

// Wait returns when the job has ended, with what its handler set as the result.
func ExampleWait() {
	pool, end := pgtest.Example("wait")
	defer end()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	receipts, err := enqueuer().Enqueue(ctx, pool, Welcome.New(WelcomeArgs{UserID: 7}))
	must(err)

	// Somewhere else, in another process:
	var reg worker.Registry
	worker.Handle(&reg, Welcome, func(_ context.Context, job *queue.Job[WelcomeArgs]) error {
		return job.SetResult(map[string]int{"welcomed": job.Args.UserID})
	})
	w, err := worker.New(pool, &reg, worker.Config{Queues: map[string]int{"mail": 1}})
	must(err)
	life, quit := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(life) }()

	result, err := queue.Wait(ctx, pool, receipts[0].ID)
	must(err)
	fmt.Println(result.State, result.Completed(), string(result.Value))
	quit()
	must(<-ended)
	// Output: completed true {"welcomed":7}
}
