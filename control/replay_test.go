package control_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// TestReplayAfterTheLeafIsGone: T12. The ring has turned past the job's leaf, so the dead letter is all there is of it.
// Mutants that it catches: the attempt starts again at 0 (S9), and the history is lost.
func TestReplayAfterTheLeafIsGone(t *testing.T) {
	t.Parallel()
	l := open(t)
	job := l.kill(t, 1, "broken", `args => '{"n": 7}', headers => '{"tenant": "t1"}', priority => 7, max_attempts => 3`)[0]
	before, err := l.plane.DeadLetter(t.Context(), job)
	must(t, err)
	run(t, l.owner, "truncate stem.jobs_0, stem.attempts_0, stem.finished_0")
	run(t, l.owner, "update stem.ring set origin = origin - 3 * period")

	list, err := l.plane.Replay(t.Context(), "fixed", 0, job)
	must(t, err)
	wantOutcome(t, list, "replayed")
	l.wantPlace(t, job, "ready")
	after, err := l.plane.Job(t.Context(), job)
	must(t, err)
	got := []int{after.Attempt, after.Failures, after.Crashes, after.Releases, after.Generation, after.Priority, after.MaxAttempts}
	if diff := cmp.Diff([]int{1, 0, 0, 0, 2, 7, 3}, got); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(after.Payload, before.Payload) || !bytes.Equal(after.Headers, before.Headers) || !after.IssuedAt.Equal(before.IssuedAt) {
		t.Errorf("the envelope changed: %+v, was %+v", after, before)
	}
	if diff := cmp.Diff(before.Attempts, after.Attempts); diff != "" || len(after.Attempts) != 1 {
		t.Errorf("the history changed: %s", diff)
	}
	if slot := one[int](t, l.owner, "select slot from stem.ready"); slot != 3 {
		t.Errorf("the ticket is in slot %d", slot)
	}
	w := l.hire(t, "n", `{"default": 1}`)
	held, id := claim(t, l.worker, w, "default", 1)
	if !slices.Equal(held, []uuid.UUID{job}) {
		t.Fatalf("claimed %v", held)
	}
	putBack(t, l.worker, w, id, "discard", 0, "broken", "again", job)
	again, err := l.plane.DeadLetter(t.Context(), job)
	must(t, err)
	if again.Attempt != 2 || again.Generation != 2 || len(again.Attempts) != 2 {
		t.Errorf("after the second death: attempt %d, generation %d, %d in the history", again.Attempt, again.Generation, len(again.Attempts))
	}
}

