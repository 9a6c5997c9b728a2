package db_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// gatedClaim stops stem.claim between its snapshot and its guard.
var gatedClaim = []string{
	"with me as materialized (\n        select from stem.workers w where", "with " + gate + ", me as materialized (\n        select from gate, stem.workers w where",
	"for key share\n", "for key share of w\n",
}

// lostInFlight declares the worker lost while its claim waits between snapshot and guard, rescues it, and lets the claim go
// on. It returns how many of the three jobs are still in the line, and how many run under a worker that nobody will rescue.
func lostInFlight(t *testing.T, heartbeat bool, mutate func(*lab)) (waiting, stranded int) {
	t.Helper()
	l := open(t)
	victim, rescuer := l.hire(t), l.hire(t)
	enqueue(t, l.me, 3, "")
	l.mutate(t, "claim", gatedClaim...)
	mutate(l)
	openGate := l.closeGate(t)
	conn := l.connect(t)
	call := labtest.Start(func() ([]*store.ClaimRow, error) { return store.New(conn).Claim(t.Context(), claimParams(victim, 10)) })
	l.awaitBlocked(t, pid(conn))
	if heartbeat {
		beat(t, l.me, victim)
	}
	if !declareLost(t, l.me, rescuer, victim, l.expire(t, victim)) {
		t.Fatal("the victim was not declared lost")
	}
	if r := rescue(t, l.me, rescuer, victim); r.Remaining != 0 {
		t.Fatalf("rescue left %d behind", r.Remaining)
	}
	openGate()
	<-call.Done
	return one[int](t, l.owner, "select count(*) from stem.ready"), one[int](t, l.owner, "select count(*) from stem.running")
}

// TestClaimGuard declares a worker lost after its claim's snapshot and before its guard. Mutants that it catches: the guard
// joined only to the INSERT (the jobs are in no table afterwards); lost by UPDATE instead of DELETE, which FOR KEY SHARE does
// not see (the jobs run for ever under a worker that is gone).
func TestClaimGuard(t *testing.T) {
	t.Parallel()
	insertOnly := func(l *lab) {
		l.mutate(t, "claim",
			"limit (select case when exists (select from me) then p_total else 0 end)", "limit p_total",
			"from got g\n    ), freed", "from got g where exists (select from me)\n    ), freed")
	}
	byUpdate := func(l *lab) {
		l.mutate(t, "declare_lost", "delete from stem.workers w\n", "update stem.workers w set node = 'lost ' || w.node\n")
		// The mutant's rescue has to find the row that it left.
	}
	for _, c := range []struct {
		name              string
		heartbeat         bool
		mutate            func(*lab)
		waiting, stranded int
	}{
		{"as it is", false, func(*lab) {}, 3, 0},
		{"with a heartbeat after the snapshot", true, func(*lab) {}, 3, 0},
		{"mutant: guard on the INSERT only", false, insertOnly, 0, 0},
		{"mutant: lost by UPDATE", false, byUpdate, 0, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			waiting, stranded := lostInFlight(t, c.heartbeat, c.mutate)
			if waiting != c.waiting || stranded != c.stranded {
				t.Errorf("%d wait and %d are stranded, want %d and %d", waiting, stranded, c.waiting, c.stranded)
			}
		})
	}
}

// TestDeclareLostWaitsForClaim has a claim past its guard, not committed: declaring the worker lost must wait for it, so that
// rescue's fresh snapshot sees what it took. Mutant that it catches: the guard without FOR KEY SHARE (rescue finds nothing and
// the job is stranded).
func TestDeclareLostWaitsForClaim(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: no FOR KEY SHARE"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			victim, rescuer := l.hire(t), l.hire(t)
			enqueue(t, l.me, 1, "")
			if mutant {
				l.mutate(t, "claim", " for key share\n", "\n")
			}
			l.mutate(t, "declare_lost", "SET lock_timeout TO '1s'", "SET lock_timeout TO '1min'") // the test may take its time
			seen := l.expire(t, victim)
			tx := l.begin(t)
			job := claim(t, tx, victim, 1)[0].JobID
			call := labtest.Start(func() (bool, error) {
				return store.New(l.me).DeclareLost(t.Context(), rescuer.id, rescuer.epoch, victim.id, seen)
			})
			if blocked := l.isBlocked(t, pid(l.me), call.Done); blocked == mutant {
				t.Fatalf("blocked: %t", blocked)
			}
			if mutant {
				rescue(t, l.me, rescuer, victim)
				commit(t, tx)
				l.wantPlace(t, job, "running")
				return
			}
			commit(t, tx)
			if !call.Wait(t) {
				t.Fatal("not declared lost")
			}
			if r := rescue(t, l.me, rescuer, victim); r.Moved != 1 || r.Remaining != 0 {
				t.Fatalf("got %+v", r)
			}
			l.wantPlace(t, job, "scheduled")
		})
	}
}

