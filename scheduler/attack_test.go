package scheduler_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

// Whoever has the table may switch a schedule off there and leave due_at as it is. It does not fire, and it is in nobody's way.
func TestARowThatIsSwitchedOffBySQL(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a"), hourly("b"), hourly("c"))
	for _, id := range []string{"b", "a", "c"} {
		l.overdue(id, 0)
	}
	labtest.Run(t, l.owner, "update stem.schedules set enabled = false where id = 'b'")
	l.fire(tolerant)
	if a, b, c := l.ledger("a"), l.ledger("b"), l.ledger("c"); len(a) != 1 || len(b) != 0 || len(c) != 1 {
		t.Errorf("ledgers %q, %q, %q", a, b, c)
	}
	if us := labtest.One[int64](t, l.owner, "select stem.next_schedule()"); us == 0 {
		t.Error("schedulers stay awake for it")
	}
}

// An error may be longer than its column, and may be cut in the middle of a letter: that must not keep the row from being put off (L4).
func TestALongErrorDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	for _, padding := range []string{"", "x"} {
		l := newLab(t)
		l.apply(hourly("a"), hourly("b"))
		labtest.Run(t, l.owner, `create function stem.no() returns trigger language plpgsql as $$ begin
			if new.origin = 'schedule:b' then raise exception '`+padding+`%', repeat('é', 5000); end if; return new; end $$;
			create trigger no before insert on stem.jobs for each row execute function stem.no()`)
		l.overdue("a", 0)
		l.overdue("b", 0)
		l.fire(tolerant)
		if a, failed := l.ledger("a"), l.get("b").Failed; !slices.Equal(a, []string{"fired"}) || !strings.Contains(failed, "ééé") {
			t.Errorf("ledger of the other %q; failed %.20q", a, failed)
		}
	}
}

// A queued run may find its unique key taken when its turn comes. It has its outcome then, and the instants after it have theirs.
func TestAQueuedRunWhoseKeyIsTaken(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	keyed := queue.Raw("t", []byte("{}"), "", queue.UntilFinished("k"))
	l.apply(hourly("a", with(scheduler.Policies{Previous: scheduler.PreviousQueue}), func(e *scheduler.Entry) { e.Job = keyed }))
	l.overdue("a", 1)
	l.fire(tolerant)
	if got, want := l.ledger("a"), []string{"fired", "queued"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	last := l.get("a").LastAt
	first := l.jobs("a")[0]
	l.finish(first, false)
	labtest.Run(t, l.owner, "delete from stem.unique_keys")
	receipts, err := l.queue.Enqueue(t.Context(), l.admin, keyed)
	if err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, l.owner, "update stem.schedules set due_at = now()")
	l.fire(tolerant)
	want := []string{"fired", "duplicate waited for the run before to end; job " + receipts[0].ID.String() + " holds its unique key"}
	if got := l.ledger("a"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if s := l.get("a"); s.Failed != "" || !s.QueuedAt.IsZero() || !s.LastAt.Equal(last) {
		t.Errorf("failed %q, queued %v, last %v; want none, none, %v", s.Failed, s.QueuedAt, s.LastAt, last)
	}
}

// What was last decided does not go back when a run that waited fires after later ones.
func TestAQueuedRunIsNotTheLastDecided(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a", with(scheduler.Policies{Previous: scheduler.PreviousQueue})))
	l.overdue("a", 2)
	wide := func(c *scheduler.Config) { c.Tolerance = 9 * time.Hour }
	l.fire(wide)
	last := l.get("a").LastAt
	l.finish(l.jobs("a")[0], false)
	labtest.Run(t, l.owner, "update stem.schedules set due_at = now()")
	l.fire(wide)
	if got, want := l.ledger("a")[1], "fired waited for the run before to end"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	if got := l.get("a").LastAt; !got.Equal(last) {
		t.Errorf("last decided %v, want %v as before", got, last)
	}
}

// Whoever moves next_at to where no instant is gets none again of those that had their jobs, and none that was backfilled.
func TestAMovedNextInstantFiresNothingTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a", with(scheduler.Policies{Missed: scheduler.MissedAll})))
	l.overdue("a", 2)
	wide := func(c *scheduler.Config) { c.Tolerance = 9 * time.Hour }
	l.fire(wide)
	before := l.ledger("a")
	labtest.Run(t, l.owner, `update stem.schedules set last_at = last_at - interval '2 hours', due_at = now() - interval '1 minute',
		next_at = last_at - interval '1 minute'`)
	l.fire(wide)
	if got := l.ledger("a"); !slices.Equal(got, before) || l.get("a").Failed != "" {
		t.Errorf("got %q, want %q; failed %q", got, before, l.get("a").Failed)
	}
	if n := len(l.jobs("a")); n != len(before) {
		t.Errorf("%d jobs, want %d", n, len(before))
	}
}

