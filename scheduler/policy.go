package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

// Policies say what becomes of instants at which a schedule cannot simply fire. The zero value has all defaults.
type Policies struct {
	// Gap is for local times that a change to summer time leaves out, Overlap for those that exist twice: see spec.Policy.
	Gap, Overlap string
	// Missed is for instants that nobody fired within the tolerance: "last" (the default) fires the latest of them, "all" the latest
	// CatchUpMax, "skip" none. Those older than CatchUpWindow are skipped in any case.
	Missed string
	// CatchUpWindow is how long ago a missed instant may be to be fired: up to a year; 0 means 1 h.
	CatchUpWindow time.Duration
	// CatchUpMax is how many missed instants "all" fires, from 1 to 1000; 0 means 100.
	CatchUpMax int
	// Previous is for when the job of the run before has not ended: "allow" (the default) fires, "skip" does not, "queue" keeps one instant
	// until it has, "cancel" cancels that job and fires.
	Previous string
	// PauseAfterFailures pauses a schedule whose latest jobs that ended, so many in a row, are dead letters; 0 means never.
	PauseAfterFailures int
}

// The words of policies.
const (
	MissedLast = "last"
	MissedSkip = "skip"
	MissedAll  = "all"

	PreviousAllow  = "allow"
	PreviousSkip   = "skip"
	PreviousQueue  = "queue"
	PreviousCancel = "cancel"
)

const (
	maxCatchUp       = 1000
	maxCatchUpWindow = 366 * 24 * time.Hour
	maxFailures      = 100
)

func (p Policies) withDefaults() Policies {
	p.Gap = cmp.Or(p.Gap, "next")
	p.Overlap = cmp.Or(p.Overlap, "first")
	p.Missed = cmp.Or(p.Missed, MissedLast)
	p.CatchUpWindow = cmp.Or(p.CatchUpWindow, time.Hour)
	p.CatchUpMax = cmp.Or(p.CatchUpMax, 100)
	p.Previous = cmp.Or(p.Previous, PreviousAllow)
	return p
}

func (p Policies) daylight() spec.Policy { return spec.Policy{Gap: p.Gap, Overlap: p.Overlap} }

type problem struct {
	name string
	err  error
}

func (p Policies) problems() []problem {
	p = p.withDefaults()
	var list []problem
	word := func(name, got string, words ...string) {
		if !slices.Contains(words, got) {
			list = append(list, problem{name, fmt.Errorf("%.60q; want one of %s", got, strings.Join(words, ", "))})
		}
	}
	word("gap", p.Gap, "next", "skip")
	word("overlap", p.Overlap, "first", "second", "both")
	word("missed", p.Missed, MissedLast, MissedSkip, MissedAll)
	word("previous", p.Previous, PreviousAllow, PreviousSkip, PreviousQueue, PreviousCancel)
	if p.CatchUpWindow < time.Second || p.CatchUpWindow > maxCatchUpWindow {
		list = append(list, problem{"catchUpWindow", fmt.Errorf("want 1s to %v, got %v", maxCatchUpWindow, p.CatchUpWindow)})
	}
	if p.CatchUpMax < 1 || p.CatchUpMax > maxCatchUp {
		list = append(list, problem{"catchUpMax", fmt.Errorf("want 1 to %d, got %d", maxCatchUp, p.CatchUpMax)})
	}
	if p.PauseAfterFailures < 0 || p.PauseAfterFailures > maxFailures {
		list = append(list, problem{"pauseAfterFailures", fmt.Errorf("want 0 (never) to %d, got %d", maxFailures, p.PauseAfterFailures)})
	}
	return list
}
