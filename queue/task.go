package queue

import (
	"cmp"
	"fmt"

	"github.com/google/uuid"
)

// A Task is a named kind of work whose argument is an A. The zero Task is of no use; make one with NewTask, once, at
// package level, and share it between the producer and the handler. A Task is safe for concurrent use.
type Task[A any] struct {
	name     string
	defaults *spec // shared by all requests, and never changed
}

// NewTask returns the task of that name, 1 to 128 of letters, digits and _ . : / -. The options are the defaults of its
// jobs; those of New come after them. It panics when the name or an option is wrong, since both are source code.
func NewTask[A any](name string, defaults ...Option) Task[A] {
	if !validName(name) {
		panic(fmt.Sprintf("queue.NewTask: %s", nameProblem("task", name)))
	}
	s := none.with(defaults)
	if problems := s.problems(); len(problems) > 0 {
		panic(fmt.Sprintf("queue.NewTask(%q): %s", name, problems[0]))
	}
	return Task[A]{name: name, defaults: s}
}

// Name returns the task's name.
func (t Task[A]) Name() string { return t.name }

// New returns a request to enqueue one job of this task. Nothing is checked or encoded before Enqueue.
func (t Task[A]) New(args A, options ...Option) Request {
	return Request{task: t.name, args: args, spec: cmp.Or(t.defaults, none).with(options)}
}

// Defaults returns an envelope without id and payload that carries the task's defaults: what a worker advertises. Queue and
// MaxAttempts are zero when the task leaves them to the producer.
func (t Task[A]) Defaults() Envelope {
	return cmp.Or(t.defaults, none).envelope(t.name, Config{})
}

// Raw returns a request whose payload is given as bytes: for command lines, gateways and tests, where the argument's type
// is not known. The payload is stored as it is; codec says what it is, "" meaning application/json, which is checked.
func Raw(task string, payload []byte, codec string, options ...Option) Request {
	r := Request{task: task, raw: payload, rawCodec: codec, isRaw: true, spec: none.with(options)}
	if r.raw == nil {
		r.raw = []byte{}
	}
	return r
}

// A Request is one job that is to be enqueued. Make it with Task.New or Raw.
type Request struct {
	spec     *spec // nil in the zero Request
	task     string
	args     any
	raw      []byte
	rawCodec string
	isRaw    bool
}

// A Receipt tells which job a request became.
type Receipt struct {
	// ID is the job's id: the new one, or that of the job that holds the unique key.
	ID uuid.UUID
	// Duplicate is true when a job with the same unique key was there already and no new one was made.
	Duplicate bool
	// XID is the server's id of the transaction that enqueued it, for CommitStatus.
	XID string
}
