package queue

import (
	"crypto/rand"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"
)

// newID returns a UUIDv7 (RFC 9562) of that instant: 48 bits of milliseconds, then random bits. Ids of one millisecond are
// not ordered; nothing relies on that.
func newID(at time.Time) uuid.UUID {
	var id uuid.UUID
	_, _ = rand.Read(id[:]) // never fails: it ends the program instead
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // one byte after the other
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// uniqueKey scopes a key by its task, as stem.enqueue does: task, a zero byte, the key. One longer than a KiB is stored as its
// SHA-256.
func uniqueKey(task, key string) []byte {
	b := append([]byte(task), 0)
	if len(key) > maxKeyBytes {
		sum := sha256.Sum256([]byte(key))
		return append(b, sum[:]...)
	}
	return append(b, key...)
}
