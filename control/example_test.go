package control_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/control"
)

func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "") // from the environment
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	plane := control.New(pool)

	shown := 0
	for job, err := range plane.Jobs(ctx, control.Filter{Queue: "mail", States: []string{"scheduled"}, Since: time.Now().Add(-time.Hour)}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(job.ID, job.Task, job.DueAt)
		if shown++; shown == 20 {
			break // the next page is Filter.Before = job.ID
		}
	}
}

func ExamplePlane_Job() {
	ctx, plane, id := context.Background(), control.New(nil), uuid.Nil
	job, err := plane.Job(ctx, id)
	if errors.Is(err, control.ErrNotFound) {
		fmt.Println("no such job")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(job.State, job.Ahead)
	for _, a := range job.Attempts {
		fmt.Println(a.Attempt, a.Outcome, a.Error)
	}
}

func ExamplePlane_ReplayAll() {
	ctx, plane := context.Background(), control.New(nil)
	filter := control.DeadFilter{Queue: "mail", Reason: "exhausted"}
	groups, err := plane.DeadGroups(ctx, filter, "fingerprint") // the count and a sample, before anything is done
	if err != nil {
		fmt.Println(err)
		return
	}
	var total int64
	for _, g := range groups {
		total += g.Count
		fmt.Println(g.Count, g.SampleError)
	}
	done, err := plane.ReplayAll(ctx, filter, control.Bulk{
		Reason: "mail server is back",
		Delay:  time.Minute,
		Progress: func(p control.Progress) {
			fmt.Printf("%d of %d\n", p.Seen, total)
		},
	})
	fmt.Println(done.Done, done.Outcomes, err) // after an error, or Ctrl-C, the same call goes on with the rest
}

func ExamplePlane_Pause() {
	ctx, plane := context.Background(), control.New(nil)
	if changed, err := plane.Pause(ctx, "mail", "bounces"); err == nil && !changed {
		q, err := plane.Queue(ctx, "mail")
		fmt.Println("paused before by", q.PausedBy, q.PausedWhy, err)
	}
}
