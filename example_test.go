package stem_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

type WelcomeArgs struct {
	UserID int64 `json:"userId"`
}

var Welcome = queue.NewTask[WelcomeArgs]("email.welcome", queue.On("mail"), queue.MaxAttempts(5))

// A user and the job that welcomes them are written in one transaction; the handler marks the user in the transaction that
// completes the job.
func Example() {
	if err := welcomeAda(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func welcomeAda(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, "") // PGHOST and its kin; or os.Getenv("STEM_DATABASE_URL")
	if err != nil {
		return err
	}
	defer pool.Close()

	q, err := queue.New(queue.Config{})
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var id int64
		if err := tx.QueryRow(ctx, "insert into users (name) values ($1) returning id", "Ada").Scan(&id); err != nil {
			return err
		}
		_, err := q.Enqueue(ctx, tx, Welcome.New(WelcomeArgs{UserID: id}))
		return err
	})
	if err != nil {
		return err
	}

	var reg worker.Registry
	worker.Handle(&reg, Welcome, func(ctx context.Context, job *queue.Job[WelcomeArgs]) error {
		fmt.Println("welcome,", job.Args.UserID)
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "update users set welcomed = true where id = $1", job.Args.UserID); err != nil {
				return err
			}
			return worker.Complete(ctx, tx, job)
		})
	})
	w, err := worker.New(pool, &reg, worker.Config{Queues: map[string]int{"mail": 10}})
	if err != nil {
		return err
	}
	return w.Run(ctx) // until ctx is done
}
