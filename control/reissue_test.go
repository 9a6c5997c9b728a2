package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
)

// office is who reissues: a producer that signs with v2, and the keys of a worker that knows both.
func (l *lab) office(t *testing.T) (producer *queue.Queue, keys *signing.Ring) {
	t.Helper()
	keys = ring(t, "STEM_SIGNING_KEYS=v1:"+secret("v1")+",v2:"+secret("v2"), "STEM_SIGNING_ACTIVE_KEY=v2")
	producer, err := queue.New(queue.Config{Signer: keys})
	must(t, err)
	return producer, keys
}

// reissuer is the Plane of somebody who operates and may enqueue: both are needed for it.
func (l *lab) reissuer(t *testing.T) *control.Plane { t.Helper(); return control.New(pool(t, l.other)) }

// TestARefusedSignatureIsNotReplayed: not by Replay, not by Retry, not by Reissue before somebody has looked. Where the key was unknown
// it may be known now.
func TestARefusedSignatureIsNotReplayed(t *testing.T) {
	t.Parallel()
	l := open(t)
	producer, _ := l.office(t)
	for _, reason := range []string{"signature_missing", "signature_invalid", "signature_revoked", "signature_stale"} {
		id := l.signed(t, "v1")
		l.bury(t, reason)
		list, err := l.plane.Replay(t.Context(), "", 0, id)
		must(t, err)
		wantOutcome(t, list, "needs_resign")
		list, err = l.plane.Retry(t.Context(), "", id)
		must(t, err)
		wantOutcome(t, list, "needs_resign")
		list, err = l.reissuer(t).Reissue(t.Context(), producer, "", 0, control.Edit{Queue: "mail"}, id)
		must(t, err)
		wantOutcome(t, list, "needs_resign")
		l.wantPlace(t, id, "dead")
	}
	done, err := l.plane.ReplayAll(t.Context(), control.DeadFilter{}, control.Bulk{})
	must(t, err)
	if done.Done != 0 || done.Outcomes["needs_resign"] != 4 {
		t.Errorf("%+v", done)
	}
	id := l.signed(t, "v9")
	l.bury(t, "signature_unknown_key")
	wantOutcome(t, replayed(t, l.plane, id), "replayed")
}

// TestReissue: another id, origin and signature, and otherwise the same job; the letter is gone, and the audit log has both.
func TestReissue(t *testing.T) {
	t.Parallel()
	l := open(t)
	producer, keys := l.office(t)
	expires := time.Now().Add(24 * time.Hour)
	old := l.signed(t, "v1", queue.Priority(7), queue.MaxAttempts(3), queue.Header("tenant", "t1"), queue.HardLimit(time.Minute),
		queue.SoftLimit(time.Second), queue.Version(2), queue.Group("g"), queue.ExpiresAt(expires), queue.NominalAt(time.Now()),
		queue.UntilFinished("k"), queue.At(time.Now().Add(-time.Minute)))
	run(t, l.owner, `update stem.jobs set payload = '{"n":2}' where id = $1`, old)
	l.bury(t, "signature_invalid")
	before, err := l.plane.DeadLetter(t.Context(), old)
	must(t, err)

	list, err := l.reissuer(t).Reissue(t.Context(), producer, "looked at it", 0, control.Edit{Reviewed: true}, old)
	must(t, err)
	wantOutcome(t, list, "reissued")
	r := list[0]
	if !r.Done || r.ID != old || r.Successor == uuid.Nil {
		t.Fatalf("%+v", r)
	}
	l.wantPlace(t, r.Successor, "ready")
	after, err := l.plane.Job(t.Context(), r.Successor)
	must(t, err)
	// What is new: the state, and what says when and by whom it was enqueued.
	same := cmpopts.IgnoreFields(control.Detail{}, "Job", "RunAt", "IssuedAt", "Signature", "SignatureKey", "Error", "Fingerprint", "Attempts", "Ahead")
	if diff := cmp.Diff(*before, *after, same); diff != "" {
		t.Error(diff)
	}
	if after.Origin != "replay:"+old.String() || after.SignatureKey != "v2" || after.Priority != 7 || after.MaxAttempts != 3 || after.Group != "g" ||
		after.Task != "t" || after.Queue != "default" || !after.ExpiresAt.Equal(before.ExpiresAt) || after.Attempt != 0 || !after.RunAt.IsZero() {
		t.Errorf("%+v", after)
	}
	if v, err := l.plane.VerifyJob(t.Context(), keys, nil, r.Successor); err != nil || v.Refused() {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := l.plane.DeadLetter(t.Context(), old); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("the letter: %v", err)
	}
	for e, err := range l.plane.Audit(t.Context(), control.AuditFilter{}) {
		must(t, err)
		want := map[string]any{
			"new": r.Successor.String(), "reason": "signature_invalid", "signed_with": map[string]any{"before": "v1", "after": "v2"},
			"changed": []any{}, "jobs": map[string]any{old.String(): "superseded"},
		}
		var got map[string]any
		must(t, json.Unmarshal(e.Detail, &got))
		if diff := cmp.Diff(want, got); diff != "" || e.Action != "supersede" || e.Target != "job "+old.String() || e.Affected != 1 || e.Reason != "looked at it" {
			t.Errorf("%+v: %s", e, diff)
		}
	}
	// Its key is taken again, as a replay takes it.
	q, err := queue.New(queue.Config{})
	must(t, err)
	receipts, err := q.Enqueue(t.Context(), l.worker, queue.Raw("t", nil, "text/plain", queue.UntilFinished("k")))
	must(t, err)
	if !receipts[0].Duplicate || receipts[0].ID != r.Successor {
		t.Errorf("the key is not held by the new job: %+v", receipts)
	}
}

