package scheduler_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

// Behind a pooler nothing is prepared and nobody asks the server for types: every call must do without.
func TestEverythingWorksThroughAPooler(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v1")...)
	mode := func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec }
	l.pool = pgtest.Open(t, pgtest.PgBouncer(t, pgtest.Login(t, l.url, "scheduler")), mode)
	admin := pgtest.Open(t, pgtest.PgBouncer(t, pgtest.Login(t, l.url, "admin")), mode)
	l.table = scheduler.NewTable(admin, l.queue, scheduler.TableConfig{Keys: l.ring})
	l.apply(hourly("a", with(scheduler.Policies{Previous: "cancel", PauseAfterFailures: 3})), hourly("b", func(e *scheduler.Entry) {
		e.Job = queue.Raw("t", nil, "text/plain", queue.UntilFinished("k"), queue.Header("h", "v"))
	}))
	l.overdue("a", 2)
	l.overdue("b", 1)
	stop := l.run(func(c *scheduler.Config) {
		c.PollOnly, c.PollInterval, c.Tolerance = true, 50*time.Millisecond, 9*time.Hour
	})
	labtest.Eventually(t, "all fired", func() bool { return len(l.ledger("a")) == 3 && len(l.ledger("b")) == 2 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.table.Trigger(t.Context(), "a", "by hand"); err != nil {
		t.Error(err)
	}
	from := time.Now().Add(-9 * time.Hour)
	if n, err := l.table.Backfill(t.Context(), "a", scheduler.Backfill{From: from, To: time.Now()}); err != nil || n.Enqueued == 0 {
		t.Errorf("%+v, %v", n, err)
	}
	for _, act := range []func() (bool, error){
		func() (bool, error) { return l.table.Disable(t.Context(), "a", "x") },
		func() (bool, error) { return l.table.Enable(t.Context(), "a", "x", false) },
		func() (bool, error) { n, err := l.table.Resign(t.Context(), "x", false); return n == 2, err },
	} {
		if done, err := act(); err != nil || !done {
			t.Error(done, err)
		}
	}
	if h := l.history(scheduler.RunFilter{Schedule: "a", Outcomes: []scheduler.Outcome{scheduler.Triggered}}); len(h) != 1 {
		t.Errorf("history: %+v", h)
	}
	var ids []string
	for s, err := range l.table.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	if err := l.table.Delete(t.Context(), "x", ids...); err != nil || !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("%q, %v", ids, err)
	}
}
