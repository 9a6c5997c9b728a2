package worker

import (
	"testing"
	"time"
)

// A job that takes longer than the prefetch is worth leaves something of it all the same: integer division left nothing, and a
// worker with many slots then waited for each settlement before it claimed again.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		slots int
		mean  time.Duration
		want  int
	}{
		{100, 0, 0},
		{100, 10 * time.Millisecond, 400},
		{1000, 80 * time.Millisecond, 500},
		{16, 10 * time.Second, 0},
		{100, time.Microsecond, prefetchMost},
	} {
		if got := (&line{slots: c.slots, mean: c.mean}).prefetch(); got != c.want {
			t.Errorf("%d slots, jobs of %v: %d, want %d", c.slots, c.mean, got, c.want)
		}
	}
}