// TestReissueWithAnEdit: another queue, another payload, later; the rest stays, and the audit log says what was changed.
func TestReissueWithAnEdit(t *testing.T) {
	t.Parallel()
	l := open(t)
	producer, keys := l.office(t)
	changed := func() string {
		t.Helper()
		return one[string](t, l.owner, "select detail ->> 'changed' from stem.audit order by id desc limit 1")
	}
	reissue := func(delay time.Duration, e control.Edit, options ...queue.Option) *control.Detail {
		t.Helper()
		old := l.signed(t, "v1", options...)
		l.bury(t, "broken")
		list, err := l.reissuer(t).Reissue(t.Context(), producer, "", delay, e, old)
		must(t, err)
		wantOutcome(t, list, "reissued")
		if v, err := l.plane.VerifyJob(t.Context(), keys, nil, list[0].Successor); err != nil || v.Refused() {
			t.Errorf("%+v, %v", v, err)
		}
		d, err := l.plane.Job(t.Context(), list[0].Successor)
		must(t, err)
		return d
	}
	if d := reissue(0, control.Edit{Queue: "mail"}); d.Queue != "mail" || string(d.Payload) != `{"n":1}` || changed() != `["queue"]` {
		t.Errorf("%+v, changed %s", d, changed())
	}
	if d := reissue(0, control.Edit{Payload: []byte(`{"n":2}`), Queue: "mail"}); string(d.Payload) != `{"n":2}` || changed() != `["queue", "payload"]` {
		t.Errorf("%+v, changed %s", d, changed())
	}
	if d := reissue(time.Hour, control.Edit{}); d.State != "scheduled" || d.Delay != time.Hour || time.Until(d.DueAt) < 50*time.Minute {
		t.Errorf("%+v", d)
	}
	// Keys that were free again, or are their period's, are not taken: a replay does not take them either.
	for _, unique := range []queue.Option{queue.UntilStarted("s"), queue.UniqueFor("p", time.Hour)} {
		if d := reissue(0, control.Edit{}, unique); d.UniqueKey != nil || changed() != `["unique_key"]` {
			t.Errorf("%+v, changed %s", d, changed())
		}
	}
	late := l.signed(t, "v1")
	l.bury(t, "broken")
	run(t, l.owner, "update stem.dead set run_at = now() + interval '2 hours' where id = $1", late)
	list, err := l.reissuer(t).Reissue(t.Context(), producer, "", time.Minute, control.Edit{}, late)
	must(t, err)
	if d, err := l.plane.Job(t.Context(), list[0].Successor); err != nil || time.Until(d.DueAt) < time.Hour {
		t.Errorf("before the time that was signed: %+v, %v", d, err)
	}
}

