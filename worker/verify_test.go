package worker_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/labtest"
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
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func v1Ring(t *testing.T, more ...string) *signing.Ring {
	t.Helper()
	return ring(t, append([]string{"STEM_SIGNING_KEYS=v1:" + secret("a"), "STEM_SIGNING_ACTIVE_KEY=v1"}, more...)...)
}

// signedBench is a database whose producer signs, and handlers and middleware that note what they were given.
type signedBench struct {
	*bench
	ring *signing.Ring
	reg  worker.Registry
	mu   sync.Mutex
	ran  map[uuid.UUID]int
	wrap atomic.Int64 // runs of the middleware
}

func newSignedBench(t *testing.T, r *signing.Ring) *signedBench {
	t.Helper()
	b := &signedBench{bench: newBench(t), ring: r, ran: map[uuid.UUID]int{}}
	b.sign(r)
	for _, task := range []string{"t", "other"} {
		b.reg.HandleFunc(task, func(_ context.Context, run *queue.Run) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ran[run.ID]++
			return nil
		})
	}
	return b
}

// sign makes the producer sign with another ring.
func (b *signedBench) sign(r *signing.Ring) {
	b.t.Helper()
	q, err := queue.New(queue.Config{Signer: r})
	if err != nil {
		b.t.Fatal(err)
	}
	b.q = q
}

func (b *signedBench) config(keys *signing.Ring) worker.Config {
	return worker.Config{
		Queues: map[string]int{"default": 20}, Keys: keys, PollInterval: 50 * time.Millisecond,
		Middleware: []worker.Middleware{func(next worker.Handler) worker.Handler {
			return func(ctx context.Context, run *queue.Run) error {
				b.wrap.Add(1)
				return next(ctx, run)
			}
		}},
	}
}

// runs returns how often a job ran, and how many jobs did.
func (b *signedBench) runs(id uuid.UUID) (times, jobs int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ran[id], len(b.ran)
}

func (b *signedBench) exec(sql string, args ...any) {
	b.t.Helper()
	labtest.Run(b.t, b.owner, sql, args...)
}

func (b *signedBench) job(options ...queue.Option) uuid.UUID {
	b.t.Helper()
	return b.enqueue(queue.Raw("t", []byte(`{"n":1}`), "", options...))[0].ID
}

func (b *signedBench) wantDead(what string, id uuid.UUID, reason string) {
	b.t.Helper()
	got := b.wait(queue.Receipt{ID: id})
	if got.State != "dead" || got.Reason != reason {
		b.t.Errorf("%s: %s (%s) %s, want dead of %s", what, got.State, got.Reason, got.Error, reason)
	}
}

