package control_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// A mailArgs is the payload of the examples' task.
type mailArgs struct {
	To string `json:"to"`
}

var (
	welcome = queue.NewTask[mailArgs]("mail.welcome", queue.On("mail"))
	digest  = queue.NewTask[mailArgs]("mail.digest", queue.On("mail"))
)

// add enqueues jobs, as a program elsewhere does, and returns their ids.
func add(pool *pgxpool.Pool, jobs ...queue.Request) []uuid.UUID {
	q, err := queue.New(queue.Config{})
	if err != nil {
		panic(err)
	}
	receipts, err := q.Enqueue(context.Background(), pool, jobs...)
	if err != nil {
		panic(err)
	}
	ids := make([]uuid.UUID, len(receipts))
	for i, r := range receipts {
		ids[i] = r.ID
	}
	return ids
}

// refuse runs a worker, whose mail server is down, until these jobs are dead letters.
func refuse(pool *pgxpool.Pool, ids ...uuid.UUID) {
	var reg worker.Registry
	worker.Handle(&reg, welcome, func(context.Context, *queue.Job[mailArgs]) error {
		return worker.Discard(errors.New("550 no such user"))
	})
	w, err := worker.New(pool, &reg, worker.Config{Queues: map[string]int{"mail": 1}})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for _, id := range ids {
		if _, err := queue.Wait(ctx, pool, id); err != nil {
			panic(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		panic(err)
	}
}

func Example() {
	pool, end := pgtest.Example("control") // or pgxpool.New
	defer end()
	ctx, plane := context.Background(), control.New(pool)
	add(pool, welcome.New(mailArgs{To: "ada"}), digest.New(mailArgs{To: "ada"}, queue.After(time.Hour)))

	// The newest first; break out of the loop when you have enough, and go on from there with Filter.Before.
	for job, err := range plane.Jobs(ctx, control.Filter{Queue: "mail"}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(job.Task, "is", job.State)
	}
	// Unordered output:
	// mail.digest is scheduled
	// mail.welcome is ready
}

func ExamplePlane_Job() {
	pool, end := pgtest.Example("job")
	defer end()
	ctx, plane := context.Background(), control.New(pool)
	ids := add(pool, welcome.New(mailArgs{To: "ada"}))
	refuse(pool, ids...)

	job, err := plane.Job(ctx, ids[0])
	if err != nil {
		panic(err)
	}
	fmt.Println(job.State, string(job.Payload))
	for _, a := range job.Attempts {
		fmt.Println("attempt", a.Attempt, a.Outcome+":", a.Error)
	}
	_, err = plane.Job(ctx, uuid.Nil)
	fmt.Println(errors.Is(err, control.ErrNotFound))
	// Output:
	// dead {"to":"ada"}
	// attempt 1 discarded: 550 no such user
	// true
}

// A waiting job is taken out of the line; the worker of a running one is asked to stop it.
func ExamplePlane_Cancel() {
	pool, end := pgtest.Example("cancel")
	defer end()
	ctx, plane := context.Background(), control.New(pool)
	ids := add(pool, welcome.New(mailArgs{To: "ada"}))

	for range 2 {
		results, err := plane.Cancel(ctx, "signed up twice", ids...)
		if err != nil {
			panic(err)
		}
		for _, r := range results {
			fmt.Println(r.Outcome, r.Done)
		}
	}
	for entry, err := range plane.Audit(ctx, control.AuditFilter{}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(entry.Action, entry.Affected, entry.Reason)
	}
	// Output:
	// cancelled true
	// finished false
	// cancel 0 signed up twice
	// cancel 1 signed up twice
}

// In a transaction of your own the action commits with your rows, or not at all.
func ExampleNew_transaction() {
	pool, end := pgtest.Example("transaction")
	defer end()
	ctx := context.Background()
	ids := add(pool, welcome.New(mailArgs{To: "ada"}))

	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := control.New(tx).Cancel(ctx, "account closed", ids...); err != nil {
			return err
		}
		return errors.New("the account cannot be closed")
	})
	fmt.Println(err)
	job, err := control.New(pool).Job(ctx, ids[0])
	if err != nil {
		panic(err)
	}
	fmt.Println(job.State)
	// Output:
	// the account cannot be closed
	// ready
}

// A replayed job is the same job, id and payload, one generation later.
func ExamplePlane_Replay() {
	pool, end := pgtest.Example("replay")
	defer end()
	ctx, plane := context.Background(), control.New(pool)
	ids := add(pool, welcome.New(mailArgs{To: "ada"}))
	refuse(pool, ids...)

	results, err := plane.Replay(ctx, "the account exists now", 0, ids...)
	if err != nil {
		panic(err)
	}
	fmt.Println(results[0].Outcome)
	job, err := plane.Job(ctx, ids[0])
	if err != nil {
		panic(err)
	}
	fmt.Println(job.State, "in generation", job.Generation)
	// Output:
	// replayed
	// ready in generation 2
}

// Look first: the groups of a filter are what the bulk action with the same filter acts upon.
func ExamplePlane_ReplayAll() {
	pool, end := pgtest.Example("replay_all")
	defer end()
	ctx, plane := context.Background(), control.New(pool)
	refuse(pool, add(pool, welcome.New(mailArgs{To: "ada"}), welcome.New(mailArgs{To: "bob"}), welcome.New(mailArgs{To: "eve"}))...)

	filter := control.DeadFilter{Queue: "mail"}
	groups, err := plane.DeadGroups(ctx, filter, "fingerprint")
	if err != nil {
		panic(err)
	}
	for _, g := range groups {
		fmt.Println(g.Count, "of", g.Tasks, g.SampleError)
	}
	done, err := plane.ReplayAll(ctx, filter, control.Bulk{
		Reason:   "the mail server is back",
		Delay:    time.Minute,
		Batch:    2,
		Progress: func(p control.Progress) { fmt.Println(p.Done, "so far") },
	})
	fmt.Println(done.Outcomes, err) // after an error, or Ctrl-C, the same call goes on with the rest
	// Output:
	// 3 of [mail.welcome] 550 no such user
	// 2 so far
	// 3 so far
	// map[replayed:3] <nil>
}

// No claim starts after Pause has returned; what runs goes on.
func ExamplePlane_Pause() {
	pool, end := pgtest.Example("pause")
	defer end()
	ctx, plane := context.Background(), control.New(pool)
	for _, reason := range []string{"bounces", "maintenance"} {
		changed, err := plane.Pause(ctx, "mail", reason)
		if err != nil {
			panic(err)
		}
		if changed {
			fmt.Println("paused")
			continue
		}
		q, err := plane.Queue(ctx, "mail")
		if err != nil {
			panic(err)
		}
		fmt.Println("paused before:", q.PausedWhy)
	}
	// Output:
	// paused
	// paused before: bounces
}
