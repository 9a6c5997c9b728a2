package duration_test

import (
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/duration"
)

func TestFormat(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 10 * time.Second: "10s", time.Minute: "1m", 10 * time.Minute: "10m", 70 * time.Second: "1m10s", time.Hour: "1h",
		90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", -15 * time.Minute: "-15m", 1500 * time.Millisecond: "1.5s",
	} {
		if got := duration.Format(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
