package db_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestAHeldSnapshotDoesNotSlowTheLooks fires schedules while somebody holds a snapshot, so that the index keeps an entry of each fire. A look
// that goes back for a moment reads none of the older ones; one from the beginning, which is the measure, reads all of them.
func TestAHeldSnapshotDoesNotSlowTheLooks(t *testing.T) {
	t.Parallel()
	const schedules, rounds = 100, 30
	l := open(t)
	standingOrders(t, l, schedules, "now()")
	held := begin(t, l.as(t, "observer"), pgx.RepeatableRead)
	run(t, held, "select stem.schema_version()")
	c := l.as(t, "scheduler")
	for range rounds {
		tx := begin(t, c, pgx.ReadCommitted)
		ids := column[string](t, tx, "select id from stem.lock_schedules(null, 1000)")
		if len(ids) != schedules {
			t.Fatalf("locked %d of %d", len(ids), schedules)
		}
		advance(t, tx, ids, "clock_timestamp()")
		commit(t, tx)
	}
	eventually(t, "the fires are a while ago", func() bool {
		return one[bool](t, l.owner, "select clock_timestamp() - max(due_at) > interval '0.5 s' from stem.schedules")
	})
	// entries counts what a call reads of the index, dead or alive.
	entries := func(call string) int {
		tx := begin(t, connectOwner(t, l), pgx.ReadCommitted)
		defer rollback(t, tx)
		const read = "select pg_stat_get_xact_tuples_returned('stem.schedules_due'::regclass)"
		before := one[int](t, tx, read)
		run(t, tx, call)
		return one[int](t, tx, read) - before
	}
	for _, call := range []string{"select stem.lock_schedules(null, 1000, %s)", "select stem.next_schedule(%s)"} {
		whole, recent := entries(fmt.Sprintf(call, "null")), entries(fmt.Sprintf(call, "400000"))
		t.Logf("%s: %d entries of the index, or %d with a limit of 400 ms", call, whole, recent)
		if whole < schedules*rounds {
			t.Errorf("%s: %d entries without a limit: this test sees nothing", call, whole)
		}
		if recent > 0 {
			t.Errorf("%s: %d entries with a limit", call, recent)
		}
	}
}
