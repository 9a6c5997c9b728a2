package signing

import (
	"crypto/ed25519"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// keyFile writes a key file and returns the variable that names it.
func keyFile(t *testing.T, variable, entries string) string {
	t.Helper()
	return variable + "=" + writeFile(t, filepath.Join(t.TempDir(), "keys.json"), `{"keys": [`+entries+`]}`, 0o600)
}

// publicOf returns the public key of a seed.
func publicOf(t *testing.T, seed string) string {
	t.Helper()
	return base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(unbase64(t, seed))[32:])
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	ring := ringOf(
		t,
		keyFile(
			t, "STEM_SIGNING_KEYS_FILE",
			`{"id": "v1", "alg": "hmac-sha256", "secret": "`+key2+`", "state": "verify", "uses": ["job", "schedule"]},
			{"id": "e1", "alg": "ed25519", "private": "`+key1+`", "state": "sign"},
			{"id": "e2", "alg": "ed25519", "public": "`+publicOf(t, secret(1, 32))+`", "state": "verify", "uses": ["control"]},
			{"id": "v0", "alg": "hmac-sha256", "state": "revoked"}`,
		),
	)
	const source = "STEM_SIGNING_KEYS_FILE"
	want := []Key{
		{ID: "v1", Algorithm: HMACSHA256, Uses: UseJob | UseSchedule, State: StateVerify, Source: source},
		{ID: "e1", Algorithm: Ed25519, Uses: allUses, State: StateSign, Active: allUses, CanSign: true, Source: source},
		{ID: "e2", Algorithm: Ed25519, Uses: UseControl, State: StateVerify, Source: source},
		{ID: "v0", Algorithm: HMACSHA256, Uses: allUses, State: StateRevoked, Source: source},
	}
	got := ring.Keys()
	for i := range got {
		if (got[i].Fingerprint == "") != (got[i].ID == "v0") {
			t.Errorf("%s has the fingerprint %q", got[i].ID, got[i].Fingerprint)
		}
		got[i].Fingerprint = ""
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Error(diff)
	}
	if got := want[0].Uses.String() + " " + want[1].Uses.String(); got != "job,schedule job,schedule,result,control" {
		t.Error(got)
	}
	// The only key that the file lets sign does; there is no STEM_SIGNING_ACTIVE_KEY.
	if s, err := ring.Sign(pageJob()); err != nil || s.KeyID != "e1" {
		t.Errorf("signed by %q, %v", s.KeyID, err)
	}
}

// TestHalves: the public keys of everybody in a file that says what they are good for, the private one of this host elsewhere.
func TestHalves(t *testing.T) {
	t.Parallel()
	const ed, private = "STEM_SIGNING_ALGORITHM=ed25519", "STEM_SIGNING_PRIVATE_KEYS=e1:"
	entry := func(state string) string {
		return `{"id": "e1", "alg": "ed25519", "public": "` + public + `", "state": "` + state + `", "uses": ["job"]}`
	}
	ring := ringOf(t, ed, private+key1, keyFile(t, "STEM_SIGNING_PUBLIC_KEYS_FILE", entry("sign")))
	if k := ring.Keys(); len(k) != 1 || !k[0].CanSign || k[0].Uses != UseJob || ring.CanSign(UseJob) != nil || ring.CanSign(UseControl) == nil {
		t.Errorf("got %+v", k)
	}
	// Elsewhere than where the private key is, the same file is no mistake.
	ring = ringOf(t, ed, keyFile(t, "STEM_SIGNING_PUBLIC_KEYS_FILE", entry("sign")), "STEM_SIGNING_ACTIVE_KEY=e1")
	if k := ring.Keys(); len(k) != 1 || k[0].CanSign || k[0].Active != UseJob || len(ring.Warnings()) != 1 || ring.CanSign(UseJob) == nil {
		t.Errorf("got %+v, %v", k, ring.Warnings())
	}
	for _, state := range []string{"verify", "revoked"} {
		ring = ringOf(t, ed, private+key1, keyFile(t, "STEM_SIGNING_PUBLIC_KEYS_FILE", entry(state)))
		if k := ring.Keys(); len(k) != 1 || k[0].CanSign || string(k[0].State) != state {
			t.Errorf("the private half makes a key that was %s %+v", state, k)
		}
	}
	got := problems(
		t, ed, keyFile(t, "STEM_SIGNING_PUBLIC_KEYS_FILE", entry("revoked")),
		keyFile(t, "STEM_SIGNING_PRIVATE_KEYS_FILE", `{"id": "e1", "alg": "ed25519", "private": "`+key1+`", "state": "sign"}`),
	)
	if diff := cmp.Diff(got, []string{`key id "e1" appears twice`}); diff != "" {
		t.Error(diff)
	}
}