func TestReplayInTheSameLeafKeepsOneEnvelopeAndOneHistory(t *testing.T) {
	t.Parallel()
	l := open(t)
	job := l.kill(t, 1, "broken", "")[0]
	_, err := l.plane.Replay(t.Context(), "", time.Hour, job)
	must(t, err)
	l.wantPlace(t, job, "scheduled")
	for _, table := range []string{"jobs", "attempts"} {
		if n := one[int](t, l.owner, "select count(*) from stem."+table); n != 1 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
	d, err := l.plane.Job(t.Context(), job)
	must(t, err)
	if wait := d.DueAt.Sub(d.CreatedAt); wait < 59*time.Minute || wait > 61*time.Minute {
		t.Errorf("due after %v", wait)
	}
}

func TestReplayRefusesWhatWouldNotRun(t *testing.T) {
	t.Parallel()
	l := open(t)
	expired := l.kill(t, 1, "broken", "expires_at => now() + interval '1 hour'")[0]
	missing := l.kill(t, 1, "envelope_missing", "")[0]
	late := l.kill(t, 1, "broken", "")[0]
	run(t, l.owner, "update stem.dead set expires_at = now() - interval '1 second' where id = $1", expired)
	run(t, l.owner, "update stem.dead set run_at = now() + interval '2 hours' where id = $1", late)
	ready := l.enqueue(t, 1, "")[0]
	list, err := l.plane.Replay(t.Context(), "", 0, expired, missing, late, ready)
	must(t, err)
	want := map[uuid.UUID]string{expired: "expired", missing: "envelope_missing", late: "replayed", ready: "ready"}
	if diff := cmp.Diff(want, outcomes(list)); diff != "" {
		t.Error(diff)
	}
	l.wantPlace(t, expired, "dead")
	l.wantPlace(t, missing, "dead")
	l.wantPlace(t, late, "scheduled") // S11: never before the signed run_at
	_, err = l.plane.Replay(t.Context(), "", -time.Second, late)
	wantCode(t, err, "22023")
}

// TestReplayTakesTheUniqueKeyAgain: U1. Mutant that it catches: the ticket comes back without its key.
func TestReplayTakesTheUniqueKeyAgain(t *testing.T) {
	t.Parallel()
	l := open(t)
	first := l.kill(t, 1, "broken", "unique_key => 'k'")[0]
	second := l.kill(t, 1, "broken", "unique_key => 'k'")[0]
	list, err := l.plane.Replay(t.Context(), "", 0, second, first)
	must(t, err)
	got := map[string]uuid.UUID{}
	for _, r := range list {
		got[r.Outcome] = r.ID
		if r.Outcome == "duplicate" && (r.Done || r.Holder == r.ID || r.Holder == uuid.Nil) {
			t.Errorf("%+v", r)
		}
	}
	l.wantPlace(t, got["replayed"], "ready")
	l.wantPlace(t, got["duplicate"], "dead")
	if dup := l.enqueue(t, 1, "unique_key => 'k'")[0]; dup != got["replayed"] {
		t.Error("the key is not taken")
	}
	// Free again, it can be replayed.
	_, err = l.plane.Cancel(t.Context(), "", got["replayed"])
	must(t, err)
	list, err = l.plane.Retry(t.Context(), "", got["duplicate"])
	must(t, err)
	wantOutcome(t, list, "replayed")
}

// TestReplayWaitsForAKeyThatAnOpenTransactionHolds: the answer is never about a job that was not committed (U2).
func TestReplayWaitsForAKeyThatAnOpenTransactionHolds(t *testing.T) {
	t.Parallel()
	for _, committed := range []bool{true, false} {
		l := open(t)
		l.patient(t, "_replay_jobs")
		job := l.kill(t, 1, "broken", "unique_key => 'k'")[0]
		tx := l.begin(t)
		holder := one[uuid.UUID](t, tx, "select stem.enqueue('t', unique_key => 'k')")
		call := labtest.Start(func() ([]control.Result, error) { return l.plane.Replay(t.Context(), "", 0, job) })
		l.awaitBlocked(t, 1)
		if !committed {
			rollback(t, tx)
			wantOutcome(t, call.Wait(t), "replayed")
			continue
		}
		commit(t, tx)
		list := call.Wait(t)
		wantOutcome(t, list, "duplicate")
		if list[0].Holder != holder {
			t.Errorf("the holder is %v, want %v", list[0].Holder, holder)
		}
	}
	// One that stays open makes the job busy, and nobody else waits for it.
	l := open(t)
	jobs := append(l.kill(t, 1, "broken", "unique_key => 'k'"), l.kill(t, 20, "broken", "")...)
	run(t, l.begin(t), "select stem.enqueue('t', unique_key => 'k')")
	list, err := l.plane.Replay(t.Context(), "", 0, jobs...)
	must(t, err)
	if m := outcomes(list); m[jobs[0]] != "busy" || m[jobs[1]] != "replayed" {
		t.Errorf("got %v", m)
	}
	l.wantPlace(t, jobs[0], "dead")
}

// TestTwoReplaysShareASet: an open replay holds its dead letters; another neither waits nor replays them twice (S6).
// Mutant that it catches: FOR UPDATE without SKIP LOCKED.
func TestTwoReplaysShareASet(t *testing.T) {
	t.Parallel()
	l := open(t)
	jobs := l.kill(t, 4, "broken", "")
	tx := l.begin(t)
	_, err := control.New(tx).Replay(t.Context(), "", 0, jobs[:2]...)
	must(t, err)
	for name, action := range map[string]func(context.Context, string, ...uuid.UUID) ([]control.Result, error){
		"purge": control.New(l.begin(t)).PurgeDead, "retry": control.New(l.begin(t)).Retry,
	} {
		list, err := action(t.Context(), "", jobs[0])
		must(t, err)
		if len(list) != 1 || list[0].Outcome != "busy" {
			t.Errorf("%s beside an open replay: %+v", name, list)
		}
	}
	list, err := control.New(l.pool).Replay(t.Context(), "", 0, jobs...)
	must(t, err)
	want := map[uuid.UUID]string{jobs[0]: "busy", jobs[1]: "busy", jobs[2]: "replayed", jobs[3]: "replayed"}
	if diff := cmp.Diff(want, outcomes(list)); diff != "" {
		t.Error(diff)
	}
	commit(t, tx)
	for _, job := range jobs {
		l.wantPlace(t, job, "ready")
	}

	l.mutate(t, "_replay_jobs", "for update skip locked", "for update")
	l.patient(t, "_replay_jobs")
	more := l.kill(t, 1, "broken", "")
	tx = l.begin(t)
	_, err = control.New(tx).Replay(t.Context(), "", 0, more...)
	must(t, err)
	call := labtest.Start(func() ([]control.Result, error) { return l.plane.Replay(t.Context(), "", 0, more...) })
	l.awaitBlocked(t, 1) // the mutant waits
	commit(t, tx)
	<-call.Done
}

func TestRetryMakesARetryingJobDueNow(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t, "n", `{"default": 3}`)
	l.enqueue(t, 3, "")
	held, id := claim(t, l.worker, w, "default", 3)
	putBack(t, l.worker, w, id, "fail", time.Hour, "", "boom", held[:2]...)
	later := l.enqueue(t, 1, "delay => '1 hour'")[0]
	dead := l.kill(t, 1, "broken", "")[0]
	run(t, l.owner, "update stem.jobs set run_at = now() + interval '30 minutes' where id = $1", held[1])
	list, err := l.plane.Retry(t.Context(), "", held[0], held[1], held[2], later, dead)
	must(t, err)
	want := map[uuid.UUID]string{held[0]: "due", held[1]: "due", held[2]: "running", later: "scheduled", dead: "replayed"}
	if diff := cmp.Diff(want, outcomes(list)); diff != "" {
		t.Error(diff)
	}
	row, err := store.New(l.worker).Due(t.Context(), 10)
	must(t, err)
	if row.Moved != 1 {
		t.Errorf("%d jobs were due", row.Moved)
	}
	l.wantPlace(t, held[0], "ready")
	l.wantPlace(t, held[1], "scheduled") // S11: never before the signed run_at
	if n := one[int](t, l.owner, "select failures from stem.ready where job_id = $1", held[0]); n != 1 {
		t.Errorf("its failures are %d now", n)
	}
}

