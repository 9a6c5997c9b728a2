package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

const lose = "delete from stem.workers" // what a rescuer does to a silent worker

func TestALostWorkerGoesOnAlthoughAHandlerIgnoresIt(t *testing.T) {
	t.Parallel()
	b, tasks := newBench(t), newBlocking()
	w := start(t, b.pool, &tasks.reg, worker.Config{
		Queues: map[string]int{"default": 2}, Lease: time.Minute, Heartbeat: 100 * time.Millisecond, ShutdownGrace: time.Minute,
	})
	zombie := b.enqueue(raw("ignores"))[0]
	<-tasks.began
	if _, err := b.owner.Exec(t.Context(), lose); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it goes on", func() bool { return w.log.count("starting afresh") == 1 && w.log.count("worker started") == 2 })
	b.enqueue(raw("obeys"), raw("obeys"))
	<-tasks.began
	// The handler of the lost session holds one of the two slots, and again when the second session is lost.
	if _, err := b.owner.Exec(t.Context(), lose); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it goes on again", func() bool { return w.log.count("worker started") == 3 })
	if cause := <-tasks.causes; !errors.Is(cause, worker.ErrLeaseLost) {
		t.Errorf("cancelled with %v, want ErrLeaseLost", cause)
	}
	<-tasks.began // the job that was left in the line
	b.enqueue(raw("obeys"))
	select {
	case <-tasks.began:
		t.Error("three handlers run in two slots")
	case <-time.After(300 * time.Millisecond): // several looks
	}
	close(tasks.free) // the zombie ends too, and its slot is free
	// And perhaps the job of the session before: nobody has taken its claim, so where its outcome got through it was put back.
	eventually(t, "the jobs of the last session are done", func() bool {
		return scan[int](t, b.owner, "select count(*) from stem.finished") >= 2
	})
	w.Shutdown(worker.Warm)
	if err := w.within(patience); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := w.log.count("lost claim", zombie.ID.String()); n != 1 {
		t.Errorf("%d lines about the lost claim, want 1", n)
	}
	if n := scan[int](t, b.owner, "select count(*) from stem.finished where job_id = $1", zombie.ID); n != 0 {
		t.Error("the handler of the lost session completed its job")
	}
}

func TestAWorkerWhoseSlotsAreAllHeldByLostHandlersEnds(t *testing.T) {
	t.Parallel()
	b, tasks := newBench(t), newBlocking()
	w := start(t, b.pool, &tasks.reg, worker.Config{
		Queues: map[string]int{"default": 1}, Lease: time.Minute, Heartbeat: 100 * time.Millisecond, ShutdownGrace: 500 * time.Millisecond,
	})
	b.enqueue(raw("ignores"))
	<-tasks.began
	if _, err := b.owner.Exec(t.Context(), lose); err != nil {
		t.Fatal(err)
	}
	if err := w.within(patience); err == nil || !strings.Contains(err.Error(), "all 1 slots are held") {
		t.Errorf("Run: %v", err)
	}
	if n := w.log.count("level=ERROR", "still running long after its lease was lost"); n != 1 {
		t.Errorf("%d lines about the handler, want 1", n)
	}
	if n := w.log.count("level=DEBUG", "msg=goroutines", "newBlocking"); n != 1 {
		t.Errorf("%d goroutine dumps that show the handler, want 1", n)
	}
	close(tasks.free)
}

func TestALostWorkerThatIsStoppedSaysWhoStillRuns(t *testing.T) {
	t.Parallel()
	b, tasks := newBench(t), newBlocking()
	w := start(t, b.pool, &tasks.reg, worker.Config{Lease: time.Minute, Heartbeat: 100 * time.Millisecond, ShutdownGrace: 300 * time.Millisecond})
	b.enqueue(raw("ignores"))
	<-tasks.began
	if _, err := b.owner.Exec(t.Context(), lose); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its lease is lost", func() bool { return w.log.count("lease lost: other workers") == 1 })
	w.Shutdown(worker.Warm)
	if err := w.within(2300 * time.Millisecond); err == nil {
		t.Error("Run returned nil although a handler is still running")
	}
	close(tasks.free)
}

func TestAClaimThatIsLostAloneIsNamedOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(context.Context, *bench, *queue.Run) error{
		"nil":   func(context.Context, *bench, *queue.Run) error { return nil },
		"error": func(context.Context, *bench, *queue.Run) error { return errors.New("no") },
		"Complete": func(ctx context.Context, b *bench, run *queue.Run) error {
			tx, err := b.pool.Begin(context.WithoutCancel(ctx))
			if err != nil {
				return err
			}
			defer tx.Rollback(context.WithoutCancel(ctx))
			return worker.CompleteRun(context.WithoutCancel(ctx), tx, run)
		},
	} {
		for _, before := range []bool{true, false} { // whether the handler ends before a heartbeat notices
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				began, free := make(chan struct{}), make(chan struct{})
				var reg worker.Registry
				reg.HandleFunc("task", func(ctx context.Context, run *queue.Run) error {
					close(began)
					<-free
					return end(ctx, b, run)
				})
				beat := 100 * time.Millisecond
				if before {
					beat = 20 * time.Second
				}
				w := start(t, b.pool, &reg, worker.Config{Lease: time.Minute, Heartbeat: beat})
				r := b.enqueue(raw("task"))[0]
				<-began
				if _, err := b.owner.Exec(t.Context(), "update stem.running set claim_id = gen_random_uuid(), attempt = attempt + 1"); err != nil {
					t.Fatal(err)
				}
				if !before {
					eventually(t, "it says so", func() bool { return w.log.count("lost claim") == 1 })
				}
				close(free)
				eventually(t, "it says so", func() bool { return w.log.count("lost claim", r.ID.String(), "attempt=1") == 1 })
				w.Shutdown(worker.Warm)
				if err := w.within(patience); err != nil {
					t.Errorf("Run: %v", err)
				}
				if n := w.log.count("lost claim"); n != 1 {
					t.Errorf("%d lines about lost claims, want 1", n)
				}
				if n := scan[int](t, b.owner, "select count(*) from stem.running where attempt = 2"); n != 1 {
					t.Error("the other claim is gone")
				}
			})
		}
	}
}