// TestRaiseEpoch raises the epoch while a claim waits between its snapshot and its guard: the claim must be void. Mutant that
// it catches: no FOR UPDATE before the UPDATE. FOR KEY SHARE looks past an update that changed no key, and what makes this one
// a key update in its eyes is the stronger lock that the same transaction held before.
func TestRaiseEpoch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		heartbeat, mutant bool
		want              int
	}{
		{"as it is", false, false, 0},
		{"with a heartbeat after the snapshot", true, false, 0},
		{"mutant: no FOR UPDATE", false, true, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			w := l.hire(t)
			enqueue(t, l.me, 3, "")
			l.mutate(t, "claim", gatedClaim...)
			if c.mutant {
				l.mutate(t, "raise_epoch", "perform from stem.workers w where w.id = p_worker and w.epoch in (p_epoch, p_epoch + 1) for update;", "")
			}
			openGate := l.closeGate(t)
			conn := l.connect(t)
			call := labtest.Start(func() ([]*store.ClaimRow, error) { return store.New(conn).Claim(t.Context(), claimParams(w, 10)) })
			l.awaitBlocked(t, pid(conn))
			if c.heartbeat {
				beat(t, l.me, w)
			}
			epoch, err := store.New(l.me).RaiseEpoch(t.Context(), w.id, w.epoch)
			if err != nil || epoch != w.epoch+1 {
				t.Fatalf("got epoch %d, %v", epoch, err)
			}
			openGate()
			if got := len(call.Wait(t)); got != c.want {
				t.Errorf("a void claim took %d jobs, want %d", got, c.want)
			}
		})
	}
}

// TestRaiseEpochWaits: a claim past its guard is waited for, and what it took is found by its claim id and goes back uncharged,
// each job to a new position; one that was cancelled in the meantime ends as cancelled.
func TestRaiseEpochWaits(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t)
	enqueue(t, l.me, 3, "")
	tx := l.begin(t)
	rows, id := claimAs(t, tx, claimParams(w, 10))
	call := labtest.Start(func() (int64, error) { return store.New(l.me).RaiseEpoch(t.Context(), w.id, w.epoch) })
	l.awaitBlocked(t, pid(l.me))
	commit(t, tx)
	call.Wait(t)
	run(t, l.owner, "update stem.running set cancel_at = now() where job_id = $1", rows[2].JobID)
	if n, err := store.New(l.me).VoidClaim(t.Context(), w.id, id); err != nil || n != 3 {
		t.Fatalf("got %d, %v", n, err)
	}
	for _, r := range rows[:2] {
		l.wantPlace(t, r.JobID, "ready")
		if got, want := l.counters(t, r.JobID), [5]int{1, 0, 0, 0, 1}; got != want {
			t.Errorf("got counters %v, want %v", got, want)
		}
		if pos := one[int64](t, l.owner, "select pos from stem.ready where job_id = $1", r.JobID); pos <= rows[2].Pos {
			t.Errorf("back at position %d, want a new one behind %d", pos, rows[2].Pos)
		}
	}
	l.wantPlace(t, rows[2].JobID, "cancelled")
	if n, err := store.New(l.me).VoidClaim(t.Context(), w.id, uuid.New()); err != nil || n != 0 {
		t.Errorf("an unknown claim: got %d, %v", n, err)
	}
}

// TestVoidClaimIsBounded: an operator's cancel that is not committed holds one row of the claim. The worker claims nothing while
// it voids a claim, so it must get an answer soon, and try again. Mutant that it caught: no lock_timeout (57014 in its place).
func TestVoidClaimIsBounded(t *testing.T) {
	t.Parallel()
	l := open(t)
	w, id, jobs := l.held(t, 2)
	run(t, l.me, "set lock_timeout = 0")
	run(t, l.me, "set statement_timeout = '1min'")
	tx := l.beginAs(t, "operator")
	run(t, tx, "select stem.cancel($1, '')", jobs[:1])
	_, err := store.New(l.me).VoidClaim(t.Context(), w.id, id)
	wantCode(t, err, "55P03")
	commit(t, tx)
	if n, err := store.New(l.me).VoidClaim(t.Context(), w.id, id); err != nil || n != 2 {
		t.Fatalf("got %d, %v", n, err)
	}
	l.wantPlace(t, jobs[0], "cancelled")
	l.wantPlace(t, jobs[1], "ready")
}

// TestDeregisterBesideClaim: a worker leaves while a claim of its own is in flight on a connection that it lost. What the
// claim took must be left to rescue. Mutant that it caught (the first form of stem.deregister): looking into stem.running
// with the snapshot of the statement that waited for the claim.
func TestDeregisterBesideClaim(t *testing.T) {
	t.Parallel()
	l := open(t)
	victim, rescuer := l.hire(t), l.hire(t)
	enqueue(t, l.me, 1, "")
	tx := l.begin(t)
	job := claim(t, tx, victim, 1)[0].JobID
	call := labtest.Start(func() (bool, error) { return store.New(l.me).Deregister(t.Context(), victim.id, victim.epoch) })
	l.awaitBlocked(t, pid(l.me))
	commit(t, tx)
	if !call.Wait(t) {
		t.Fatal("not deregistered")
	}
	if r := rescue(t, l.me, rescuer, victim); r.Moved != 1 {
		t.Errorf("rescue moved %d of 1", r.Moved)
	}
	l.wantPlace(t, job, "scheduled")
}
