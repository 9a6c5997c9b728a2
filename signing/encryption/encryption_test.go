package encryption

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/stemqueue/stem/signing"
)

var update = flag.Bool("update", false, "rewrite testdata/signing/encryption.json")

const vectorPath = "../../testdata/signing/encryption.json"

var (
	master   = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	pageTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pageID   = [16]byte{0x01, 0x98, 0x0f, 0x3e, 0x7a, 0x1c, 0x7b, 0x2c, 0x9d, 0x3e, 0x4f, 0x50, 0x61, 0x72, 0x83, 0x94}
	otherID  = [16]byte{0x01, 0x98, 0x0f, 0x3e, 0x7a, 0x1d, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}
)

// with returns the job of signing's page, sealed, with something changed.
func with(change func(*signing.Job)) *signing.Job {
	j := &signing.Job{
		ID: pageID, Task: "mail.welcome", Queue: "default", Codec: Wrap("application/json"),
		Headers: map[string]string{"tenant": "t1"}, IssuedAt: pageTime, Priority: 5, MaxAttempts: 20, Origin: "app",
	}
	change(j)
	return j
}

func pageJob() *signing.Job { return with(func(*signing.Job) {}) }

func ringOf(tb testing.TB, environ ...string) *Ring {
	tb.Helper()
	ring, err := FromEnviron(environ)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

// masterKey encodes the master key of the vectors, or with another first byte another.
func masterKey(tb testing.TB, first byte) string {
	tb.Helper()
	b := unhex(tb, master)
	b[0] = first
	return base64.StdEncoding.EncodeToString(b)
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_ENCRYPTION_KEYS=k1:"+masterKey(t, 0)+",k0:"+masterKey(t, 1))
	for _, plain := range [][]byte{nil, {0}, []byte(`{"to":"ada@example.com"}`), bytes.Repeat([]byte("x"), 1<<20)} {
		job := pageJob()
		stored, err := ring.Seal(job, plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 8 && bytes.Contains(stored, plain[:8]) {
			t.Error("the plain text is in it")
		}
		if n := len(stored) - len(plain); n != 1+1+2+16+12+16 {
			t.Errorf("%d bytes more", n)
		}
		job.Payload = stored // as it comes out of the table
		got, err := ring.Open(job, stored)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: got %d, %v", len(plain), len(got), err)
		}
		again, err := ring.Seal(job, plain)
		if err != nil || bytes.Equal(again[4:32], stored[4:32]) {
			t.Errorf("salt or nonce of two are the same: %v", err)
		}
	}
}

// TestEveryBitCounts: no ciphertext that differs in a bit, or is shorter or longer, opens.
func TestEveryBitCounts(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_ENCRYPTION_KEYS=k1:"+masterKey(t, 0))
	stored, err := ring.Seal(pageJob(), []byte("attack at dawn"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, i int, b []byte) {
		t.Helper()
		plain, err := ring.Open(pageJob(), b)
		if plain != nil || !errors.Is(err, ErrNotSealed) && !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s %d: got %q, %v", what, i, plain, err)
		}
	}
	for i := range len(stored) * 8 {
		b := bytes.Clone(stored)
		b[i/8] ^= 1 << (i % 8)
		refused("bit", i, b)
	}
	for i := range stored {
		refused("cut to", i, stored[:i])
	}
	refused("longer by", 1, append(bytes.Clone(stored), 0))
}

// TestBoundToTheMessage: a ciphertext that is moved to another message, or whose message is changed, does not open.
func TestBoundToTheMessage(t *testing.T) {
	t.Parallel()
	environ := "STEM_ENCRYPTION_KEYS=k1:" + masterKey(t, 0)
	ring := ringOf(t, environ)
	plain := []byte("attack at dawn")
	stored, err := ring.Seal(pageJob(), plain)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*signing.Job){
		"id":           func(j *signing.Job) { j.ID = otherID },
		"task":         func(j *signing.Job) { j.Task = "mail.goodbye" },
		"queue":        func(j *signing.Job) { j.Queue = "mail" },
		"codec":        func(j *signing.Job) { j.Codec = Wrap("text/plain") },
		"headers":      func(j *signing.Job) { j.Headers = nil },
		"run_at":       func(j *signing.Job) { j.RunAt = pageTime },
		"issued_at":    func(j *signing.Job) { j.IssuedAt = pageTime.Add(time.Second) },
		"expires_at":   func(j *signing.Job) { j.ExpiresAt = pageTime },
		"priority":     func(j *signing.Job) { j.Priority = 4 },
		"max_attempts": func(j *signing.Job) { j.MaxAttempts = 1 },
		"origin":       func(j *signing.Job) { j.Origin = "replay:x" },
		"group":        func(j *signing.Job) { j.Group = "g" },
	} {
		if got, err := ring.Open(with(change), stored); got != nil || !errors.Is(err, ErrNotSealed) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if got, err := ring.Open(with(func(j *signing.Job) { j.Codec = "application/json" }), stored); got != nil || !errors.Is(err, ErrNotSealed) {
		t.Errorf("codec of something plain: got %q, %v", got, err)
	}
	if got, err := ringOf(t, environ, "STEM_SIGNING_AUDIENCE=stem/staging").Open(pageJob(), stored); got != nil || !errors.Is(err, ErrNotSealed) {
		t.Errorf("audience: got %q, %v", got, err)
	}
	if got, err := ring.Open(&signing.Control{}, stored); got != nil || !errors.Is(err, ErrNotSealed) {
		t.Errorf("a control command: got %q, %v", got, err)
	}
	if got, err := ring.Open(with(func(j *signing.Job) { j.Task = "" }), stored); got != nil || !errors.Is(err, ErrNotSealed) {
		t.Errorf("a row that was not made by us: got %q, %v", got, err)
	}
	if _, err := ring.Seal(with(func(j *signing.Job) { j.Codec = "application/json" }), plain); err == nil ||
		err.Error() != `encryption: not what was sealed for this message: its codec is "application/json"; want enc+a256gcm` {
		t.Errorf("sealing what does not say so: %v", err)
	}
}

// TestSignedAfter: the signature is over the ciphertext, and signing again with another key does not spoil what is sealed.
func TestSignedAfter(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_ENCRYPTION_KEYS=k1:"+masterKey(t, 0))
	job := pageJob()
	stored, err := ring.Seal(job, []byte("attack at dawn"))
	if err != nil {
		t.Fatal(err)
	}
	job.Payload = stored
	for _, environ := range [][]string{
		{"STEM_SIGNING_KEYS=v1:" + masterKey(t, 2), "STEM_SIGNING_ACTIVE_KEY=v1"}, {"STEM_SIGNING_KEYS=v2:" + masterKey(t, 3), "STEM_SIGNING_ACTIVE_KEY=v2"},
	} {
		signer, err := signing.FromEnviron(environ)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := signer.Sign(job)
		if err != nil || signer.Verify(job, signature) != nil {
			t.Errorf("%v, %v", err, signer.Verify(job, signature))
		}
		if got, err := ring.Open(job, stored); err != nil || string(got) != "attack at dawn" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	k1, k2 := "k1:"+masterKey(t, 0), "k2:"+masterKey(t, 1)
	before, added := ringOf(t, "STEM_ENCRYPTION_KEYS="+k1), ringOf(t, "STEM_ENCRYPTION_KEYS="+k1+","+k2)
	switched, after := ringOf(t, "STEM_ENCRYPTION_KEYS="+k2+","+k1), ringOf(t, "STEM_ENCRYPTION_KEYS="+k2)
	for _, tt := range []struct {
		sealer, opener *Ring
		want           error
	}{
		{before, added, nil},
		{added, before, nil},
		{added, switched, nil},
		{switched, added, nil},
		{switched, after, nil},
		{switched, before, ErrUnknownKey},
		{before, after, ErrUnknownKey},
		{before, ringOf(t), ErrUnknownKey},
		{before, nil, ErrUnknownKey},
		{before, ringOf(t, "STEM_ENCRYPTION_KEYS=k1:"+masterKey(t, 9)), ErrNotSealed}, // another key of that name
	} {
		stored, err := tt.sealer.Seal(pageJob(), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tt.opener.Open(pageJob(), stored); !errors.Is(err, tt.want) {
			t.Errorf("sealed with %v, opened with %v: got %v, want %v", tt.sealer, tt.opener, err, tt.want)
		}
	}
	for _, off := range []*Ring{nil, {}, ringOf(t)} {
		if _, err := off.Seal(pageJob(), nil); off.On() || !errors.Is(err, ErrNoKey) || off.Reload() != nil {
			t.Errorf("off: %t, %v", off.On(), err)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for codec, want := range map[string]string{"application/json": "enc+a256gcm", "text/plain": "enc+a256gcm;text/plain"} {
		if got := Wrap(codec); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, sealed := Unwrap(want); got != codec || !sealed {
			t.Errorf("got %s, %t", got, sealed)
		}
		if got, sealed := Unwrap(codec); got != codec || sealed {
			t.Errorf("got %s, %t", got, sealed)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	ring := ringOf(b, "STEM_ENCRYPTION_KEYS=k1:"+masterKey(b, 0))
	job := pageJob()
	stored, err := ring.Seal(job, make([]byte, 200))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.Open(job, stored); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzOpen: whatever stands in a row, it opens to what was sealed or not at all.
func FuzzOpen(f *testing.F) {
	ring := ringOf(f, "STEM_ENCRYPTION_KEYS=k1:"+masterKey(f, 0))
	stored, err := ring.Seal(pageJob(), []byte("attack at dawn"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Add([]byte{1, 2, 'k', '1'})
	f.Add([]byte{1, 0xff})
	f.Add(bytes.Repeat([]byte{1}, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := ring.Open(pageJob(), b)
		if err == nil && string(plain) != "attack at dawn" || err != nil && plain != nil {
			t.Errorf("%x opens to %q, %v", b, plain, err)
		}
	})
}
