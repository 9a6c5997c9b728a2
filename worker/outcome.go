package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
)

// Causes with which a handler's context is cancelled: context.Cause tells them apart.
var (
	// ErrSoftLimit: the soft time limit is over; the handler should end, and what it returns counts.
	ErrSoftLimit = errors.New("soft time limit reached")
	// ErrHardLimit: the hard time limit is over; the attempt has failed, whatever the handler returns.
	ErrHardLimit = errors.New("hard time limit reached")
	// ErrLeaseLost: this worker no longer holds the job, or cannot know whether it does. Nothing it writes will count.
	ErrLeaseLost = errors.New("lease lost")
	// ErrCancelled: an operator cancelled the job.
	ErrCancelled = errors.New("job cancelled")
	// ErrShutdown: the worker's shutdown grace is over. The job goes back to the line, uncharged.
	ErrShutdown = errors.New("worker is shutting down")
)

type discardError struct{ err error }

func (e *discardError) Error() string { return e.err.Error() }
func (e *discardError) Unwrap() error { return e.err }

type snoozeError struct{ delay time.Duration }

func (e *snoozeError) Error() string { return fmt.Sprintf("snoozed for %v", e.delay) }

type retryError struct {
	delay time.Duration
	err   error
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// Discard makes err final: the job goes to the dead letters now, with reason "discarded". A nil err is described as such.
func Discard(err error) error {
	if err == nil {
		err = errors.New("discarded without an error")
	}
	return &discardError{err: err}
}

// Snooze puts the job back for d, at most a year. It is no failure and charges nothing; after 1 000 releases a job is dead.
func Snooze(d time.Duration) error {
	return &snoozeError{delay: min(max(d, time.Millisecond), 365*24*time.Hour)}
}

// RetryAfter is a charged failure that is tried again after d, at most a year, instead of the usual backoff.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		err = errors.New("retry without an error")
	}
	return &retryError{delay: min(max(d, 0), 365*24*time.Hour), err: err}
}

// A PanicError is what a handler that panicked failed with.
type PanicError struct {
	Value any
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n\n%s", e.Value, e.Stack) }

// Complete finishes the job in the caller's own transaction: it is completed if that transaction commits, with every row it
// wrote, and not at all otherwise. When the claim is gone the server raises ST001, which spoils the transaction even if the
// error is ignored; the error then matches ErrLeaseLost. After Complete the handler returns nil when it has committed and an
// error when it has not; a nil return with a transaction that did not commit is a failed attempt.
func Complete[A any](ctx context.Context, tx queue.DB, job *queue.Job[A]) error {
	return CompleteRun(ctx, tx, job.Run)
}

// CompleteRun is Complete for handlers that were registered with HandleFunc.
func CompleteRun(ctx context.Context, tx queue.DB, run *queue.Run) error {
	c := run.Claim
	c.Completing()
	err := store.Over(tx).Complete(ctx, store.CompleteParams{
		Job: c.Job, Claim: c.ID, Worker: c.Worker, AgeUs: c.Age(), Result: c.Result(),
	})
	if err == nil {
		return nil
	}
	if pgCode(err) == "ST001" {
		c.Gone()
		return fmt.Errorf("worker: complete %s: %w: %w", run.ID, ErrLeaseLost, err)
	}
	return fmt.Errorf("worker: complete %s: %w", run.ID, err)
}
