package db_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/labtest"
)

// standingOrders makes the schedules s1, s2 and so on, each due, and with its next instant, at a time in SQL.
func standingOrders(t *testing.T, l *lab, n int, due string) {
	t.Helper()
	run(t, l.owner, `insert into stem.schedules (id, version, enabled, spec, zone, policies, jitter_us, task, queue, codec, payload, priority, max_attempts, next_at, due_at)
		select 's' || i, 1, true, '{}', 'UTC', '{}', 0, 't', 'q', 'c', '', 5, 1, x, x from generate_series(1, $1) i, lateral (select `+due+` x) y`, n)
}

// advance moves schedules of version 1 on, as a scheduler does, and returns how many have moved.
func advance(t *testing.T, db labtest.DB, ids []string, next string) int {
	t.Helper()
	return one[int](t, db, `select stem.advance_schedules($1, array_fill(1::bigint, n), array_fill(`+next+`, n), array_fill(`+next+`, n),
		(select array_agg(s.next_at order by u.o) from unnest($1::text[]) with ordinality u(id, o) left join stem.read_schedules($1, null, 0) s using (id)),
		array_fill(null::timestamptz, n), array_fill(null::uuid, n), array_fill(1, n), array_fill(null::text, n), array_fill(null::text, n),
		array_fill(null::text, n)) from (select array[cardinality($1::text[])] n) x`, ids)
}

const instant = "2026-01-01T10:00:00Z"

// record writes one row of the ledger of s1, and lets the caller have the error.
func record(t *testing.T, db labtest.DB, outcome string, job *uuid.UUID, action *string) error {
	t.Helper()
	_, err := db.Exec(t.Context(), "select stem.record_runs('{s1}', array[$1::timestamptz], array[$2], array[$3::uuid], '{0}', '{0}', '{null}', $4, '')",
		instant, outcome, job, action)
	return err
}

// TestTwoSchedulersShareWhatIsDue: the second gets what the first has left, at once. Mutant that it catches: no SKIP LOCKED (it waits).
func TestTwoSchedulersShareWhatIsDue(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(fmt.Sprintf("mutant: %t", mutant), func(t *testing.T) {
			t.Parallel()
			l := open(t)
			standingOrders(t, l, 5, "now() - i * interval '1 minute'")
			run(t, l.owner, "update stem.schedules set due_at = now() + interval '1 hour' where id = 's5'")
			if mutant {
				l.mutate(t, "lock_schedules", " for update skip locked", " for update")
			}
			first := l.beginAs(t, "scheduler")
			if got := column[string](t, first, "select id from stem.lock_schedules(null, 2)"); !slices.Equal(got, []string{"s4", "s3"}) {
				t.Fatalf("the first got %v, want the most overdue", got)
			}
			second := l.as(t, "scheduler")
			call := labtest.Start(func() ([]string, error) {
				rows, err := second.Query(t.Context(), "select id from stem.lock_schedules(null, 10)")
				if err != nil {
					return nil, err
				}
				return pgx.CollectRows(rows, pgx.RowTo[string])
			})
			if waits := l.isBlocked(t, pid(second), call.Done); waits != mutant {
				t.Fatalf("the second waits: %t", waits)
			}
			rollback(t, first)
			if got := call.Wait(t); !mutant && !slices.Equal(got, []string{"s2", "s1"}) {
				t.Errorf("the second got %v", got)
			}
		})
	}
}

