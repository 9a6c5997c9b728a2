package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
)

// A Result is how a job ended.
type Result struct {
	ID      uuid.UUID
	State   string          // completed, cancelled, expired, replaced or dead
	Attempt int             // the last attempt's number
	Reason  string          // why it is dead
	Error   string          // the error of a dead job's last attempt
	Value   json.RawMessage // what the handler set as the result; nil when it set none
}

// Completed tells whether the handler succeeded.
func (r Result) Completed() bool { return r.State == "completed" }

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
			return Result{ID: id, State: row.State, Attempt: int(row.Attempt), Reason: row.Reason, Error: row.Error, Value: row.Result}, nil
		}
		timer.Reset(pause)
	}
}
