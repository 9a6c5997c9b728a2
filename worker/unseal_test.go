package worker_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing/encryption"
	"github.com/stemqueue/stem/worker"
)

func sealer(t *testing.T, environ ...string) *encryption.Ring {
	t.Helper()
	r, err := encryption.FromEnviron(environ)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// canary is in every payload and every result of these tests, and may be in no table.
const canary = "canary-4711"

// everywhere lists the tables of the schema in which the canary can be read: as text, or among bytes, which Postgres prints in hex.
func everywhere(t *testing.T, b *bench) []string {
	t.Helper()
	rows, err := b.owner.Query(t.Context(), `select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'stem' and c.relkind in ('r', 'p') and not c.relispartition`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 10 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	var found []string
	for _, table := range tables {
		if n := scan[int](t, b.owner, "select count(*) from stem."+table+" x where x::text like any ($1)",
			[]string{"%" + canary + "%", "%" + hex.EncodeToString([]byte(canary)) + "%"}); n > 0 {
			found = append(found, fmt.Sprintf("%s (%d rows)", table, n))
		}
	}
	return found
}

// sealedBench is a database whose producer signs and encrypts, and a log of all that the worker says.
type sealedBench struct {
	*bench
	codec *encryption.Ring
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newSealedBench(t *testing.T) *sealedBench {
	t.Helper()
	b := &sealedBench{bench: newBench(t), codec: sealer(t, "STEM_ENCRYPTION_KEYS=k1:"+secret("k1")), log: &lockedBuffer{}}
	b.encrypt(b.codec)
	return b
}

// encrypt makes the producer encrypt with another ring; nil makes it encrypt nothing.
func (b *sealedBench) encrypt(codec encryption.Codec) {
	b.t.Helper()
	q, err := queue.New(queue.Config{Signer: v1Ring(b.t), Encryption: codec})
	if err != nil {
		b.t.Fatal(err)
	}
	b.q = q
}

func (b *sealedBench) config(codec encryption.Codec) worker.Config {
	return worker.Config{
		Keys: v1Ring(b.t), Encryption: codec, PollInterval: 50 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// TestNothingReadableIsStored: payloads and results of jobs that completed, in the worker's or the handler's own transaction, that wait and that
// are dead. Handlers and middleware see them readable, and so does who has the key.
func TestNothingReadableIsStored(t *testing.T) {
	t.Parallel()
	b := newSealedBench(t)
	var reg worker.Registry
	var wrapped atomic.Int64
	result := map[string]string{"said": canary}
	worker.Handle(&reg, hello, func(_ context.Context, job *queue.Job[greeting]) error {
		if job.Args.Name != canary || job.Codec != "application/json" {
			return worker.Discard(errors.New("not what was enqueued"))
		}
		return job.SetResult(result)
	})
	reg.HandleFunc("own", func(ctx context.Context, run *queue.Run) error {
		if err := run.SetResult(result); err != nil {
			return err
		}
		tx, err := b.pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		if err := worker.CompleteRun(ctx, tx, run); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
	reg.HandleFunc("dead", func(context.Context, *queue.Run) error { return worker.Discard(errors.New("no")) })
	reg.HandleFunc("silent", func(context.Context, *queue.Run) error { return nil })
	config := b.config(b.codec)
	config.Middleware = []worker.Middleware{func(next worker.Handler) worker.Handler {
		return func(ctx context.Context, run *queue.Run) error {
			if bytes.Contains(run.Payload, []byte(canary)) {
				wrapped.Add(1)
			}
			return next(ctx, run)
		}
	}}
	b.work(&reg, config)
	raw := func(task string, options ...queue.Option) queue.Request {
		return queue.Raw(task, []byte(`{"name":"`+canary+`"}`), "", options...)
	}
	receipts := b.enqueue(hello.New(greeting{Name: canary}), raw("own"), raw("dead"), raw("silent"), raw("hello", queue.After(time.Hour)))
	for i, want := range []string{"completed", "completed", "dead", "completed"} {
		got := b.wait(receipts[i])
		if got.State != want || got.Value != nil || (got.Sealed != nil) != (i < 2) {
			t.Errorf("%d: got %s (%s) %s, %q and %q", i, got.State, got.Reason, got.Error, got.Value, got.Sealed)
		}
		if err := got.Open(nil); (err != nil) != (i < 2) {
			t.Errorf("%d: without a key: %v", i, err)
		}
		if err := got.Open(b.codec); err != nil || i < 2 && string(got.Value) != `{"said":"`+canary+`"}` {
			t.Errorf("%d: opened %q, %v", i, got.Value, err)
		}
	}
	if found := everywhere(t, b.bench); found != nil {
		t.Errorf("readable in %v", found)
	}
	if strings.Contains(b.log.String(), canary) {
		t.Error("the log has it")
	}
	if wrapped.Load() != 4 {
		t.Errorf("middleware saw %d readable payloads, want 4", wrapped.Load())
	}

	plane := control.New(b.owner)
	for _, id := range []uuid.UUID{receipts[0].ID, receipts[2].ID, receipts[4].ID} {
		d, err := plane.Job(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Open(nil); !errors.Is(err, encryption.ErrUnknownKey) {
			t.Errorf("%s without a key: %v", d.State, err)
		}
		if err := d.Open(b.codec); err != nil || !bytes.Contains(d.Payload, []byte(canary)) || d.State == "completed" && !bytes.Contains(d.Result, []byte(canary)) {
			t.Errorf("%s: %v, %q, %q", d.State, err, d.Payload, d.Result)
		}
	}
	// A letter that is enqueued anew is encrypted anew, in another queue too.
	list, err := plane.Reissue(t.Context(), b.q, "", 0, control.Edit{Queue: "mail"}, receipts[2].ID)
	if err != nil || list[0].Outcome != "reissued" {
		t.Fatalf("%+v, %v", list, err)
	}
	d, err := plane.Job(t.Context(), list[0].Successor)
	if err != nil || d.Open(b.codec) != nil || !bytes.Contains(d.Payload, []byte(canary)) {
		t.Errorf("%+v, %v", d, err)
	}
	if found := everywhere(t, b.bench); found != nil {
		t.Errorf("after a reissue readable in %v", found)
	}
	// And the search finds what is there.
	b.encrypt(nil)
	b.enqueue(raw("nobody"))
	if found := everywhere(t, b.bench); len(found) != 1 {
		t.Errorf("found %v, want the table of envelopes", found)
	}
}

// TestPlainAndEncryptedTogether: a worker with keys runs what is not encrypted, and one without keys leaves what is to others.
func TestPlainAndEncryptedTogether(t *testing.T) {
	t.Parallel()
	b := newSealedBench(t)
	var reg worker.Registry
	var payloads sync.Map
	reg.HandleFunc("t", func(_ context.Context, run *queue.Run) error {
		payloads.Store(run.ID, string(run.Payload))
		return run.SetResult(1)
	})
	stop := b.work(&reg, b.config(nil))
	sealed := b.enqueue(queue.Raw("t", []byte(`"sealed"`), ""))[0]
	b.encrypt(nil)
	plain := b.enqueue(queue.Raw("t", []byte(`"plain"`), ""))[0]
	if got := b.wait(plain); got.State != "completed" || string(got.Value) != "1" {
		t.Errorf("plain, without keys: %s, %s", got.State, got.Value)
	}
	eventually(t, "the encrypted one waits, uncharged", func() bool {
		return scan[bool](t, b.owner, "select exists (select from stem.scheduled where job_id = $1 and failures = 0 and grace_since is not null)", sealed.ID)
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := scan[int](t, b.owner, "select count(*) from stem.attempts where outcome = 'waiting' and error like '%not in this process%'"); n == 0 {
		t.Error("nothing says why it waits")
	}
	b.work(&reg, b.config(b.codec))
	if _, err := b.owner.Exec(t.Context(), "update stem.scheduled set run_at = clock_timestamp()"); err != nil {
		t.Fatal(err)
	}
	got := b.wait(sealed)
	if err := got.Open(b.codec); err != nil || got.State != "completed" || string(got.Value) != "1" {
		t.Errorf("encrypted: %s (%s) %s, %v", got.State, got.Reason, got.Value, err)
	}
	again := b.enqueue(queue.Raw("t", []byte(`"plain again"`), ""))[0]
	got = b.wait(again)
	if got.Sealed == nil || got.Open(b.codec) != nil || string(got.Value) != "1" {
		t.Errorf("the result of a plain job in a worker with keys: %+v", got)
	}
	for id, want := range map[uuid.UUID]string{sealed.ID: `"sealed"`, plain.ID: `"plain"`, again.ID: `"plain again"`} {
		if v, _ := payloads.Load(id); v != want {
			t.Errorf("got %v, want %s", v, want)
		}
	}
}

// TestWhatDoesNotOpen: under the policy off, where no signature catches it first. An unknown key has its ten minutes.
func TestWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	b := newSealedBench(t)
	var reg worker.Registry
	var ran atomic.Int64
	reg.HandleFunc("t", func(context.Context, *queue.Run) error { ran.Add(1); return nil })
	want := map[uuid.UUID]string{}
	forge := func(reason, set string) uuid.UUID {
		t.Helper()
		id := b.enqueue(queue.Raw("t", []byte(`{"n":1}`), ""))[0].ID
		want[id] = reason
		if _, err := b.owner.Exec(t.Context(), "update stem.jobs set "+set+" where id = $1", id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	for _, set := range []string{
		"payload = set_byte(payload, 40, get_byte(payload, 40) # 1)", "payload = ''", `payload = '{"n":1}'`, "priority = 6", "group_name = 'x'",
		"codec = 'enc+a256gcm;text/plain'", "issued_at = issued_at + interval '1 us'",
		"payload = (select payload from stem.jobs order by created_at limit 1)",
	} {
		forge("undecryptable", set)
	}
	first := scan[uuid.UUID](t, b.owner, "select id from stem.jobs order by created_at limit 1")
	if _, err := b.owner.Exec(t.Context(), "delete from stem.ready where job_id = $1", first); err != nil {
		t.Fatal(err)
	}
	delete(want, first)
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("k2:"+secret("k2")), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := sealer(t, "STEM_ENCRYPTION_KEYS_FILE="+file)
	b.encrypt(keys)
	waits, late := b.enqueue(queue.Raw("t", nil, "text/plain"))[0], b.enqueue(queue.Raw("t", nil, "text/plain"))[0]
	if err := os.WriteFile(file, []byte("k1:"+secret("k1")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keys.Reload(); err != nil {
		t.Fatal(err)
	}
	config := b.config(keys)
	config.Keys = nil
	b.work(&reg, config)
	for id, reason := range want {
		if got := b.wait(queue.Receipt{ID: id}); got.State != "dead" || got.Reason != reason {
			t.Errorf("got %s (%s) %s, want dead of %s", got.State, got.Reason, got.Error, reason)
		}
	}
	b.whileItWaits(waits.ID, "run_at = run_at")
	b.whileItWaits(late.ID, "grace_since = grace_since - interval '10 min', run_at = now()")
	if got := b.wait(late); got.State != "dead" || got.Reason != "encryption_unknown_key" {
		t.Errorf("after the grace: %s (%s) %s", got.State, got.Reason, got.Error)
	}
	if ran.Load() != 0 {
		t.Errorf("%d handlers ran", ran.Load())
	}
	// The file has the key again: the ring in the worker is the same one.
	if err := os.WriteFile(file, []byte("k1:"+secret("k1")+",k2:"+secret("k2")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keys.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.owner.Exec(t.Context(), "update stem.scheduled set run_at = now() where job_id = $1", waits.ID); err != nil {
		t.Fatal(err)
	}
	if got := b.wait(waits); got.State != "completed" {
		t.Errorf("with the key: %s (%s) %s", got.State, got.Reason, got.Error)
	}
	if !strings.Contains(b.log.String(), "payload cannot be opened") {
		t.Error("the log does not say that payloads cannot be opened")
	}
}