// TestWhatWasWaitedForIsSeen has a scheduler wait by name for one that moves the schedule on and writes an instant beyond: it must be told of
// that. Mutant that it catches: one statement in place of two (the new next_at, and the ledger of before).
func TestWhatWasWaitedForIsSeen(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(fmt.Sprintf("mutant: %t", mutant), func(t *testing.T) {
			t.Parallel()
			l := open(t)
			standingOrders(t, l, 1, "'2026-01-01T09:00:00Z'::timestamptz")
			if mutant {
				l.mutate(t, "lock_schedules", "v_rows := array(select s.ctid from stem.schedules s where s.id = any (p_ids) order by s.id for update);",
					`return query select x.id::text, v_now, array(select r.nominal_at from stem.schedule_runs r where r.schedule = x.id and r.nominal_at >= x.next_at)
						from (select * from stem.schedules s where s.id = any (p_ids) for update) x; return;`)
			}
			first := l.beginAs(t, "scheduler")
			run(t, first, "select stem.lock_schedules('{s1}', 1)")
			second := l.as(t, "scheduler")
			call := labtest.Start(func() (done int, err error) {
				err = second.QueryRow(t.Context(), "select cardinality(done) from stem.lock_schedules('{s1}', 1)").Scan(&done)
				return done, err
			})
			l.awaitBlocked(t, pid(second))
			if err := record(t, first, "skipped", nil, nil); err != nil {
				t.Fatal(err)
			}
			if n := advance(t, first, []string{"s1"}, "'"+instant+"'::timestamptz"); n != 1 {
				t.Fatalf("%d moved", n)
			}
			commit(t, first)
			if got, want := call.Wait(t), map[bool]int{false: 1, true: 0}[mutant]; got != want {
				t.Errorf("told of %d instants, want %d", got, want)
			}
		})
	}
}

// TestASecondFireTakesItsJobWithIt has two callers enqueue a job for one instant, whoever they are. The second waits for the first, and then
// has nothing. Mutants that it catches: ON CONFLICT DO NOTHING that nobody looks at, and an update that does not ask for a job (two jobs).
func TestASecondFireTakesItsJobWithIt(t *testing.T) {
	t.Parallel()
	trigger, backfill := "trigger", "backfill"
	callers := map[string]*string{"a scheduler": nil, "a backfill": &backfill, "a trigger": &trigger}
	type race struct {
		name          string
		first, second *string
		rolledBack    bool
		mutate        []string
		jobs          int
	}
	races := []race{
		{"the first gives up", nil, nil, true, nil, 1},
		{"mutant: nobody looks", nil, nil, false, []string{"if found then", "if false then"}, 2},
		{"mutant: no matter whether it has a job", nil, nil, false, []string{"where r.job_id is null and", "where true or"}, 2},
	}
	for a, first := range callers {
		for b, second := range callers {
			races = append(races, race{a + " and " + b, first, second, false, nil, 1})
		}
	}
	for _, r := range races {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			standingOrders(t, l, 1, "now()")
			if r.mutate != nil {
				l.mutate(t, "record_runs", r.mutate...)
			}
			fire := func(action *string) (pgx.Tx, *labtest.Pending[int]) {
				tx := l.beginAs(t, "admin")
				job := one[uuid.UUID](t, tx, "select stem.enqueue('t')")
				return tx, labtest.Start(func() (int, error) { return 0, record(t, tx, "fired", &job, action) })
			}
			first, done := fire(r.first)
			done.Wait(t)
			second, call := fire(r.second)
			if !l.isBlocked(t, pid(second), call.Done) {
				t.Fatal("the second does not wait for the first")
			}
			end := commit
			if r.rolledBack {
				end = rollback
			}
			end(t, first)
			<-call.Done
			if refused := call.Err != nil; refused != (r.jobs == 1 && !r.rolledBack) {
				t.Errorf("the second: %v", call.Err)
			}
			if call.Err != nil {
				wantCode(t, call.Err, "23505")
				rollback(t, second)
			} else {
				commit(t, second)
			}
			if n := one[int](t, l.owner, "select count(*) from stem.ready"); n != r.jobs {
				t.Errorf("%d jobs, want %d", n, r.jobs)
			}
			if n := one[int](t, l.owner, "select count(*) from stem.schedule_runs"); n != 1 {
				t.Errorf("%d rows, want 1", n)
			}
		})
	}
}

// TestWhatMayFollowWhat goes from each outcome to each other of one instant.
func TestWhatMayFollowWhat(t *testing.T) {
	t.Parallel()
	l := open(t)
	standingOrders(t, l, 1, "now()")
	c := l.as(t, "admin")
	with := []string{"fired", "late", "caught_up", "triggered", "backfilled"}
	without := []string{"skipped", "overlapped", "queued", "duplicate", "rejected"}
	for _, before := range slices.Concat(with, without) {
		for _, after := range slices.Concat(with, without) {
			tx := begin(t, c, pgx.ReadCommitted)
			job := func(outcome string) *uuid.UUID {
				if slices.Contains(with, outcome) {
					return new(newIDs())
				}
				return nil
			}
			if err := record(t, tx, before, job(before), nil); err != nil {
				t.Fatal(err)
			}
			err := record(t, tx, after, job(after), nil)
			may := slices.Contains(without, before) && slices.Contains(with, after) || before == "queued" && after != "queued"
			if may != (err == nil) || err != nil && code(err) != "23505" {
				t.Errorf("%s after %s: %v", after, before, err)
			}
			if err == nil {
				if got := one[string](t, tx, "select string_agg(outcome, ' ') from stem.list_runs('s1', null, null, null, null, null, 10)"); got != after {
					t.Errorf("%s after %s: the ledger says %s", after, before, got)
				}
			}
			rollback(t, tx)
		}
	}
}

