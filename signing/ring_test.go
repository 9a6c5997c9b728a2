package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRotation: with both keys everywhere the active one can be switched in any order, and nothing is refused.
func TestRotation(t *testing.T) {
	t.Parallel()
	old, both := "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_KEYS=v1:"+key1+",v2:"+key2
	before := ringOf(t, old, "STEM_SIGNING_ACTIVE_KEY=v1")
	added := ringOf(t, both, "STEM_SIGNING_ACTIVE_KEY=v1")
	switched := ringOf(t, both, "STEM_SIGNING_ACTIVE_KEY=v2")
	after := ringOf(t, "STEM_SIGNING_KEYS=v2:"+key2, "STEM_SIGNING_ACTIVE_KEY=v2")
	worker := ringOf(t, both)

	for _, tt := range []struct {
		signer, verifier *Ring
		want             Reason
	}{
		{before, before, ""},
		{before, added, ""},
		{added, before, ""},
		{before, switched, ""},
		{added, switched, ""},
		{switched, added, ""},
		{switched, worker, ""},
		{before, worker, ""},
		{switched, before, UnknownKey},
		{after, switched, ""},
		{switched, after, ""},
		{before, after, UnknownKey},
	} {
		s, err := tt.signer.Sign(pageJob())
		if err != nil {
			t.Fatal(err)
		}
		var got Reason
		if err := tt.verifier.Verify(pageJob(), s); err != nil {
			got = reasonOf(t, err)
		}
		if got != tt.want {
			t.Errorf("signed with %v, verified with %v: got %q, want %q", tt.signer, tt.verifier, got, tt.want)
		}
	}
	if s, _ := switched.Sign(pageJob()); s.KeyID != "v2" {
		t.Errorf("signed by %s", s.KeyID)
	}
	if _, err := worker.Sign(pageJob()); !errors.Is(err, ErrNoKey) || worker.CanSign(UseJob) == nil {
		t.Errorf("a ring without an active key: %v", err)
	}
	if _, err := ringOf(t, old).Sign(pageJob()); !errors.Is(err, ErrNoKey) {
		t.Errorf("the only key of a list signs without being named: %v", err)
	}
}

// TestUses: a key signs and vouches for what its entry says, and nothing else.
func TestUses(t *testing.T) {
	t.Parallel()
	entry := func(id, secret, state, use string) string {
		return `{"id": "` + id + `", "alg": "hmac-sha256", "secret": "` + secret + `", "state": "` + state + `", "uses": ["` + use + `"]}`
	}
	messages := map[Uses]Message{UseJob: pageJob(), UseSchedule: pageSchedule(), UseResult: pageResult(), UseControl: pageControl()}
	operator := ringOf(t, keyFile(t, "STEM_SIGNING_KEYS_FILE", entry("v1", key1, "sign", "job")+","+entry("op", key2, "sign", "control")),
		"STEM_SIGNING_ACTIVE_KEY=v1")
	if k := operator.Keys(); k[0].Active != UseJob || k[1].Active != UseControl {
		t.Errorf("active are %+v", k)
	}
	for use, m := range messages {
		s, err := operator.Sign(m)
		want := map[Uses]string{UseJob: "v1", UseControl: "op"}[use]
		if s.KeyID != want || (err != nil) != (want == "") || (operator.CanSign(use) == nil) != (err == nil) {
			t.Errorf("%v: signed by %q, %v", use, s.KeyID, err)
		}
		if err != nil {
			if want := "signing: no key to sign with: set STEM_SIGNING_ACTIVE_KEY to a key that signs a " + use.String(); err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			continue
		}
		for _, verifier := range []struct {
			uses Uses
			ring *Ring
		}{
			{UseJob | UseControl, operator},
			{UseJob, ringOf(t, keyFile(t, "STEM_SIGNING_KEYS_FILE", entry("v1", key1, "verify", "job")+","+entry("op", key2, "verify", "schedule")))},
			{UseControl, ringOf(t, keyFile(t, "STEM_SIGNING_KEYS_FILE", entry("v1", key1, "verify", "result")+","+entry("op", key2, "verify", "control")))},
		} {
			err := verifier.ring.Verify(m, s)
			if allowed := verifier.uses&use != 0; allowed != (err == nil) || !allowed && reasonOf(t, err) != Invalid {
				t.Errorf("a %v before a ring for %v: %v", use, verifier.uses, err)
			}
		}
	}

	two := ringOf(t, keyFile(t, "STEM_SIGNING_KEYS_FILE", entry("v1", key1, "sign", "job")+","+entry("v2", key2, "sign", "job")))
	if _, err := two.Sign(pageJob()); err == nil || err.Error() != `signing: no key to sign with: both "v1" and "v2" could; set STEM_SIGNING_ACTIVE_KEY` {
		t.Errorf("two keys that may sign: %v", err)
	}
}

