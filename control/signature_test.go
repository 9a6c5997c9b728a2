package control_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/worker"
)

func secret(seed string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(seed+"0123456789abcdef", 2)))
}

func ring(t *testing.T, environ ...string) *signing.Ring {
	t.Helper()
	r, err := signing.FromEnviron(environ)
	must(t, err)
	return r
}

// signed enqueues a job of task t with the key.
func (l *lab) signed(t *testing.T, key string, options ...queue.Option) uuid.UUID {
	t.Helper()
	q, err := queue.New(queue.Config{Signer: ring(t, "STEM_SIGNING_KEYS="+key+":"+secret(key), "STEM_SIGNING_ACTIVE_KEY="+key)})
	must(t, err)
	receipts, err := q.Enqueue(t.Context(), l.worker, queue.Raw("t", []byte(`{"n":1}`), "", options...))
	must(t, err)
	return receipts[0].ID
}

// bury gives the ready jobs of queue default up, by a worker that rejects them.
func (l *lab) bury(t *testing.T, reason string) {
	t.Helper()
	w := l.hire(t, "undertaker", `{"default": 1}`)
	jobs, id := claim(t, l.worker, w, "default", 1000)
	putBack(t, l.worker, w, id, "reject", 0, reason, "boom: "+reason, jobs...)
	run(t, l.owner, "delete from stem.workers where id = $1", w.id)
}

