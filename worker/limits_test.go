package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

func TestTheSoftLimitCancelsTheContext(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var reg worker.Registry
	reg.HandleFunc("slow", func(ctx context.Context, run *queue.Run) error {
		<-ctx.Done()
		return run.SetResult(fmt.Sprint(context.Cause(ctx)))
	})
	b.work(&reg, worker.Config{})
	got := b.wait(b.enqueue(raw("slow", queue.SoftLimit(50*time.Millisecond), queue.HardLimit(time.Minute)))[0])
	if got.State != "completed" || string(got.Value) != `"`+worker.ErrSoftLimit.Error()+`"` {
		t.Errorf("got %s, %s", got.State, got.Value)
	}
}

func TestTheHardLimitFailsTheAttempt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var reg worker.Registry
	reg.HandleFunc("listens", func(ctx context.Context, _ *queue.Run) error { <-ctx.Done(); return nil })
	b.work(&reg, worker.Config{})
	got := b.wait(b.enqueue(raw("listens", queue.HardLimit(50*time.Millisecond), queue.MaxAttempts(1)))[0])
	if got.State != "dead" || got.Reason != "exhausted" || !strings.Contains(got.Error, worker.ErrHardLimit.Error()) {
		t.Errorf("got %s (%s): %s", got.State, got.Reason, got.Error)
	}
}

func TestAHandlerThatOutlivesItsHardLimitKeepsItsSlot(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	leave := make(chan struct{})
	began := make(chan struct{}, 2)
	var running, most atomic.Int64
	var reg worker.Registry
	reg.HandleFunc("deaf", func(context.Context, *queue.Run) error {
		now := running.Add(1)
		began <- struct{}{}
		for old := most.Load(); now > old; old = most.Load() {
			most.CompareAndSwap(old, now)
		}
		<-leave
		running.Add(-1)
		return nil
	})
	reg.HandleFunc("next", func(context.Context, *queue.Run) error { return nil })
	b.work(&reg, worker.Config{Queues: map[string]int{"default": 1}})
	deaf := b.enqueue(raw("deaf", queue.HardLimit(50*time.Millisecond), queue.MaxAttempts(1)))[0]
	if got := b.wait(deaf); got.State != "dead" || !strings.Contains(got.Error, worker.ErrHardLimit.Error()) {
		t.Errorf("got %s: %s", got.State, got.Error)
	}
	<-began // its time may have been over before
	if running.Load() != 1 {
		t.Fatal("the handler ended although nobody let it")
	}
	others := b.enqueue(raw("deaf", queue.MaxAttempts(1)), raw("next"))
	select {
	case <-time.After(300 * time.Millisecond): // that nothing happens has no condition to wait for
	case <-t.Context().Done():
	}
	close(leave)
	for _, r := range others {
		if got := b.wait(r); got.State != "completed" {
			t.Errorf("got %s", got.State)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d handlers ran at once in one slot", most.Load())
	}
}

func TestPanicsAndGoexitAreFailedAttempts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var reg worker.Registry
	reg.HandleFunc("panic", func(context.Context, *queue.Run) error { panic(errors.New("at the disco")) })
	reg.HandleFunc("nil", func(context.Context, *queue.Run) error { panic(nil) }) //nolint:govet // that is the test
	reg.HandleFunc("goexit", func(context.Context, *queue.Run) error { runtime.Goexit(); return nil })
	reg.HandleFunc("fine", func(context.Context, *queue.Run) error { return nil })
	b.work(&reg, worker.Config{Queues: map[string]int{"default": 1}})
	for task, want := range map[string]string{"panic": "panic: at the disco", "nil": "panic called with nil", "goexit": "runtime.Goexit"} {
		got := b.wait(b.enqueue(raw(task, queue.MaxAttempts(1)))[0])
		if got.State != "dead" || !strings.Contains(got.Error, want) {
			t.Errorf("%s: got %s: %s", task, got.State, got.Error)
		}
		if task == "panic" && !strings.Contains(got.Error, "limits_test.go") {
			t.Errorf("the text does not name the line that panicked: %s", got.Error)
		}
	}
	if got := b.wait(b.enqueue(raw("fine"))[0]); got.State != "completed" {
		t.Errorf("the slot is gone: %s", got.State)
	}
}

