package queue

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// An Envelope is what is stored of a job and never changes: what a Signer signs. Times are in UTC, to the microsecond.
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

	Signature Signature // zero means unsigned
}

// A Signature over an envelope: see Signer.
type Signature struct {
	Bytes     []byte
	KeyID     string
	Algorithm string // hmac-sha256 or ed25519
}

// A Signer signs envelopes before they are stored. It must be safe for concurrent use. When it fails, the enqueue fails.
type Signer interface {
	SignJob(*Envelope) (Signature, error)
}

// A Verifier checks envelopes before any user code sees them. It must be safe for concurrent use.
type Verifier interface {
	VerifyJob(*Envelope) error
}

// CanonicalHeaders returns the headers in the one form that is signed: a count, then each name and value with its length,
// big endian, sorted by the bytes of the names.
func (e *Envelope) CanonicalHeaders() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(e.Headers))) //nolint:gosec // at most 64 headers
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		for _, text := range []string{name, e.Headers[name]} {
			b = binary.BigEndian.AppendUint32(b, uint32(len(text))) //nolint:gosec // at most 16 KiB
			b = append(b, text...)
		}
	}
	return b
}
