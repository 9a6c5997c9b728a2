package scheduler_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/scheduler/spec"
)

func kinds(p *scheduler.Plan) map[string]string {
	m := map[string]string{}
	for _, c := range p.Changes {
		m[c.ID] = c.Kind
	}
	return m
}

func TestApplyingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{"unsigned": nil, "signed": signed("v1")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, environ...)
			entries := []scheduler.Entry{
				hourly("a"),
				{
					ID: "b", Spec: "0 9 * * MON-FRI", Zone: "Europe/Berlin", Jitter: time.Minute, ExpireAt: time.Now().AddDate(1, 0, 0), Description: "for people",
					Job: queue.Raw("t", []byte(`[1]`), "", queue.On("q"), queue.Priority(1), queue.MaxAttempts(2), queue.HardLimit(time.Hour),
						queue.SoftLimit(time.Minute), queue.Header("h", "v"), queue.UntilFinished("k"), queue.Group("g"), queue.Version(3), queue.ExpiresIn(time.Hour)),
					Policies: scheduler.Policies{
						Gap: "skip", Overlap: "both", Missed: "all", CatchUpWindow: 2 * time.Hour, CatchUpMax: 7, Previous: "skip", PauseAfterFailures: 3,
					},
				},
			}
			if got := kinds(l.apply(entries...)); got["a"] != scheduler.KindNew || got["b"] != scheduler.KindNew {
				t.Fatalf("first: %v", got)
			}
			before := labtest.One[string](t, l.owner, "select string_agg(s::text, '') from stem.schedules s")
			if p := l.apply(entries...); !p.IsEmpty() {
				t.Errorf("second: %+v", p.Changes)
			}
			if after := labtest.One[string](t, l.owner, "select string_agg(s::text, '') from stem.schedules s"); after != before {
				t.Errorf("the rows changed:\n%s\n%s", before, after)
			}
			if n := labtest.One[int](t, l.owner, "select count(*) from stem.audit"); n != 1 {
				t.Errorf("%d audit rows, want 1", n)
			}
		})
	}
}

// Each field of an entry is seen to differ, by its name.
func TestAPlanNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	job := func(options ...queue.Option) queue.Request { return queue.Raw("t", []byte(`{"n":1}`), "", options...) }
	l.apply(hourly("a"))
	off := false
	for field, change := range map[string]func(*scheduler.Entry){
		"spec":                        func(e *scheduler.Entry) { e.Spec = "every:2h" },
		"zone":                        func(e *scheduler.Entry) { e.Zone = "Asia/Kathmandu" },
		"jitter":                      func(e *scheduler.Entry) { e.Jitter = time.Second },
		"expireAt":                    func(e *scheduler.Entry) { e.ExpireAt = time.Now().AddDate(1, 0, 0) },
		"enabled":                     func(e *scheduler.Entry) { e.Enabled = &off },
		"description":                 func(e *scheduler.Entry) { e.Description = "x" },
		"task":                        func(e *scheduler.Entry) { e.Job = queue.Raw("u", []byte(`{"n":1}`), "") },
		"args":                        func(e *scheduler.Entry) { e.Job = queue.Raw("t", []byte(`{"n":2}`), "") },
		"codec":                       func(e *scheduler.Entry) { e.Job = queue.Raw("t", []byte(`{"n":1}`), "text/plain") },
		"queue":                       func(e *scheduler.Entry) { e.Job = job(queue.On("q")) },
		"priority":                    func(e *scheduler.Entry) { e.Job = job(queue.Priority(1)) },
		"maxAttempts":                 func(e *scheduler.Entry) { e.Job = job(queue.MaxAttempts(1)) },
		"hardLimit":                   func(e *scheduler.Entry) { e.Job = job(queue.HardLimit(1e9)) },
		"softLimit":                   func(e *scheduler.Entry) { e.Job = job(queue.SoftLimit(1e9)) },
		"headers":                     func(e *scheduler.Entry) { e.Job = job(queue.Header("h", "v")) },
		"uniqueKey":                   func(e *scheduler.Entry) { e.Job = job(queue.UntilFinished("k")) },
		"expiresIn":                   func(e *scheduler.Entry) { e.Job = job(queue.ExpiresIn(1e9)) },
		"group":                       func(e *scheduler.Entry) { e.Job = job(queue.Group("g")) },
		"version":                     func(e *scheduler.Entry) { e.Job = job(queue.Version(1)) },
		"policies.gap":                with(scheduler.Policies{Gap: "skip"}),
		"policies.overlap":            with(scheduler.Policies{Overlap: "both"}),
		"policies.missed":             with(scheduler.Policies{Missed: "all"}),
		"policies.catchUpWindow":      with(scheduler.Policies{CatchUpWindow: time.Minute}),
		"policies.catchUpMax":         with(scheduler.Policies{CatchUpMax: 1}),
		"policies.previous":           with(scheduler.Policies{Previous: "skip"}),
		"policies.pauseAfterFailures": with(scheduler.Policies{PauseAfterFailures: 1}),
	} {
		p, err := l.table.Plan(t.Context(), false, hourly("a", change))
		if err != nil {
			t.Fatal(err)
		}
		c := p.Changes[0]
		if c.Kind != scheduler.KindChanged || len(c.Fields) != 1 || c.Fields[0].Name != field || c.Fields[0].Before == c.Fields[0].After {
			t.Errorf("%s: %s %+v", field, c.Kind, c.Fields)
		}
	}
}

