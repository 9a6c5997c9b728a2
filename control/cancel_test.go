package control_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

func TestCancelTakesAJobWhereverItIs(t *testing.T) {
	t.Parallel()
	l := open(t)
	dead := l.kill(t, 1, "broken", "")[0]
	w := l.hire(t, "n", `{"default": 5}`)
	l.enqueue(t, 2, "")
	held, id := claim(t, l.worker, w, "default", 2)
	if _, err := store.New(l.worker).Finish(t.Context(), store.FinishParams{
		Worker: w.id, Jobs: held[:1], Claims: []uuid.UUID{id}, Outcomes: []string{"completed"}, AgesUs: []int64{1}, Results: [][]byte{nil},
	}); err != nil {
		t.Fatal(err)
	}
	ready := l.enqueue(t, 1, "unique_key => 'k'")[0]
	later := l.enqueue(t, 1, "delay => '1 hour', unique_key => 'l'")[0]
	nobody := uuid.Must(uuid.NewV7())

	listener := l.connect(t)
	run(t, listener, "listen stem_control")
	list, err := l.plane.Cancel(t.Context(), "test", dead, held[0], held[1], ready, later, nobody, ready)
	must(t, err)
	want := map[uuid.UUID]string{
		dead: "dead", held[0]: "finished", held[1]: "running", ready: "cancelled", later: "cancelled", nobody: "unknown",
	}
	if diff := cmp.Diff(want, outcomes(list)); diff != "" {
		t.Error(diff)
	}
	for _, r := range list {
		if want := r.Outcome == "cancelled" || r.Outcome == "running"; r.Done != want {
			t.Errorf("%s: done is %t", r.Outcome, r.Done)
		}
	}
	l.wantPlace(t, ready, "cancelled")
	l.wantPlace(t, later, "cancelled")
	l.wantPlace(t, held[1], "running")
	if n := one[int](t, l.owner, "select count(*) from stem.unique_keys"); n != 0 {
		t.Errorf("%d unique keys are still taken", n)
	}
	beat, err := store.New(l.worker).Heartbeat(t.Context(), store.HeartbeatParams{
		Worker: w.id, Epoch: w.epoch, Jobs: held[1:], Claims: []uuid.UUID{id},
	})
	must(t, err)
	if !slices.Equal(beat.Cancelled, held[1:]) {
		t.Errorf("the heartbeat says that %v are cancelled", beat.Cancelled)
	}
	wait, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if n, err := listener.WaitForNotification(wait); err != nil || n.Payload != "cancel" {
		t.Errorf("notification: %+v, %v", n, err)
	}
	// Asked for again, the first request stands.
	first := one[time.Time](t, l.owner, "select cancel_at from stem.running")
	again, err := l.plane.Cancel(t.Context(), "", held[1])
	must(t, err)
	wantOutcome(t, again, "running")
	if second := one[time.Time](t, l.owner, "select cancel_at from stem.running"); !second.Equal(first) {
		t.Error("the second request took the place of the first")
	}
}

func TestCancelKeepsNothingOfAQueueThatKeepsNothing(t *testing.T) {
	t.Parallel()
	l := open(t)
	run(t, l.owner, "insert into stem.queues (name, keep_finished) values ('default', false)")
	list, err := l.plane.Cancel(t.Context(), "", l.enqueue(t, 1, "")...)
	must(t, err)
	wantOutcome(t, list, "cancelled")
	if n := one[int](t, l.owner, "select count(*) from stem.finished"); n != 0 {
		t.Errorf("%d rows are kept", n)
	}
}

