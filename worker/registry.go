package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/stemqueue/stem/internal/jsonlimit"
	"github.com/stemqueue/stem/queue"
)

// A Handler runs one attempt at a job.
type Handler func(ctx context.Context, run *queue.Run) error

// Middleware wraps handlers, like net/http's. It runs after the signature was verified and before the payload is decoded.
type Middleware func(next Handler) Handler

// A Registry knows the handler of each task. The zero value is empty and ready. Fill it before New; it is not safe for
// concurrent changes.
type Registry struct {
	entries map[string]entry
}

type entry struct {
	handler  Handler
	kind     string
	defaults queue.Envelope
}

// Handle registers the handler of a task. It panics when the task has one already: that is a mistake in the source code.
func Handle[A any](reg *Registry, task queue.Task[A], handler func(context.Context, *queue.Job[A]) error) {
	reg.add(task.Name(), task.Defaults(), func(ctx context.Context, run *queue.Run) error {
		job := &queue.Job[A]{Run: run}
		if err := decode(run, &job.Args); err != nil {
			return &undecodableError{err: err}
		}
		return handler(ctx, job)
	})
}

// HandleFunc registers a handler that takes the payload as it is. The options are what `stem tasks ls` shows as defaults;
// producers decide for themselves.
func (reg *Registry) HandleFunc(task string, handler Handler, defaults ...queue.Option) {
	reg.add(task, queue.NewTask[json.RawMessage](task, defaults...).Defaults(), handler)
}

// Tasks lists the registered tasks, sorted.
func (reg *Registry) Tasks() []string {
	names := slices.AppendSeq([]string{}, maps.Keys(reg.entries)) // not nil, which would be NULL
	slices.Sort(names)
	return names
}

func (reg *Registry) add(task string, defaults queue.Envelope, handler Handler) {
	if _, taken := reg.entries[task]; taken {
		panic(fmt.Sprintf("worker: task %q has a handler already", task))
	}
	if handler == nil {
		panic(fmt.Sprintf("worker: the handler of task %q is nil", task))
	}
	if reg.entries == nil {
		reg.entries = map[string]entry{}
	}
	reg.entries[task] = entry{handler: handler, kind: "go", defaults: defaults}
}

// undecodableError sends a job to the dead letters: no retry will make its payload readable.
type undecodableError struct{ err error }

func (e *undecodableError) Error() string { return e.err.Error() }

func decode(run *queue.Run, into any) error {
	// The limits first: they are there to keep the decoder from what costs megabytes.
	if err := jsonlimit.CheckLimits(run.Payload); err != nil {
		return err
	}
	return json.Unmarshal(run.Payload, into)
}