// TestNothingForgedRuns changes each signed column in the table, one at a time, as somebody with the owner's rights can. Each job ends
// in the dead letters with its reason, its bytes as they were changed, and no handler and no middleware has seen it.
// Mutants that it catches: no check at all, a check after the middleware, a field left out of Envelope.Signed.
func TestNothingForgedRuns(t *testing.T) {
	t.Parallel()
	b := newSignedBench(t, v1Ring(t))
	const invalid = "signature_invalid"
	full := []queue.Option{
		queue.At(time.Now().Add(-time.Minute)), queue.ExpiresAt(time.Now().Add(time.Hour)), queue.Header("tenant", "t1"),
		queue.HardLimit(time.Minute), queue.SoftLimit(time.Second), queue.Version(2), queue.Group("g"), queue.Origin("job:1"),
	}
	jobs := map[string]uuid.UUID{}
	forge := func(name, set string) {
		t.Helper()
		jobs[name] = b.job(full...)
		b.exec("update stem.jobs set "+set+" where id = $1", jobs[name])
	}
	for _, set := range []string{
		"task = 'other'", `payload = '{"n":2}'`, "payload = ''", "codec = 'text/plain'", `headers = '{"tenant": "t2"}'`, "headers = null",
		`headers = '{"tenant": "t1", "x": ""}'`, "run_at = run_at - interval '1 s'", "run_at = null", "run_at = null, delay_us = 1",
		"nominal_at = now()", "expires_at = expires_at + interval '1 s'", "expires_at = null", "issued_at = issued_at + interval '1 us'",
		"priority = 6", "max_attempts = 21", "hard_limit_us = null", "hard_limit_us = 60000001", "soft_limit_us = null",
		"unique_key = 'k', unique_scope = 2", "origin = 'app'", "payload_version = null", "payload_version = 1", "group_name = 'h'",
		"group_name = null", "sig = sha256(sig)", "sig = set_byte(sig, 31, get_byte(sig, 31) # 1)", "sig = sig || sig", "sig_alg = 'ed25519'",
	} {
		forge(set, set)
	}
	jobs["queue, of the ticket too"] = b.job(full...)
	b.exec("update stem.jobs set queue = 'mail' where id = $1", jobs["queue, of the ticket too"])
	b.exec("update stem.ready set queue = 'mail' where job_id = $1", jobs["queue, of the ticket too"])
	jobs["another's signature"] = b.job(full...)
	b.exec("update stem.jobs j set sig = o.sig from stem.jobs o where j.id = $1 and o.id = $2", jobs["another's signature"], jobs["priority = 6"])
	jobs["another's payload"] = b.enqueue(queue.Raw("t", []byte(`{"n":3}`), ""))[0].ID
	b.exec("update stem.jobs j set payload = o.payload from stem.jobs o where j.id = $1 and o.id = $2", jobs["another's payload"], jobs["priority = 6"])

	b.sign(v1Ring(t, "STEM_SIGNING_AUDIENCE=stem/staging"))
	jobs["of another audience"] = b.job()
	b.sign(b.ring)
	jobs["a schedule's"] = b.job()
	s, err := b.ring.Sign(&signing.Schedule{ID: "t", Task: "t", Queue: "default", Codec: "application/json", Payload: []byte(`{"n":1}`), Version: 1, Spec: "every: 1m"})
	if err != nil {
		t.Fatal(err)
	}
	b.exec("update stem.jobs set sig = $2 where id = $1", jobs["a schedule's"], s.Bytes)

	missing, stale, foreign, good := b.job(), b.job(), b.job(), b.job(full...)
	b.exec("update stem.jobs set sig = null, sig_key_id = null, sig_alg = null where id = $1", missing)
	b.exec("update stem.jobs set created_at = created_at + interval '25 h' where id = $1", stale)
	b.exec("update stem.jobs set queue = 'mail' where id = $1", foreign)

	config := b.config(b.ring)
	config.Queues["mail"] = 5
	b.work(&b.reg, config)
	for what, id := range jobs {
		b.wantDead(what, id, invalid)
	}
	b.wantDead("no signature", missing, "signature_missing")
	b.wantDead("inserted again a day later", stale, "signature_stale")
	b.wantDead("a ticket in another queue", foreign, "malformed_row")
	if got := b.wait(queue.Receipt{ID: good}); got.State != "completed" {
		t.Errorf("the one that nobody touched: %s (%s) %s", got.State, got.Reason, got.Error)
	}
	if times, jobs := b.runs(good); b.wrap.Load() != 1 || jobs != 1 || times != 1 {
		t.Errorf("middleware ran %d times, handlers for %d jobs, for the good one %d times; want one", b.wrap.Load(), jobs, times)
	}
	if got := scan[string](t, b.owner, "select convert_from(payload, 'UTF8') from stem.dead where id = $1", jobs[`payload = '{"n":2}'`]); got != `{"n":2}` {
		t.Errorf("the dead letter's payload is %s: it is not what was refused", got)
	}
	if n := scan[int](t, b.owner, "select count(*) from stem.dead where failures + crashes > 0"); n > 0 {
		t.Errorf("%d refusals were charged", n)
	}
}

