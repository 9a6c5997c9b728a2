// Package backoff computes the pause before a job is tried again.
package backoff

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A Policy grows the pause exponentially from First to Most.
type Policy struct{ First, Most time.Duration }

// Default is from 2 s, capped at 5 min for the first ten failures and at 1 h after that.
func Default(failures int) time.Duration {
	limit := 5 * time.Minute
	if failures > 10 {
		limit = time.Hour
	}
	return Policy{First: 2 * time.Second, Most: limit}.Pause(failures)
}

// Pause returns the pause after so many failures (1 or more), with full jitter: any duration up to the exponential one, so
// that jobs which failed together do not come back together
// (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
func (p Policy) Pause(failures int) time.Duration {
	pause := p.First
	for range min(failures, 40) - 1 {
		if pause >= p.Most/2 {
			pause = p.Most
			break
		}
		pause *= 2
	}
	pause = min(pause, p.Most)
	if pause <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(pause))) + time.Microsecond
}

// Parse reads "2s,5m", as the header stem-backoff carries it.
func Parse(text string) (Policy, error) {
	first, most, ok := strings.Cut(text, ",")
	if !ok {
		return Policy{}, fmt.Errorf("backoff: want FIRST,MOST such as 2s,5m; got %q", text)
	}
	var p Policy
	var err error
	if p.First, err = time.ParseDuration(first); err != nil {
		return Policy{}, fmt.Errorf("backoff: %w", err)
	}
	if p.Most, err = time.ParseDuration(most); err != nil {
		return Policy{}, fmt.Errorf("backoff: %w", err)
	}
	if p.First <= 0 || p.Most < p.First {
		return Policy{}, fmt.Errorf("backoff: want 0 < first <= most, got %q", text)
	}
	return p, nil
}