// What one transaction cannot take follows at once: a scheduler that comes back does not pause between two of them.
func TestABacklogIsWorkedOffWithoutAPause(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	e := hourly("a")
	e.Spec = "every:1s"
	l.apply(e)
	labtest.Run(t, l.owner, "update stem.schedules set next_at = x, due_at = x from (select date_trunc('second', now()) - interval '15000 seconds' x) y")
	began := time.Now()
	if _, err := l.scheduler().Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("15 000 instants took %v", time.Since(began).Round(time.Millisecond))
	if next := l.get("a").NextAt; next.Before(began) {
		t.Errorf("it pauses when what was due until %v is fired, and it is %v", next, began)
	}
}

// A scheduler that is busy looks back a little only, so a row that somebody held for long, and let go, needs a look at all that is due.
func TestARowThatWasHeldForLongIsFound(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	busy := hourly("busy")
	busy.Spec = "every:1s"
	l.apply(busy, hourly("held"))
	l.overdue("held", 0)
	labtest.Run(t, l.owner, "update stem.schedules set due_at = now() - interval '1 minute' where id = 'held'")
	conn, err := l.owner.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	tx := labtest.Begin(t, conn.Conn(), pgx.ReadCommitted)
	labtest.Run(t, tx, "select from stem.schedules where id = 'held' for update")
	ctx, stop := context.WithCancel(t.Context())
	s := l.scheduler(tolerant)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	labtest.Eventually(t, "two runs of the other", func() bool { return len(l.ledger("busy")) >= 2 })
	labtest.Rollback(t, tx)
	free := time.Now()
	labtest.Eventually(t, "it fires", func() bool { return len(l.ledger("held")) == 1 })
	t.Logf("found after %v", time.Since(free).Round(time.Millisecond))
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// A schedule that is removed and made again fires nothing that the one before it has fired.
func TestAScheduleThatIsMadeAgainFiresNothingTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a", with(scheduler.Policies{Missed: scheduler.MissedAll})))
	l.overdue("a", 1)
	wide := func(c *scheduler.Config) { c.Tolerance = 9 * time.Hour }
	l.fire(wide)
	if err := l.table.Delete(t.Context(), "test", "a"); err != nil {
		t.Fatal(err)
	}
	l.apply(hourly("a", with(scheduler.Policies{Missed: scheduler.MissedAll})))
	l.overdue("a", 2) // as if its author had begun it in the past
	l.fire(wide)
	if got, want := l.ledger("a"), []string{"fired", "fired", "fired"}; !slices.Equal(got, want) || len(l.jobs("a")) != 3 {
		t.Errorf("ledger %q, want %q; %d jobs, want one of each", got, want, len(l.jobs("a")))
	}
	if s := l.get("a"); s.Fired != 1 || s.Failed != "" {
		t.Errorf("the new one fired %d times, failed %q; want the one that was left", s.Fired, s.Failed)
	}
}

// To switch a schedule off without a key does not change its version. Whoever has read it before, and applies something else, does not switch
// it on again.
func TestAnApplyDoesNotUndoWhatSwitchedItOff(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a"))
	other := hourly("a")
	other.Description = "other"
	p, err := l.table.Plan(t.Context(), false, other)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := l.table.Disable(t.Context(), "a", "now"); !changed || err != nil {
		t.Fatalf("Disable: %v, %v", changed, err)
	}
	if err := l.table.Apply(t.Context(), p, "test"); !errors.Is(err, scheduler.ErrChanged) {
		t.Errorf("Apply: %v, want ErrChanged", err)
	}
	if s := l.get("a"); s.Enabled || s.Description != "" {
		t.Errorf("enabled %t, description %q", s.Enabled, s.Description)
	}
}

