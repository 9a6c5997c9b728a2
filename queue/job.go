package queue

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stemqueue/stem/internal/claim"
)

// A Run is one attempt at a job, as a worker hands it to middleware and handlers, whatever the type of its arguments. Of an encrypted
// job it has the payload and the codec underneath, which are not what was signed.
type Run struct {
	Envelope

	Attempt    int // counts every claim of this job, ever; starts at 1, never goes down. Fit to fence other systems with.
	Failures   int // charged attempts before this one
	Crashes    int // lost workers since the last normal outcome
	Releases   int // how often it was put back uncharged: snoozed, shut down, exit 75
	Generation int // 1, and one more for each replay from the dead letters

	EnqueuedAt time.Time // the server's clock
	ClaimedAt  time.Time // the server's clock

	// Claim is this run's fencing token and result, for package worker.
	Claim *claim.Claim
}

// A Job is what a handler gets: the run, and the decoded arguments.
type Job[A any] struct {
	*Run
	Args A
}

// MaxResultBytes is the largest result that is stored.
const MaxResultBytes = 1 << 20

// SetResult keeps v, as JSON, as the job's result, stored when the job completes; the last call wins. One that is larger
// than MaxResultBytes is replaced by {"truncated":true,"bytes":n}: the job still completes. It is encrypted as payloads are: see
// worker.Config.Encryption.
func (r *Run) SetResult(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("queue: result of %s: %w", r.Task, err)
	}
	if len(b) > MaxResultBytes {
		b = fmt.Appendf(nil, `{"truncated":true,"bytes":%d}`, len(b))
	}
	if err := r.Claim.SetResult(b); err != nil {
		return fmt.Errorf("queue: result of %s: %w", r.Task, err)
	}
	return nil
}
