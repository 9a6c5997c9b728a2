package db_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/labtest"
)

// entry is one of stem.apply_schedules: a version and the one that it replaces.
func entry(id string, expected int, keepNext bool) string {
	return fmt.Sprintf(`{"id": %q, "expected": %d, "version": %d, "enabled": true, "spec": "{}", "zone": "UTC", "policies": "{}", "jitter_us": 0,
		"task": "t", "queue": "q", "codec": "c", "payload": "e30=", "priority": 5, "max_attempts": 1, "next_at": %q, "due_at": %q, "keep_next": %t}`,
		id, expected, expected+1, instant, instant, keepNext)
}

func apply(t *testing.T, db labtest.DB, entries ...string) error {
	t.Helper()
	_, err := db.Exec(t.Context(), "select stem.apply_schedules($1, 'apply', 'why')", "["+strings.Join(entries, ",")+"]")
	return err
}

// applying applies on a connection of its own.
func applying(t *testing.T, db labtest.DB, entries ...string) *labtest.Pending[int] {
	t.Helper()
	return labtest.Start(func() (int, error) { return 0, apply(t, db, entries...) })
}

const versions = "select coalesce(string_agg(id || version, ' ' order by id), '') from stem.schedules"

// TestApplyWaitsForAScheduler: the one that fires it moves it on; then the version decides, and what is not timed anew keeps its place.
func TestApplyWaitsForAScheduler(t *testing.T) {
	t.Parallel()
	l := open(t)
	standingOrders(t, l, 2, "now()")
	firing := l.beginAs(t, "scheduler")
	run(t, firing, "select stem.lock_schedules(null, 10)")
	operator := l.as(t, "operator")
	call := applying(t, operator, entry("s1", 1, true), entry("s2", 1, false))
	l.awaitBlocked(t, pid(operator))
	const later = "'2040-01-01T00:00:00Z'::timestamptz"
	if n := advance(t, firing, []string{"s1", "s2"}, later); n != 2 {
		t.Fatalf("%d moved", n)
	}
	commit(t, firing)
	call.Wait(t)
	got := one[string](t, l.owner, "select string_agg(concat_ws(' ', id, version, fired, extract(year from next_at)), ', ' order by id) from stem.schedules")
	if want := "s1 2 1 2040, s2 2 1 2026"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := advance(t, l.as(t, "scheduler"), []string{"s1", "s2"}, later); n != 0 {
		t.Errorf("a scheduler that read version 1 moved %d", n)
	}
}

// TestAStaleApplyDoesNothing: neither what comes before the stale entry nor what comes after, and the audit log has no line.
func TestAStaleApplyDoesNothing(t *testing.T) {
	t.Parallel()
	l := open(t)
	standingOrders(t, l, 3, "now()")
	operator := l.as(t, "operator")
	if err := apply(t, operator, entry("s2", 1, true)); err != nil {
		t.Fatal(err)
	}
	const sight = "select string_agg(s::text, ' ' order by id) || (select count(*) from stem.audit) from stem.schedules s"
	before := one[string](t, l.owner, sight)
	for name, stale := range map[string]string{"changed": entry("s2", 1, true), "gone": entry("s9", 4, true), "there already": entry("s2", 0, true)} {
		err := apply(t, operator, entry("s1", 1, true), stale, entry("s3", 1, true))
		wantCode(t, err, "ST003")
		t.Logf("%s: %v", name, err)
	}
	_, err := operator.Exec(t.Context(), "select stem.delete_schedules('{s1,s2,s3}', '{1,1,1}', '')")
	wantCode(t, err, "ST003")
	if after := one[string](t, l.owner, sight); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

// TestTwoMakeTheSameSchedule: the second waits for the first, and is told of it; or makes it, when the first gives up.
func TestTwoMakeTheSameSchedule(t *testing.T) {
	t.Parallel()
	for _, rolledBack := range []bool{false, true} {
		t.Run(fmt.Sprintf("the first gives up: %t", rolledBack), func(t *testing.T) {
			t.Parallel()
			l := open(t)
			first := l.beginAs(t, "operator")
			if err := apply(t, first, entry("s1", 0, false)); err != nil {
				t.Fatal(err)
			}
			operator := l.as(t, "operator")
			call := applying(t, operator, entry("s0", 0, false), entry("s1", 0, false))
			l.awaitBlocked(t, pid(operator))
			want, end := "s11", commit
			if rolledBack {
				want, end = "s01 s11", rollback
			}
			end(t, first)
			<-call.Done
			if got := code(call.Err); got != map[bool]string{false: "ST003", true: ""}[rolledBack] {
				t.Errorf("the second: %v", call.Err)
			}
			if got := one[string](t, l.owner, versions); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// TestAppliesInOppositeOrders: the second waits for the first, and is told that it is stale. Mutant that it catches: calls that lock in the order
// of their entries (a deadlock).
func TestAppliesInOppositeOrders(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(fmt.Sprintf("mutant: %t", mutant), func(t *testing.T) {
			t.Parallel()
			l := open(t)
			standingOrders(t, l, 2, "now()")
			if mutant {
				l.mutate(t, "apply_schedules", "order by x.id -- calls", "-- calls")
			}
			held := begin(t, connectOwner(t, l), pgx.ReadCommitted)
			run(t, held, "select from stem.schedules where id = 's1' for update")
			a, b := l.as(t, "operator"), l.as(t, "operator")
			one, two := entry("s1", 1, true), entry("s2", 1, true)
			first := applying(t, a, one, two)
			l.awaitBlocked(t, pid(a))
			second := applying(t, b, two, one)
			l.awaitBlocked(t, pid(b))
			rollback(t, held)
			<-first.Done
			<-second.Done
			got := code(first.Err) + " " + code(second.Err)
			if deadlock := strings.Contains(got, "40P01"); deadlock != mutant || !mutant && got != " ST003" {
				t.Errorf("%v, %v", first.Err, second.Err)
			}
		})
	}
}

// TestDisableAndDeleteWaitForAScheduler: what it has fired stays fired; then the schedule is off, or gone, and its ledger is there.
func TestDisableAndDeleteWaitForAScheduler(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]string{
		"select stem.disable_schedule('s1', '')":          "f 1 off",
		"select stem.delete_schedules('{s1}', '{1}', '')": "",
	} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			standingOrders(t, l, 1, "now()")
			firing := l.beginAs(t, "scheduler")
			run(t, firing, "select stem.lock_schedules(null, 10)")
			operator := l.as(t, "operator")
			call := labtest.Start(func() (int, error) {
				_, err := operator.Exec(t.Context(), action)
				return 0, err
			})
			l.awaitBlocked(t, pid(operator))
			job := newIDs()
			if err := record(t, firing, "fired", &job, nil); err != nil {
				t.Fatal(err)
			}
			if n := advance(t, firing, []string{"s1"}, "now() + interval '1 hour'"); n != 1 {
				t.Fatalf("%d moved", n)
			}
			commit(t, firing)
			call.Wait(t)
			got := one[string](t, l.owner, `select coalesce(string_agg(concat_ws(' ', enabled, fired,
				case when num_nulls(next_at, due_at, queued_at) = 3 then 'off' end), ', '), '') from stem.schedules`)
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if n := one[int](t, l.owner, "select count(*) from stem.schedule_runs where job_id = $1", job); n != 1 {
				t.Errorf("%d rows of the ledger", n)
			}
			if n := advance(t, l.as(t, "scheduler"), []string{"s1"}, "now() + interval '1 hour'"); n != 0 {
				t.Errorf("a scheduler moves it all the same")
			}
		})
	}
}
