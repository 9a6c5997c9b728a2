package db_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// turn makes the ring's period be over and turns it.
func (l *lab) turn(t *testing.T) {
	t.Helper()
	if got := l.rotate(t); got != "turned" {
		t.Fatalf("rotate: %s", got)
	}
}

func (l *lab) rotate(t *testing.T) string {
	t.Helper()
	run(t, l.owner, "update stem.ring set since = clock_timestamp() - period")
	result, err := store.New(l.me).Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return result
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
	later := enqueue(t, l.me, 1, "delay => '9 days'")[0]
	for _, job := range jobs {
		run(t, l.owner, "insert into stem.attempts (job_id, slot, attempt, generation, outcome) values ($1, 0, 1, 1, 'failed')", job)
	}
	for range 8 {
		l.turn(t)
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
	if rows := claim(t, l.me, w, 10); len(rows) != 1 || rows[0].Task != "t" {
		t.Errorf("claimed %+v after a whole turn", rows)
	}
}

// TestRotateBusy: a lock on the leaf leaves the ring where it is, at once, while enqueues go on.
func TestRotateBusy(t *testing.T) {
	t.Parallel()
	l := open(t)
	tx := begin(t, connectOwner(t, l), "read committed")
	run(t, tx, "lock table stem.jobs_1 in access share mode")
	if got := l.rotate(t); got != "busy" {
		t.Fatalf("got %s", got)
	}
	enqueue(t, l.me, 1, "")
	if n := one[int](t, l.owner, "select current from stem.ring"); n != 0 {
		t.Errorf("the ring moved to %d", n)
	}
	rollback(t, tx)
	l.turn(t)
}

// TestRotateWantsFreshSnapshots: a REPEATABLE READ caller took its snapshot before a transaction that enqueued into the next
// leaf committed. It is refused. Mutant that it catches: no look at the isolation level; the job loses its envelope.
func TestRotateWantsFreshSnapshots(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		l := open(t)
		if mutant {
			l.mutate(t, "rotate", "perform stem._wants_fresh_snapshots('rotate');", "")
		}
		// Within 20 minutes of a turn an enqueue also reads the previous leaf, for repeated ids, and holds that too.
		run(t, l.owner, "update stem.ring set since = clock_timestamp() - interval '30 minutes'")
		tx := l.begin(t)
		job := enqueue(t, tx, 1, "")[0]
		for range 7 {
			l.turn(t)
		}
		run(t, l.owner, "update stem.ring set since = clock_timestamp() - period")
		strict := begin(t, l.connect(t), pgx.RepeatableRead)
		run(t, strict, "select 1")
		commit(t, tx)
		_, err := store.New(strict).Rotate(t.Context())
		if !mutant {
			wantCode(t, err, "25000")
			rollback(t, strict)
			l.turn(t)
		} else if err != nil {
			t.Fatal(err)
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
			// Within 20 minutes of a turn an enqueue also reads the previous leaf, for repeated ids, and holds that too.
			run(t, l.owner, "update stem.ring set since = clock_timestamp() - interval '30 minutes'")
			tx := l.begin(t)
			job := enqueue(t, tx, 1, "")[0]
			for range 7 {
				l.turn(t)
			}
			if !mutant {
				if got := l.rotate(t); got != "busy" {
					t.Errorf("got %s beside the open transaction", got)
				}
				commit(t, tx)
				l.turn(t)
				if n := one[int](t, l.owner, "select count(*) from stem.jobs where id = $1", job); n != 1 {
					t.Error("the job lost its envelope")
				}
				return
			}
			l.mutate(t, "rotate", "when 0 then lock table stem.jobs_0 in share mode;", "when 0 then null;",
				"    case v_next\n        when 0 then lock table stem.jobs_0, ", "    perform pg_advisory_xact_lock_shared(4711);\n    case v_next\n        when 0 then lock table stem.jobs_0, ",
				"SET lock_timeout TO '100ms'", "SET lock_timeout TO '10s'")
			openGate := l.closeGate(t)
			run(t, l.owner, "update stem.ring set since = clock_timestamp() - period")
			call := labtest.Start(func() (string, error) { return store.New(l.me).Rotate(t.Context()) })
			l.awaitBlocked(t, pid(l.me))
			commit(t, tx)
			openGate()
			call.Wait(t)
			if n := one[int](t, l.owner, "select count(*) from stem.jobs where id = $1", job); n != 0 {
				t.Error("the mutant kept the envelope: this test sees nothing")
			}
		})
	}
}
