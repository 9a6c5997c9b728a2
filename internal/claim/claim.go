// Package claim holds what a worker and a handler share about one claim: the fencing token, and what the handler did.
package claim

import (
	"sync"
	"time"

	"github.com/google/uuid"
)

// A Claim is the right to run one job now. Its methods are safe for concurrent use.
type Claim struct {
	ID      uuid.UUID
	Job     uuid.UUID
	Worker  uuid.UUID
	Attempt int
	Started time.Time // monotonic; zero until the handler begins

	Seal func([]byte) ([]byte, error) // encrypts the result; nil when it is not

	mu         sync.Mutex
	result     []byte
	completing bool
}

// SetResult keeps the encoded result, encrypted where that is asked for.
func (c *Claim) SetResult(b []byte) error {
	if c.Seal != nil {
		var err error
		if b, err = c.Seal(b); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.result = b
	return nil
}

// Result returns the encoded result, nil when there is none.
func (c *Claim) Result() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.result
}

// Completing notes that the handler called worker.Complete: from then on its nil return settles nothing.
func (c *Claim) Completing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.completing = true
}

// Gone notes that worker.Complete found no such claim: the handler's transaction decides nothing.
func (c *Claim) Gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.completing = false
}

// IsCompleting tells whether the handler called worker.Complete, and the claim was there.
func (c *Claim) IsCompleting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.completing
}

// Age returns how long ago the handler began, in microseconds, or -1 when it has not.
func (c *Claim) Age() int64 {
	if c.Started.IsZero() {
		return -1
	}
	return time.Since(c.Started).Microseconds()
}
