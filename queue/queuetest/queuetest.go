// Package queuetest helps to test code that enqueues.
//
// A Recorder's Hook goes into the Config of the queue under test; the recorder keeps every envelope that was enqueued through
// it. With Stop it answers for the database too, so that a unit test needs none; without it the rows are written as always, in
// the test's own transaction for instance.
package queuetest

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/stemqueue/stem/queue"
)

// A Recorder keeps what was enqueued. The zero value is ready for use, by several goroutines.
type Recorder struct {
	// Stop makes the hook answer with receipts of its own: nothing reaches the database, whose handle may then be nil.
	Stop bool

	mu        sync.Mutex // guards envelopes
	envelopes []queue.Envelope
}

// Hook records the jobs of each Enqueue that succeeded. Put it last in Config.Hooks, so that it sees the headers of the others.
func (r *Recorder) Hook(ctx context.Context, jobs []*queue.Envelope, next func(context.Context) ([]queue.Receipt, error)) ([]queue.Receipt, error) {
	receipts := make([]queue.Receipt, len(jobs))
	for i, e := range jobs {
		receipts[i].ID = e.ID
	}
	if !r.Stop {
		var err error
		if receipts, err = next(ctx); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range jobs {
		if !receipts[i].Duplicate {
			r.envelopes = append(r.envelopes, *e)
		}
	}
	return receipts, nil
}

// Envelopes returns what was enqueued so far, in order. Jobs of a transaction that was rolled back since are among them.
func (r *Recorder) Envelopes() []queue.Envelope {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]queue.Envelope(nil), r.envelopes...)
}

// Enqueued returns the arguments of the jobs of that task, in order; none is an empty list.
func Enqueued[A any](tb testing.TB, r *Recorder, task queue.Task[A]) []A {
	tb.Helper()
	list := []A{}
	for _, e := range r.Envelopes() {
		if e.Task != task.Name() {
			continue
		}
		var args A
		if err := json.Unmarshal(e.Payload, &args); err != nil {
			tb.Fatalf("queuetest: arguments of %s: %v", e.Task, err)
		}
		list = append(list, args)
	}
	return list
}

// RequireEnqueued ends the test unless exactly one job of that task was enqueued, and returns its arguments.
func RequireEnqueued[A any](tb testing.TB, r *Recorder, task queue.Task[A]) A {
	tb.Helper()
	list := Enqueued(tb, r, task)
	if len(list) != 1 {
		tb.Fatalf("queuetest: %d jobs of %s were enqueued, want 1", len(list), task.Name())
	}
	return list[0]
}
