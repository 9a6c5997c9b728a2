package db_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// TestFinishBesideOpenComplete holds one job in an open stem.complete: the 999 other outcomes of its batch must not wait.
// Mutant that it catches: FOR UPDATE without SKIP LOCKED.
func TestFinishBesideOpenComplete(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: plain lock"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			if mutant {
				l.mutate(t, "finish", "for update skip locked", "for update", "SET lock_timeout TO '100ms'", "SET lock_timeout TO '1min'")
			}
			w, id, jobs := l.held(t, 1000)
			tx := l.begin(t)
			if err := store.New(tx).Complete(t.Context(), completeParams(w, id, jobs[500])); err != nil {
				t.Fatal(err)
			}
			call := labtest.Start(func() ([]uuid.UUID, error) {
				return finishJobs(t.Context(), l.me, finishParams(w, id, jobs, "completed"))
			})
			if blocked := l.isBlocked(t, pid(l.me), call.Done); blocked != mutant {
				t.Fatalf("blocked: %t", blocked)
			}
			if mutant {
				rollback(t, tx)
				<-call.Done
				return
			}
			if got := len(call.Wait(t)); got != 999 {
				t.Errorf("finished %d, want 999", got)
			}
			if got := claimStates(t, l.me, id, jobs[500], 1); got != "locked" {
				t.Errorf("the held job is %s, want locked", got)
			}
			rollback(t, tx)
			l.wantPlace(t, jobs[500], "running")
			if got := claimStates(t, l.me, id, jobs[500], 1); got != "free" {
				t.Errorf("after the rollback it is %s, want free", got)
			}
		})
	}
}

func claimStates(t *testing.T, db store.DBTX, id, job uuid.UUID, attempt int32) string {
	t.Helper()
	rows, err := store.New(db).ClaimStates(t.Context(), []uuid.UUID{job}, []uuid.UUID{id}, []int32{attempt})
	if err != nil || len(rows) != 1 {
		t.Fatalf("%v, %v", rows, err)
	}
	return rows[0].State
}

// TestCrossedSettles finishes two jobs in crossed order in two transactions. Mutants that it catches: FOR UPDATE without SKIP
// LOCKED, in finish and in put_back (40P01 in one of the two).
func TestCrossedSettles(t *testing.T) {
	t.Parallel()
	for _, function := range []string{"finish", "put_back"} {
		for _, mutant := range []bool{false, true} {
			t.Run(function+map[bool]string{false: " as it is", true: ", mutant: plain lock"}[mutant], func(t *testing.T) {
				t.Parallel()
				l := open(t)
				if mutant {
					l.mutate(t, function, "for update skip locked", "for update")
				}
				if mutant && function == "finish" {
					l.mutate(t, "finish", "SET lock_timeout TO '100ms'", "SET lock_timeout TO '1min'")
				}
				w, id, jobs := l.held(t, 2)
				settle := func(db store.DBTX, job uuid.UUID) error {
					if function == "finish" {
						_, err := store.New(db).Finish(t.Context(), finishParams(w, id, []uuid.UUID{job}, "completed"))
						return err
					}
					_, err := store.New(db).PutBack(t.Context(), putBackParams(w, id, verb{name: "fail", delay: 1}, job))
					return err
				}
				a, b := l.begin(t), l.begin(t)
				if err := errors.Join(settle(a, jobs[0]), settle(b, jobs[1])); err != nil {
					t.Fatal(err)
				}
				first := labtest.Start(func() (int, error) { return 0, settle(a, jobs[1]) })
				if blocked := l.isBlocked(t, pid(a), first.Done); blocked != mutant {
					t.Fatalf("blocked: %t", blocked)
				}
				second := settle(b, jobs[0])
				<-first.Done
				if deadlock := code(first.Err) == "40P01" || code(second) == "40P01"; deadlock != mutant {
					t.Errorf("deadlock: %t; %v, %v", deadlock, first.Err, second)
				}
			})
		}
	}
}

