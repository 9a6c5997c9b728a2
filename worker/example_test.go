package worker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// An orderArgs is the payload of the examples' task.
type orderArgs struct {
	Order int `json:"order"`
}

var ship = queue.NewTask[orderArgs]("order.ship", queue.MaxAttempts(3))

// runOne enqueues one job, runs a worker until the job has ended, and prints how it did.
func runOne(pool *pgxpool.Pool, reg *worker.Registry, config worker.Config, job queue.Request) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	q, err := queue.New(queue.Config{})
	if err != nil {
		panic(err)
	}
	receipts, err := q.Enqueue(ctx, pool, job)
	if err != nil {
		panic(err)
	}
	w, err := worker.New(pool, reg, config)
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	result, err := queue.Wait(ctx, pool, receipts[0].ID)
	stop() // Run drains: what runs may finish
	if err := errors.Join(err, <-ended); err != nil {
		panic(err)
	}
	fmt.Println(result.State, "at attempt", result.Attempt)
}

func ExampleHandle() {
	pool, end := pgtest.Example("handle") // or pgxpool.New
	defer end()

	var reg worker.Registry
	worker.Handle(&reg, ship, func(_ context.Context, job *queue.Job[orderArgs]) error {
		fmt.Println("ship order", job.Args.Order)
		return job.SetResult("shipped")
	})
	runOne(pool, &reg, worker.Config{Queues: map[string]int{"default": 5}}, ship.New(orderArgs{Order: 7}))
	// Output:
	// ship order 7
	// completed at attempt 1
}

// Run blocks until its context is done, then drains and returns.
func ExampleWorker_Run() {
	pool, end := pgtest.Example("run") // or pgxpool.New
	defer end()

	ctx, stop := context.WithCancel(context.Background()) // a program would use signal.NotifyContext
	defer stop()
	var reg worker.Registry
	worker.Handle(&reg, ship, func(_ context.Context, job *queue.Job[orderArgs]) error {
		fmt.Println("ship order", job.Args.Order)
		stop()
		return nil
	})
	q, err := queue.New(queue.Config{})
	if err != nil {
		panic(err)
	}
	if _, err := q.Enqueue(ctx, pool, ship.New(orderArgs{Order: 7})); err != nil {
		panic(err)
	}
	w, err := worker.New(pool, &reg, worker.Config{ShutdownGrace: 10 * time.Second})
	if err != nil {
		panic(err)
	}
	fmt.Println("ended with", w.Run(ctx))
	// Output:
	// ship order 7
	// ended with <nil>
}

// What a handler returns decides what becomes of the job.
func ExampleDiscard() {
	pool, end := pgtest.Example("discard")
	defer end()

	var reg worker.Registry
	worker.Handle(&reg, ship, func(_ context.Context, job *queue.Job[orderArgs]) error {
		switch job.Attempt {
		case 1: // not yet: no failure, nothing is charged
			fmt.Println("the stock is being counted")
			return worker.Snooze(10 * time.Millisecond)
		case 2: // a failure, with a pause of its own
			fmt.Println("the carrier does not answer")
			return worker.RetryAfter(10*time.Millisecond, errors.New("carrier: 503"))
		default: // no other attempt can help
			fmt.Println("the order was withdrawn")
			return worker.Discard(errors.New("order withdrawn"))
		}
	})
	runOne(pool, &reg, worker.Config{}, ship.New(orderArgs{Order: 7}))
	// Output:
	// the stock is being counted
	// the carrier does not answer
	// the order was withdrawn
	// dead at attempt 3
}

// The rows that the handler writes and the completion of its job are one transaction: both happen once, or neither does.
func ExampleComplete() {
	pool, end := pgtest.Example("complete")
	defer end()
	ctx := context.Background()
	if _, err := pool.Exec(ctx, "create table shipments (order_id int)"); err != nil {
		panic(err)
	}

	var reg worker.Registry
	worker.Handle(&reg, ship, func(ctx context.Context, job *queue.Job[orderArgs]) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into shipments values ($1)", job.Args.Order); err != nil {
				return err
			}
			if job.Attempt == 1 {
				return worker.RetryAfter(0, errors.New("the insert is rolled back as well"))
			}
			return worker.Complete(ctx, tx, job)
		})
	})
	runOne(pool, &reg, worker.Config{}, ship.New(orderArgs{Order: 7}))

	var shipments int
	if err := pool.QueryRow(ctx, "select count(*) from shipments").Scan(&shipments); err != nil {
		panic(err)
	}
	fmt.Println(shipments, "shipment")
	// Output:
	// completed at attempt 2
	// 1 shipment
}

func ExampleMiddleware() {
	pool, end := pgtest.Example("middleware")
	defer end()

	logged := func(next worker.Handler) worker.Handler {
		return func(ctx context.Context, run *queue.Run) error {
			fmt.Println("begin", run.Task)
			err := next(ctx, run)
			fmt.Println("end:", err)
			return err
		}
	}
	var reg worker.Registry
	worker.Handle(&reg, ship, func(_ context.Context, job *queue.Job[orderArgs]) error {
		fmt.Println("ship order", job.Args.Order)
		return nil
	})
	runOne(pool, &reg, worker.Config{Middleware: []worker.Middleware{logged}}, ship.New(orderArgs{Order: 7}))
	// Output:
	// begin order.ship
	// ship order 7
	// end: <nil>
	// completed at attempt 1
}
