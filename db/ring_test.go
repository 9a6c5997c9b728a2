package db_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// turn goes to the middle of the next period of the ring, and empties the leaf that comes after it.
// turn turns the ring. It asks again while rotate is busy, as workers do: autovacuum may hold a leaf for longer than rotate waits.
func (l *lab) turn(t *testing.T) {
	t.Helper()
	l.nextPeriod(t)
	eventually(t, "the ring turns", func() bool { return l.empty(t, l.me) == "turned" })
}

func (l *lab) rotate(t *testing.T) string {
	t.Helper()
	l.nextPeriod(t)
	return l.empty(t, l.me)
}

func (l *lab) nextPeriod(t *testing.T) {
	t.Helper()
	run(t, l.owner, "update stem.ring set origin = clock_timestamp() - (stem._period_at(clock_timestamp()) + 1.5)::float8 * period")
}

// inOneCall lets stem.rotate come to its end in one call, which it does in time unless the machine is busy, and wait for a gate.
func (l *lab) inOneCall(t *testing.T) {
	t.Helper()
	l.mutate(t, "rotate", "v_now + interval '100 milliseconds'", "v_now + interval '1 minute'", "SET lock_timeout TO '100ms'", "SET lock_timeout TO '1min'")
}

// empty calls stem.rotate until there is nothing left to move.
func (l *lab) empty(t *testing.T, db store.DBTX) string {
	t.Helper()
	for {
		result, err := store.New(db).Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if result != "moving" {
			return result
		}
		run(t, l.owner, "update stem.ring_work set rest_until = null")
	}
}

// TestRotateKeeps: what has a ticket and what finished lately stays, with its attempts; the rest goes.
func TestRotateKeeps(t *testing.T) {
	t.Parallel()
	l := open(t)
	if got, err := store.New(l.me).Rotate(t.Context()); err != nil || got != "not due" {
		t.Fatalf("got %s, %v", got, err)
	}
	w, c, jobs := l.held(t, 3) // 0 stays running, 1 finishes long ago, 2 finishes lately
	finish(t, l.me, w, c, jobs[1:]...)
	run(t, l.owner, "update stem.finished set finished_at = now() - interval '30 hours' where job_id = $1", jobs[1])
	ready := enqueue(t, l.me, 1, "")[0]
	later := enqueue(t, l.me, 1, `delay => '9 days', priority => 7, expires_at => now() + interval '90 days', hard_limit => '5 minutes',
		soft_limit => '4 minutes', unique_key => 'k', headers => '{"tenant": "t1"}', max_attempts => 3`)[0]
	for _, job := range jobs {
		run(t, l.owner, "insert into stem.attempts (job_id, slot, attempt, generation, outcome) values ($1, 0, 1, 1, 'failed')", job)
	}
	rows := func() []string {
		t.Helper()
		return column[string](t, l.owner, `select (to_jsonb(j) - 'slot')::text from stem.jobs j where id <> $1
			union all select (to_jsonb(f) - 'slot')::text from stem.finished f where job_id <> $1
			union all select (to_jsonb(a) - 'slot')::text from stem.attempts a where job_id <> $1 order by 1`, jobs[1])
	}
	before := rows()
	for range 8 {
		l.turn(t)
	}
	if diff := cmp.Diff(before, rows()); diff != "" {
		t.Errorf("what outlived its leaf changed: %s", diff)
	}
	for _, job := range append(jobs, ready, later) {
		want := 1
		if job == jobs[1] {
			want = 0
		}
		if n := one[int](t, l.owner, "select count(*) from stem.jobs where id = $1", job); n != want {
			t.Errorf("%d envelopes of %s, want %d", n, l.place(t, job), want)
		}
	}
	if n := one[int](t, l.owner, "select count(*) from stem.attempts"); n != 2 {
		t.Errorf("%d attempts, want those of the two jobs that stay", n)
	}
	if rows := claim(t, l.me, w, 10); len(rows) != 1 || rows[0].Task.String != "t" {
		t.Errorf("claimed %+v after a whole turn", rows)
	}
}