// TestCancelFollowsAMovingTicket lets another transaction hold the ticket, and carry it elsewhere while cancel waits.
// Mutants that it catches: one look only (a due move and a retry lose the cancel), and never waiting (a claim does).
func TestCancelFollowsAMovingTicket(t *testing.T) {
	t.Parallel()
	oneLook := []string{"in 1..5 loop", "in 1..1 loop"}
	tests := []struct {
		name      string
		scheduled bool // else running
		move      func(t *testing.T, tx pgx.Tx, w hand, job, claimID uuid.UUID)
		want      string
		mutant    []string
	}{
		{"a due move", true, func(t *testing.T, tx pgx.Tx, _ hand, _, _ uuid.UUID) {
			t.Helper()
			row, err := store.New(tx).Due(t.Context(), 10)
			must(t, err)
			if row.Moved != 1 {
				t.Fatalf("moved %d", row.Moved)
			}
		}, "cancelled", oneLook},
		{"a retry", false, func(t *testing.T, tx pgx.Tx, w hand, job, id uuid.UUID) {
			t.Helper()
			putBack(t, tx, w, id, "fail", time.Hour, "", "boom", job)
		}, "cancelled", oneLook},
		{"a release", false, func(t *testing.T, tx pgx.Tx, w hand, job, id uuid.UUID) {
			t.Helper()
			putBack(t, tx, w, id, "release", 0, "", "", job)
		}, "cancelled", oneLook},
		{"a burial", false, func(t *testing.T, tx pgx.Tx, w hand, job, id uuid.UUID) {
			t.Helper()
			putBack(t, tx, w, id, "discard", 0, "", "boom", job)
		}, "dead", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, mutant := range [][]string{nil, test.mutant} {
				l := open(t)
				w := l.hire(t, "n", `{"default": 1}`)
				var id uuid.UUID
				job := l.enqueue(t, 1, "")[0]
				if test.scheduled {
					run(t, l.owner, `with r as (delete from stem.ready returning *) insert into stem.scheduled (run_at, job_id, slot, lane, max_attempts, queue)
						select clock_timestamp() - interval '1 second', job_id, slot, lane, max_attempts, queue from r`)
				} else {
					_, id = claim(t, l.worker, w, "default", 1)
				}
				if mutant != nil {
					l.mutate(t, "_cancel_job", mutant...)
				}
				l.patient(t, "cancel")
				tx := l.begin(t)
				test.move(t, tx, w, job, id)
				call := labtest.Start(func() ([]*store.CancelRow, error) {
					return store.New(l.pool).Cancel(t.Context(), []uuid.UUID{job}, "race")
				})
				l.awaitBlocked(t, 1)
				commit(t, tx)
				rows := call.Wait(t)
				if mutant != nil {
					if rows[0].Result == test.want {
						t.Error("the mutant is not caught")
					}
					continue
				}
				if rows[0].Result != test.want {
					t.Errorf("got %s, want %s", rows[0].Result, test.want)
				}
				l.wantPlace(t, job, test.want)
			}
		})
	}
}

// TestCancelWaitsForAClaimInFlight: S13, a job that was reported cancelled has no later start, and one whose claim commits is
// running and gets the flag. Mutant that it catches: rows that are locked are skipped for good.
func TestCancelWaitsForAClaimInFlight(t *testing.T) {
	t.Parallel()
	for _, claimed := range []bool{true, false} {
		l := open(t)
		l.patient(t, "cancel")
		w := l.hire(t, "n", `{"default": 1}`)
		job := l.enqueue(t, 1, "")[0]
		tx := l.begin(t)
		claim(t, tx, w, "default", 1)
		call := labtest.Start(func() ([]control.Result, error) { return l.plane.Cancel(t.Context(), "race", job) })
		l.awaitBlocked(t, 1)
		if !claimed {
			rollback(t, tx)
			wantOutcome(t, call.Wait(t), "cancelled")
			l.wantPlace(t, job, "cancelled")
			continue
		}
		commit(t, tx)
		wantOutcome(t, call.Wait(t), "running")
		if !one[bool](t, l.owner, "select cancel_at is not null from stem.running where job_id = $1", job) {
			t.Error("the flag is not set")
		}
	}
	l := open(t)
	l.mutate(t, "cancel", "_cancel_job(v_job, true)", "_cancel_job(v_job, false)")
	w := l.hire(t, "n", `{"default": 1}`)
	job := l.enqueue(t, 1, "")[0]
	tx := l.begin(t)
	claim(t, tx, w, "default", 1)
	result := one[*string](t, l.pool, "select result from stem.cancel($1, '')", []uuid.UUID{job})
	commit(t, tx)
	if result != nil || one[bool](t, l.owner, "select cancel_at is not null from stem.running") {
		t.Error("the mutant is not caught")
	}
}

