package scheduler

import (
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

// A Timing says when a schedule fires.
type Timing struct {
	ID       string // what jitter is drawn from, with the instant
	Spec     *spec.Spec
	Zone     *time.Location
	Policy   spec.Policy
	Jitter   time.Duration
	ExpireAt time.Time // zero means no end
}

// Next returns the first run strictly after an instant, or false if there is none. Its instant is the nominal one, without jitter.
func (t *Timing) Next(after time.Time) (spec.Run, bool) {
	run, ok := t.Spec.Next(after, t.Zone, t.Policy)
	if !ok || !t.ExpireAt.IsZero() && run.At.After(t.ExpireAt) {
		return spec.Run{}, false
	}
	return run, true
}

// Delay returns the jitter of the run of an instant.
func (t *Timing) Delay(at time.Time) time.Duration { return spec.Jitter(t.ID, at, t.Jitter) }

// due returns when the run of an instant is due, zero for the zero instant.
func (t *Timing) due(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(t.Delay(at))
}

// after is Next for those who want the instant alone: zero if there is none.
func (t *Timing) after(at time.Time) time.Time {
	run, _ := t.Next(at)
	return run.At
}

// shortest returns the shortest time between some of the runs, 0 if there are not two.
func (t *Timing) shortest() time.Duration {
	var shortest time.Duration
	from, _ := t.Spec.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), t.Zone, t.Policy)
	for range 8 {
		next, ok := t.Spec.Next(from.At, t.Zone, t.Policy)
		if from.At.IsZero() || !ok {
			break
		}
		if apart := next.At.Sub(from.At); shortest == 0 || apart < shortest {
			shortest = apart
		}
		from = next
	}
	return shortest
}

// micro is how Postgres stores an instant.
func micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}