func TestNoErrorTextStopsTheBatch(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	texts := map[string]string{
		"nul": "a\x00b", "latin": "caf\xe9", "long": strings.Repeat("é", 5<<20), "cut": strings.Repeat("\xff", 20_000), "fine": "plain",
	}
	var reg worker.Registry
	for task, text := range texts {
		reg.HandleFunc(task, func(context.Context, *queue.Run) error { return errors.New(text) })
	}
	b.work(&reg, worker.Config{})
	var requests []queue.Request
	for task := range texts {
		requests = append(requests, raw(task, queue.MaxAttempts(1)))
	}
	for _, r := range b.enqueue(requests...) {
		got := b.wait(r)
		if got.State != "dead" || got.Reason != "exhausted" || strings.Contains(got.Error, "could not be stored") ||
			!utf8.ValidString(got.Error) || got.Error == "" || len(got.Error) > 64<<10 {
			t.Errorf("got %s (%s), %d bytes", got.State, got.Reason, len(got.Error))
		}
	}
}

func TestRetryAfterWaitsAsLongAsItSays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var mu sync.Mutex
	var at []time.Time
	var reg worker.Registry
	reg.HandleFunc("later", func(_ context.Context, run *queue.Run) error {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
		if run.Attempt == 1 {
			return worker.RetryAfter(400*time.Millisecond, errors.New("busy"))
		}
		if run.Failures != 1 {
			return worker.Discard(fmt.Errorf("%d failures", run.Failures))
		}
		return nil
	})
	b.work(&reg, worker.Config{})
	if got := b.wait(b.enqueue(raw("later"))[0]); got.State != "completed" || got.Attempt != 2 {
		t.Fatalf("got %s after %d: %s", got.State, got.Attempt, got.Error)
	}
	mu.Lock()
	defer mu.Unlock()
	if pause := at[1].Sub(at[0]); pause < 400*time.Millisecond {
		t.Errorf("came back after %v already", pause)
	}
}

func TestAnUnreadablePayloadIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var reg worker.Registry
	var ran atomic.Bool
	worker.Handle(&reg, queue.NewTask[any]("any"), func(context.Context, *queue.Job[any]) error { ran.Store(true); return nil })
	worker.Handle(&reg, hello, func(context.Context, *queue.Job[greeting]) error { ran.Store(true); return nil })
	b.work(&reg, worker.Config{})
	deep := strings.Repeat("[", 201) + strings.Repeat("]", 201)
	for _, r := range b.enqueue(
		queue.Raw("any", []byte(deep), "application/x-deep"),
		queue.Raw("any", []byte("{"), "application/x-broken"),
		queue.Raw("hello", []byte(`{"name":7}`), ""),
	) {
		got := b.wait(r)
		if got.State != "dead" || got.Reason != "undecodable" || got.Attempt != 1 || !strings.HasPrefix(got.Error, "undecodable: ") {
			t.Errorf("got %s (%s) after %d: %s", got.State, got.Reason, got.Attempt, got.Error)
		}
	}
	if ran.Load() {
		t.Error("a handler ran")
	}
	ok := queue.Raw("any", []byte(strings.Repeat("[", 200)+strings.Repeat("]", 200)), "")
	if got := b.wait(b.enqueue(ok)[0]); got.State != "completed" {
		t.Errorf("depth 200: got %s: %s", got.State, got.Error)
	}
}

