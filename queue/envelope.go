package queue

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// An Envelope is what is stored of a job and never changes: see Signed. Times are in UTC, to the microsecond.
type Envelope struct {
	ID      uuid.UUID
	Task    string
	Queue   string
	Payload []byte
	Codec   string            // media type of the payload
	Headers map[string]string // see Header

	Priority    int
	MaxAttempts int
	RunAt       time.Time     // zero unless the producer gave an instant
	Delay       time.Duration // zero unless the producer gave a delay; the server computes the time
	NominalAt   time.Time     // zero unless a schedule made it
	ExpiresAt   time.Time     // zero means never
	HardLimit   time.Duration // zero means none
	SoftLimit   time.Duration // zero means none

	UniqueKey      []byte // nil means not unique
	Origin         string
	PayloadVersion int // zero means not versioned
	Group          string
	IssuedAt       time.Time // the producer's clock

	Signature signing.Signature // zero means unsigned
}

// Signed is what the signature is over: everything but the signature.
func (e *Envelope) Signed() signing.Job {
	return signing.Job{
		ID: e.ID, Task: e.Task, Queue: e.Queue, Codec: e.Codec, Payload: e.Payload, Headers: e.Headers,
		RunAt: e.RunAt, Delay: e.Delay, IssuedAt: e.IssuedAt, ExpiresAt: e.ExpiresAt, NominalAt: e.NominalAt,
		Priority: e.Priority, MaxAttempts: e.MaxAttempts, HardLimit: e.HardLimit, SoftLimit: e.SoftLimit,
		UniqueKey: e.UniqueKey, Origin: e.Origin, PayloadVersion: e.PayloadVersion, Group: e.Group,
	}
}

// Open puts the payload and the codec underneath in the place of encrypted ones; of others it does nothing. Its errors are
// encryption.ErrUnknownKey, also for a nil codec, and encryption.ErrNotSealed.
func (e *Envelope) Open(c encryption.Codec) error {
	codec, sealed := encryption.Unwrap(e.Codec)
	if !sealed {
		return nil
	}
	if c == nil {
		return fmt.Errorf("encryption: %w: it has none", encryption.ErrUnknownKey)
	}
	m := e.Signed()
	payload, err := c.Open(&m, e.Payload)
	if err == nil {
		e.Payload, e.Codec = payload, codec
	}
	return err
}