func TestKeyFileMistakes(t *testing.T) {
	t.Parallel()
	const source = "STEM_SIGNING_KEYS_FILE"
	good := `{"id": "v1", "alg": "hmac-sha256", "secret": "` + key1 + `", "state": "sign"}`
	shape := source + `: not {"keys": [{"id", "alg", "secret" | "private" | "public", "uses", "state"}]}: `
	for _, tt := range []struct{ text, want string }{
		{`{`, shape + "unexpected EOF"},
		{`{"keys": [}`, shape + "invalid character '}' looking for beginning of value (byte 11)"},
		{`{"keys": {}}`, shape + "keys is not the right type (byte 10)"},
		{`{"keys": [` + good + `]} {}`, shape + "something follows the closing brace"},
		{`{"key": []}`, shape + `unknown field "key"`},
		{`{"keys": [{"id": "v1", "use": []}]}`, shape + `unknown field "use"`},
		{`{}`, source + ": no keys in it"},
		{`{"keys": []}`, source + ": no keys in it"},
		{`{"keys": [` + good + `,` + good + `]}`, `key id "v1" appears twice`},
		{strings.Replace(`{"keys": [X]}`, "X", strings.Replace(good, `"v1"`, `"v 1"`, 1), 1), source + " keys[0].id: want 1-64 letters, digits, _ . -"},
		{strings.Replace(`{"keys": [X]}`, "X", strings.Replace(good, `"id": "v1", `, ``, 1), 1), source + " keys[0].id: want 1-64 letters, digits, _ . -"},
		{
			`{"keys": [{"id": "v1", "alg": "HS256", "secret": "` + key1 + `", "state": "sign"}]}`,
			source + ` keys[0].alg: unknown algorithm "HS256"; have hmac-sha256, ed25519`,
		},
		{
			`{"keys": [` + good + `, {"id": "v2", "alg": "hmac-sha256", "secret": "` + key2 + `"}]}`,
			source + ` keys[1].state: want sign, verify or revoked, got ""`,
		},
		{
			`{"keys": [{"id": "v1", "alg": "hmac-sha256", "secret": "` + key1 + `", "state": "sign", "uses": ["jobs"]}]}`,
			source + ` keys[0].uses: want some of job, schedule, result, control, got "jobs"`,
		},
		{
			`{"keys": [{"id": "v1", "alg": "hmac-sha256", "secret": "` + key1 + `", "state": "sign", "uses": []}]}`,
			source + ` keys[0].uses: empty; leave it out, or name some of job, schedule, result, control`,
		},
		{`{"keys": [{"id": "v1", "alg": "hmac-sha256", "state": "sign"}]}`, source + " keys[0]: want secret"},
		{`{"keys": [{"id": "v1", "alg": "hmac-sha256", "public": "` + public + `", "state": "verify"}]}`, source + " keys[0]: want secret"},
		{`{"keys": [{"id": "e1", "alg": "ed25519", "secret": "` + key1 + `", "state": "sign"}]}`, source + " keys[0]: want private or public"},
		{
			`{"keys": [{"id": "e1", "alg": "ed25519", "private": "` + key1 + `", "public": "` + public + `", "state": "sign"}]}`,
			source + " keys[0]: want private or public",
		},
		{`{"keys": [{"id": "v1", "alg": "hmac-sha256", "secret": "%%%", "state": "sign"}]}`, `key "v1": not base64 (character 1)`},
		{
			`{"keys": [{"id": "e1", "alg": "ed25519", "private": "` + pair(key2, public) + `", "state": "sign"}]}`,
			`public key of "e1" does not belong to its private key`,
		},
		{`{"keys": [` + good + `, {"id": "e1", "alg": "ed25519", "public": "` + key1 + `", "state": "verify"}]}`, `keys "v1" and "e1" are identical`},
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), "keys.json"), tt.text, 0o600)
		if diff := cmp.Diff(problems(t, source+"="+path), []string{tt.want}); diff != "" {
			t.Errorf("%s: %s", tt.text, diff)
		}
	}

	const ed = "STEM_SIGNING_ALGORITHM=ed25519"
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{
			[]string{ed, keyFile(t, "STEM_SIGNING_PUBLIC_KEYS_FILE", `{"id": "e1", "alg": "ed25519", "private": "`+key1+`", "state": "sign"}`)},
			"STEM_SIGNING_PUBLIC_KEYS_FILE keys[0]: want public",
		},
		{
			[]string{ed, keyFile(t, "STEM_SIGNING_PRIVATE_KEYS_FILE", `{"id": "v1", "alg": "hmac-sha256", "secret": "`+key1+`", "state": "sign"}`)},
			"STEM_SIGNING_PRIVATE_KEYS_FILE keys[0]: no key of hmac-sha256 belongs into STEM_SIGNING_PRIVATE_KEYS_FILE",
		},
		{
			[]string{keyFile(t, source, strings.Replace(good, "sign", "verify", 1)), "STEM_SIGNING_ACTIVE_KEY=v1"},
			`STEM_SIGNING_ACTIVE_KEY="v1" has the state verify in STEM_SIGNING_KEYS_FILE; want one with the state sign`,
		},
		{
			[]string{ed, keyFile(t, source, good), "STEM_SIGNING_ACTIVE_KEY=v1"},
			`STEM_SIGNING_ACTIVE_KEY="v1" is a key of hmac-sha256, but STEM_SIGNING_ALGORITHM is ed25519`,
		},
	} {
		if diff := cmp.Diff(problems(t, tt.environ...), []string{tt.want}); diff != "" {
			t.Error(diff)
		}
	}
}
