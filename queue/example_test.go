package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
)

type WelcomeArgs struct {
	UserID int `json:"user_id"`
}

var Welcome = queue.NewTask[WelcomeArgs]("email.welcome", queue.On("mail"), queue.MaxAttempts(5))

// The job is part of the caller's transaction: it exists when that commits, and never otherwise.
func ExampleQueue_Enqueue() {
	signUp := func(ctx context.Context, pool *pgxpool.Pool, q *queue.Queue) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			var user int
			if err := tx.QueryRow(ctx, "insert into users default values returning id").Scan(&user); err != nil {
				return err
			}
			_, err := q.Enqueue(ctx, tx, Welcome.New(WelcomeArgs{UserID: user}, queue.After(time.Hour)))
			return err
		})
	}
	_ = signUp
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
