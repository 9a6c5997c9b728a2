package scheduler

import (
	"slices"
	"strings"
	"time"

	"github.com/stemqueue/stem/internal/duration"
)

// An Outcome says what became of an instant.
type Outcome string

// The outcomes, as the ledger has them.
const (
	Fired      Outcome = "fired"      // enqueued within the tolerance
	Late       Outcome = "late"       // enqueued later than that, and no later instant was due
	CaughtUp   Outcome = "caught_up"  // enqueued later than that, together with later ones
	Skipped    Outcome = "skipped"    // missed, and not made up for; or the schedule was paused at it
	Overlapped Outcome = "overlapped" // not enqueued, because the run before had not ended
	Queued     Outcome = "queued"     // waits for the run before to end
	Duplicate  Outcome = "duplicate"  // not enqueued, because another job holds the unique key
	Rejected   Outcome = "rejected"   // not enqueued, because the schedule is not validly signed
	Triggered  Outcome = "triggered"  // enqueued by hand; it stands for no instant
	Backfilled Outcome = "backfilled" // enqueued by hand for a past instant
)

// state is what has happened to a schedule so far.
type state struct {
	next   time.Time   // the instant that is decided next
	last   time.Time   // the latest that was decided
	queued time.Time   // one that waits for the run before to end
	going  bool        // the job of the run before has not ended
	done   []time.Time // instants from next on that the ledger knows already, and the queued one, if it has its job
}

// run is what is decided about one instant.
type run struct {
	at      time.Time
	outcome Outcome
	fires   bool
	note    string
}

// decision is what is to become of a schedule.
type decision struct {
	runs   []run
	next   time.Time
	due    time.Time
	queued time.Time
	cancel bool // the job of the run before
}

// A circumstance keeps a schedule from firing at all.
type circumstance struct {
	outcome Outcome
	why     string
}

// recheck is how often a run that waits for the one before looks whether that has ended.
const recheck = time.Second

// decide says what becomes of every instant that is due, at most limit of them. It is pure.
func (o *order) decide(s state, now time.Time, tolerance time.Duration, limit int, instead *circumstance) decision {
	if slices.ContainsFunc(s.done, s.queued.Equal) {
		s.queued = time.Time{}
	}
	d := decision{queued: s.queued}
	going := s.going
	if !s.queued.IsZero() && !going && instead == nil {
		d.runs = append(d.runs, run{at: s.queued, outcome: Fired, fires: true, note: "waited for the run before to end"})
		d.queued, going = time.Time{}, true
	}
	list := o.dueInstants(s, now, limit)
	n := min(len(list.at), limit)
	d.next = list.next
	if n < len(list.at) {
		d.next = list.at[n]
	}
	begun, beyond := len(d.runs), false
	for i, at := range list.at {
		if slices.ContainsFunc(s.done, at.Equal) {
			continue
		}
		r := run{at: at, note: list.notes[i]}
		switch {
		case instead != nil:
			r.outcome, r.note = instead.outcome, joined(r.note, instead.why)
		default:
			o.missed(&r, now.Sub(o.timing.due(at)), len(list.at)-1-i, tolerance)
		}
		if i < n {
			d.runs = append(d.runs, r)
		} else if beyond = r.fires; beyond {
			break
		}
	}
	o.previous(&d, begun, going, s.going, beyond)
	d.due = o.timing.due(d.next)
	if !d.queued.IsZero() {
		if look := now.Add(recheck); d.due.IsZero() || look.Before(d.due) {
			d.due = look
		}
	}
	return d
}

// instants are those that are due, so many more than the limit that it is known whether one that is not done follows, and how many as far as
// "all" asks, and the one after them.
type instants struct {
	at    []time.Time
	notes []string
	next  time.Time
}

func (o *order) dueInstants(s state, now time.Time, limit int) instants {
	var list instants
	most := limit + max(o.terms.CatchUpMax, 1) + len(s.done)
	at, note := o.align(s, now)
	for !at.IsZero() && len(list.at) < most && !o.timing.due(at).After(now) {
		list.at, list.notes = append(list.at, at), append(list.notes, note)
		run, _ := o.timing.Next(at)
		at, note = run.At, run.Remarks()
	}
	list.next = at
	return list
}

// align returns the instant to begin with. next comes from the table, and nobody signed it: where it is none of the spec's instants (somebody
// moved it, or the rules of the zone have changed) the first one after the last decided takes its place.
func (o *order) align(s state, now time.Time) (at time.Time, note string) {
	if s.next.IsZero() {
		return time.Time{}, ""
	}
	if run, _ := o.timing.Next(s.next.Add(-time.Microsecond)); run.At.Equal(s.next) {
		return run.At, run.Remarks()
	}
	from := s.last
	if from.IsZero() {
		from = now
	}
	run, _ := o.timing.Next(from)
	return run.At, run.Remarks()
}

// missed decides whether an instant fires that is late by so much and after which so many more are due.
func (o *order) missed(r *run, late time.Duration, more int, tolerance time.Duration) {
	skip := func(why string) { r.outcome, r.note = Skipped, joined(r.note, why) }
	p := &o.terms.Policies
	switch {
	case late <= tolerance:
		r.outcome, r.fires = Fired, true
	case late > p.CatchUpWindow:
		skip("missed by more than the catch-up window of " + duration.Format(p.CatchUpWindow))
	case p.Missed == MissedSkip:
		skip("missed by more than " + duration.Format(tolerance))
	case more == 0:
		r.outcome, r.fires = Late, true
	case p.Missed == MissedLast:
		skip("missed, and a later instant was due")
	case more >= p.CatchUpMax:
		skip("missed, and more later instants were due than are caught up on")
	default:
		r.outcome, r.fires = CaughtUp, true
	}
}

// previous applies the policy for a run before that has not ended to the runs from begun on. beyond says that the next decision fires one that
// is due now.
func (o *order) previous(d *decision, begun int, going, cancellable, beyond bool) {
	policy := o.terms.Previous
	if policy == PreviousAllow {
		return
	}
	last := -1
	for i := range d.runs {
		if d.runs[i].fires {
			last = i
		}
	}
	for i := begun; i < len(d.runs); i++ {
		r := &d.runs[i]
		if !r.fires {
			continue
		}
		switch {
		case policy == PreviousCancel && (i < last || beyond):
			r.outcome, r.fires, r.note = Overlapped, false, joined(r.note, "a later instant was due, which would have cancelled it")
		case policy == PreviousCancel:
			d.cancel = cancellable
		case !going:
			going = true
		case policy == PreviousQueue && d.queued.IsZero():
			r.outcome, r.fires = Queued, false
			d.queued = r.at
		default:
			r.outcome, r.fires, r.note = Overlapped, false, joined(r.note, "the run before has not ended")
		}
	}
}

func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}
