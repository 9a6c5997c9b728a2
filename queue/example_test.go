package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
)

type WelcomeArgs struct {
	UserID int `json:"user_id"`
}

var Welcome = queue.NewTask[WelcomeArgs]("email.welcome", queue.On("mail"), queue.MaxAttempts(5))

// enqueuer returns a Queue, and must ends an example that cannot go on.
func enqueuer() *queue.Queue {
	q, err := queue.New(queue.Config{})
	must(err)
	return q
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// The job is part of the caller's transaction: it exists when that commits, and never otherwise.
func ExampleQueue_Enqueue() {
	pool, end := pgtest.Example("enqueue") // or pgxpool.New
	defer end()
	ctx, q := context.Background(), enqueuer()
	_, err := pool.Exec(ctx, "create table users (id int generated always as identity, name text check (name <> ''))")
	must(err)

	for _, name := range []string{"", "ada"} {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := q.Enqueue(ctx, tx, Welcome.New(WelcomeArgs{UserID: 7}, queue.After(time.Hour))); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "insert into users (name) values ($1)", name)
			return err
		})
		fmt.Printf("%q: committed %t, %d jobs\n", name, err == nil, waiting(ctx, pool))
	}
	// Output:
	// "": committed false, 0 jobs
	// "ada": committed true, 1 jobs
}

// waiting counts the jobs of queue mail.
func waiting(ctx context.Context, pool *pgxpool.Pool) (n int) {
	must(pool.QueryRow(ctx, "select stem.count_waiting('mail')").Scan(&n))
	return n
}

// Many jobs are one statement: all of them are there, or none, on a bare pool too.
func ExampleQueue_Enqueue_bulk() {
	pool, end := pgtest.Example("bulk")
	defer end()
	ctx := context.Background()
	jobs := make([]queue.Request, 1000)
	for i := range jobs {
		jobs[i] = Welcome.New(WelcomeArgs{UserID: i})
	}
	receipts, err := enqueuer().Enqueue(ctx, pool, jobs...)
	must(err)
	fmt.Println(len(receipts), "receipts,", waiting(ctx, pool), "jobs")
	// Output: 1000 receipts, 1000 jobs
}

// Everything that can be checked is checked before any SQL is sent, all mistakes at once.
func ExampleQueue_Enqueue_invalid() {
	q, err := queue.New(queue.Config{})
	if err != nil {
		panic(err)
	}
	_, err = q.Enqueue(context.Background(), nil, Welcome.New(WelcomeArgs{}, queue.Priority(11), queue.MaxAttempts(0)))
	fmt.Println(errors.Is(err, queue.ErrInvalid))
	for line := range strings.Lines(err.Error()) {
		fmt.Println(strings.TrimSpace(line))
	}
	// Output:
	// true
	// queue: enqueue email.welcome: invalid job: priority: want 0 to 9, got 11
	// queue: enqueue email.welcome: invalid job: max attempts: want 1 to 1000, got 0
}