// Two files of which each prunes what the other one changes: one is applied, and the author of the other one is told that it is stale.
func TestTwoThatPruneEachOther(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a"), hourly("b"))
	conn, err := l.owner.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	held := labtest.Begin(t, conn.Conn(), pgx.ReadCommitted)
	labtest.Run(t, held, "select from stem.schedules where id = 'a' for update")
	apply := func(id string) *labtest.Pending[int] {
		admin, err := l.admin.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(admin.Release)
		table := scheduler.NewTable(admin.Conn(), l.queue, scheduler.TableConfig{})
		e := hourly(id)
		e.Description = "other"
		p, err := table.Plan(t.Context(), true, e)
		if err != nil {
			t.Fatal(err)
		}
		call := labtest.Start(func() (int, error) { return 0, table.Apply(t.Context(), p, "test") })
		labtest.Eventually(t, "it waits", func() bool { return labtest.Blocked(t, l.owner, admin.Conn().PgConn().PID()) })
		return call
	}
	first, second := apply("a"), apply("b")
	labtest.Rollback(t, held)
	<-first.Done
	<-second.Done
	if (first.Err == nil) == (second.Err == nil) || !errors.Is(errors.Join(first.Err, second.Err), scheduler.ErrChanged) {
		t.Errorf("%v; %v; want one to do it and the other to be stale", first.Err, second.Err)
	}
	if n := labtest.One[int](t, l.owner, "select count(*) from stem.schedules where description = 'other'"); n != 1 {
		t.Errorf("%d schedules of either file, want one", n)
	}
}

// Somebody's open transaction may hold the unique keys of some schedules for long. They are put off, and the others fire without waiting for
// all of them (L4).
func TestKeysThatAreHeldDoNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	tx, err := l.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	var held []scheduler.Entry
	for _, id := range []string{"h1", "h2", "h3"} {
		job := queue.Raw("t", []byte("{}"), "", queue.UntilFinished(id))
		if _, err := l.queue.Enqueue(t.Context(), tx, job); err != nil {
			t.Fatal(err)
		}
		held = append(held, hourly(id, func(e *scheduler.Entry) { e.Job = job }))
	}
	l.apply(append(held, hourly("z"))...)
	for _, e := range held {
		l.overdue(e.ID, 0)
	}
	l.overdue("z", 0)
	fired, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	if _, err := l.scheduler(tolerant).FireOnce(fired); err != nil {
		t.Fatalf("%v: it waits for who holds the keys", err)
	}
	t.Logf("fired in %v", time.Since(began).Round(time.Millisecond))
	if n := len(l.ledger("z")); n != 1 {
		t.Errorf("%d runs of the other", n)
	}
	if s := l.get("h1"); s.Failed == "" || !s.DueAt.After(s.NextAt) {
		t.Errorf("failed %q, due %v", s.Failed, s.DueAt)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, l.owner, "update stem.schedules set due_at = now() where id like 'h%'")
	l.fire(tolerant)
	if got := l.ledger("h1"); !slices.Equal(got, []string{"fired"}) {
		t.Errorf("when the key is free: %q", got)
	}
}

// A schedule that somebody took while a batch was tried again is theirs for the moment: the others fire.
func TestARowThatIsTakenMeanwhileDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a"), hourly("b"), hourly("c"))
	for _, id := range []string{"b", "a", "c"} {
		l.overdue(id, 0)
	}
	// Of a batch somebody takes b as soon as it is rolled back: here, b can never be locked by name.
	labtest.Mutate(t, l.owner, "lock_schedules", "    else\n        v_rows", "    elsif p_ids = '{b}' then raise lock_not_available; else\n        v_rows")
	labtest.Run(t, l.owner, `create function stem.no() returns trigger language plpgsql as $$ begin
		if new.origin = 'schedule:b' then raise exception 'no'; end if; return new; end $$;
		create trigger no before insert on stem.jobs for each row execute function stem.no()`)
	s := l.scheduler(tolerant)
	if _, err := s.FireOnce(t.Context()); err != nil {
		t.Error(err)
	}
	if a, c := l.ledger("a"), l.ledger("c"); len(a) != 1 || len(c) != 1 {
		t.Errorf("ledgers %q, %q", a, c)
	}
}
