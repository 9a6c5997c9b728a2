package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/backoff"
	"github.com/stemqueue/stem/internal/claim"
	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
)

// How long a job may be put back because this worker does not know how to run it. An unknown task is not given up while
// another live worker of the queue has registered it: docs/adr/0004-unknown-tasks.md.
const (
	unknownTaskGrace  = 10 * time.Minute
	newerVersionGrace = time.Hour
)

// execute runs one claimed job in its slot: check the row, verify, decode, run, and say what came of it.
func (s *session) execute(h *held) {
	handler, early := s.prepare(h)
	if early != nil {
		s.returned(h)
		s.settle(h, *early)
		return
	}
	ctx, cancel := context.WithCancelCause(s.handling)
	defer cancel(nil)
	h.ctx, h.cancel = ctx, cancel
	h.hold.Started = time.Now()
	if !s.join(h) {
		h.hold.Started = time.Time{}
		s.returned(h)
		s.settle(h, outcome{verb: verbRelease})
		return
	}
	defer s.limit(h)()
	err := errGoexit
	defer func() { // also while Goexit ends this goroutine
		s.leave(h)
		s.returned(h)
		s.settle(h, s.judge(h, err))
	}()
	err = call(ctx, handler, &h.run)
}

// limit watches the time limits of a handler, until the returned function is called.
func (s *session) limit(h *held) (stop func()) {
	if h.run.SoftLimit <= 0 && h.run.HardLimit <= 0 {
		return func() {}
	}
	var timers []*time.Timer
	if d := h.run.SoftLimit; d > 0 {
		timers = append(timers, time.AfterFunc(d, func() { h.cancel(ErrSoftLimit) }))
	}
	if d := h.run.HardLimit; d > 0 {
		timers = append(timers, time.AfterFunc(d, func() {
			h.cancel(ErrHardLimit)
			// The attempt has failed now, even if the handler goes on; its slot stays taken until it ends: see returned.
			s.settle(h, s.failure(&h.run, ErrHardLimit))
		}))
	}
	return func() {
		for _, t := range timers {
			t.Stop()
		}
	}
}

// prepare checks everything that is decided before user code runs. early is the outcome when the job is not to be run.
func (s *session) prepare(h *held) (handler Handler, early *outcome) {
	run := &h.run
	reject := func(reason, format string, args ...any) (Handler, *outcome) {
		return nil, &outcome{verb: verbReject, reason: reason, err: fmt.Sprintf(format, args...)}
	}
	switch {
	case h.bare:
		return reject("envelope_missing", "the ticket of job %s has no envelope", run.ID)
	case h.foreign != "":
		return reject("malformed_row", "the ticket stands in queue %q, the envelope says %q", run.Queue, h.foreign)
	case !run.RunAt.IsZero() && run.ClaimedAt.Before(run.RunAt):
		return reject("malformed_row", "claimed at %s, before its run_at %s", run.ClaimedAt.Format(time.RFC3339), run.RunAt.Format(time.RFC3339))
	}
	headers, err := decodeHeaders(h.headers)
	if err != nil {
		return reject("malformed_row", "headers: %v", err)
	}
	run.Headers = headers
	if early := s.verify(h); early != nil {
		return nil, early
	}
	if h.expired {
		return nil, &outcome{verb: verbExpired}
	}
	handler, known := s.handlers[run.Task]
	if !known {
		return nil, s.waitFor(run, unknownTaskGrace, "unknown_task", fmt.Sprintf("no handler for task %q in this worker", run.Task))
	}
	if knows := s.registry.entries[run.Task].defaults.PayloadVersion; knows > 0 && run.PayloadVersion > knows {
		return nil, s.waitFor(run, newerVersionGrace, "newer_payload_version",
			fmt.Sprintf("payload version %d is newer than %d, which this worker knows", run.PayloadVersion, knows))
	}
	if early := s.unseal(h); early != nil {
		return nil, early
	}
	return handler, nil
}

// waitFor puts a job back for a worker that can run it, until the grace is over.
func (s *session) waitFor(run *queue.Run, grace time.Duration, reason, text string) *outcome {
	pause := backoff.Policy{First: time.Second, Most: 30 * time.Second}.Pause(min(run.Releases+1, 10)) + 100*time.Millisecond
	return &outcome{verb: verbWait, delay: pause, grace: grace, reason: reason, err: text}
}

