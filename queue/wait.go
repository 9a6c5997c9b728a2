package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// A Result is how a job ended.
type Result struct {
	ID         uuid.UUID
	State      string          // completed, cancelled, expired, replaced or dead
	Attempt    int             // the last attempt's number
	Generation int             // 1, and one more for each replay
	Reason     string          // why it is dead
	Error      string          // the error of a dead job's last attempt
	Value      json.RawMessage // what the handler set as the result; nil when it set none, or it is encrypted
	Sealed     []byte          // the result as it is stored, when it is encrypted: see Open
}

// Completed tells whether the handler succeeded.
func (r Result) Completed() bool { return r.State == "completed" }

// Open sets Value when the result is encrypted. Its errors are encryption.ErrUnknownKey, also for a nil codec, and
// encryption.ErrNotSealed.
func (r *Result) Open(c encryption.Codec) error {
	if r.Sealed == nil {
		return nil
	}
	if c == nil {
		return fmt.Errorf("encryption: %w: it has none", encryption.ErrUnknownKey)
	}
	value, err := encryption.OpenResult(c, signing.Result{
		JobID: r.ID, Generation: r.Generation, Attempt: r.Attempt, Outcome: r.State,
	}, r.Sealed)
	if err == nil {
		r.Value, r.Sealed = value, nil
	}
	return err
}

// Wait returns how the job ended, as soon as it has: it asks again after pauses that grow from 5 ms to half a second, until ctx
// is done. ErrNotFound means that there is no such job; in a queue that keeps nothing that is also the answer after it ended.
func Wait(ctx context.Context, db DB, id uuid.UUID) (Result, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := 5 * time.Millisecond; ; pause = min(pause*3/2, 500*time.Millisecond) {
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("queue: wait for %s: %w", id, context.Cause(ctx))
		case <-timer.C:
		}
		rows, err := store.Over(db).JobStates(ctx, []uuid.UUID{id})
		if err != nil {
			return Result{}, fmt.Errorf("queue: wait for %s: %w", id, err)
		}
		switch row := rows[0]; row.State {
		case "unknown":
			return Result{}, fmt.Errorf("queue: wait for %s: %w", id, ErrNotFound)
		case "ready", "scheduled", "running":
		default:
			r := Result{
				ID: id, State: row.State, Attempt: int(row.Attempt), Generation: int(row.Generation), Reason: row.Reason, Error: row.Error,
			}
			if encryption.IsSealedResult(row.Result) {
				r.Sealed = row.Result
			} else {
				r.Value = row.Result
			}
			return r, nil
		}
		timer.Reset(pause)
	}
}
