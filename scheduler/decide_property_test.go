package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stemqueue/stem/scheduler/spec"
)

// anyOrder draws a schedule, and returns the shortest time between its runs as well.
func anyOrder(t *rapid.T) (*order, time.Duration) {
	of := func(label string, items ...string) string { return rapid.SampledFrom(items).Draw(t, label) }
	text := of("spec", fmt.Sprintf("every:%ds", rapid.IntRange(1, 5000).Draw(t, "every")), "*/7 * * * *", "30 1,2,3 * * *", "0 */5 * * * *",
		"15 */6 L * MON", `{"calendar":{"hours":[1,2,13],"minutes":[0,30]}}`, `{"solar":"sunrise","latitude":52.5,"longitude":13.4}`)
	parsed, err := spec.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := spec.Zone(of("zone", "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"))
	if err != nil {
		t.Fatal(err)
	}
	o := &order{terms: terms{Policies: Policies{
		Gap: of("gap", "next", "skip"), Overlap: of("overlap", "first", "second", "both"), Missed: of("missed", MissedLast, MissedSkip, MissedAll),
		CatchUpMax: rapid.SampledFrom([]int{1, 2, 5, 100}).Draw(t, "max"), Previous: of("previous", PreviousAllow, PreviousSkip, PreviousQueue, PreviousCancel),
	}}}
	o.timing = Timing{ID: "s", Spec: parsed, Zone: zone, Policy: o.terms.daylight()}
	apart := o.timing.shortest()
	o.terms.CatchUpWindow = time.Second + rapid.SampledFrom([]time.Duration{0, 1, 3, 10, 1000}).Draw(t, "window")*apart
	if rapid.Bool().Draw(t, "has jitter") {
		o.timing.Jitter = time.Duration(rapid.Int64Range(0, min(apart, maxJitter).Milliseconds()).Draw(t, "jitter")) * time.Millisecond
	}
	return o, apart
}

// life is a schedule with a ledger and jobs, as the database would have them.
type life struct {
	order     *order
	state     state
	due       time.Time
	tolerance time.Duration
	ledger    map[time.Time]Outcome
	job       time.Time // when the job of the latest run ends
	cancels   int
	lasts     func(at time.Time) time.Duration // how long the job of an instant takes
}

func (l *life) clone() *life {
	c := *l
	c.ledger = maps.Clone(l.ledger)
	return &c
}

// write is a row of the ledger.
func (l *life) write(t *rapid.T, at time.Time, o Outcome, fires bool, now time.Time) {
	if l.order.timing.due(at).After(now) {
		t.Fatalf("%s of %s is early: it is %s", o, at, now)
	}
	if before, there := l.ledger[at]; there && (before != Queued || o == Queued) {
		t.Fatalf("%s of %s after %s", o, at, before)
	}
	l.ledger[at] = o
	if fires {
		l.job = now.Add(l.lasts(at))
	}
}

// look is a transaction of a scheduler.
func (l *life) look(t *rapid.T, now time.Time, limit int, instead *circumstance) {
	s := l.state
	s.going = l.job.After(now)
	for _, at := range slices.SortedFunc(maps.Keys(l.ledger), time.Time.Compare) {
		if !s.next.IsZero() && !at.Before(s.next) || at.Equal(s.queued) && l.ledger[at] != Queued {
			s.done = append(s.done, at)
		}
	}
	d := l.order.decide(s, now, l.tolerance, limit, instead)
	if d.cancel {
		if !s.going {
			t.Fatal("a job that has ended is cancelled")
		}
		l.job = now
		l.cancels++
	}
	for _, r := range d.runs {
		l.write(t, r.at, r.outcome, r.fires, now)
		if r.at.After(l.state.last) {
			l.state.last = r.at
		}
	}
	if !d.next.IsZero() && !d.next.After(s.next) && len(s.done) == 0 && len(d.runs) == 0 && d.queued.IsZero() {
		t.Fatalf("a look at what is due at %s does nothing at %s", l.due, now)
	}
	l.state.next, l.state.queued, l.due = d.next, d.queued, d.due
}

// naive decides the same of everything at once, in the words of the policies.
func (l *life) naive(t *rapid.T, now time.Time, from time.Time, instead *circumstance) {
	p := l.order.terms.Policies
	going, busy := l.job.After(now), l.job.After(now)
	if l.ledger[l.state.queued] != Queued {
		l.state.queued = time.Time{}
	}
	if !l.state.queued.IsZero() && !going && instead == nil {
		l.write(t, l.state.queued, Fired, true, now)
		l.state.queued, going = time.Time{}, true
	}
	var open []time.Time // what is due, whether it has a row or not
	for at := l.order.timing.after(from); !at.IsZero() && !l.order.timing.due(at).After(now); at = l.order.timing.after(at) {
		if at.After(l.state.last) {
			open = append(open, at)
		}
	}
	outcomes := map[time.Time]Outcome{}
	var firing []time.Time
	for i, at := range open {
		if _, has := l.ledger[at]; has {
			continue
		}
		late, after := now.Sub(l.order.timing.due(at)), len(open)-i-1
		switch {
		case instead != nil:
			outcomes[at] = instead.outcome
		case late <= l.tolerance:
			outcomes[at] = Fired
		case late > p.CatchUpWindow, p.Missed == MissedSkip, p.Missed == MissedLast && after > 0, after > 0 && after >= p.CatchUpMax:
			outcomes[at] = Skipped
		case after == 0:
			outcomes[at] = Late
		default:
			outcomes[at] = CaughtUp
		}
		if o := outcomes[at]; o == Fired || o == Late || o == CaughtUp {
			firing = append(firing, at)
		}
	}
	for i, at := range firing {
		switch {
		case p.Previous == PreviousAllow:
		case p.Previous == PreviousCancel && i < len(firing)-1:
			outcomes[at] = Overlapped
		case p.Previous == PreviousCancel:
			if busy {
				l.cancels++
			}
		case !going:
			going = true
		case p.Previous == PreviousQueue && l.state.queued.IsZero():
			outcomes[at], l.state.queued = Queued, at
		default:
			outcomes[at] = Overlapped
		}
	}
	for _, at := range open {
		if o, has := outcomes[at]; has {
			l.write(t, at, o, o == Fired || o == Late || o == CaughtUp, now)
		}
		l.state.last = at
	}
}