// TestFlagBetweenSnapshotAndLock sets the cancel flag after the settling statement took its snapshot and before it locks the
// row. The row is then locked in a version that the statement cannot delete: it must report the job as not moved. Mutants that
// it catches: trusting what was locked (p) and not what was deleted (d), in finish and in put_back; the job is in two places.
func TestFlagBetweenSnapshotAndLock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ function, from, to, good, bad string }{
		{
			"finish", "with p as materialized (\n        select u.ord, coalesce(u.outcome, v_outcomes[1]) as outcome, u.age_us, u.result, r.*\n        from unnest",
			"with " + gate + ", p as materialized (\n        select u.ord, coalesce(u.outcome, v_outcomes[1]) as outcome, u.age_us, u.result, r.*\n        from gate, unnest",
			"or p.job_id in (select d.job_id from d) and", "or true or",
		},
		{
			"put_back", "with p as materialized (\n            select u.ord, u.verb, u.delay_us, u.grace_us, u.age_us, u.reason, u.error, u.fingerprint, r.*\n            from unnest",
			"with " + gate + ", p as materialized (\n            select u.ord, u.verb, u.delay_us, u.grace_us, u.age_us, u.reason, u.error, u.fingerprint, r.*\n            from gate, unnest",
			"p\n            where (p.job_id in (select d.job_id from d)) is true", "p",
		},
	} {
		for _, mutant := range []bool{false, true} {
			t.Run(c.function+map[bool]string{false: " as it is", true: ", mutant: p is the truth"}[mutant], func(t *testing.T) {
				t.Parallel()
				l := open(t)
				l.mutate(t, c.function, c.from, c.to)
				if c.function == "finish" {
					l.mutate(t, "finish", "SET lock_timeout TO '100ms'", "SET lock_timeout TO '1min'") // it waits at the gate
				}
				if mutant {
					l.mutate(t, c.function, c.good, c.bad)
				}
				w, id, jobs := l.held(t, 1)
				openGate := l.closeGate(t)
				call := labtest.Start(func() (int, error) {
					if c.function == "finish" {
						done, err := finishJobs(t.Context(), l.me, finishParams(w, id, jobs, "completed"))
						return len(done), err
					}
					rows, err := store.New(l.me).PutBack(t.Context(), putBackParams(w, id, verb{name: "discard", reason: "x"}, jobs...))
					return len(rows), err
				})
				l.awaitBlocked(t, pid(l.me))
				run(t, l.owner, "update stem.running set cancel_at = now()")
				openGate()
				got := call.Wait(t)
				places := l.place(t, jobs[0])
				if mutant {
					if len(places) != 2 {
						t.Errorf("the mutant left it in %v: this test sees nothing", places)
					}
					return
				}
				if got != 0 || !slices.Equal(places, []string{"running"}) {
					t.Errorf("moved %d, the job is in %v; want it untouched", got, places)
				}
			})
		}
	}
}

// atTheGate waits at the gate of closeGate without waiting for its lock, which lock_timeout would bound.
const atTheGate = `create function public.at_the_gate() returns boolean language plpgsql as $$ begin
	while not pg_try_advisory_xact_lock_shared(4711) loop perform pg_sleep(0.01); end loop;
	return true;
end $$`

