package queue

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// newIDs returns n UUIDv7 (RFC 9562) of that instant: 48 bits of milliseconds, then 73 random bits for the first; each of the others is a
// random distance of up to 2^32 above the one before it ("monotonic random", section 6.2, method 2). In this order the keys of a call
// go to the right end of every index they come to. Those of two calls are in no order; nothing relies on that.
func newIDs(at time.Time, n int) []uuid.UUID {
	ids := make([]uuid.UUID, n)
	random := make([]byte, 10+4*(n-1))
	_, _ = rand.Read(random)                             // never fails: it ends the program instead
	low := binary.BigEndian.Uint64(random) & (1<<61 - 1) // of 62 bits, the highest is left for what is added
	head := uint64(at.UnixMilli())<<16 | 0x7000 | uint64(binary.BigEndian.Uint16(random[8:])&0x0fff)
	for i := range ids {
		if i > 0 {
			low += 1 + uint64(binary.BigEndian.Uint32(random[6+4*i:]))
		}
		binary.BigEndian.PutUint64(ids[i][:], head)
		binary.BigEndian.PutUint64(ids[i][8:], 1<<63|low)
	}
	return ids
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