// TestRetryBesideADueMove: the due move holds the ticket, so retry does not wait and says so; asked again it finds the job ready.
func TestRetryBesideADueMove(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t, "n", `{"default": 1}`)
	l.enqueue(t, 1, "")
	held, id := claim(t, l.worker, w, "default", 1)
	putBack(t, l.worker, w, id, "fail", time.Microsecond, "", "boom", held...)
	tx := l.begin(t)
	_, err := store.New(tx).Due(t.Context(), 10)
	must(t, err)
	rows, err := store.New(l.pool).RetryNow(t.Context(), held, "")
	must(t, err)
	if rows[0].Result != "busy" {
		t.Errorf("got %s", rows[0].Result)
	}
	commit(t, tx)
	list, err := l.plane.Retry(t.Context(), "", held...)
	must(t, err)
	wantOutcome(t, list, "ready")
}

func TestPurgeDead(t *testing.T) {
	t.Parallel()
	l := open(t)
	jobs := l.kill(t, 2, "broken", "")
	ready := l.enqueue(t, 1, "")[0]
	list, err := l.plane.PurgeDead(t.Context(), "", jobs[0], ready)
	must(t, err)
	if diff := cmp.Diff(map[uuid.UUID]string{jobs[0]: "purged", ready: "ready"}, outcomes(list)); diff != "" {
		t.Error(diff)
	}
	if _, err := l.plane.DeadLetter(t.Context(), jobs[0]); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	d, err := l.plane.Job(t.Context(), jobs[0])
	must(t, err)
	if d.State != "unknown" || !d.Envelope {
		t.Errorf("a purged job whose leaf is there is %s, envelope %t", d.State, d.Envelope)
	}
}

// TestReplayAllGoesOnceThroughTheSet: what dies again meanwhile is not replayed a second time by the same call, and what cannot
// be replayed does not hold up the rest. Mutant that it catches: paging from the start after each batch.
func TestReplayAllGoesOnceThroughTheSet(t *testing.T) {
	t.Parallel()
	l := open(t)
	jobs := l.kill(t, 25, "broken", "")
	stuck := l.kill(t, 3, "envelope_missing", "")
	l.kill(t, 4, "other", "")
	w := l.hire(t, "n", `{"default": 10}`)
	var died int
	bulk := control.Bulk{Batch: 10, Reason: "fixed", Progress: func(control.Progress) {
		held, id := claim(t, l.worker, w, "default", 10)
		putBack(t, l.worker, w, id, "discard", 0, "broken", "again", held...)
		died += len(held)
	}}
	done, err := l.plane.ReplayAll(t.Context(), control.DeadFilter{Reason: "broken"}, bulk)
	must(t, err)
	if done.Seen != 25 || done.Done != 25 || died != 25 {
		t.Errorf("%+v, %d died again", done, died)
	}
	for _, job := range jobs {
		if n := one[int](t, l.owner, "select generation from stem.dead where id = $1", job); n != 2 {
			t.Errorf("generation %d", n)
		}
	}
	done, err = l.plane.ReplayAll(t.Context(), control.DeadFilter{}, control.Bulk{Batch: 2, Delay: time.Hour})
	must(t, err)
	want := control.Progress{Seen: 32, Done: 29, Outcomes: map[string]int64{"replayed": 29, "envelope_missing": 3}}
	if diff := cmp.Diff(want, done); diff != "" {
		t.Error(diff)
	}
	done, err = l.plane.PurgeDeadAll(t.Context(), control.DeadFilter{}, control.Bulk{Batch: 2})
	must(t, err)
	if done.Done != int64(len(stuck)) {
		t.Errorf("purged %d", done.Done)
	}
	if _, err := l.plane.ReplayAll(t.Context(), control.DeadFilter{}, control.Bulk{Batch: 20_000}); err == nil {
		t.Error("a batch of 20000 is taken")
	}
}