// TestCancelIsNotHeldUpByOpenCompletions: callers keep transactions with stem.complete open for as long as they like.
// Mutant that it catches: waiting a second for each of them.
func TestCancelIsNotHeldUpByOpenCompletions(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t, "n", `{"default": 20}`)
	l.enqueue(t, 20, "")
	held, id := claim(t, l.worker, w, "default", 20)
	waiting := l.enqueue(t, 50, "")
	tx := l.begin(t)
	for _, job := range held {
		must(t, store.New(tx).Complete(t.Context(), store.CompleteParams{Job: job, Claim: id, Worker: w.id, AgeUs: -1}))
	}
	run(t, l.owner, "create sequence stem.waits; grant all on sequence stem.waits to stem_owner") // counts, because it is not rolled back
	l.mutate(t, "_cancel_job", "begin\n", "begin if p_wait and current_setting('lock_timeout') <> '1ms' then perform nextval('stem.waits'); end if;\n")
	rows, err := store.New(l.pool).Cancel(t.Context(), slices.Concat(held, waiting), "")
	must(t, err)
	if n := one[int](t, l.owner, "select case when is_called then last_value else 0 end from stem.waits"); n != 1 {
		t.Errorf("cancel waited a second for %d of 20 open completions, want 1", n)
	}
	count := map[string]int{}
	for _, r := range rows {
		count[r.Result]++
	}
	if diff := cmp.Diff(map[string]int{"busy": 20, "cancelled": 50}, count); diff != "" {
		t.Error(diff)
	}
	if got := one[string](t, l.pool, "show lock_timeout"); got != "0" {
		t.Errorf("the caller's lock_timeout is %s now", got)
	}
	commit(t, tx)
	list, err := l.plane.Cancel(t.Context(), "", held[0])
	must(t, err)
	wantOutcome(t, list, "finished")
}

// TestTwoBulkCancelsDoNotDeadlock: F13. Both stop after their first job, in opposite orders of their arguments.
// Mutant that it catches: jobs are taken in the order given.
func TestTwoBulkCancelsDoNotDeadlock(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		l := open(t)
		l.patient(t, "cancel") // so that a deadlock is found, and not given up before
		// The gate: after the first job each call waits until the test opens it.
		l.mutate(t, "cancel", "v_results := v_results || v_result;",
			"v_results := v_results || v_result; perform pg_advisory_xact_lock_shared(4711);")
		if mutant {
			l.mutate(t, "_job_list", "distinct u.id from unnest(p_jobs) u(id) where u.id is not null order by u.id",
				"u.id from unnest(p_jobs) u(id)")
		}
		jobs := l.enqueue(t, 2, "")
		gate, err := l.owner.Acquire(t.Context())
		must(t, err)
		run(t, gate.Conn(), "select pg_advisory_lock(4711)")
		var calls []*labtest.Pending[[]*store.CancelRow]
		for i := range 2 {
			order := slices.Clone(jobs)
			if i == 1 {
				slices.Reverse(order)
			}
			calls = append(calls, labtest.Start(func() ([]*store.CancelRow, error) {
				return store.New(l.pool).Cancel(context.WithoutCancel(t.Context()), order, "")
			}))
		}
		l.awaitBlocked(t, 2)
		run(t, gate.Conn(), "select pg_advisory_unlock(4711)")
		gate.Release()
		failed := 0
		for _, c := range calls {
			if <-c.Done; c.Err != nil {
				failed++
			}
		}
		if (failed > 0) != mutant {
			t.Errorf("mutant %t: %d calls failed: %v, %v", mutant, failed, calls[0].Err, calls[1].Err)
		}
	}
}

