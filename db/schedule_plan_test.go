package db_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

var wrongSchedulePlan = regexp.MustCompile(`Seq Scan on schedule|Bitmap Heap Scan on schedule_runs|Index Scan using schedules_pkey on schedules s [^\n]*\n\s+Filter|Merge Join`)

// TestSchedulePlans reads the plans of what a scheduler calls, with no schedule, with 10 000, once they were analysed, and when most of the
// entries of their index are dead: no scan of all schedules, no sort of a ledger. Mutants that it catches: the functions without
// their plan settings, and a look that does not ask whether a schedule is on, as the index does.
func TestSchedulePlans(t *testing.T) {
	t.Parallel()
	l := open(t)
	conn, explained := explaining(t, l)
	wrong := func() (bad []string) {
		t.Helper()
		done := explained()
		tx := begin(t, conn, pgx.ReadCommitted)
		ids := column[string](t, tx, "select id from stem.lock_schedules(null, 200)")
		run(t, tx, "select stem.lock_schedules(null, 200, 5000000), stem.lock_schedules('{s1,s2}', 200), stem.next_schedule(), stem.next_schedule(5000000)")
		run(t, tx, "select stem.read_schedules($1, null, 0), stem.recent_runs($1, 20), stem.runs_with_jobs('s1', '2026-01-01', '2026-01-02')", ids)
		if err := record(t, tx, "skipped", nil, nil); err != nil {
			t.Fatal(err)
		}
		if n := one[int](t, tx, `select stem.advance_schedules($1, array_fill(1::bigint, n), array_fill(now(), n), array_fill(now() + interval '1 h', n), array_fill(now(), n),
			array_fill(null::timestamptz, n), array_fill(null::uuid, n), array_fill(1, n), array_fill(null::text, n), array_fill(null::text, n),
			array_fill(null::text, n)) from (select array[cardinality($1::text[])] n) x`, ids); n != len(ids) {
			t.Fatalf("%d of %d moved", n, len(ids))
		}
		run(t, tx, "select stem.prune_runs(3600000000, 100)")
		rollback(t, tx)
		plans := done()
		if len(plans) < 8 {
			t.Fatalf("only %d plans were seen", len(plans))
		}
		return slices.DeleteFunc(plans, func(p string) bool { return !wrongSchedulePlan.MatchString(p) })
	}
	check := func(when string) {
		t.Helper()
		for _, plan := range wrong() {
			t.Errorf("%s: %s", when, plan)
		}
	}
	check("empty")
	standingOrders(t, l, 10_000, "now() + (i - 300) * interval '1 s'")
	run(t, l.owner, `insert into stem.schedule_runs (schedule, nominal_at, outcome, recorded_at)
		select 's' || i % 500, timestamptz '2025-01-01' + i * interval '1 minute', 'skipped', now() - i * interval '1 s' from generate_series(1, 20000) i`)
	check("full")
	run(t, l.owner, "analyze stem.schedules, stem.schedule_runs")
	check("full, analysed")
	for range 3 {
		run(t, l.owner, "update stem.schedules set due_at = due_at + interval '1 us'")
	}
	check("bloated")

	for function, pairs := range map[string][]string{
		"lock_schedules": {"v_from and v_now and s.enabled", "v_from and v_now"}, "next_schedule": {"s.due_at >= v_from and s.enabled", "s.due_at >= v_from"},
	} {
		right := one[string](t, l.owner, "select pg_get_functiondef($1::regproc)", "stem."+function)
		l.mutate(t, function, pairs...)
		if len(wrong()) == 0 {
			t.Errorf("the plans of the mutant of %s look right: this test sees nothing", function)
		}
		run(t, l.owner, right)
	}
	text := one[string](t, l.owner, "select pg_get_functiondef('stem.lock_schedules'::regproc)")
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, " SET enable") })
	run(t, l.owner, "truncate stem.schedules, stem.schedule_runs")
	run(t, l.owner, "analyze stem.schedules, stem.schedule_runs")
	run(t, l.owner, strings.Join(lines, "\n"))
	if len(wrong()) == 0 {
		t.Error("the mutant's plans look right: this test sees nothing")
	}
}
