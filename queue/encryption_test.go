package queue

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

func sealer(t *testing.T, environ ...string) *encryption.Ring {
	t.Helper()
	r, err := encryption.FromEnviron(environ)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const sealingKey = "STEM_ENCRYPTION_KEYS=k1:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="

// TestEveryWayToEnqueueEncrypts: what is stored is sealed and signed as it is stored, by every door; a clock that is off seals again,
// because the id and the time are bound. Mutants that it catches: signing before sealing, and a second try with the first one's
// ciphertext.
func TestEveryWayToEnqueueEncrypts(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	r, codec := hmacRing(t), sealer(t, sealingKey, "STEM_SIGNING_AUDIENCE=stem/test")
	const canary = "canary-of-a-payload"
	var seen []*Envelope
	q := newQueue(t, Config{Signer: r, Encryption: codec, Hooks: []Hook{
		func(ctx context.Context, jobs []*Envelope, next func(context.Context) ([]Receipt, error)) ([]Receipt, error) {
			jobs[0].Headers = map[string]string{"added": "by a hook"}
			receipts, err := next(ctx)
			seen = append(seen, jobs...)
			return receipts, err
		},
	}})
	one := func() Request { return Raw("t", []byte(`{"a":"`+canary+`"}`), "", Header("h", "v")) }
	enqueue := func(db DB, requests ...Request) {
		t.Helper()
		if _, err := q.Enqueue(t.Context(), db, requests...); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(pool, one())
	enqueue(pool, one(), Raw("t", []byte("plain text with "+canary), "text/plain", UntilFinished("k"), At(time.Now().Add(time.Hour))), Raw("t", nil, "text/plain"))
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	enqueue(SQL(db), one())
	q.offset.Store(int64(-time.Hour))
	enqueue(pool, one())

	if n := verifyAll(t, owner, r); n != 6 {
		t.Errorf("%d envelopes are valid, want 6", n)
	}
	rows, err := owner.Query(t.Context(), `select id, queue, codec, payload, run_at, issued_at, unique_key, task,
		coalesce(headers ->> 'added', ''), coalesce(headers ->> 'h', '') from stem.jobs`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := map[uuid.UUID]bool{}
	for rows.Next() {
		e := Envelope{Priority: 5, MaxAttempts: 20, Origin: "app"}
		var runAt pgtype.Timestamptz
		var added, h string
		if err := rows.Scan(&e.ID, &e.Queue, &e.Codec, &e.Payload, &runAt, &e.IssuedAt, &e.UniqueKey, &e.Task, &added, &h); err != nil {
			t.Fatal(err)
		}
		e.RunAt = runAt.Time
		for name, value := range map[string]string{"added": added, "h": h} {
			if value != "" {
				if e.Headers == nil {
					e.Headers = map[string]string{}
				}
				e.Headers[name] = value
			}
		}
		if added != "" {
			delete(e.Headers, "h") // the hook replaced what there was
		}
		if bytes.Contains(e.Payload, []byte(canary)) || !strings.HasPrefix(e.Codec, "enc+a256gcm") {
			t.Errorf("a readable payload: %s, %q", e.Codec, e.Payload)
		}
		if err := e.Open(nil); !errors.Is(err, encryption.ErrUnknownKey) {
			t.Errorf("without a key: %v", err)
		}
		if err := e.Open(codec); err != nil || len(e.Payload) > 0 && !bytes.Contains(e.Payload, []byte(canary)) || strings.HasPrefix(e.Codec, "enc") {
			t.Errorf("opened: %v, %s, %q", err, e.Codec, e.Payload)
		}
		stored[e.ID] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, e := range seen {
		if !stored[e.ID] || e.Signature.KeyID != "v1" || strings.HasPrefix(e.Codec, "enc") || len(e.Payload) > 0 && !bytes.Contains(e.Payload, []byte(canary)) {
			t.Errorf("a hook sees %+v", e)
		}
	}
	if len(seen) != 6 {
		t.Errorf("hooks saw %d jobs", len(seen))
	}
}

// broken is a codec that cannot seal, or not in the size that there is room for.
type broken struct {
	*encryption.Ring
	size int
}

func (broken) On() bool { return true }

func (b broken) Seal(signing.Message, []byte) ([]byte, error) {
	if b.size > 0 {
		return make([]byte, b.size), nil
	}
	return nil, errors.New("the vault is closed")
}

// TestNothingIsStoredReadable: what cannot be encrypted is not enqueued; a ring without keys is off.
func TestNothingIsStoredReadable(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	for name, tt := range map[string]struct {
		codec   encryption.Codec
		request Request
		want    string
		invalid bool
	}{
		"closed": {broken{}, job, "queue: encrypt t: the vault is closed", false},
		"large":  {broken{size: MaxPayload + 1}, job, "queue: enqueue t: invalid job: payload is 16 777 217 bytes when it is encrypted; limit 16 777 216", true},
		"codec": {
			sealer(t, sealingKey), Raw("t", nil, strings.Repeat("c", 120)),
			`queue: enqueue t: invalid job: codec "` + strings.Repeat("c", 60) + `…" is too long to be encrypted: enc+a256gcm;` + strings.Repeat("c", 48) + `… has more than 128 bytes`, true,
		},
		"sealed already": {
			sealer(t, sealingKey), Raw("t", nil, "enc+a256gcm;text/plain"),
			`queue: enqueue t: invalid job: codec "enc+a256gcm;text/plain" is what Config.Encryption makes of another`, true,
		},
	} {
		q := newQueue(t, Config{Encryption: tt.codec})
		_, err := q.Enqueue(t.Context(), pool, tt.request)
		if err == nil || err.Error() != tt.want || errors.Is(err, ErrInvalid) != tt.invalid {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
	if n := count(t, owner); n != 0 {
		t.Errorf("%d jobs were enqueued", n)
	}
	var none *encryption.Ring
	for _, codec := range []encryption.Codec{none, sealer(t), nil} {
		if _, err := newQueue(t, Config{Encryption: codec}).Enqueue(t.Context(), pool, job); err != nil {
			t.Errorf("%v: %v", codec, err)
		}
	}
	var codecs string
	if err := owner.QueryRow(t.Context(), "select string_agg(distinct codec, ',') from stem.jobs").Scan(&codecs); err != nil || codecs != "application/json" {
		t.Errorf("without keys jobs are of %s, %v", codecs, err)
	}
}

// TestReissueOpens: what was encrypted is encrypted anew, for another id.
func TestReissueOpens(t *testing.T) {
	t.Parallel()
	codec := sealer(t, sealingKey)
	q := newQueue(t, Config{Encryption: codec})
	old := Envelope{
		ID: newIDs(time.Now(), 1)[0], Task: "t", Queue: "mail", Payload: []byte(`{"n":1}`), Codec: "application/json", Priority: 3, MaxAttempts: 2,
		Origin: "app", IssuedAt: micro(time.Now()), Headers: map[string]string{"a": "b"}, UniqueKey: []byte("t\x00k"), Group: "g", PayloadVersion: 2,
		HardLimit: time.Minute, SoftLimit: time.Second, RunAt: micro(time.Now().Add(-time.Hour)), NominalAt: micro(time.Now()), ExpiresAt: micro(time.Now().Add(time.Hour)),
	}
	plain := old
	if err := seal(codec, &old); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(old.Payload, plain.Payload) || q.Open(&old) != nil || !bytes.Equal(old.Payload, plain.Payload) || old.Codec != plain.Codec {
		t.Fatalf("got %s, %q", old.Codec, old.Payload)
	}
	jobs, err := q.build([]Request{q.Reissue(&old, Origin("replay:1"))})
	if err != nil {
		t.Fatal(err)
	}
	got := jobs[0].envelope
	if got.ID == plain.ID || got.Origin != "replay:1" || !got.RunAt.IsZero() || jobs[0].spec.uniqueScope != untilFinished {
		t.Errorf("got %+v", got)
	}
	got.ID, got.Origin, got.RunAt, got.IssuedAt = plain.ID, plain.Origin, plain.RunAt, plain.IssuedAt
	if diff := cmp.Diff(plain.Signed(), got.Signed()); diff != "" {
		t.Error(diff)
	}
	// With a run_at ahead it stays.
	plain.RunAt = micro(time.Now().Add(time.Hour))
	if jobs, err = q.build([]Request{q.Reissue(&plain)}); err != nil || !jobs[0].envelope.RunAt.Equal(plain.RunAt) {
		t.Errorf("got %+v, %v", jobs, err)
	}
	if err := newQueue(t, Config{}).Open(&Envelope{Codec: "enc+a256gcm"}); !errors.Is(err, encryption.ErrUnknownKey) {
		t.Errorf("without keys: %v", err)
	}
}