func TestCancelsBesideDueMovesAndClaims(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t, "n", `{"default": 200}`)
	l.patient(t, "cancel") // one waits for all that the other takes
	jobs := slices.Concat(l.enqueue(t, 200, ""), l.enqueue(t, 200, "delay => '30 milliseconds'"))
	slices.SortFunc(jobs, compare)
	backwards := slices.Clone(jobs)
	slices.Reverse(backwards)
	cancels := []*labtest.Pending[[]control.Result]{
		labtest.Start(func() ([]control.Result, error) { return l.plane.Cancel(t.Context(), "one", jobs...) }),
		labtest.Start(func() ([]control.Result, error) { return l.plane.Cancel(t.Context(), "two", backwards...) }),
	}
	for range 20 {
		if _, err := store.New(l.worker).Due(t.Context(), 50); err != nil {
			t.Error(err)
		}
		held, id := claim(t, l.worker, w, "default", 20)
		if len(held) > 0 {
			putBack(t, l.worker, w, id, "release", 0, "", "", held...)
		}
	}
	for _, c := range cancels {
		for _, r := range c.Wait(t) {
			if r.Outcome == "unknown" || r.Outcome == "busy" {
				t.Errorf("job %s is %s", r.ID, r.Outcome)
			}
		}
	}
	for _, job := range jobs {
		l.wantPlace(t, job, "cancelled")
	}
}

func TestCancelAllIsResumable(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.enqueue(t, 30, "queue => 'mail'")
	l.enqueue(t, 5, "queue => 'mail', delay => '1 hour'")
	other := l.enqueue(t, 7, "queue => 'other'")
	filter := control.Filter{Queue: "mail"}
	ctx, stop := context.WithCancel(t.Context())
	var seen []int64
	_, err := l.plane.CancelAll(ctx, filter, control.Bulk{Batch: 10, Reason: "stop", Progress: func(p control.Progress) {
		seen = append(seen, p.Done)
		if p.Done >= 20 {
			stop()
		}
	}})
	if err == nil {
		t.Fatal("a cancelled context is no error")
	}
	if diff := cmp.Diff([]int64{10, 20}, seen); diff != "" {
		t.Error(diff)
	}
	done, err := l.plane.CancelAll(t.Context(), filter, control.Bulk{Batch: 10})
	must(t, err)
	if diff := cmp.Diff(control.Progress{Seen: 15, Done: 15, Outcomes: map[string]int64{"cancelled": 15}}, done); diff != "" {
		t.Error(diff)
	}
	for _, job := range other {
		l.wantPlace(t, job, "ready")
	}
	if _, err := l.plane.CancelAll(t.Context(), control.Filter{States: []string{"completed"}}, control.Bulk{}); err == nil {
		t.Error("what is finished can be cancelled")
	}
}

func TestActionsInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	l := open(t)
	jobs := l.enqueue(t, 1, "")
	conn := l.connect(t)
	run(t, conn, "begin")
	for name, db := range map[string]control.DB{"a transaction": l.begin(t), "a connection inside one": conn} {
		list, err := control.New(db).Cancel(t.Context(), "", jobs...)
		must(t, err)
		wantOutcome(t, list, "cancelled")
		run(t, db, "rollback")
		l.wantPlace(t, jobs[0], "ready")
		if n := one[int](t, l.owner, "select count(*) from stem.audit"); n != 0 {
			t.Errorf("%s: %d audit rows outlived the rollback", name, n)
		}
	}
}

// TestDeadlocksAreRepeated lets Postgres end the action twice; a sequence counts, because it is not rolled back.
func TestDeadlocksAreRepeated(t *testing.T) {
	t.Parallel()
	l := open(t)
	run(t, l.owner, "create sequence stem.tries; grant all on sequence stem.tries to stem_owner")
	l.mutate(t, "pause_queue", "begin\n", "begin if nextval('stem.tries') < 3 then raise exception using errcode = '40P01'; end if;\n")
	changed, err := l.plane.Pause(t.Context(), "mail", "")
	must(t, err)
	if tries := one[int](t, l.owner, "select last_value from stem.tries"); !changed || tries != 3 {
		t.Errorf("changed %t after %d tries", changed, tries)
	}
	_, err = control.New(l.begin(t)).Pause(t.Context(), "other", "")
	must(t, err)
	run(t, l.owner, "select setval('stem.tries', 1, false)")
	_, err = control.New(l.begin(t)).Pause(t.Context(), "third", "")
	wantCode(t, err, "40P01") // not ours to repeat
}
