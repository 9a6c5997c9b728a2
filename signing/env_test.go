package signing

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stemqueue/stem/internal/secretfile"
)

// secret makes a key of n bytes which differ; another first byte is another key.
func secret(first byte, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return base64.StdEncoding.EncodeToString(b)
}

var (
	key1   = secret(0, 32)
	key2   = secret(0x80, 32)
	public = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=" // of key1 as a seed
)

// problems returns the messages of everything that an environment has wrong.
func problems(t *testing.T, environ ...string) []string {
	t.Helper()
	ring, err := FromEnviron(environ)
	if (ring == nil) != (err != nil) {
		t.Fatalf("got %v and %v", ring, err)
	}
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not joined", err)
	}
	var list []string
	for _, e := range joined.Unwrap() {
		setting, ok := errors.AsType[*SettingError](e)
		if !ok {
			t.Fatalf("%v is a %T", e, e)
		}
		if setting.Source == "" || strings.Count(setting.Error(), setting.Source) == 0 {
			t.Errorf("%q does not name its source %q", setting.Error(), setting.Source)
		}
		list = append(list, setting.Message)
	}
	return list
}

// TestCatalogue: the rows of the catalogue of bad input that are about signing, in its own words.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	const ed = "STEM_SIGNING_ALGORITHM=ed25519"
	for _, tt := range []struct {
		row     string
		environ []string
		want    string // "" is accepted
	}{
		{"51", []string{"STEM_SIGNING_KEYS=v1"}, "STEM_SIGNING_KEYS entry 1: want id:base64"},
		{"51, second", []string{"STEM_SIGNING_KEYS=v1:" + key1 + ",v2"}, "STEM_SIGNING_KEYS entry 2: want id:base64"},
		{"52", []string{"STEM_SIGNING_KEYS=v1:%%%"}, `key "v1": not base64 (character 1)`},
		{"52, later", []string{"STEM_SIGNING_KEYS=v1:AAAA*AAA"}, `key "v1": not base64 (character 5)`},
		{"53", []string{"STEM_SIGNING_KEYS=v1:" + secret(0, 14)}, `key "v1": 14 bytes; hmac-sha256 needs at least 32. Make one: openssl rand -base64 32`},
		{"53, one short", []string{"STEM_SIGNING_KEYS=v1:" + secret(0, 31)}, `key "v1": 31 bytes; hmac-sha256 needs at least 32. Make one: openssl rand -base64 32`},
		{"53, nothing", []string{"STEM_SIGNING_KEYS=v1:"}, `key "v1": 0 bytes; hmac-sha256 needs at least 32. Make one: openssl rand -base64 32`},
		{"54", []string{"STEM_SIGNING_KEYS=v1:" + key1 + ",v1:" + key2}, `key id "v1" appears twice`},
		{"55", []string{"STEM_SIGNING_KEYS=v1:" + key1 + ",v2:" + key1}, `keys "v1" and "v2" are identical`},
		{"56", []string{"STEM_SIGNING_KEYS= v1:" + key1 + " , v2:" + key2 + ", "}, ""},
		{"56, middle", []string{"STEM_SIGNING_KEYS=v1:" + key1 + ",,v2:" + key2}, "STEM_SIGNING_KEYS entry 2: want id:base64"},
		{
			"57",
			[]string{"STEM_SIGNING_KEYS=v1:" + key1 + ",v2:" + key2, "STEM_SIGNING_ACTIVE_KEY=v3"},
			`STEM_SIGNING_ACTIVE_KEY="v3" is not in STEM_SIGNING_KEYS (have v1, v2)`,
		},
		{
			"58",
			[]string{"STEM_SIGNING_ACTIVE_KEY=v1"},
			"STEM_SIGNING_ACTIVE_KEY is set but there are no keys; signing would be off. Unset it or add keys",
		},
		{"59", []string{"STEM_SIGNING_KEYS=v1:" + key1, "STEM_SIGNING_ALGORITHM=HS256"}, `unknown algorithm "HS256"; have hmac-sha256, ed25519`},
		{"59, sha256", []string{"STEM_SIGNING_KEYS=v1:" + key1, "STEM_SIGNING_ALGORITHM=sha256"}, `unknown algorithm "sha256"; have hmac-sha256, ed25519`},
		{"59, none", []string{"STEM_SIGNING_KEYS=v1:" + key1, "STEM_SIGNING_ALGORITHM=none"}, `unknown algorithm "none"; have hmac-sha256, ed25519`},
		{"60, 32 bytes", []string{ed, "STEM_SIGNING_PRIVATE_KEYS=e1:" + key1}, ""},
		{"60, 64 bytes", []string{ed, "STEM_SIGNING_PRIVATE_KEYS=e1:" + pair(key1, public)}, ""},
		{"60, both halves", []string{ed, "STEM_SIGNING_PRIVATE_KEYS=e1:" + key1, "STEM_SIGNING_PUBLIC_KEYS=e1:" + public}, ""},
		{
			"60, mismatch",
			[]string{ed, "STEM_SIGNING_PRIVATE_KEYS=e1:" + key2, "STEM_SIGNING_PUBLIC_KEYS=e1:" + public},
			`public key of "e1" does not belong to its private key`,
		},
		{"60, mismatch within", []string{ed, "STEM_SIGNING_PRIVATE_KEYS=e1:" + pair(key2, public)}, `public key of "e1" does not belong to its private key`},
		{"60, 33 bytes", []string{ed, "STEM_SIGNING_PRIVATE_KEYS=e1:" + secret(0, 33)}, `key "e1": 33 bytes; an ed25519 private key has 32 (the seed) or 64`},
		{"60, public of 31", []string{ed, "STEM_SIGNING_PUBLIC_KEYS=e1:" + secret(0, 31)}, `key "e1": 31 bytes; an ed25519 public key has 32`},
		{"61", []string{"STEM_SIGNING_PUBLIC_KEYS=e1:" + public}, "STEM_SIGNING_PUBLIC_KEYS is set but the algorithm is hmac-sha256"},
		{
			"61, said so",
			[]string{"STEM_SIGNING_KEYS=v1:" + key2, "STEM_SIGNING_ALGORITHM=hmac-sha256", "STEM_SIGNING_PRIVATE_KEYS=e1:" + key1},
			"STEM_SIGNING_PRIVATE_KEYS is set but the algorithm is hmac-sha256",
		},
		{"61, the other way", []string{ed, "STEM_SIGNING_KEYS=v1:" + key1}, "STEM_SIGNING_KEYS is set but the algorithm is ed25519"},
		{"62", []string{"STEM_SIGNING_KEYS=v1:" + key1, "STEM_SIGNING_POLICY=on"}, `STEM_SIGNING_POLICY: want required, permissive or off, got "on"`},
	} {
		t.Run(tt.row, func(t *testing.T) {
			t.Parallel()
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if diff := cmp.Diff(problems(t, tt.environ...), want); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func pair(seed, public string) string {
	a, _ := base64.StdEncoding.DecodeString(seed)
	b, _ := base64.StdEncoding.DecodeString(public)
	return base64.StdEncoding.EncodeToString(slices.Concat(a, b))
}

// TestMistakes are those that the catalogue does not list.
func TestMistakes(t *testing.T) {
	t.Parallel()
	const ed = "STEM_SIGNING_ALGORITHM=ed25519"
	keys := "STEM_SIGNING_KEYS=v1:" + key1
	for _, tt := range []struct {
		environ []string
		want    []string
	}{
		{[]string{keys, "STEM_SIGNING_KEY=x"}, []string{"unknown variable STEM_SIGNING_KEY. Did you mean STEM_SIGNING_KEYS?"}},
		{[]string{"STEM_SIGNING_ALGORITM=ed25519"}, []string{"unknown variable STEM_SIGNING_ALGORITM. Did you mean STEM_SIGNING_ALGORITHM?"}},
		{[]string{"STEM_SIGNING_SOMETHING_ELSE=x"}, []string{"unknown variable STEM_SIGNING_SOMETHING_ELSE"}},
		{[]string{"STEM_SIGNING_KEYS="}, []string{"STEM_SIGNING_KEYS is set to nothing; unset it or give it a value"}},
		{[]string{"STEM_SIGNING_KEYS= "}, []string{"STEM_SIGNING_KEYS is set to nothing; unset it or give it a value"}},
		{[]string{"STEM_SIGNING_POLICY=required"}, []string{
			"STEM_SIGNING_POLICY is set but there are no keys; signing would be off. Unset it or add keys",
		}},
		{[]string{ed}, []string{"STEM_SIGNING_ALGORITHM is set but there are no keys; signing would be off. Unset it or add keys"}},
		{[]string{"STEM_SIGNING_POLICY=off", "STEM_SIGNING_ACTIVE_KEY=v1"}, []string{
			"STEM_SIGNING_ACTIVE_KEY is set but there are no keys; signing would be off. Unset it or add keys",
		}},
		{[]string{"STEM_SIGNING_KEYS=a b:" + key1}, []string{
			"STEM_SIGNING_KEYS entry 1: want an id of 1-64 letters, digits, _ . - before the colon",
		}},
		{[]string{"STEM_SIGNING_KEYS=:" + key1}, []string{
			"STEM_SIGNING_KEYS entry 1: want an id of 1-64 letters, digits, _ . - before the colon",
		}},
		{[]string{"STEM_SIGNING_KEYS=v1: " + key1}, []string{`key "v1": not base64 (character 1)`}},
		{[]string{"STEM_SIGNING_KEYS=v1:" + key1[:10] + "\n" + key1[10:]}, []string{`key "v1": not base64 (character 11)`}},
		{[]string{"STEM_SIGNING_KEYS=v1:" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, []string{
			`key "v1": every byte is the same. Make one: openssl rand -base64 32`,
		}},
		{[]string{"STEM_SIGNING_KEYS=v1:" + secret(0, 1025)}, []string{`key "v1": 1025 bytes; want at most 1024`}},
		{[]string{keys, "STEM_SIGNING_ACTIVE_KEY=v1:" + key1}, []string{
			"STEM_SIGNING_ACTIVE_KEY: want the id of a key, 1-64 letters, digits, _ . -",
		}},
		{[]string{keys, "STEM_SIGNING_AUDIENCE=stem prod"}, []string{
			`STEM_SIGNING_AUDIENCE: names are 1-128 of letters, digits, _ . : / -; got "stem prod"`,
		}},
		{[]string{keys, "STEM_SIGNING_KEYS_FILE=/nowhere/keys"}, []string{"set only one of STEM_SIGNING_KEYS and STEM_SIGNING_KEYS_FILE"}},
		{[]string{"STEM_SIGNING_KEYS_FILE=/nowhere/keys"}, []string{"/nowhere/keys: no such file"}},
		{[]string{ed, "STEM_SIGNING_PUBLIC_KEYS=e1:" + public + ",e2:" + public}, []string{`keys "e1" and "e2" are identical`}},
		{[]string{ed, "STEM_SIGNING_PUBLIC_KEYS=e1:" + public, "STEM_SIGNING_PRIVATE_KEYS=e2:" + key1}, []string{`keys "e1" and "e2" are identical`}},
		{[]string{ed, "STEM_SIGNING_PUBLIC_KEYS=e1:" + base64.StdEncoding.EncodeToString(append([]byte{2}, make([]byte, 31)...))}, []string{
			`key "e1": not a public key: no point of the curve`,
		}},
		{[]string{ed, "STEM_SIGNING_PUBLIC_KEYS=e1:" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, []string{`key "e1": every byte is the same`}},
		{[]string{ed, "STEM_SIGNING_PRIVATE_KEYS=e1:" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, []string{
			`key "e1": every byte is the same. Make one: stem signing keygen`,
		}},
		{
			[]string{"STEM_SIGNING_KEYS=v1,v2:%%%,v3:" + secret(0, 5), "STEM_SIGNING_POLICY=on", "STEM_SIGNING_ALGORITHM=none", "STEM_SIGNING_AUDIENCE=é"},
			[]string{
				`unknown algorithm "none"; have hmac-sha256, ed25519`,
				"STEM_SIGNING_KEYS entry 1: want id:base64",
				`key "v2": not base64 (character 1)`,
				`key "v3": 5 bytes; hmac-sha256 needs at least 32. Make one: openssl rand -base64 32`,
				`STEM_SIGNING_AUDIENCE: names are 1-128 of letters, digits, _ . : / -; got "é"`,
				`STEM_SIGNING_POLICY: want required, permissive or off, got "on"`,
			},
		},
	} {
		if diff := cmp.Diff(problems(t, tt.environ...), tt.want); diff != "" {
			t.Errorf("%.60q: %s", tt.environ, diff)
		}
	}
}

// TestAccepted: the forms of a key that are taken, and what is said about them.
func TestAccepted(t *testing.T) {
	t.Parallel()
	bits := []byte(strings.Repeat("\xfb\xef\xbe\xff", 8)) // writes all of + / - _
	password := []byte("correct horse battery staple, they said")
	for _, tt := range []struct {
		encoded string
		want    []byte
		warning string
	}{
		{base64.StdEncoding.EncodeToString(bits), bits, ""},
		{base64.RawStdEncoding.EncodeToString(bits), bits, ""},
		{base64.URLEncoding.EncodeToString(bits), bits, `key "v1" is written in the URL-safe alphabet; openssl rand -base64 32 writes the standard one`},
		{base64.RawURLEncoding.EncodeToString(bits), bits, `key "v1" is written in the URL-safe alphabet; openssl rand -base64 32 writes the standard one`},
		{base64.StdEncoding.EncodeToString(password), password, `key "v1" decodes to printable text; if that is a password, make a key: openssl rand -base64 32`},
		{secret(0, 1024), unbase64(t, secret(0, 1024)), ""},
	} {
		ring := ringOf(t, "STEM_SIGNING_KEYS=v1:"+tt.encoded)
		if got := ring.load().byID["v1"].secret; !bytes.Equal(got, tt.want) {
			t.Errorf("%.20s: got %x", tt.encoded, got)
		}
		if got := strings.Join(ring.Warnings(), "|"); got != tt.warning {
			t.Errorf("%.20s: got warning %q, want %q", tt.encoded, got, tt.warning)
		}
	}
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPolicyOfEnvironment: required as soon as there is a key, off only when nothing is set or somebody says so.
func TestPolicyOfEnvironment(t *testing.T) {
	t.Parallel()
	keys := "STEM_SIGNING_KEYS=v1:" + key1
	for _, tt := range []struct {
		environ  []string
		want     Policy
		audience string
		warning  string
	}{
		{nil, Off, "stem", ""},
		{[]string{"STEM_DATABASE_URL=x", "PATH=/bin", "STEM_SIGNING"}, Off, "stem", ""},
		{[]string{"STEM_SIGNING_POLICY=off"}, Off, "stem", ""},
		{[]string{"STEM_SIGNING_AUDIENCE=stem/prod"}, Off, "stem/prod", ""},
		{[]string{keys}, Required, "stem", ""},
		{[]string{keys, "STEM_SIGNING_POLICY=required"}, Required, "stem", ""},
		{[]string{keys, "STEM_SIGNING_POLICY=off", "STEM_SIGNING_ALGORITHM=HMAC-SHA256"}, Off, "stem", ""},
		{
			[]string{keys, "STEM_SIGNING_POLICY= permissive "},
			Permissive, "stem",
			"STEM_SIGNING_POLICY=permissive: jobs that nobody signed run; set it to required when every producer signs",
		},
		{[]string{"STEM_SIGNING_ALGORITHM=Ed25519", "STEM_SIGNING_PUBLIC_KEYS=e1:" + public}, Required, "stem", ""},
	} {
		ring := ringOf(t, tt.environ...)
		if ring.Policy() != tt.want || ring.Audience() != tt.audience || strings.Join(ring.Warnings(), "|") != tt.warning {
			t.Errorf("%.40q: got %v, %s, %q", tt.environ, ring.Policy(), ring.Audience(), ring.Warnings())
		}
	}
}

// TestFromEnv reads the environment of the process; the variables themselves are the business of the other tests.
func TestFromEnv(t *testing.T) {
	t.Setenv("STEM_SIGNING_KEYS", "v1:"+key1)
	t.Setenv("STEM_SIGNING_ACTIVE_KEY", "v1")
	ring, err := FromEnv()
	if err != nil || ring.Policy() != Required || ring.CanSign(UseJob) != nil {
		t.Errorf("%v, %v", ring, err)
	}
}

func writeFile(t *testing.T, path, text string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFiles: a list may stand in a file, or in a credential of systemd, whose mode is systemd's business.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir, credentials := t.TempDir(), t.TempDir()
	file := writeFile(t, filepath.Join(dir, "keys"), "v1:"+key1+",\n v2:"+key2+"\n", 0o600)
	open := writeFile(t, filepath.Join(dir, "open"), "v1:"+key1, 0o644)
	writeFile(t, filepath.Join(credentials, "signing-keys"), "v1:"+key1, 0o444)
	writeFile(t, filepath.Join(credentials, "signing-private-keys"), "e1:"+key2, 0o444)
	for _, tt := range []struct {
		environ []string
		ids     string
		source  string
	}{
		{[]string{"STEM_SIGNING_KEYS_FILE=" + file}, "v1 v2", "STEM_SIGNING_KEYS_FILE"},
		{[]string{"CREDENTIALS_DIRECTORY=" + dir, "STEM_SIGNING_KEYS_FILE=" + open}, "v1", "STEM_SIGNING_KEYS_FILE"},
	} {
		keys := ringOf(t, tt.environ...).Keys()
		var ids []string
		for _, k := range keys {
			ids = append(ids, k.ID)
		}
		if strings.Join(ids, " ") != tt.ids || keys[0].Source != tt.source {
			t.Errorf("got %+v", keys)
		}
	}

	alone := t.TempDir()
	writeFile(t, filepath.Join(alone, "signing-keys"), "v1:"+key1, 0o440)
	ring := ringOf(t, "CREDENTIALS_DIRECTORY="+alone)
	if k := ring.Keys(); ring.Policy() != Required || k[0].Source != "credential signing-keys" {
		t.Errorf("got %v, %+v", ring, k)
	}
	if ring := ringOf(t, "CREDENTIALS_DIRECTORY="+alone, "STEM_SIGNING_KEYS_FILE="+alone+"/signing-keys"); len(ring.Keys()) != 1 {
		t.Error("the credential named by its path is one source")
	}
	if ring := ringOf(t, "CREDENTIALS_DIRECTORY="+dir); ring.Policy() != Off {
		t.Errorf("a directory without our credentials: %v", ring)
	}

	for _, tt := range []struct {
		environ []string
		want    string
		fault   secretfile.Fault
	}{
		{[]string{"STEM_SIGNING_KEYS_FILE=" + open}, open + ": readable by others (0644); chmod 0600 or use LoadCredential", secretfile.Exposed},
		{[]string{"STEM_SIGNING_KEYS_FILE=" + dir}, dir + ": is a directory", secretfile.Bad},
	} {
		_, err := FromEnviron(tt.environ)
		e, ok := errors.AsType[*secretfile.Error](err)
		if !ok || e.Fault != tt.fault || err.Error() != "STEM_SIGNING_KEYS_FILE: "+tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	want := []string{
		"set only one of STEM_SIGNING_KEYS and STEM_SIGNING_KEYS_FILE and the credential signing-keys",
		"credential signing-private-keys is set but the algorithm is hmac-sha256",
	}
	got := problems(t, "CREDENTIALS_DIRECTORY="+credentials, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_KEYS_FILE="+file)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Error(diff)
	}
}

// TestErrorsHoldNoKeys: whatever is wrong, and wherever in the text the key stands, no error repeats it.
func TestErrorsHoldNoKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	long := strings.TrimRight(key2, "=")
	for i, keys := range []string{
		key2, key2 + ":v1", long + ":v1", long + ":v1," + long + ":v1", "v1 " + key2, "v1:" + key2 + "!", "v1:" + key2 + " " + key2, "v1=" + key2,
		"v1:" + key2 + ",v2:" + key2, "v1:" + key2 + ",v1:" + key2, "v1:" + key2 + "\nv2:" + key2, long + ":" + key1 + ",v2:" + key1,
		`{"v1": "` + key2 + `"}`, `{"keys": {"v1": "` + key2 + `"}}`, `{"keys": [{"id": "` + key2 + `"}]}`, `{"keys": ["` + key2 + `"]}`,
		`{"keys": [{"id": "v1", "alg": "hmac-sha256", "state": "sign", "secret": "` + key2 + `"}]} ` + key2,
		`{"keys": [{"id": "v1", "alg": "` + long + `", "state": "` + long + `", "uses": ["` + long + `"], "secret": "` + key2 + `"}]}`,
		`{"keys": [{"id": "v1", "alg": "hmac-sha256", "state": "sign", "public": "` + key2 + `"}]}`,
		`{"keys": [{"id": "v1", "alg": "hmac-sha256", "state": "sign", "secret": "` + key2 + `!"}]}`,
		`{"keys": [{"id": "v1", "` + long + `": "x"}]}`, `{"` + key2, `{"keys":[` + key2 + `]}`,
	} {
		environs := [][]string{
			{"STEM_SIGNING_KEYS_FILE=" + writeFile(t, filepath.Join(dir, hex.EncodeToString([]byte{byte(i)})), keys, 0o600), "STEM_SIGNING_ACTIVE_KEY=v9"},
			{"STEM_SIGNING_KEYS=" + keys, "STEM_SIGNING_ACTIVE_KEY=" + long},
			{"STEM_SIGNING_ALGORITHM=ed25519", "STEM_SIGNING_PRIVATE_KEYS=" + keys},
		}
		for _, environ := range environs {
			_, err := FromEnviron(environ)
			if err == nil {
				t.Errorf("%q is accepted", keys)
			} else if s := err.Error(); strings.Contains(s, long[:12]) || strings.Contains(s, long[16:28]) {
				t.Errorf("%q: the error has the key: %s", keys, s)
			}
		}
	}
}
