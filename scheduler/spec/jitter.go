package spec

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"time"
)

// Jitter draws a delay of 0 to limit, in whole milliseconds, from the schedule and the instant: whoever asks gets the same,
// and schedules that are due together are spread. It is the first 64 bits of the SHA-256 of the id, a zero byte and the instant in
// microseconds since 1970 as eight big-endian bytes, as a fraction of 2^64, times the number of milliseconds.
func Jitter(schedule string, at time.Time, limit time.Duration) time.Duration {
	if limit < time.Millisecond {
		return 0
	}
	seed := append([]byte(schedule), 0)
	seed = binary.BigEndian.AppendUint64(seed, uint64(at.UnixMicro()))
	sum := sha256.Sum256(seed)
	choices := uint64(limit.Milliseconds()) + 1 //nolint:gosec // limit is positive
	n, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:8]), choices)
	return time.Duration(n) * time.Millisecond //nolint:gosec // at most limit
}