// TestRotateBusy: a lock on the leaf leaves the ring where it is, at once, while enqueues go on.
func TestRotateBusy(t *testing.T) {
	t.Parallel()
	l := open(t)
	tx := begin(t, connectOwner(t, l), "read committed")
	run(t, tx, "lock table stem.jobs_2 in access share mode")
	if got := l.rotate(t); got != "busy" {
		t.Fatalf("got %s", got)
	}
	enqueue(t, l.me, 1, "")
	if n := one[int](t, l.owner, "select emptied from stem.ring_work"); n != 8 {
		t.Errorf("the leaf of period %d was emptied", n)
	}
	rollback(t, tx)
	if got := l.empty(t, l.me); got != "turned" {
		t.Errorf("got %s after the lock was gone", got)
	}
}

// TestRotateWantsFreshSnapshots: a REPEATABLE READ caller took its snapshot before a transaction that enqueued into the next
// leaf committed. It is refused. Mutant that it catches: no look at the isolation level; the job loses its envelope.
func TestRotateWantsFreshSnapshots(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		l := open(t)
		if mutant {
			l.mutate(t, "rotate", "perform stem._wants_fresh_snapshots('rotate');", "")
			l.inOneCall(t)
		}
		tx := l.begin(t)
		job := enqueue(t, tx, 1, "")[0]
		for range 6 {
			l.turn(t)
		}
		l.nextPeriod(t)
		strict := begin(t, l.connect(t), pgx.RepeatableRead)
		run(t, strict, "select 1")
		commit(t, tx)
		result, err := store.New(strict).Rotate(t.Context())
		if !mutant {
			wantCode(t, err, "25000")
			rollback(t, strict)
			l.turn(t)
		} else if err != nil || result != "turned" {
			t.Fatal(result, err)
		} else {
			commit(t, strict)
		}
		if n := one[int](t, l.owner, "select count(*) from stem.jobs where id = $1", job); (n == 0) != mutant {
			t.Errorf("mutant %t: %d envelopes", mutant, n)
		}
	}
}

// TestRotateBesideOldTransaction: a transaction that enqueued when the leaf was last current, seven turns ago, is still open.
// Mutant that it catches: no SHARE lock before the set of envelopes to keep is computed (the first form of stem.rotate): the
// transaction commits between that and the strong lock, and its job loses its envelope.
func TestRotateBesideOldTransaction(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: no SHARE lock"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			tx := l.begin(t)
			job := enqueue(t, tx, 1, "")[0]
			for range 6 {
				l.turn(t)
			}
			if !mutant {
				if got := l.rotate(t); got != "busy" {
					t.Errorf("got %s beside the open transaction", got)
				}
				commit(t, tx)
				if got := l.empty(t, l.me); got != "turned" {
					t.Errorf("got %s after its commit", got)
				}
				if n := one[int](t, l.owner, "select count(*) from stem.jobs where id = $1", job); n != 1 {
					t.Error("the job lost its envelope")
				}
				return
			}
			const hold, lock = "perform stem._ring_hold(p_leaf);", "perform stem._ring_lock(p_leaf);"
			l.mutate(t, "_ring_empty", hold, "", lock, "perform pg_advisory_xact_lock_shared(4711); "+lock)
			l.inOneCall(t)
			openGate := l.closeGate(t)
			l.nextPeriod(t)
			call := labtest.Start(func() (string, error) { return store.New(l.me).Rotate(t.Context()) })
			l.awaitBlocked(t, pid(l.me))
			commit(t, tx)
			openGate()
			if got := call.Wait(t); got != "turned" {
				t.Fatal(got)
			}
			if n := one[int](t, l.owner, "select count(*) from stem.jobs where id = $1", job); n != 0 {
				t.Error("the mutant kept the envelope: this test sees nothing")
			}
		})
	}
}
