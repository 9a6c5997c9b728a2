package scheduler_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing/encryption"
)

func tolerant(c *scheduler.Config) { c.Tolerance = 2 * time.Hour }

func TestADueScheduleEnqueuesItsJob(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a", func(e *scheduler.Entry) {
		e.Job = queue.Raw("report", []byte(`{"kind":"daily"}`), "", queue.On("reports"), queue.Priority(7), queue.MaxAttempts(3),
			queue.HardLimit(time.Minute), queue.Header("tenant", "t1"), queue.Group("g"), queue.Version(2), queue.UntilFinished("k"),
			queue.ExpiresIn(time.Hour))
	}), hourly("b"))
	at := l.overdue("a", 0)
	l.fire(tolerant)

	jobs := l.jobs("a")
	if len(jobs) != 1 {
		t.Fatalf("%d jobs, want 1", len(jobs))
	}
	got := labtest.One[string](t, l.owner, `
		select concat_ws('|', task, queue, convert_from(payload, 'UTF8'), codec, headers, priority, max_attempts, hard_limit_us, group_name, payload_version,
			unique_scope, origin, nominal_at at time zone 'UTC', expires_at - issued_at) from stem.jobs where id = $1`, jobs[0])
	want := `report|reports|{"kind":"daily"}|application/json|{"tenant": "t1"}|7|3|60000000|g|2|2|schedule:a|` + at.Format("2006-01-02 15:04:05") + "|01:00:00"
	if got != want {
		t.Errorf("job %s\nwant %s", got, want)
	}
	s := l.get("a")
	if want := at.Add(time.Hour); !s.NextAt.Equal(want) || !s.DueAt.Equal(want) || !s.LastAt.Equal(at) || s.Fired != 1 || s.LastJob != jobs[0] {
		t.Errorf("next %v, due %v, last %v, fired %d, job %s; want %v, the same, %v, 1, %s", s.NextAt, s.DueAt, s.LastAt, s.Fired, s.LastJob, want, at, jobs[0])
	}
	run := l.history(scheduler.RunFilter{Schedule: "a"})[0]
	if run.Outcome != scheduler.Fired || run.JobID != jobs[0] || !run.NominalAt.Equal(at) || run.State != "ready" || run.Drift == nil || *run.Drift <= 0 {
		t.Errorf("history %+v", run)
	}
	if n := len(l.jobs("b")); n != 0 {
		t.Errorf("%d jobs of the schedule that is not due", n)
	}
}

func TestMissedInstants(t *testing.T) {
	t.Parallel()
	const window = 1000 * time.Hour
	skipped := "skipped missed, and a later instant was due"
	for name, c := range map[string]struct {
		policies scheduler.Policies
		want     []string
	}{
		"last": {scheduler.Policies{CatchUpWindow: window}, []string{skipped, skipped, skipped, "late"}},
		"skip": {scheduler.Policies{Missed: "skip", CatchUpWindow: window}, slices.Repeat([]string{"skipped missed by more than 1ns"}, 4)},
		"all":  {scheduler.Policies{Missed: "all", CatchUpWindow: window}, []string{"caught_up", "caught_up", "caught_up", "late"}},
		"all, at most 2": {scheduler.Policies{Missed: "all", CatchUpWindow: window, CatchUpMax: 2}, []string{
			"skipped missed, and more later instants were due than are caught up on", "skipped missed, and more later instants were due than are caught up on",
			"caught_up", "late",
		}},
		"all, window 2h": {scheduler.Policies{Missed: "all", CatchUpWindow: 2 * time.Hour}, []string{
			"skipped missed by more than the catch-up window of 2h", "skipped missed by more than the catch-up window of 2h", "caught_up", "late",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.apply(hourly("a", with(c.policies)))
			l.overdue("a", 3)
			l.fire(func(c *scheduler.Config) { c.Tolerance = 1 })
			if got := l.ledger("a"); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			fires := 0
			for _, w := range c.want {
				if !strings.HasPrefix(w, "skipped") {
					fires++
				}
			}
			if got := len(l.jobs("a")); got != fires {
				t.Errorf("%d jobs, want %d", got, fires)
			}
		})
	}
}

func TestThePreviousRun(t *testing.T) {
	t.Parallel()
	overlapped := "overlapped the run before has not ended"
	for policy, want := range map[string][]string{
		"allow":  {"fired", "fired", "fired"},
		"skip":   {"fired", overlapped, overlapped},
		"queue":  {"fired", "queued", overlapped},
		"cancel": {"fired", "overlapped a later instant was due, which would have cancelled it", "fired"},
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.apply(hourly("a", with(scheduler.Policies{Previous: policy})))
			l.overdue("a", 2)
			labtest.Run(t, l.owner, "update stem.schedules set expire_at = next_at where id = 'a'")
			l.fire(tolerant, func(c *scheduler.Config) { c.Tolerance = 9 * time.Hour })
			first := l.jobs("a")[0]
			labtest.Run(t, l.owner, "update stem.schedules set expire_at = null where id = 'a'")
			labtest.Run(t, l.owner, `update stem.schedules set next_at = last_at + interval '1 hour', due_at = last_at + interval '1 hour'`)
			l.fire(func(c *scheduler.Config) { c.Tolerance = 9 * time.Hour })
			if got := l.ledger("a"); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			places := labtest.Places(t, l.owner, first)
			if cancelled := slices.Contains(places, "cancelled"); cancelled != (policy == "cancel") {
				t.Errorf("the first job is in %v", places)
			}
			if policy != "queue" {
				return
			}
			l.finish(first, false)
			labtest.Run(t, l.owner, "update stem.schedules set due_at = now()")
			l.fire(func(c *scheduler.Config) { c.Tolerance = 9 * time.Hour })
			if got, want := l.ledger("a"), []string{"fired", "fired waited for the run before to end", overlapped}; !slices.Equal(got, want) {
				t.Errorf("when it had ended: got %q, want %q", got, want)
			}
			if n := len(l.jobs("a")); n != 2 {
				t.Errorf("%d jobs, want 2", n)
			}
		})
	}
}