// TestRandomBitsAmongGoodJobs flips one random bit in 500 of 5 500 envelopes; exactly the others run.
func TestRandomBitsAmongGoodJobs(t *testing.T) {
	t.Parallel()
	b := newSignedBench(t, v1Ring(t))
	var bad []uuid.UUID
	var all []uuid.UUID
	for range 11 {
		requests := make([]queue.Request, 500)
		for i := range requests {
			requests[i] = queue.Raw("t", fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", i%200)), "", queue.Header("h", "v"))
		}
		for i, r := range b.enqueue(requests...) {
			all = append(all, r.ID)
			if i%11 == 0 && len(bad) < 500 {
				bad = append(bad, r.ID)
			}
		}
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	for i, id := range bad {
		column := []string{"payload", "sig", "payload"}[i%3]
		b.exec(`update stem.jobs set `+column+` = set_bit(`+column+`, mod($2::bigint, bit_count_of), 1 - get_bit(`+column+`, mod($2::bigint, bit_count_of)))
			from (select octet_length(`+column+`) * 8 as bit_count_of from stem.jobs where id = $1) n where id = $1`, id, int64(random.Uint32()))
	}
	b.work(&b.reg, b.config(b.ring))
	want := len(all) - len(bad)
	eventually(t, "all have ended", func() bool {
		return scan[bool](t, b.owner, "select not exists (select from stem.ready) and not exists (select from stem.running)")
	})
	if n := scan[int](t, b.owner, "select count(*) from stem.dead where reason = 'signature_invalid'"); n != len(bad) {
		t.Errorf("seed %d: %d refused, want %d", seed, n, len(bad))
	}
	for _, id := range bad {
		if times, _ := b.runs(id); times > 0 {
			t.Errorf("seed %d: forged job %s ran", seed, id)
		}
	}
	if _, jobs := b.runs(uuid.Nil); jobs != want {
		t.Errorf("seed %d: %d jobs ran, want %d", seed, jobs, want)
	}
}

// TestPolicies: what runs under which. No policy lets an invalid signature through but off, which looks at none.
func TestPolicies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name              string
		keys              []string
		unsignedQueues    []string
		unsigned, invalid string
	}{
		{"required", nil, nil, "signature_missing", "signature_invalid"},
		{"permissive", []string{"STEM_SIGNING_POLICY=permissive"}, nil, "", "signature_invalid"},
		{"off", []string{"STEM_SIGNING_POLICY=off"}, nil, "", ""},
		{"required, an unsigned queue", nil, []string{"default"}, "", "signature_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newSignedBench(t, v1Ring(t))
			good, unsigned, invalid := b.job(), b.job(), b.job()
			b.exec("update stem.jobs set sig = null, sig_key_id = null, sig_alg = null where id = $1", unsigned)
			b.exec("update stem.jobs set sig = sha256(sig) where id = $1", invalid)
			config := b.config(v1Ring(t, tt.keys...))
			config.UnsignedQueues = tt.unsignedQueues
			b.work(&b.reg, config)
			for id, reason := range map[uuid.UUID]string{good: "", unsigned: tt.unsigned, invalid: tt.invalid} {
				if got := b.wait(queue.Receipt{ID: id}); got.Reason != reason || (got.State == "completed") != (reason == "") {
					t.Errorf("got %s (%s) %s, want reason %q", got.State, got.Reason, got.Error, reason)
				}
			}
		})
	}
}

// TestAnUnknownKeyIsWaitedFor: a job whose key this worker does not know waits, uncharged, until it does; after ten minutes it is
// dead. What a revoked key has signed is dead at once.
func TestAnUnknownKeyIsWaitedFor(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	write := func(entries ...string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(`{"keys":[`+strings.Join(entries, ",")+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entry := func(id, state string) string {
		return fmt.Sprintf(`{"id":%q,"alg":"hmac-sha256","secret":%q,"state":%q}`, id, secret(id), state)
	}
	write(entry("v1", "sign"))
	keys := ring(t, "STEM_SIGNING_KEYS_FILE="+file, "STEM_SIGNING_ACTIVE_KEY=v1")
	b := newSignedBench(t, keys)
	b.sign(ring(t, "STEM_SIGNING_KEYS=v2:"+secret("v2")+",v3:"+secret("v3"), "STEM_SIGNING_ACTIVE_KEY=v2"))
	waits, late := b.job(), b.job()
	b.work(&b.reg, b.config(keys))
	b.whileItWaits(waits, "run_at = run_at")
	b.whileItWaits(late, "grace_since = grace_since - interval '10 min', run_at = now()")
	b.wantDead("after the grace", late, "signature_unknown_key")

	write(entry("v1", "sign"), entry("v2", "verify"))
	if err := keys.Reload(); err != nil {
		t.Fatal(err)
	}
	b.exec("update stem.scheduled set run_at = now() where job_id = $1", waits)
	if got := b.wait(queue.Receipt{ID: waits}); got.State != "completed" {
		t.Errorf("with the key: %s (%s) %s", got.State, got.Reason, got.Error)
	}
	eventually(t, "the heartbeat names both keys", func() bool {
		return scan[bool](t, b.owner, "select coalesce((select w.stats->'signing'->'keys' @> $1::jsonb from stem.workers w), false)",
			fmt.Sprintf(`[{"id": "v1", "fingerprint": %q, "uses": "job,schedule,result,control"}, {"id": "v2", "fingerprint": %q}]`,
				fingerprint(t, keys, "v1"), fingerprint(t, keys, "v2")))
	})

	write(entry("v1", "sign"), entry("v2", "revoked"))
	if err := keys.Reload(); err != nil {
		t.Fatal(err)
	}
	b.wantDead("of a revoked key", b.job(), "signature_revoked")
}

func fingerprint(t *testing.T, r *signing.Ring, id string) string {
	t.Helper()
	for _, k := range r.Keys() {
		if k.ID == id {
			return k.Fingerprint
		}
	}
	t.Fatalf("no key %s", id)
	return ""
}