// TestOff: a ring that is off signs nothing and has no opinion, and so has none at all.
func TestOff(t *testing.T) {
	t.Parallel()
	for name, ring := range map[string]*Ring{
		"nil": nil, "zero": {}, "nothing set": ringOf(t),
		"keys, but off": ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1", "STEM_SIGNING_POLICY=off"),
	} {
		s, err := ring.Sign(pageJob())
		if ring.Policy() != Off || s.Bytes != nil || err != nil || ring.CanSign(UseJob) != nil || ring.Reload() != nil {
			t.Errorf("%s: %v, signed %x, %v", name, ring.Policy(), s.Bytes, err)
		}
		if got := ring.Policy().Judge(ring.Verify(pageJob(), s)); got != Run {
			t.Errorf("%s: got action %d", name, got)
		}
	}
	// Anybody's signature is one of an unknown key to a ring without keys; a stricter policy than the ring's own can be asked.
	signed, _ := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1").Sign(pageJob())
	if got := Required.Judge((*Ring)(nil).Verify(pageJob(), signed)); got != Release {
		t.Errorf("got action %d", got)
	}
}

// TestReload: the same ring gets the new content when that is good, and keeps the old when it is not.
func TestReload(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	entry := func(id, secret, state string) string {
		return `{"id": "` + id + `", "alg": "hmac-sha256", "secret": "` + secret + `", "state": "` + state + `"}`
	}
	store := func(entries ...string) {
		t.Helper()
		writeFile(t, path, `{"keys": [`+strings.Join(entries, ",")+`]}`, 0o600)
	}
	store(entry("v1", key1, "sign"))
	ring := ringOf(t, "STEM_SIGNING_KEYS_FILE="+path)
	first, err := ring.Sign(pageJob())
	if err != nil {
		t.Fatal(err)
	}

	store(entry("v1", key1, "verify"), entry("v2", key2, "sign"))
	if err := ring.Reload(); err != nil {
		t.Fatal(err)
	}
	second, err := ring.Sign(pageJob())
	if err != nil || second.KeyID != "v2" || ring.Verify(pageJob(), first) != nil {
		t.Errorf("after the switch: signed by %s, %v; the old signature: %v", second.KeyID, err, ring.Verify(pageJob(), first))
	}

	store(entry("v1", key1, "verify"), entry("v2", "short", "sign"), entry("v3", key1, "sign"))
	err = ring.Reload()
	want := "STEM_SIGNING_KEYS_FILE: key \"v2\": not base64 (character 5)\nSTEM_SIGNING_KEYS_FILE: keys \"v1\" and \"v3\" are identical"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if ring.Verify(pageJob(), first) != nil || ring.Verify(pageJob(), second) != nil || len(ring.Keys()) != 2 {
		t.Errorf("a bad ring has replaced the good one: %v", ring)
	}

	store(entry("v1", key1, "revoked"), entry("v2", key2, "sign"))
	if err := ring.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := ring.Verify(pageJob(), first); reasonOf(t, err) != Revoked {
		t.Errorf("after v1 is revoked: %v", err)
	}
	store(entry("v2", key2, "sign"))
	if err := ring.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := ring.Verify(pageJob(), first); reasonOf(t, err) != UnknownKey {
		t.Errorf("after v1 is gone: %v", err)
	}

	store(`{"id": "v2", "alg": "hmac-sha256", "state": "revoked"}`)
	if err := ring.Reload(); err != nil {
		t.Fatal(err)
	}
	if w := ring.Warnings(); len(w) != 1 || w[0] != "every key in STEM_SIGNING_KEYS_FILE is revoked: nothing is accepted" {
		t.Errorf("got %q", w)
	}
	if err := ring.Verify(pageJob(), second); reasonOf(t, err) != Revoked {
		t.Errorf("after the only key is revoked: %v", err)
	}
}

