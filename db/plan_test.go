package db_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/store"
)

var wrongPlan = regexp.MustCompile(`(Seq Scan|Bitmap Heap Scan) on (stem\.)?(ready|running|scheduled|jobs\w*|unique_keys|finished\w*)\b|Hash Join|Merge Join|Join Filter: \(\w+\.job_id = d\w*\.job_id`)

// TestPlans reads the plans of the hot statements while the tables are empty, full, and bloated with dead entries: only index
// scans, no hash or merge join, no nested loop over the batch times the batch. Mutants that it catches: stem.claim without its
// plan settings, and in finish and put_back a plain "in (select …)", which becomes a semi join once stem.running was seen empty.
func TestPlans(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a table with 200 000 tickets")
	}
	l := open(t)
	conn, explained := explaining(t, l)
	w := l.hire(t)
	// wrong runs every hot statement once and returns the plans that scan what they should not.
	wrong := func() []string {
		t.Helper()
		done := explained()
		rows, id := claimAs(t, conn, claimParams(w, 20))
		if jobs := jobsOf(rows); len(jobs) == 20 {
			finish(t, conn, w, id, jobs[:5]...)
			putBack(t, conn, w, id, verb{name: "fail", delay: 1}, jobs[5:10]...)
			putBack(t, conn, w, id, verb{name: "release"}, jobs[10:15]...)
			run(t, conn, "select stem.complete($1, $2, $3, 1, null)", jobs[15], id, w.id)
			claimStates(t, conn, id, jobs[16], 1)
			p := store.HeartbeatParams{Worker: w.id, Epoch: w.epoch, Jobs: jobs[16:], Claims: repeat(id, 4)}
			if _, err := store.New(conn).Heartbeat(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			finish(t, conn, w, id, jobs[16:]...)
		}
		run(t, conn, "select stem.due(10)")
		run(t, conn, "select stem.enqueue('t', unique_key => gen_random_uuid()::text)")
		run(t, conn, "select * from stem.job_states(array[gen_random_uuid()])")
		run(t, conn, "select * from stem.suspects('{default}')")
		for phase := range 3 {
			run(t, conn, "select stem._ring_phase(1, $1::smallint), stem._ring_move(0::smallint, 1::smallint, now(), 10)", phase)
		}
		if _, err := store.New(conn).Horizon(t.Context(), []string{"default"}, []int16{5}, []int64{0}); err != nil {
			t.Fatal(err)
		}
		plans := done()
		if len(plans) < 5 {
			t.Fatalf("only %d plans were seen", len(plans))
		}
		var bad []string
		for _, plan := range plans {
			if wrongPlan.MatchString(plan) {
				bad = append(bad, plan)
			}
		}
		return bad
	}
	check := func(when string) {
		t.Helper()
		for _, plan := range wrong() {
			t.Errorf("%s: %s", when, plan)
		}
	}
	check("empty")
	run(t, l.owner, `with j as (
			insert into stem.jobs (slot, id, queue, task, payload, priority, max_attempts, issued_at)
			select 0, gen_random_uuid(), 'default', 't', '{}', 5, 20, now() from generate_series(1, 200000) returning id)
		insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts) select 'default', 5, nextval('stem.ticket_pos'), id, 0, 20 from j`)
	check("full")
	run(t, l.owner, "analyze stem.ready, stem.running, stem.scheduled, stem.jobs")
	check("full, analysed")
	run(t, l.owner, "delete from stem.ready where pos < 199000")
	check("bloated")

	const guarded = "(p.job_id in (select d.job_id from d)) is true"
	for _, function := range []string{"finish", "put_back"} {
		right := one[string](t, l.owner, "select pg_get_functiondef($1::regproc)", "stem."+function)
		l.mutate(t, function, guarded, strings.TrimSuffix(guarded, " is true"))
		if len(wrong()) == 0 {
			t.Errorf("the plans of the mutant of %s look right: this test sees nothing", function)
		}
		run(t, l.owner, right)
	}

	text := one[string](t, l.owner, "select pg_get_functiondef('stem.claim'::regproc)")
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, " SET enable") })
	run(t, l.owner, "truncate stem.ready, stem.jobs")
	run(t, l.owner, "analyze stem.ready, stem.running, stem.jobs")
	run(t, l.owner, strings.Join(lines, "\n"))
	if len(wrong()) == 0 {
		t.Error("the mutant's plans look right: this test sees nothing")
	}
}

// explaining returns a connection, and a function that begins to collect the plans of what is run on it and returns the one that ends that.
func explaining(t *testing.T, l *lab) (conn *pgx.Conn, begin func() (end func() []string)) {
	t.Helper()
	config, err := pgx.ParseConfig(l.url)
	if err != nil {
		t.Fatal(err)
	}
	var plans []string
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if strings.Contains(n.Message, "plan:") {
			plans = append(plans, n.Message)
		}
	}
	if conn, err = pgx.ConnectConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	if _, err := conn.Exec(t.Context(), "load 'auto_explain'"); err != nil {
		t.Skipf("this server has no auto_explain: %v", err)
	}
	return conn, func() func() []string {
		plans = nil
		for _, s := range []string{
			"set auto_explain.log_min_duration = 0", "set auto_explain.log_nested_statements = on", "set client_min_messages = log",
		} {
			run(t, conn, s)
		}
		return func() []string {
			run(t, conn, "set client_min_messages = notice")
			return plans
		}
	}
}