// newHeld fills in what a claim does not send because it is as usual; what is null is zero.
func newHeld(row *store.ClaimRow, id, worker uuid.UUID) *held {
	priority := row.Lane
	if row.Priority.Valid {
		priority = row.Priority.Int16
	}
	h := &held{
		lane: row.Lane, pos: row.Pos, headers: row.Headers, bare: !row.Task.Valid, foreign: row.EnvelopeQueue.String, expired: row.Expired.Bool,
		run: queue.Run{
			Envelope: queue.Envelope{
				ID: row.JobID, Task: row.Task.String, Queue: row.Queue, Payload: row.Payload, Codec: cmp.Or(row.Codec.String, store.UsualCodec),
				Priority: int(priority), MaxAttempts: int(row.MaxAttempts.Int16),
				RunAt: utc(row.RunAt.Time), Delay: store.Span(row.DelayUs.Int64),
				NominalAt: utc(row.NominalAt.Time), ExpiresAt: utc(row.ExpiresAt.Time),
				HardLimit: store.Span(row.HardLimitUs.Int64), SoftLimit: store.Span(row.SoftLimitUs.Int64),
				UniqueKey: row.UniqueKey, Origin: cmp.Or(row.Origin.String, store.UsualOrigin),
				PayloadVersion: int(row.PayloadVersion.Int32), Group: row.GroupName.String, IssuedAt: utc(row.IssuedAt.Time),
				Signature: signing.Signature{Bytes: row.Sig, KeyID: row.SigKeyID.String, Algorithm: row.SigAlg.String},
			},
			Attempt: int(row.Attempt), Failures: int(row.Failures.Int16), Crashes: int(row.Crashes.Int16), Releases: int(row.Releases.Int16),
			Generation: cmp.Or(int(row.Generation.Int16), 1), EnqueuedAt: utc(row.CreatedAt.Time), ClaimedAt: utc(row.ClaimedAt.Time),
		},
		hold: claim.Claim{ID: id, Job: row.JobID, Worker: worker, Attempt: int(row.Attempt)},
	}
	h.run.Claim = &h.hold
	return h
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

func decodeHeaders(b []byte) (map[string]string, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // no headers is a nil map
	}
	var headers map[string]string
	return headers, json.Unmarshal(b, &headers)
}

// errGoexit is what came of a handler that ended its goroutine.
var errGoexit = errors.New("handler called runtime.Goexit")

// call runs the handler and turns a panic into an error. It does not return when the handler calls runtime.Goexit.
func call(ctx context.Context, handler Handler, run *queue.Run) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: trim(debug.Stack())}
		}
	}()
	return handler(ctx, run)
}

// trim cuts the frames of recovery itself, and what no error text needs.
func trim(stack []byte) string {
	text := string(stack)
	if _, after, found := strings.Cut(text, "panic("); found {
		if _, frames, found := strings.Cut(after, "\n\t"); found {
			if _, rest, found := strings.Cut(frames, "\n"); found {
				text = rest
			}
		}
	}
	return text[:min(len(text), 3<<10)]
}

// judge turns what the handler returned, and why its context ended, into an outcome.
func (s *session) judge(h *held, err error) outcome {
	run, cause := &h.run, context.Cause(h.ctx)
	if err == nil {
		if run.Claim.IsCompleting() {
			return outcome{verb: verbCheck}
		}
		if errors.Is(cause, ErrHardLimit) {
			return s.failure(run, ErrHardLimit)
		}
		return outcome{verb: verbComplete, result: run.Claim.Result()}
	}
	if undecodable, ok := errors.AsType[*undecodableError](err); ok {
		return outcome{verb: verbReject, reason: "undecodable", err: "undecodable: " + undecodable.Error()}
	}
	if discard, ok := errors.AsType[*discardError](err); ok {
		return outcome{verb: verbDiscard, reason: "discarded", err: discard.Error()}
	}
	if snooze, ok := errors.AsType[*snoozeError](err); ok {
		return outcome{verb: verbRelease, delay: snooze.delay}
	}
	switch {
	case errors.Is(cause, ErrCancelled):
		return outcome{verb: verbCancelled, err: err.Error()}
	case errors.Is(cause, ErrShutdown), errors.Is(cause, ErrLeaseLost):
		// Interrupted is not failed. After a lost lease the guard of the claim lets this through only if nobody took the job.
		return outcome{verb: verbRelease, err: err.Error()}
	case errors.Is(cause, ErrHardLimit):
		return s.failure(run, fmt.Errorf("%w: %w", ErrHardLimit, err))
	}
	return s.failure(run, err)
}

// failure is a charged failure with the pause that the error, the job or the default asks for.
func (s *session) failure(run *queue.Run, err error) outcome {
	o := outcome{verb: verbFail, err: err.Error()}
	if retry, ok := errors.AsType[*retryError](err); ok {
		o.delay = retry.delay
		return o
	}
	if text, own := run.Headers[queue.BackoffHeader]; own {
		if policy, err := backoff.Parse(text); err == nil {
			o.delay = policy.Pause(run.Failures + 1)
			return o
		}
	}
	o.delay = backoff.Default(run.Failures + 1)
	return o
}