// TestConcurrent signs and verifies while the ring is reloaded: the race detector looks on.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	writeFile(t, path, "v1:"+key1+",v2:"+key2, 0o600)
	ring := ringOf(t, "STEM_SIGNING_KEYS_FILE="+path, "STEM_SIGNING_ACTIVE_KEY=v1")
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 200 {
				j := with(func(j *Job) { j.Priority, j.Headers = i%10, map[string]string{"n": fmt.Sprint(n), "i": fmt.Sprint(i)} })
				s, err := ring.Sign(j)
				if err != nil {
					t.Error(err)
					return
				}
				if err := ring.Verify(j, s); err != nil {
					t.Error(err)
				}
				j.Priority++
				if ring.Verify(j, s) == nil {
					t.Error("a changed job verifies")
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := ring.Reload(); err != nil {
				t.Error(err)
			}
			_ = ring.Keys()
		}
	})
	wg.Wait()
}

// TestNothingPrintsKeys prints a ring in every way there is.
func TestNothingPrintsKeys(t *testing.T) {
	t.Parallel()
	ring := ringOf(
		t, "STEM_SIGNING_AUDIENCE=stem/prod", "STEM_SIGNING_ACTIVE_KEY=v1",
		keyFile(t, "STEM_SIGNING_KEYS_FILE", `{"id": "v1", "alg": "hmac-sha256", "secret": "`+key1+`", "state": "sign"},
			{"id": "e1", "alg": "ed25519", "private": "`+key2+`", "state": "verify"}`),
	)
	listed := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1+",v2:"+key2)
	const want = "signing required for stem/prod with v1 (1cd2643646c5ffff), e1 (448890aeb4dabcfe)"
	var secrets []string
	for _, s := range []string{key1, key2} {
		b := unbase64(t, s)
		// Eight bytes, because 00010203 also stands in the address c000102030.
		secrets = append(secrets, s[:16], string(b[:8]), fmt.Sprintf("%x", b[:8]), fmt.Sprintf("%X", b[:8]), fmt.Sprintf("%d %d %d %d", b[0], b[1], b[2], b[3]),
			fmt.Sprintf("%#v", b[1:4])[len("[]byte{"):len("[]byte{")+10])
	}
	for _, r := range []*Ring{ring, listed} {
		// Of a field that is not exported fmt cannot ask how it wants to be printed, and %s then prints what is behind a pointer.
		holder := struct{ Ring, hidden *Ring }{r, r}
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
			for _, v := range []any{r, holder, &holder, []*Ring{r}, map[string]*Ring{"r": r}, reflect.ValueOf(r).Elem(), r.Keys()} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
		}
		text, err := json.Marshal(holder)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).LogAttrs(t.Context(), slog.LevelInfo, "m", slog.Any("ring", r), slog.Any("holder", holder), slog.Any("keys", r.Keys()))
		}
		_, failed := r.Sign(&Job{})
		fmt.Fprintln(&out, failed, r.Verify(pageJob(), Signature{Bytes: make([]byte, 32), KeyID: "v1", Algorithm: HMACSHA256}))
		for _, s := range secrets {
			if strings.Contains(out.String(), s) {
				t.Errorf("%q comes out", s)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, ring); got != want {
			t.Errorf("%s: got %s", verb, got)
		}
	}
	text, err := json.Marshal(ring)
	if want := `{"policy":"required","audience":"stem/prod","keys":[{"id":"v1","fingerprint":"1cd2643646c5ffff"},` +
		`{"id":"e1","fingerprint":"448890aeb4dabcfe"}]}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v", text, err)
	}
	if got := ring.GoString() + ring.LogValue().String(); got != want+want {
		t.Errorf("got %s", got)
	}
}

// TestSignatureIsTheCallers: what Sign returns is not touched again.
func TestSignatureIsTheCallers(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1")
	a, _ := ring.Sign(pageJob())
	kept := bytes.Clone(a.Bytes)
	b, _ := ring.Sign(fullJob())
	if !bytes.Equal(a.Bytes, kept) || bytes.Equal(a.Bytes, b.Bytes) {
		t.Error("two signatures share their bytes")
	}
	if diff := cmp.Diff(a, Signature{Bytes: kept, KeyID: "v1", Algorithm: "hmac-sha256"}); diff != "" {
		t.Error(diff)
	}
}
