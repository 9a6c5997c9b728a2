package scheduler_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/scheduler"
)

// Schedulers, backfills, an author and an operator are at the same schedules at once: each instant has one row and one job at the end.
func TestACrowdFiresEachInstantOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const schedules, instants = 12, 900
	entries := make([]scheduler.Entry, schedules)
	for i := range entries {
		entries[i] = hourly(fmt.Sprint("s", i), with(scheduler.Policies{Missed: scheduler.MissedAll, CatchUpMax: 1000}))
		entries[i].Spec = "every:1s"
	}
	l.apply(entries...)
	begin := labtest.One[time.Time](t, l.owner, "select date_trunc('second', now()) - $1 * interval '1 s'", instants)
	labtest.Run(t, l.owner, "update stem.schedules set next_at = $1, due_at = $1, expire_at = now()", begin)
	last := labtest.One[time.Time](t, l.owner, "select date_trunc('second', expire_at) from stem.schedules limit 1")
	var all sync.WaitGroup
	fail := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		s := l.scheduler()
		all.Go(func() {
			for labtest.One[bool](t, l.owner, "select exists (select from stem.schedules where due_at is not null)") && !t.Failed() {
				_, err := s.FireOnce(t.Context())
				fail(err)
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for i := range 60 {
				from := begin.Add(time.Duration((i*97+500)%instants) * time.Second)
				_, err := l.table.Backfill(t.Context(), fmt.Sprint("s", i%schedules), scheduler.Backfill{From: from, To: from.Add(9 * time.Second)})
				fail(err)
			}
		})
	}
	all.Go(func() {
		for i := range 10 {
			e := slices.Clone(entries)
			for k := range e {
				e[k].Description, e[k].ExpireAt = fmt.Sprint(i), l.get(e[k].ID).ExpireAt
			}
			p, err := l.table.Plan(t.Context(), false, e...)
			fail(err)
			if err := l.table.Apply(t.Context(), p, "test"); !errors.Is(err, scheduler.ErrChanged) {
				fail(err)
			}
		}
	})
	all.Wait()
	for _, e := range entries {
		rows := labtest.One[string](t, l.owner, `select concat_ws(' ', count(*), count(distinct job_id), min(nominal_at) = $2, max(nominal_at) = $3)
			from stem.schedule_runs where schedule = $1`, e.ID, begin, last)
		want := int(last.Sub(begin)/time.Second) + 1
		if got, jobs := rows, len(l.jobs(e.ID)); got != fmt.Sprintf("%d %d t t", want, want) || jobs != want {
			t.Errorf("%s: rows, jobs in them, first and last: %s; %d jobs; want %d of each", e.ID, got, jobs, want)
		}
	}
	t.Log(labtest.Column[string](t, l.owner, "select outcome || ' ' || count(*) from stem.schedule_runs group by outcome"))
}

// A queued instant may be backfilled while it waits. It is had then, and nobody waits for it any more.
func TestAQueuedRunThatIsBackfilled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a", with(scheduler.Policies{Previous: scheduler.PreviousQueue})))
	at := l.overdue("a", 1)
	l.fire(tolerant)
	queued := at.Add(time.Hour)
	if n, err := l.table.Backfill(t.Context(), "a", scheduler.Backfill{From: queued, To: queued}); err != nil || n.Enqueued != 1 {
		t.Fatalf("Backfill: %+v, %v", n, err)
	}
	for _, job := range l.jobs("a") {
		l.finish(job, false)
	}
	labtest.Run(t, l.owner, "update stem.schedules set due_at = now()")
	l.fire(tolerant)
	if got, want := l.ledger("a"), []string{"fired", "backfilled"}; !slices.Equal(got, want) || len(l.jobs("a")) != 2 {
		t.Errorf("ledger %q, want %q; %d jobs", got, want, len(l.jobs("a")))
	}
	if s := l.get("a"); s.Failed != "" || !s.QueuedAt.IsZero() || !s.DueAt.Equal(s.NextAt) {
		t.Errorf("failed %q, queued %v, due %v, next %v", s.Failed, s.QueuedAt, s.DueAt, s.NextAt)
	}
}