// TestOnlyWhatIsOnMoves: a scheduler that advances what was switched off, paused or changed meanwhile, moves nothing.
func TestOnlyWhatIsOnMoves(t *testing.T) {
	t.Parallel()
	l := open(t)
	standingOrders(t, l, 4, "now()")
	run(t, l.owner, "update stem.schedules set enabled = false, due_at = null, next_at = null where id = 's2'")
	run(t, l.owner, "update stem.schedules set paused_at = now(), due_at = null, next_at = null where id = 's3'")
	run(t, l.owner, "update stem.schedules set version = 2 where id = 's4'")
	const sight = "select string_agg(s::text, ' ' order by id) from stem.schedules s where id <> 's1'"
	before := one[string](t, l.owner, sight)
	if n := advance(t, l.as(t, "scheduler"), []string{"s1", "s2", "s3", "s4", "gone"}, "now() + interval '1 hour'"); n != 1 {
		t.Errorf("%d moved, want s1 alone", n)
	}
	if after := one[string](t, l.owner, sight); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

// TestThePreviousJobIsTheSchedulesOwn: last_job came from a scheduler, whose password may be stolen. Mutant that it catches: no look at the
// origin (somebody's job is cancelled).
func TestThePreviousJobIsTheSchedulesOwn(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		l := open(t)
		standingOrders(t, l, 3, "now()")
		for schedule, origin := range map[string]string{"s1": "schedule:s1", "s2": "schedule:s1", "s3": "app"} {
			job := one[uuid.UUID](t, l.owner, "select stem.enqueue('t')")
			run(t, l.owner, "update stem.jobs set origin = $2 where id = $1", job, origin)
			run(t, l.owner, "update stem.schedules set last_job = $2 where id = $1", schedule, job)
		}
		want := "s1"
		if mutant {
			l.mutate(t, "cancel_previous", " and j.origin = 'schedule:' || schedule", "")
			want = "s1 s2 s3"
		}
		got := column[string](t, l.as(t, "scheduler"), "select schedule from stem.cancel_previous('{s1,s2,s3}') where result = 'cancelled' order by 1")
		if strings.Join(got, " ") != want {
			t.Errorf("mutant %t: cancelled those of %v, want %s", mutant, got, want)
		}
	}
}

// TestPruningTakesWhatIsOld: to the second, and not what is just being written anew.
func TestPruningTakesWhatIsOld(t *testing.T) {
	t.Parallel()
	l := open(t)
	run(t, l.owner, `insert into stem.schedule_runs (schedule, nominal_at, outcome, recorded_at)
		select 's' || i, '`+instant+`', 'queued', now() - i * interval '1 minute' from generate_series(1, 70) i`)
	tx := l.beginAs(t, "admin")
	run(t, tx, `select stem.record_runs('{s65}', '{`+instant+`}', '{fired}', array[gen_random_uuid()], '{0}', '{0}', '{null}', null, '')`)
	c := l.as(t, "scheduler")
	run(t, c, "set lock_timeout = '1s'")
	if n := one[int](t, c, "select stem.prune_runs(3600000000, 1000)"); n != 10 {
		t.Errorf("%d rows pruned, want those of 60 to 70 minutes ago but the one that is held: 10", n)
	}
	commit(t, tx)
	if n := one[int](t, c, "select stem.prune_runs(3600000000, 1000)"); n != 0 {
		t.Errorf("%d more", n)
	}
	if got := one[string](t, l.owner, "select max(now() - recorded_at)::text || ' ' || count(*) from stem.schedule_runs"); !strings.HasPrefix(got, "00:59:") || !strings.HasSuffix(got, " 60") {
		t.Errorf("left: %s", got)
	}
}
