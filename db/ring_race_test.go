package db_test

import (
	"testing"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// TestClaimBesideMove: the ring moves a ticket and its envelope to another leaf after a claim's snapshot and before its row lock.
// The claim leaves that ticket alone, because the version that it could lock is not in its snapshot; the next claim finds the
// ticket and its envelope. Mutant that it catches: a claim that deletes by position. That follows the ticket to its new version,
// with the new slot, and does not see the copy there: the job would be buried without its envelope.
func TestClaimBesideMove(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: by position"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			w := l.hire(t)
			job := enqueue(t, l.me, 1, "")[0]
			for range 6 {
				l.turn(t)
			}
			l.mutate(t, "claim", gatedClaim...)
			if mutant {
				l.mutate(t, "claim", "where ctid = any (array(\n            select x.t\n", "where ready.pos = any (array(\n            select x.t\n",
					"select r.ctid as t\n                    from stem.ready r", "select r.pos as t\n                    from stem.ready r")
			}
			openGate := l.closeGate(t)
			other := l.connect(t)
			call := labtest.Start(func() ([]*store.ClaimRow, error) { return store.New(other).Claim(t.Context(), claimParams(w, 10)) })
			l.awaitBlocked(t, pid(other))
			// The claim holds every leaf: nothing is emptied under it, but tickets are moved.
			if got := l.rotate(t); got != "busy" {
				t.Errorf("rotate: %s", got)
			}
			if slot := one[int](t, l.owner, "select slot from stem.ready"); slot != 7 {
				t.Fatalf("the ticket says leaf %d", slot)
			}
			openGate()
			rows := call.Wait(t)
			if !mutant {
				if len(rows) != 0 {
					t.Fatalf("claimed %+v", rows)
				}
				if rows = claim(t, l.me, w, 10); len(rows) != 1 || rows[0].JobID != job || rows[0].Task.String != "t" {
					t.Errorf("claimed %+v", rows)
				}
			} else if len(rows) != 1 || rows[0].Task.Valid {
				t.Errorf("the mutant claimed %+v: this test sees nothing", rows)
			}
		})
	}
}

// TestMoveBesideOpenCancel: a transaction that cancels one of three jobs stays open. The others are moved all the same, and the
// leaf is emptied once it has ended, with the third job in it. Mutant that it catches: a move that waits for the row: nothing is moved.
func TestMoveBesideOpenCancel(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: waits"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			if mutant {
				l.mutate(t, "_ring_move", "r.slot = p_from\n                limit 1 for update skip locked", "r.slot = p_from\n                limit 1 for update")
			}
			jobs := enqueue(t, l.me, 3, "")
			for range 6 {
				l.turn(t)
			}
			tx := l.beginAs(t, "operator")
			run(t, tx, "select stem.cancel($1, 'test')", jobs[1:2])
			if got := l.rotate(t); got != "busy" {
				t.Errorf("rotate: %s", got)
			}
			want := 2
			if mutant {
				want = 0
			}
			if n := one[int](t, l.owner, "select count(*) from stem.ready where slot = 7"); n != want {
				t.Errorf("%d were moved, want %d", n, want)
			}
			rollback(t, tx)
			if got := l.empty(t, l.me); got != "turned" {
				t.Errorf("rotate: %s", got)
			}
			if rows := claim(t, l.me, l.hire(t), 10); len(rows) != 3 || !rows[0].Task.Valid || !rows[1].Task.Valid || !rows[2].Task.Valid {
				t.Errorf("claimed %+v", rows)
			}
		})
	}
}

// TestEmptyBesideRelease: a job goes back from running to ready while the leaf is being emptied. Mutant that it catches: running
// tickets read by a statement of their own (a form that was written here): the job is in neither set and loses its envelope.
func TestEmptyBesideRelease(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: two looks"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			w, id, jobs := l.held(t, 1)
			for range 6 {
				l.turn(t)
			}
			const young = "    v_young := array("
			l.mutate(t, "_ring_empty", young, "    perform pg_advisory_xact_lock_shared(4711);\n"+young)
			l.inOneCall(t)
			if mutant {
				l.mutate(t, "_ring_empty", "union all select x.job_id, false from stem.running x where x.slot = p_leaf) t", ") t",
					young, "    v_tickets := v_tickets || array(select x.job_id from stem.running x where x.slot = p_leaf);\n"+young)
			}
			openGate := l.closeGate(t)
			l.nextPeriod(t)
			other := l.connect(t)
			call := labtest.Start(func() (string, error) { return store.New(other).Rotate(t.Context()) })
			l.awaitBlocked(t, pid(other))
			if _, err := store.New(l.me).VoidClaim(t.Context(), w.id, id); err != nil {
				t.Fatal(err)
			}
			openGate()
			if got := call.Wait(t); got != "turned" {
				t.Fatal(got)
			}
			want := 1
			if mutant {
				want = 0
			}
			if n := one[int](t, l.owner, "select count(*) from stem.jobs where id = $1", jobs[0]); n != want {
				t.Errorf("%d envelopes, want %d", n, want)
			}
		})
	}
}
