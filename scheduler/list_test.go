package scheduler_test

import (
	"testing"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/scheduler"
)

// A list tells how late the last run was that enqueued a job, past those that did not.
func TestListTellsTheLastDrift(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v1")...)
	l.apply(hourly("never"), hourly("once"))
	l.overdue("once", 0)
	l.fire(tolerant)
	want := *l.history(scheduler.RunFilter{Schedule: "once"})[0].Drift
	for range 3 {
		labtest.One[int](t, l.owner, `
			insert into stem.schedule_runs (schedule, nominal_at, outcome)
			select 'once', max(nominal_at) + interval '1 h', 'skipped' from stem.schedule_runs returning 1`)
	}
	got := map[string]*scheduler.Schedule{}
	for s, err := range l.table.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[s.ID] = s
	}
	if s := got["never"]; s.LastDrift != nil || s.Key != "v1" || s.Algorithm != "hmac-sha256" {
		t.Errorf("never: drift %v, key %q, algorithm %q", s.LastDrift, s.Key, s.Algorithm)
	}
	if s := got["once"]; s.LastDrift == nil || *s.LastDrift != want || want <= 0 {
		t.Errorf("once: drift %v, want %v", s.LastDrift, want)
	}
}