func TestWhatThisWorkerCannotRunWaitsForOneThatCan(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var old worker.Registry
	old.HandleFunc("known", func(context.Context, *queue.Run) error { return errors.New("the old one ran it") }, queue.Version(1))
	stop := b.work(&old, worker.Config{Node: "old"})
	receipts := b.enqueue(raw("unknown", queue.MaxAttempts(1)), raw("known", queue.Version(2), queue.MaxAttempts(1)))
	eventually(t, "both were put back", func() bool {
		return scan[int](t, b.owner, "select count(distinct job_id) from stem.attempts where outcome = 'waiting'") == 2
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	charged := scan[int](t, b.owner, "select coalesce(sum(failures), 0)::int from (select failures from stem.ready union all select failures from stem.scheduled) x")
	if charged != 0 {
		t.Errorf("%d failures charged", charged)
	}
	var reg worker.Registry
	for _, task := range []string{"unknown", "known"} {
		reg.HandleFunc(task, func(context.Context, *queue.Run) error { return nil }, queue.Version(2))
	}
	b.work(&reg, worker.Config{Node: "new"})
	for _, r := range receipts {
		if got := b.wait(r); got.State != "completed" || got.Attempt < 2 {
			t.Errorf("got %s after %d: %s", got.State, got.Attempt, got.Error)
		}
	}
}

func TestAnExpiredJobNeverRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var ran atomic.Int64
	var reg worker.Registry
	reg.HandleFunc("stale", func(context.Context, *queue.Run) error { ran.Add(1); return nil })
	receipts := b.enqueue(
		raw("stale", queue.ExpiresAt(time.Now().Add(-time.Minute))),
		raw("stale", queue.After(20*time.Millisecond), queue.ExpiresIn(10*time.Millisecond)))
	b.work(&reg, worker.Config{})
	for _, r := range receipts {
		if got := b.wait(r); got.State != "expired" {
			t.Errorf("got %s", got.State)
		}
	}
	if ran.Load() != 0 {
		t.Errorf("%d runs", ran.Load())
	}
}

func TestTheFirstMiddlewareIsOutermost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var mu sync.Mutex
	var order []string
	note := func(s string) { mu.Lock(); order = append(order, s); mu.Unlock() }
	wrap := func(name string) worker.Middleware {
		return func(next worker.Handler) worker.Handler {
			return func(ctx context.Context, run *queue.Run) error {
				note(name + " in")
				defer note(name + " out")
				return next(ctx, run)
			}
		}
	}
	var reg worker.Registry
	reg.HandleFunc("t", func(context.Context, *queue.Run) error { note("handler"); return nil })
	b.work(&reg, worker.Config{Middleware: []worker.Middleware{wrap("first"), wrap("second")}})
	b.wait(b.enqueue(raw("t"))[0])
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"first in", "second in", "handler", "second out", "first out"}; !slices.Equal(order, want) {
		t.Errorf("got %q, want %q", order, want)
	}
}

func TestAResultThatIsTooLargeIsReplaced(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var reg worker.Registry
	reg.HandleFunc("big", func(_ context.Context, run *queue.Run) error {
		return run.SetResult(strings.Repeat("x", queue.MaxResultBytes))
	})
	b.work(&reg, worker.Config{})
	got := b.wait(b.enqueue(raw("big"))[0])
	if got.State != "completed" || string(got.Value) != `{"truncated":true,"bytes":1048578}` {
		t.Errorf("got %s, %.80s", got.State, got.Value)
	}
}

func TestAPrefetchedJobDoesNotWaitBehindALongOne(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	leave := make(chan struct{})
	defer close(leave)
	began := make(chan struct{})
	var reg worker.Registry
	reg.HandleFunc("quick", func(context.Context, *queue.Run) error { return nil })
	reg.HandleFunc("long", func(context.Context, *queue.Run) error { close(began); <-leave; return nil })
	b.work(&reg, worker.Config{Queues: map[string]int{"default": 1}})
	quick := make([]queue.Request, 200)
	for i := range quick {
		quick[i] = raw("quick")
	}
	for _, r := range b.enqueue(quick...) {
		b.wait(r) // now the worker prefetches
	}
	receipts := b.enqueue(raw("long"), raw("quick"), raw("quick"))
	<-began
	b.work(&reg, worker.Config{Queues: map[string]int{"default": 1}})
	for _, r := range receipts[1:] {
		if got := b.wait(r); got.State != "completed" {
			t.Errorf("got %s", got.State)
		}
	}
}