func TestApplyKeepsWhatSchedulersWrote(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v1")...)
	l.apply(hourly("a"), hourly("b"))
	for _, id := range []string{"a", "b"} {
		l.overdue(id, 0)
	}
	l.fire(tolerant)
	due := l.overdue("a", 0) // as if it had not been decided
	labtest.Run(t, l.owner, "delete from stem.schedule_runs where schedule = 'a'")
	l.overdue("b", 0)
	l.apply(hourly("a", func(e *scheduler.Entry) { e.Job = queue.Raw("new", nil, "text/plain") }), hourly("b", func(e *scheduler.Entry) { e.Spec = every("30m") }))
	a, b := l.get("a"), l.get("b")
	if a.Version != 2 || a.Fired != 1 || a.LastAt.IsZero() || !a.NextAt.Equal(due) || a.Task != "new" {
		t.Errorf("a: version %d, fired %d, last %v, next %v, task %s", a.Version, a.Fired, a.LastAt, a.NextAt, a.Task)
	}
	if b.Version != 2 || b.Fired != 1 || !b.NextAt.After(time.Now()) || b.NextAt.After(time.Now().Add(30*time.Minute)) {
		t.Errorf("b, which fires at other instants now: version %d, fired %d, next %v", b.Version, b.Fired, b.NextAt)
	}
	l.fire(tolerant)
	if got := l.ledger("a"); !slices.Equal(got, []string{"fired"}) {
		t.Errorf("what was due goes by the new order: %q", got)
	}
}

func TestApplyLeavesWhatSomebodySwitchedOff(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a"))
	if _, err := l.table.Disable(t.Context(), "a", "too loud"); err != nil {
		t.Fatal(err)
	}
	l.apply(hourly("a", func(e *scheduler.Entry) { e.Description = "changed" }))
	if s := l.get("a"); s.Enabled || !s.DueAt.IsZero() {
		t.Error("an entry that does not say so switched it on")
	}
	on := true
	l.apply(hourly("a", func(e *scheduler.Entry) { e.Enabled = &on }))
	if s := l.get("a"); !s.Enabled || s.DueAt.IsZero() {
		t.Error("an entry that says so did not switch it on")
	}
}

