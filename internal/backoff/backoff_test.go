package backoff_test

import (
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/backoff"
)

// longest is the longest of many pauses.
func longest(t *testing.T, pause func() time.Duration) time.Duration {
	t.Helper()
	var most time.Duration
	for range 2000 {
		p := pause()
		if p <= 0 {
			t.Fatalf("pause %v", p)
		}
		most = max(most, p)
	}
	return most
}

func TestThePauseGrowsAndIsBounded(t *testing.T) {
	t.Parallel()
	p := backoff.Policy{First: time.Second, Most: 10 * time.Second}
	for failures, want := range map[int]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 1 << 30: 10 * time.Second,
	} {
		got := longest(t, func() time.Duration { return p.Pause(failures) })
		if got > want+time.Microsecond || got < want*9/10 {
			t.Errorf("%d failures: up to %v, want up to %v", failures, got, want)
		}
	}
}

func TestTheDefaultIsCapped(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 10: 5 * time.Minute, 11: 34*time.Minute + 8*time.Second, 12: time.Hour, 1000: time.Hour} {
		got := longest(t, func() time.Duration { return backoff.Default(failures) })
		if got > want+time.Microsecond || got < want*8/10 {
			t.Errorf("%d failures: up to %v, want up to %v", failures, got, want)
		}
	}
}

func TestHugePoliciesDoNotOverflow(t *testing.T) {
	t.Parallel()
	p := backoff.Policy{First: 1 << 61, Most: 1<<63 - 1}
	for failures := range 100 {
		if got := p.Pause(failures); got < 0 {
			t.Fatalf("%d failures: %v", failures, got)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]backoff.Policy{
		"2s,5m": {First: 2 * time.Second, Most: 5 * time.Minute}, "1ms,1ms": {First: time.Millisecond, Most: time.Millisecond},
		"": {}, "2s": {}, "5m,2s": {}, "0s,1s": {}, "-1s,1s": {}, "a,b": {}, "1s,b": {}, "1s,2s,3s": {},
	} {
		got, err := backoff.Parse(text)
		if got != want && err == nil || (err == nil) != (want != backoff.Policy{}) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}
