package stem_test

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// The code of README.md and of the guides, paragraph by paragraph; tool/quality/guards compares them.

type InvoiceArgs struct {
	Number int64 `json:"number"`
}

var Invoice = queue.NewTask[InvoiceArgs]("invoice.send", queue.On("billing"), queue.MaxAttempts(10))

type sender interface {
	SendWelcome(ctx context.Context, user int64) error
}

var _ = produceAndWork

func produceAndWork(ctx context.Context, pool *pgxpool.Pool, tx pgx.Tx, mailer sender) error {
	// Once, for the whole program.
	q, err := queue.New(queue.Config{})
	if err != nil {
		return err
	}

	// The producer: the job exists if the transaction commits.
	receipts, err := q.Enqueue(ctx, tx, Welcome.New(WelcomeArgs{UserID: 7}, queue.After(time.Hour)))
	if err != nil || receipts[0].Duplicate {
		return err
	}

	// The worker.
	var reg worker.Registry
	worker.Handle(&reg, Welcome, func(ctx context.Context, job *queue.Job[WelcomeArgs]) error {
		return mailer.SendWelcome(ctx, job.Args.UserID)
	})
	w, err := worker.New(pool, &reg, worker.Config{Queues: map[string]int{"mail": 10}})
	if err != nil {
		return err
	}
	return w.Run(ctx) // blocks; nil after a clean drain
}