func TestPauseAfterFailures(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a", with(scheduler.Policies{PauseAfterFailures: 2, Missed: "all", CatchUpWindow: 1000 * time.Hour})))
	run := func(hour int, dead bool) {
		at := l.overdue("a", hour)
		labtest.Run(t, l.owner, "update stem.schedules set expire_at = $1", at)
		l.fire(tolerant)
		if jobs := l.jobs("a"); len(jobs) > 0 {
			if last := jobs[len(jobs)-1]; slices.Contains(labtest.Places(t, l.owner, last), "ready") {
				l.finish(last, dead)
			}
		}
	}
	run(9, true)
	run(8, false)
	run(7, true)
	if s := l.get("a"); !s.PausedAt.IsZero() {
		t.Fatalf("paused after one failure: %s", s.PausedWhy)
	}
	run(6, true)
	run(5, true)
	s := l.get("a")
	if s.PausedWhy != "2 failures in a row" || s.Status(time.Now()) != scheduler.StatusPaused || !s.NextAt.IsZero() || len(l.jobs("a")) != 4 {
		t.Fatalf("paused %q, status %s, next %v, %d jobs", s.PausedWhy, s.Status(time.Now()), s.NextAt, len(l.jobs("a")))
	}
	if got := l.ledger("a")[4]; got != "skipped paused after 2 failures in a row" {
		t.Errorf("ledger: %s", got)
	}
	labtest.Run(t, l.owner, "update stem.schedules set expire_at = null")
	if changed, err := l.table.Enable(t.Context(), "a", "mended", false); !changed || err != nil {
		t.Fatalf("Enable: %v, %v", changed, err)
	}
	if s := l.get("a"); !s.PausedAt.IsZero() || !s.NextAt.After(time.Now()) {
		t.Errorf("after Enable: paused %v, next %v", s.PausedAt, s.NextAt)
	}
	labtest.Run(t, l.owner, "update stem.schedules set expire_at = null")
	run(4, true)
	if s := l.get("a"); !s.PausedAt.IsZero() || len(l.jobs("a")) != 5 {
		t.Errorf("failures of before the resumption count: %s, %d jobs", s.PausedWhy, len(l.jobs("a")))
	}
}

func TestAUniqueJobThatWaitsHoldsItsKey(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a", func(e *scheduler.Entry) { e.Job = queue.Raw("t", nil, "text/plain", queue.UntilFinished("k")) }))
	l.overdue("a", 1)
	l.fire(tolerant)
	got, job := l.ledger("a"), l.jobs("a")[0]
	if want := []string{"fired", "duplicate job " + job.String() + " holds its unique key"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A row that cannot be fired is put off and says why; the others fire (L4).
func TestOneRowDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	for name, poison := range map[string]string{
		"spec":     `update stem.schedules set spec = 'nonsense' where id = 'b'`,
		"zone":     `update stem.schedules set zone = 'Mars/Olympus' where id = 'b'`,
		"policies": `update stem.schedules set policies = '{' where id = 'b'`,
		"payload":  `update stem.schedules set payload = convert_to('{', 'UTF8') where id = 'b'`,
		"codec":    `update stem.schedules set codec = '` + encryption.Wrap("application/json") + `' where id = 'b'`,
		"trigger": `create function stem.no() returns trigger language plpgsql as $$ begin
			if new.origin = 'schedule:b' then raise exception 'no'; end if; return new; end $$;
			create trigger no before insert on stem.jobs for each row execute function stem.no()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.apply(hourly("a"), hourly("b"), hourly("c"))
			labtest.Run(t, l.owner, poison)
			for _, id := range []string{"b", "a", "c"} {
				l.overdue(id, 0)
			}
			l.fire(tolerant)
			if a, c := l.ledger("a"), l.ledger("c"); !slices.Equal(a, []string{"fired"}) || !slices.Equal(c, []string{"fired"}) {
				t.Errorf("ledgers %q, %q", a, c)
			}
			s := l.get("b")
			if s.Failed == "" || len(l.ledger("b")) != 0 || !s.DueAt.After(s.NextAt) || s.Status(time.Now()) != scheduler.StatusFailing {
				t.Errorf("b: failed %q, ledger %q, next %v, due %v, status %s", s.Failed, l.ledger("b"), s.NextAt, s.DueAt, s.Status(time.Now()))
			}
			t.Log(s.Failed)
		})
	}
}

func TestRunFiresAtTheInstant(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	stop := l.run()
	e := hourly("a")
	e.Spec = "every:1s"
	l.apply(e) // while it sleeps: it is notified
	labtest.Eventually(t, "three runs", func() bool { return len(l.ledger("a")) >= 3 })
	if _, err := l.table.Disable(t.Context(), "a", "enough"); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := labtest.One[int](t, l.owner, "select count(*) from stem.schedule_runs where recorded_at < nominal_at or drift_us < 0"); n != 0 {
		t.Errorf("%d runs were early", n)
	}
	t.Log("drifts:", labtest.Column[int64](t, l.owner, "select drift_us from stem.schedule_runs"))
}