// TestSignatureUsage counts over every table and beyond a page, and filters dead letters by their key.
func TestSignatureUsage(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.signed(t, "v1")
	dead := l.signed(t, "v2")
	l.enqueue(t, 1, "")
	l.bury(t, "broken")
	l.signed(t, "v1", queue.On("held"))
	w := l.hire(t, "n", `{"held": 1}`)
	claim(t, l.worker, w, "held", 1)
	l.signed(t, "v1", queue.After(time.Hour))
	l.signed(t, "v2")
	l.enqueue(t, 12_000, "") // more than two pages of one statement
	done := l.enqueue(t, 1, "queue => 'done'")
	_, err := l.plane.Cancel(t.Context(), "", done...)
	must(t, err)
	run(t, l.owner, `insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts) values ('bare', 5, nextval('stem.ticket_pos'), stem.uuid7(), 0, 20)`)
	got, err := l.plane.SignatureUsage(t.Context())
	must(t, err)
	want := []control.KeyUsage{
		{Key: "v1", Algorithm: "hmac-sha256", Scheduled: 1, Running: 1, Dead: 1},
		{Key: "v2", Algorithm: "hmac-sha256", Ready: 1, Dead: 1},
		{Ready: 12_000, Dead: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var ids []uuid.UUID
	for d, err := range l.plane.Dead(t.Context(), control.DeadFilter{SignedWith: "v2"}) {
		must(t, err)
		ids = append(ids, d.ID)
	}
	n, err := l.plane.CountDead(t.Context(), control.DeadFilter{SignedWith: "v2"})
	must(t, err)
	if !slices.Equal(ids, []uuid.UUID{dead}) || n != 1 {
		t.Errorf("listed %v and counted %d", ids, n)
	}
	for _, function := range []string{"signature_usage", "list_envelopes"} {
		settings := one[[]string](t, l.owner, "select proconfig from pg_proc where oid = $1::regproc", "stem."+function)
		for _, guc := range []string{"enable_seqscan", "enable_bitmapscan", "enable_sort", "enable_hashjoin", "enable_mergejoin"} {
			if !slices.Contains(settings, guc+"=off") {
				t.Errorf("%s does not set %s", function, guc)
			}
		}
	}
}

// TestVerifySaysWhatAWorkerDoes: of jobs that somebody changed with the owner's rights. What Verify says before is what comes of each
// before a worker with the same keys; replayed by nobody, a dead letter is judged the same afterwards.
func TestVerifySaysWhatAWorkerDoes(t *testing.T) {
	t.Parallel()
	l := open(t)
	keys := ring(t, "STEM_SIGNING_KEYS=v1:"+secret("v1"), "STEM_SIGNING_ACTIVE_KEY=v1")
	unsignedQueues := []string{"sql"}
	want := map[uuid.UUID]string{}
	job := func(reason, set string, options ...queue.Option) uuid.UUID {
		t.Helper()
		id := l.signed(t, "v1", options...)
		want[id] = reason
		if set != "" {
			run(t, l.owner, "update stem.jobs set "+set+" where id = $1", id)
		}
		return id
	}
	later := queue.At(time.Now().Add(time.Hour))
	const unsigned = "sig = null, sig_key_id = null, sig_alg = null"
	job("", "")
	job("", "", queue.Header("tenant", "t1"), queue.ExpiresIn(time.Hour), queue.UntilFinished("k"), queue.Group("g"), queue.Version(2),
		queue.HardLimit(time.Minute), queue.SoftLimit(time.Second), queue.Priority(9), queue.MaxAttempts(3), queue.Origin("job:1"), queue.NominalAt(time.Now()))
	job("", "", queue.At(time.Now().Add(-time.Hour)))
	job("", unsigned, queue.On("sql"))
	waiting := job("", "", later)
	job("signature_missing", unsigned)
	forged := job("signature_invalid", `payload = '{"n":2}'`)
	job("signature_invalid", "sig = sha256(sig)", queue.On("sql"))
	job("signature_stale", "created_at = created_at + interval '25 h'")
	job("malformed_row", "queue = 'mail'")
	hastened := job("malformed_row", "", later)
	run(t, l.owner, "update stem.scheduled set run_at = clock_timestamp() where job_id = $1", hastened)
	unknown := l.signed(t, "v9")
	want[unknown] = "signature_unknown_key"
	bare := uuid.Must(uuid.NewV7())
	run(t, l.owner, "insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts) values ('default', 5, nextval('stem.ticket_pos'), $1, 0, 20)", bare)
	want[bare] = "envelope_missing"

	said := func(states ...string) map[uuid.UUID]string {
		t.Helper()
		got := map[uuid.UUID]string{}
		for v, err := range l.plane.Verify(t.Context(), keys, unsignedQueues, states...) {
			must(t, err)
			got[v.ID] = v.Reason
			if v.Refused() == (v.Reason == "") && v.Queue != "sql" || v.Reason != "" && v.Detail == "" {
				t.Errorf("%+v", v)
			}
			if alone, err := l.plane.VerifyJob(t.Context(), keys, unsignedQueues, v.ID); err != nil || alone.Reason != v.Reason || alone.State != v.State {
				t.Errorf("alone %+v, %v; in the list %+v", alone, err, v)
			}
		}
		return got
	}
	got := said()
	for id, reason := range got {
		if reason == "signature_missing" && want[id] == "" { // it runs, and is counted
			got[id] = ""
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}

	var reg worker.Registry
	reg.HandleFunc("t", func(context.Context, *queue.Run) error { return nil })
	w, err := worker.New(l.worker, &reg, worker.Config{Queues: map[string]int{"default": 8, "mail": 2, "sql": 2}, Keys: keys, UnsignedQueues: unsignedQueues, PollInterval: 50 * time.Millisecond})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	eventually(t, "all have ended but two", func() bool {
		return one[int](t, l.owner, "select (select count(*) from stem.ready) + (select count(*) from stem.running) + (select count(*) from stem.scheduled)") == 2
	})
	stop()
	must(t, <-ended)
	for id, reason := range want {
		d, err := l.plane.Job(t.Context(), id)
		must(t, err)
		switch {
		case id == waiting || id == unknown:
			if d.State != "scheduled" && d.State != "ready" {
				t.Errorf("%s is %s (%s), want it to wait", id, d.State, d.Reason)
			}
		case reason == "" && d.State != "completed", d.Reason != reason:
			t.Errorf("%s is %s (%s), Verify had said %q", id, d.State, d.Reason, reason)
		}
	}
	dead := said("dead")
	if dead[forged] != "signature_invalid" {
		t.Errorf("the dead letter of a forged job is %q", dead[forged])
	}
	if _, judged := dead[waiting]; judged || len(dead) == 0 {
		t.Errorf("%d dead letters are judged, and one that is alive: %t", len(dead), judged)
	}
	if dead[hastened] != "" {
		t.Errorf("replayed no earlier than its time, the hastened job is %q", dead[hastened])
	}
	_, err = l.plane.VerifyJob(t.Context(), keys, nil, uuid.Must(uuid.NewV7()))
	if err == nil || !strings.HasSuffix(err.Error(), "not found") {
		t.Errorf("of a job that is not there: %v", err)
	}
	for _, err := range l.plane.Verify(t.Context(), keys, nil, "completed") {
		wantCode(t, err, "22023")
	}
}

// TestVerifyGoesThroughPages: each job once, and never more payload than 8 MiB and one in one answer.
func TestVerifyGoesThroughPages(t *testing.T) {
	t.Parallel()
	l := open(t)
	want := map[uuid.UUID]bool{}
	for _, id := range slices.Concat(l.enqueue(t, 1234, ""), l.enqueue(t, 5, "args => to_jsonb(repeat('x', 3 << 20))")) {
		want[id] = true
	}
	db := &counting{DB: l.pool}
	for v, err := range control.New(db).Verify(t.Context(), ring(t, "STEM_SIGNING_KEYS=v1:"+secret("v1")), nil) {
		must(t, err)
		if !want[v.ID] || v.Reason != "signature_missing" {
			t.Fatalf("twice, or wrong: %+v", v)
		}
		delete(want, v.ID)
	}
	// 3 large and 2 large with 498 small, then 736 small in two, and the empty one.
	if len(want) > 0 || db.queries != 5 {
		t.Errorf("%d jobs are missing after %d statements", len(want), db.queries)
	}
}

// TestAgrees: what a worker's heartbeat says, against the keys of an operator.
func TestAgrees(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	must(t, os.WriteFile(file, []byte(`{"keys": [{"id": "v1", "alg": "hmac-sha256", "secret": "`+secret("v1")+`", "state": "sign"},
		{"id": "v0", "alg": "hmac-sha256", "state": "revoked"}]}`), 0o600))
	r := ring(t, "STEM_SIGNING_KEYS_FILE="+file)
	v1, v0 := r.Keys()[0], r.Keys()[1]
	stats := func(audience, keys string) string {
		return fmt.Sprintf(`{"held": 0, "signing": {"policy": "required", "audience": %q, "keys": [%s]}}`, audience, keys)
	}
	own := fmt.Sprintf(`{"id": "v1", "fingerprint": %q, "uses": "job,schedule"}`, v1.Fingerprint)
	const old = `{"id": "v0", "fingerprint": "00", "uses": "job"}`
	for _, tt := range []struct {
		name, stats string
		key         signing.Key
		why         string // "" is that it agrees
	}{
		{"the same", stats("stem", own), v1, ""},
		{"more", stats("stem", old+", "+own), v1, ""},
		{"none", stats("stem", ""), v1, "it does not have the key"},
		{"another of the name", stats("stem", `{"id": "v1", "fingerprint": "00", "uses": "job"}`), v1, `its key "v1" is another one (00)`},
		{"for other uses", stats("stem", strings.ReplaceAll(own, "job,", "")), v1, `its key "v1" is for schedule, not for jobs`},
		{"another audience", stats("staging", own), v1, `its audience is "staging"`},
		{"off", `{"held": 0}`, v1, "it verifies nothing"},
		{"just registered", `{}`, v1, "it has not sent a heartbeat yet"},
		{"not what we know", `{"signing": {"keys": "all"}}`, v1, "it verifies nothing"},
		{"revoked, and gone", stats("stem", own), v0, ""},
		{"revoked, and accepted", stats("stem", old+", "+own), v0, "it accepts the key"},
		{"revoked, and all run", `{"held": 0}`, v0, "it verifies nothing"},
	} {
		l := control.Worker{Stats: json.RawMessage(tt.stats)}
		var said struct{ Signing *control.WorkerSigning }
		_ = json.Unmarshal(l.Stats, &said) // as it is read from the database
		l.Signing = said.Signing
		if tt.name == "not what we know" {
			l.Signing = nil
		}
		if ok, why := l.Agrees(r, tt.key); why != tt.why || ok != (why == "") {
			t.Errorf("%s: got %t, %q", tt.name, ok, why)
		}
	}
}

// TestWorkersTellTheirKeys: through a real heartbeat.
func TestWorkersTellTheirKeys(t *testing.T) {
	t.Parallel()
	l := open(t)
	r := ring(t, "STEM_SIGNING_KEYS=v1:"+secret("v1"), "STEM_SIGNING_ACTIVE_KEY=v1")
	var reg worker.Registry
	w, err := worker.New(l.worker, &reg, worker.Config{Keys: r, Namespace: "ns"})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() { stop(); must(t, <-ended) }()
	eventually(t, "it says which key it accepts", func() bool {
		list, err := l.plane.Workers(t.Context(), "ns")
		must(t, err)
		if len(list) == 0 {
			return false
		}
		ok, _ := list[0].Agrees(r, r.Keys()[0])
		return ok
	})
	conn, err := l.owner.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	tx := begin(t, conn.Conn(), pgx.ReadCommitted) // in one with what reads it: the next heartbeat puts it right
	run(t, tx, `update stem.workers set stats = '{"signing": [1]}'`)
	list, err := control.New(tx).Workers(t.Context(), "ns")
	must(t, err)
	rollback(t, tx)
	if list[0].Signing != nil {
		t.Errorf("nonsense is read as %+v", list[0].Signing)
	}
}
