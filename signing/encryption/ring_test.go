package encryption

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stemqueue/stem/signing"
)

func TestMistakes(t *testing.T) {
	t.Parallel()
	k1, k2 := masterKey(t, 0), masterKey(t, 1)
	short := base64.StdEncoding.EncodeToString(make([]byte, 16))
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{[]string{"STEM_ENCRYPTION_KEYS=k1"}, "STEM_ENCRYPTION_KEYS entry 1: want id:base64"},
		{[]string{"STEM_ENCRYPTION_KEYS="}, "STEM_ENCRYPTION_KEYS is set to nothing; unset it or give it a value"},
		{[]string{"STEM_ENCRYPTION_KEYS=k1:%%%"}, `STEM_ENCRYPTION_KEYS: key "k1": not base64 (character 1)`},
		{
			[]string{"STEM_ENCRYPTION_KEYS=k1:" + short},
			`STEM_ENCRYPTION_KEYS: key "k1": 16 bytes; enc+a256gcm needs at least 32. Make one: openssl rand -base64 32`,
		},
		{
			[]string{"STEM_ENCRYPTION_KEYS=k1:" + k1 + ",k1:" + k2 + ",k2:" + k1 + ",k3:" + short, "STEM_ENCRYPTION_KEY=x", "STEM_ENCRYPTION_ACTIVE=k1"},
			"unknown variable STEM_ENCRYPTION_ACTIVE. Did you mean STEM_ENCRYPTION_KEYS?\n" +
				"unknown variable STEM_ENCRYPTION_KEY. Did you mean STEM_ENCRYPTION_KEYS?\n" +
				`STEM_ENCRYPTION_KEYS: key id "k1" appears twice` + "\n" +
				`STEM_ENCRYPTION_KEYS: keys "k1" and "k2" are identical` + "\n" +
				`STEM_ENCRYPTION_KEYS: key "k3": 16 bytes; enc+a256gcm needs at least 32. Make one: openssl rand -base64 32`,
		},
		{[]string{"STEM_ENCRYPTION_KEYS=k1:" + k1, "STEM_ENCRYPTION_KEYS_FILE=/nowhere/x"}, "set only one of STEM_ENCRYPTION_KEYS and STEM_ENCRYPTION_KEYS_FILE"},
		{[]string{"STEM_ENCRYPTION_KEYS_FILE=/nowhere/x"}, "STEM_ENCRYPTION_KEYS_FILE: /nowhere/x: no such file"},
		{
			[]string{"STEM_ENCRYPTION_KEYS=k1:" + k1 + ",k2:" + k2, "STEM_SIGNING_KEYS=v1:" + masterKey(t, 2) + ",v2:" + k2},
			`STEM_ENCRYPTION_KEYS: key "k2" is the signing key "v2"; make one of its own: openssl rand -base64 32`,
		},
	} {
		ring, err := FromEnviron(tt.environ)
		if ring != nil || err == nil || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			t.Fatalf("%T", err)
		}
		for _, e := range joined.Unwrap() {
			if setting, ok := errors.AsType[*signing.SettingError](e); !ok || setting.Source == "" {
				t.Errorf("%#v", e)
			}
		}
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	credentials := t.TempDir()
	path := filepath.Join(credentials, "encryption-keys")
	store := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store("k1:" + masterKey(t, 0))
	ring := ringOf(t, "CREDENTIALS_DIRECTORY="+credentials, "STEM_SIGNING_AUDIENCE=stem/prod")
	stored, err := ring.Seal(pageJob(), []byte("x"))
	if err != nil || !ring.On() || len(ring.Warnings()) != 0 {
		t.Fatal(err)
	}
	store("k2:short")
	if err := ring.Reload(); err == nil || err.Error() != `credential encryption-keys: key "k2": not base64 (character 5)` {
		t.Errorf("got %v", err)
	}
	if _, err := ring.Open(pageJob(), stored); err != nil {
		t.Errorf("a bad ring has replaced the good one: %v", err)
	}
	store("k2:" + base64.URLEncoding.EncodeToString([]byte("\xff\xfe correct horse battery staple, they")) + ",k1:" + masterKey(t, 0))
	if err := ring.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Open(pageJob(), stored); err != nil {
		t.Error(err)
	}
	if again, err := ring.Seal(pageJob(), nil); err != nil || string(again[2:4]) != "k2" {
		t.Errorf("sealed with %q, %v", again[2:4], err)
	}
	if w := ring.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], `key "k2" is written in the URL-safe alphabet`) {
		t.Errorf("got %q", w)
	}
}

func TestFromEnv(t *testing.T) {
	t.Setenv("STEM_ENCRYPTION_KEYS", "k1:"+masterKey(t, 0))
	if ring, err := FromEnv(); err != nil || !ring.On() {
		t.Errorf("%v, %v", ring, err)
	}
}

// TestNothingPrintsKeys prints a ring in every way there is.
func TestNothingPrintsKeys(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_ENCRYPTION_KEYS=k1:"+masterKey(t, 0)+",k2:"+masterKey(t, 1), "STEM_SIGNING_AUDIENCE=stem/prod")
	const want = "encryption for stem/prod with k1 (1cd2643646c5ffff), k2 (0ea3ccb44d6185c1)"
	holder := struct{ Ring, hidden *Ring }{ring, ring}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{ring, holder, &holder, []*Ring{ring}, reflect.ValueOf(ring).Elem()} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if got := fmt.Sprintf(verb, ring); got != want {
			t.Errorf("%s: got %s", verb, got)
		}
	}
	text, err := json.Marshal(ring)
	if err != nil || string(text) != `"`+want+`"` {
		t.Errorf("got %s, %v", text, err)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).LogAttrs(t.Context(), slog.LevelInfo, "m", slog.Any("ring", ring), slog.Any("holder", holder))
	}
	b := unhex(t, master)
	for _, s := range []string{masterKey(t, 0)[4:20], masterKey(t, 1)[:16], string(b[1:9]), fmt.Sprintf("%x", b[1:5]), "1 2 3 4"} {
		if strings.Contains(out.String(), s) {
			t.Errorf("%q comes out", s)
		}
	}
	if got := ring.GoString() + ringOf(t).String(); got != want+"encryption off" {
		t.Errorf("got %s", got)
	}
}