// TestALifeOfASchedule lets time pass in steps, short ones as long as schedulers run and long ones when none does, with jobs that take their
// time, backfills, and times at which its signature is refused. One life decides a few instants in a transaction, one all of them, and one is
// decided by a second implementation. They must agree, and when nothing is due every instant must have its row.
func TestALifeOfASchedule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		o, apart := anyOrder(r)
		begin := time.Date(2025, 3, 29, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 300*86400).Draw(r, "begin")) * time.Second)
		seconds := rapid.IntRange(0, 3).Draw(r, "job takes")
		few := &life{
			order: o, tolerance: rapid.SampledFrom([]time.Duration{time.Second, apart / 2, 3 * apart}).Draw(r, "tolerance"), ledger: map[time.Time]Outcome{},
			lasts: func(at time.Time) time.Duration {
				// None ends between two transactions of one moment: a life in one transaction cannot know.
				return time.Duration(seconds)*apart/2*time.Duration(at.Unix()/7%3) + 1
			},
		}
		few.state.next = o.timing.after(begin)
		few.due = o.timing.due(few.state.next)
		if rapid.Bool().Draw(r, "ends") {
			o.timing.ExpireAt = begin.Add(apart * time.Duration(rapid.IntRange(2, 60).Draw(r, "expire")))
		}
		all, naive := few.clone(), few.clone()
		limit := rapid.IntRange(1, 4).Draw(r, "limit")
		now := begin
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			now = now.Add(time.Duration(rapid.Float64Range(0, rapid.SampledFrom([]float64{0.3, 1, 2, 30}).Draw(r, "at most")).Draw(r, "step") * float64(apart))).
				Truncate(time.Microsecond)
			var instead *circumstance
			if rapid.IntRange(0, 9).Draw(r, "refused") == 0 {
				instead = &circumstance{Rejected, "refused"}
			}
			if few.state.next.IsZero() != all.state.next.IsZero() || !few.due.Equal(all.due) {
				r.Fatalf("due at %s in few, at %s in one", few.due, all.due)
			}
			if few.due.IsZero() || few.due.After(now) {
				few.complete(r, begin, now)
				continue
			}
			if at := few.state.next; rapid.IntRange(0, 9).Draw(r, "backfill") == 0 && !at.IsZero() {
				if at = o.timing.after(at); !at.IsZero() && !o.timing.due(at).After(now) {
					for _, l := range []*life{few, all, naive} {
						l.write(r, at, Backfilled, false, now)
					}
				}
			}
			if at := few.state.queued; rapid.IntRange(0, 4).Draw(r, "backfill the queued") == 0 && few.ledger[at] == Queued {
				for _, l := range []*life{few, all, naive} {
					l.write(r, at, Backfilled, false, now)
				}
			}
			for looks := 0; !few.due.IsZero() && !few.due.After(now); looks++ {
				few.look(r, now, limit, instead)
			}
			all.look(r, now, 1<<20, instead)
			naive.naive(r, now, begin, instead)
			for name, other := range map[string]*life{"in one": all, "naively": naive} {
				if diff := few.differs(other); diff != "" {
					r.Fatalf("%s with %+v at %s: %s %s", o.timing.Spec, o.terms.Policies, now, diff, name)
				}
			}
			few.complete(r, begin, now)
		}
	})
}

func (l *life) differs(other *life) string {
	for at, o := range l.ledger {
		if other.ledger[at] != o {
			return fmt.Sprintf("%s is %q and %q", at, o, other.ledger[at])
		}
	}
	if len(l.ledger) != len(other.ledger) || !l.state.queued.Equal(other.state.queued) || l.cancels != other.cancels || !l.job.Equal(other.job) {
		return fmt.Sprintf("%d rows, queued %s, %d cancels, job until %s; and %d, %s, %d, %s",
			len(l.ledger), l.state.queued, l.cancels, l.job, len(other.ledger), other.state.queued, other.cancels, other.job)
	}
	return ""
}

// complete: each instant that is due has its row, and no other one has.
func (l *life) complete(t *rapid.T, from, now time.Time) {
	n := 0
	for at := l.order.timing.after(from); !at.IsZero() && !l.order.timing.due(at).After(now); at = l.order.timing.after(at) {
		if _, has := l.ledger[at]; !has {
			t.Fatalf("%s is lost: it is %s, and a scheduler looks at %s", at, now, l.due)
		}
		n++
	}
	if n != len(l.ledger) {
		t.Fatalf("%d rows for %d instants", len(l.ledger), n)
	}
	for at, o := range l.ledger {
		if o == Queued && !at.Equal(l.state.queued) {
			t.Fatalf("%s is queued, and nobody waits for it", at)
		}
	}
}