// TestFinishDoesNotWaitForWhoComesInBetween: a transaction takes a row after finish has seen it free and before it deletes it. Finish
// gives up within its lock_timeout, having moved nothing of the batch, and the same batch sent again passes that row over. Mutant that
// it catches: no lock_timeout (finish hangs for as long as the transaction is open).
func TestFinishDoesNotWaitForWhoComesInBetween(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: no lock_timeout"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			const seen, gated = "array(select p.t from p)", "array(select case when public.at_the_gate() then p.t end from p)"
			run(t, l.owner, atTheGate)
			l.mutate(t, "finish", seen, gated)
			if mutant {
				l.mutate(t, "finish", "SET lock_timeout TO '100ms'", "SET lock_timeout TO 0")
			}
			w, id, jobs := l.held(t, 2)
			openGate := l.closeGate(t)
			call := labtest.Start(func() ([]uuid.UUID, error) {
				return finishJobs(t.Context(), l.me, finishParams(w, id, jobs, "completed"))
			})
			eventually(t, "finish has seen its rows", func() bool {
				return one[bool](t, l.owner, "select coalesce(wait_event, '') = 'PgSleep' from pg_stat_activity where pid = $1", pid(l.me))
			})
			tx := l.begin(t)
			if err := store.New(tx).Complete(t.Context(), completeParams(w, id, jobs[0])); err != nil {
				t.Fatal(err)
			}
			openGate()
			if mutant {
				eventually(t, "finish still waits after its lock_timeout", func() bool {
					return one[bool](t, l.owner, "select exists (select from pg_locks where pid = $1 and not granted and clock_timestamp() - waitstart > '1 second')", pid(l.me))
				})
				rollback(t, tx)
				<-call.Done
				return
			}
			<-call.Done
			wantCode(t, call.Err, "55P03")
			l.wantPlace(t, jobs[1], "running")
			l.mutate(t, "finish", gated, seen)
			if done := finish(t, l.me, w, id, jobs...); !slices.Equal(done, jobs[1:]) {
				t.Errorf("finished %v, want the one that is free", done)
			}
			rollback(t, tx)
			if done := finish(t, l.me, w, id, jobs[0]); len(done) != 1 {
				t.Error("the row is not free after the rollback")
			}
		})
	}
}

// TestCompleteInTransaction: the completion commits or goes with the caller's rows, and a lost claim spoils the transaction.
func TestCompleteInTransaction(t *testing.T) {
	t.Parallel()
	l := open(t)
	w, id, jobs := l.held(t, 2)

	tx := l.begin(t)
	if err := store.New(tx).Complete(t.Context(), completeParams(w, id, jobs[0])); err != nil {
		t.Fatal(err)
	}
	rollback(t, tx)
	l.wantPlace(t, jobs[0], "running")

	tx = l.begin(t)
	if err := store.New(tx).Complete(t.Context(), completeParams(w, id, jobs[0])); err != nil {
		t.Fatal(err)
	}
	commit(t, tx)
	l.wantPlace(t, jobs[0], "completed")

	tx = l.begin(t)
	wantCode(t, store.New(tx).Complete(t.Context(), completeParams(w, uuid.New(), jobs[1])), "ST001")
	if err := tx.Commit(t.Context()); !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Errorf("COMMIT after ST001: got %v, want ErrTxCommitRollback", err)
	}
	l.wantPlace(t, jobs[1], "running")
}

// TestCompleteUnderStricterIsolation: a claim that was rescued after the caller's snapshot is 40001, never a second effect.
func TestCompleteUnderStricterIsolation(t *testing.T) {
	t.Parallel()
	l := open(t)
	w, id, jobs := l.held(t, 1)
	tx := begin(t, l.connect(t), pgx.RepeatableRead)
	run(t, tx, "select 1")
	putBack(t, l.me, w, id, verb{name: "release", age: -1}, jobs[0])
	wantCode(t, store.New(tx).Complete(t.Context(), completeParams(w, id, jobs[0])), "40001")
}

// TestRescueBesideOpenComplete: a completing transaction holds its row until it ends; rescue passes it by and comes again.
func TestRescueBesideOpenComplete(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{false, true} {
		l := open(t)
		victim, id, jobs := l.held(t, 2)
		rescuer := l.hire(t)
		tx := l.begin(t)
		if err := store.New(tx).Complete(context.WithoutCancel(t.Context()), completeParams(victim, id, jobs[0])); err != nil {
			t.Fatal(err)
		}
		declareLost(t, l.me, rescuer, victim, l.expire(t, victim))
		if r := rescue(t, l.me, rescuer, victim); r.Moved != 1 || r.Remaining != 1 {
			t.Fatalf("got %+v, want one moved and one left", r)
		}
		moved := int32(0)
		if commits {
			commit(t, tx)
		} else {
			rollback(t, tx)
			moved = 1
		}
		if r := rescue(t, l.me, rescuer, victim); r.Moved != moved || r.Remaining != 0 {
			t.Errorf("commits %t: got %+v", commits, r)
		}
	}
}
