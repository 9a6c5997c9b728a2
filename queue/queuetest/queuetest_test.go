package queuetest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/queue/queuetest"
)

type welcomeArgs struct{ UserID int }

var (
	welcome = queue.NewTask[welcomeArgs]("email.welcome")
	goodbye = queue.NewTask[welcomeArgs]("email.goodbye")
)

func signUp(ctx context.Context, q *queue.Queue, db queue.DB, user int) error {
	_, err := q.Enqueue(ctx, db, welcome.New(welcomeArgs{UserID: user}))
	return err
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	recorder := &queuetest.Recorder{Stop: true}
	q, err := queue.New(queue.Config{Hooks: []queue.Hook{recorder.Hook}})
	if err != nil {
		t.Fatal(err)
	}
	if err := signUp(t.Context(), q, nil, 7); err != nil {
		t.Fatal(err)
	}
	if got := queuetest.RequireEnqueued(t, recorder, welcome); got.UserID != 7 {
		t.Errorf("got %+v", got)
	}
	if got := queuetest.Enqueued(t, recorder, goodbye); len(got) != 0 {
		t.Errorf("got %+v, want none", got)
	}
}

func ExampleRecorder() {
	recorder := &queuetest.Recorder{Stop: true}
	q, err := queue.New(queue.Config{Hooks: []queue.Hook{recorder.Hook}})
	if err != nil {
		panic(err)
	}
	if err := signUp(context.Background(), q, nil, 7); err != nil {
		panic(err)
	}
	for _, e := range recorder.Envelopes() {
		fmt.Printf("%s %s\n", e.Task, e.Payload)
	}
	// Output: email.welcome {"UserID":7}
}