func TestAStalePlanIsRefusedWhole(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a"), hourly("b"), hourly("gone"))
	plan := func(entries ...scheduler.Entry) *scheduler.Plan {
		p, err := l.table.Plan(t.Context(), true, entries...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	changed := func(id string) scheduler.Entry { return hourly(id, func(e *scheduler.Entry) { e.Spec = "every:2h" }) }
	stale := plan(changed("a"), changed("b"), hourly("new"))
	refused := func(want string) {
		t.Helper()
		if err := l.table.Apply(t.Context(), stale, ""); !errors.Is(err, scheduler.ErrChanged) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if s := l.get("a"); s.Version != 1 {
			t.Error("a part of the plan was applied")
		}
		l.get("gone")
	}
	l.apply(hourly("new"))
	refused(`schedule "new" is there already (version 1)`)
	l.apply(changed("b"))
	refused(`schedule "b" changed since you read it (version 2, yours 1)`)
	fresh := plan(changed("a"), changed("b"), hourly("new"))
	if got := kinds(fresh); got["gone"] != scheduler.KindPruned || got["a"] != scheduler.KindChanged || got["new"] != scheduler.KindSame {
		t.Errorf("plan: %v", got)
	}
	if err := l.table.Apply(t.Context(), fresh, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := l.table.Get(t.Context(), "gone"); !errors.Is(err, scheduler.ErrNotFound) {
		t.Errorf("pruned: %v", err)
	}
	if err := l.table.Apply(t.Context(), plan(changed("a"), changed("b")), ""); err != nil {
		t.Fatal(err)
	}
	if err := l.table.Delete(t.Context(), "", "a", "none"); !errors.Is(err, scheduler.ErrNotFound) {
		t.Errorf("delete: %v", err)
	}
	l.get("a")
}

func TestCheckNamesEveryMistake(t *testing.T) {
	t.Parallel()
	q, err := queue.New(queue.Config{MaxPayloadBytes: 10})
	if err != nil {
		t.Fatal(err)
	}
	bad := scheduler.Entry{
		ID: "a b", Spec: "61 * * * *", Zone: "CEST", Jitter: -1, ExpireAt: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), Description: strings.Repeat("x", 5000),
		Job: queue.Raw("no task", []byte(`{"too":"large"}`), "", queue.After(time.Hour), queue.UniqueFor("k", time.Hour)),
		Policies: scheduler.Policies{
			Gap: "x", Overlap: "x", Missed: "x", CatchUpWindow: 1, CatchUpMax: 1001, Previous: "queue one", PauseAfterFailures: -1,
		},
	}
	var fields []string
	joined, is := scheduler.Check(q, bad, hourly("a"), hourly("a")).(interface{ Unwrap() []error })
	if !is {
		t.Fatal("not a list of mistakes")
	}
	for _, err := range joined.Unwrap() {
		e, is := errors.AsType[*scheduler.EntryError](err)
		if !is {
			t.Fatalf("%T %v", err, err)
		}
		t.Log(e)
		fields = append(fields, e.Field)
	}
	want := []string{
		"id", "spec", "zone", "policies.gap", "policies.overlap", "policies.missed", "policies.previous", "policies.catchUpWindow", "policies.catchUpMax",
		"policies.pauseAfterFailures", "jitter", "expireAt", "job", "description", "id",
	}
	if !slices.Equal(fields, want) {
		t.Errorf("got  %q\nwant %q", fields, want)
	}
	if _, is := errors.AsType[*spec.Error](scheduler.Check(q, bad)); !is {
		t.Error("the mistake in the spec has no position")
	}
	tight := hourly("a", func(e *scheduler.Entry) { e.Spec, e.Jitter = "every:5m", time.Hour })
	if err := scheduler.Check(q, tight); err == nil || !strings.Contains(err.Error(), "jitter: 1h0m0s is longer than the 5m0s between two runs") {
		t.Errorf("jitter: %v", err)
	}
}

func TestTriggerLeavesTheScheduleWhereItIs(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v1")...)
	l.apply(hourly("a"))
	before := l.get("a")
	r, err := l.table.Trigger(t.Context(), "a", "to see")
	if err != nil {
		t.Fatal(err)
	}
	if after := l.get("a"); !after.NextAt.Equal(before.NextAt) || !after.DueAt.Equal(before.DueAt) || after.Version != before.Version {
		t.Errorf("next %v, due %v", after.NextAt, after.DueAt)
	}
	if h := l.history(scheduler.RunFilter{}); len(h) != 1 || h[0].Outcome != scheduler.Triggered || h[0].JobID != r.ID {
		t.Errorf("history %+v", h)
	}
	if a := labtest.One[string](t, l.owner, "select action || ' ' || target || ' ' || reason from stem.audit order by id desc limit 1"); a != "trigger_schedule schedule a to see" {
		t.Errorf("audit: %s", a)
	}
	if _, err := l.table.Trigger(t.Context(), "none", ""); !errors.Is(err, scheduler.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	labtest.Run(t, l.owner, "update stem.schedules set task = 'forged'")
	if _, err := l.table.Trigger(t.Context(), "a", ""); !errors.Is(err, scheduler.ErrRefused) {
		t.Errorf("forged: %v", err)
	}
}

func TestBackfillEnqueuesEachInstantOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a", with(scheduler.Policies{CatchUpWindow: 1000 * time.Hour})))
	l.overdue("a", 3)
	l.fire(func(c *scheduler.Config) { c.Tolerance = 1 }) // three skipped, one late
	b := scheduler.Backfill{From: fullHour.Add(-5 * time.Hour), To: fullHour.Add(10 * time.Hour), Reason: "an outage", DryRun: true}
	count, err := l.table.Backfill(t.Context(), "a", b)
	if want := (scheduler.BackfillCount{Instants: 6, Enqueued: 5, Had: 1}); err != nil || count != want {
		t.Fatalf("dry run: %+v, %v; want %+v", count, err, want)
	}
	if n := len(l.jobs("a")); n != 1 {
		t.Fatalf("a dry run enqueued %d", n-1)
	}
	b.DryRun = false
	for _, want := range []scheduler.BackfillCount{{Instants: 6, Enqueued: 5, Had: 1}, {Instants: 6, Had: 6}} {
		var seen scheduler.BackfillCount
		b.Progress = func(c scheduler.BackfillCount) { seen = c }
		if count, err := l.table.Backfill(t.Context(), "a", b); err != nil || count != want || seen != want {
			t.Errorf("%+v, %v, progress %+v; want %+v", count, err, seen, want)
		}
	}
	if got, want := l.ledger("a"), []string{"backfilled", "backfilled", "backfilled", "backfilled", "backfilled", "late"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if n := labtest.One[int](t, l.owner, "select count(distinct nominal_at) from stem.jobs where origin = 'schedule:a'"); n != 6 {
		t.Errorf("%d nominal instants, want 6", n)
	}
	// More than one transaction; and what is due now and not fired yet is the schedulers' no more.
	l.apply(hourly("often", func(e *scheduler.Entry) { e.Spec = "every:1m" }))
	b = scheduler.Backfill{From: fullHour.Add(-20 * time.Hour), To: fullHour}
	if count, err := l.table.Backfill(t.Context(), "often", b); err != nil || count.Enqueued != 1201 {
		t.Errorf("%+v, %v", count, err)
	}
	l.overdue("often", 0)
	l.fire(tolerant)
	if n := labtest.One[int](t, l.owner, "select count(*) - count(distinct nominal_at) from stem.jobs where origin = 'schedule:often'"); n != 0 {
		t.Errorf("%d instants have two jobs", n)
	}
}

func TestResign(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v1")...)
	l.apply(hourly("a"), hourly("b"), hourly("forged"))
	due := l.overdue("a", 0)
	labtest.Run(t, l.owner, "update stem.schedules set task = 'x' where id = 'forged'")
	l.use("STEM_SIGNING_KEYS=v1:"+signingKey("v1")+",v2:"+signingKey("v2"), "STEM_SIGNING_ACTIVE_KEY=v2")
	if _, err := l.table.Resign(t.Context(), "", false); !errors.Is(err, scheduler.ErrRefused) {
		t.Errorf("with a forged one: %v", err)
	}
	if n, err := l.table.Resign(t.Context(), "rotation", false, "a", "b"); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if s := l.get("a"); s.Key != "v2" || !s.NextAt.Equal(due) {
		t.Errorf("key %s, next %v", s.Key, s.NextAt)
	}
	if n, err := l.table.Resign(t.Context(), "looked at it", true, "forged"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for v, err := range l.table.Verify(t.Context()) {
		if err != nil || v.Refused() || v.Key != "v2" {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

func TestAnObserverSeesSchedulesAndNoPayload(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.apply(hourly("a"), hourly("b"))
	table := scheduler.NewTable(pgtest.Open(t, pgtest.Login(t, l.url, "observer")), l.queue, scheduler.TableConfig{})
	var ids []string
	for s, err := range table.List(t.Context()) {
		if err != nil || s.Job != nil || s.Task != "t" {
			t.Fatal(s, err)
		}
		ids = append(ids, s.ID)
	}
	if !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("%q", ids)
	}
	if _, err := table.Get(t.Context(), "a"); labtest.Code(err) != "42501" {
		t.Errorf("Get: %v", err)
	}
}