// TestReissueLeavesNothingHalfDone: what is not reissued stays a letter, and no job and no audit row is left of the attempt.
func TestReissueLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	l := open(t)
	producer, _ := l.office(t)
	held := l.signed(t, "v1", queue.UntilFinished("k"))
	expired := l.signed(t, "v1", queue.ExpiresIn(time.Hour))
	large := l.signed(t, "v1")
	busy := l.signed(t, "v1")
	odd := l.signed(t, "v1")
	l.bury(t, "broken")
	holder := l.signed(t, "v1", queue.UntilFinished("k"), queue.On("other"))
	run(t, l.owner, "update stem.dead set expires_at = now() - interval '1 second' where id = $1", expired)
	run(t, l.owner, "update stem.dead set headers = '[]' where id = $1", odd)
	locking, err := l.owner.Begin(t.Context())
	must(t, err)
	defer func() { must(t, locking.Rollback(context.WithoutCancel(t.Context()))) }()
	run(t, locking, "select from stem.dead where id = $1 for update", busy)
	nobody := uuid.Must(uuid.NewV7())
	missing := l.enqueue(t, 1, "")[0]
	l.bury(t, "envelope_missing")
	jobs := one[int](t, l.owner, "select count(*) from stem.jobs")

	list, err := l.reissuer(t).Reissue(t.Context(), producer, "", 0, control.Edit{}, held, expired, busy, odd, nobody, holder, missing)
	must(t, err)
	want := map[uuid.UUID]string{
		held: "duplicate", expired: "expired", busy: "busy", odd: "invalid", nobody: "unknown", holder: "ready", missing: "envelope_missing",
	}
	if diff := cmp.Diff(want, outcomes(list)); diff != "" {
		t.Error(diff)
	}
	if list[0].Holder != holder || list[3].Detail == "" {
		t.Errorf("%+v", list)
	}
	more, err := l.reissuer(t).Reissue(t.Context(), producer, "", 0, control.Edit{Payload: []byte("no JSON")}, large)
	must(t, err)
	if len(more) != 1 || more[0].Outcome != "invalid" || !strings.Contains(more[0].Detail, "payload: ") {
		t.Errorf("%+v", more)
	}
	for _, id := range []uuid.UUID{held, expired, busy, odd, large, missing} {
		l.wantPlace(t, id, "dead")
	}
	if n := one[int](t, l.owner, "select count(*) from stem.jobs"); n != jobs {
		t.Errorf("%d jobs too many", n-jobs)
	}
	if n := one[int](t, l.owner, "select count(*) from stem.audit"); n != 0 {
		t.Errorf("%d audit rows", n)
	}
}

// interloper does something just before the letter is taken away.
type interloper struct {
	control.DB
	before func()
}

func (i *interloper) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if strings.Contains(sql, "supersede_dead") {
		i.before()
	}
	return i.DB.QueryRow(ctx, sql, args...)
}

// TestReissueInTheCallersTransaction: one that somebody else replayed in between leaves no second job and a transaction that goes on; and
// nothing is there before it commits.
func TestReissueInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	l := open(t)
	producer, _ := l.office(t)
	lost := l.signed(t, "v1")
	won := l.signed(t, "v1")
	l.bury(t, "broken")
	tx := l.begin(t)
	db := &interloper{DB: tx, before: func() { wantOutcome(t, replayed(t, l.plane, lost), "replayed") }}
	list, err := control.New(db).Reissue(t.Context(), producer, "", 0, control.Edit{}, lost)
	must(t, err)
	wantOutcome(t, list, "ready")
	list, err = control.New(tx).Reissue(t.Context(), producer, "", 0, control.Edit{}, won)
	must(t, err)
	wantOutcome(t, list, "reissued")
	l.wantPlace(t, won, "dead")
	commit(t, tx)
	if n := one[int](t, l.owner, "select count(*) from stem.jobs where origin like 'replay:%'"); n != 1 {
		t.Errorf("%d new jobs, want one", n)
	}
	l.wantPlace(t, list[0].Successor, "ready")
}

// TestReissueAll: those of an old key, in batches, and the same command goes on where it ended.
func TestReissueAll(t *testing.T) {
	t.Parallel()
	l := open(t)
	producer, _ := l.office(t)
	for range 7 {
		l.signed(t, "v1")
	}
	other := l.signed(t, "v2")
	l.bury(t, "broken")
	batches := 0
	done, err := l.reissuer(t).ReissueAll(t.Context(), producer, control.DeadFilter{SignedWith: "v1"}, control.Edit{}, control.Bulk{
		Batch: 3, Delay: time.Hour, Progress: func(control.Progress) { batches++ },
	})
	must(t, err)
	if done.Seen != 7 || done.Done != 7 || done.Outcomes["reissued"] != 7 || batches != 3 {
		t.Errorf("%+v in %d batches", done, batches)
	}
	l.wantPlace(t, other, "dead")
	usage, err := l.plane.SignatureUsage(t.Context())
	must(t, err)
	if diff := cmp.Diff([]control.KeyUsage{{Key: "v2", Algorithm: "hmac-sha256", Scheduled: 7, Dead: 1}}, usage); diff != "" {
		t.Error(diff)
	}
	done, err = l.reissuer(t).ReissueAll(t.Context(), producer, control.DeadFilter{SignedWith: "v1"}, control.Edit{}, control.Bulk{})
	must(t, err)
	if done.Seen != 0 {
		t.Errorf("%+v", done)
	}
}

// TestSupersedeDeadWantsTheNewJob: nobody makes a letter vanish by naming a job that is not its successor.
func TestSupersedeDeadWantsTheNewJob(t *testing.T) {
	t.Parallel()
	l := open(t)
	dead := l.kill(t, 1, "broken", "")[0]
	other := l.enqueue(t, 1, "")[0]
	for _, id := range []any{other, dead, uuid.Must(uuid.NewV7()), nil} {
		_, err := l.pool.Exec(t.Context(), "select stem.supersede_dead($1, $2, 'why')", dead, id)
		wantCode(t, err, "22023")
	}
	l.wantPlace(t, dead, "dead")
}
