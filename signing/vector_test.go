package signing

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stemqueue/stem/internal/keylist"
)

var update = flag.Bool("update", false, "rewrite testdata/signing")

const vectorDir = "../testdata/signing"

// vectorFile is a file of vectors, as verify.py reads it too. It explains itself to whoever writes another implementation.
type vectorFile struct {
	About   string   `json:"about"`
	Vectors []vector `json:"vectors"`
}

type vector struct {
	Name          string          `json:"name"`
	Type          string          `json:"type"`
	Key           vectorKey       `json:"key"` // the one entry of the verifier's ring
	Audience      string          `json:"audience"`
	Message       json.RawMessage `json:"message"`
	Body          string          `json:"body"` // what the message is encoded as, for this key and audience
	MessageSHA256 string          `json:"message_sha256"`
	Signed        string          `json:"signed,omitempty"` // what the signature is over, where it is over something else
	Signature     vectorSignature `json:"signature"`
	Outcome       string          `json:"outcome"` // "valid", or the reason of the refusal
}

type vectorKey struct {
	ID      string `json:"id"`
	Alg     string `json:"alg"`
	Secret  string `json:"secret,omitempty"`
	Private string `json:"private,omitempty"` // the seed
	Public  string `json:"public,omitempty"`
	State   State  `json:"state,omitempty"` // "sign" unless it says
}

type vectorSignature struct {
	KeyID string `json:"key_id"`
	Alg   string `json:"alg"`
	Bytes string `json:"bytes"`
}

func (s vectorSignature) signature(t *testing.T) Signature {
	t.Helper()
	return Signature{KeyID: s.KeyID, Algorithm: s.Alg, Bytes: unhex(t, s.Bytes)}
}

// ring makes the ring of a vector's key, the way that an operator does.
func (k vectorKey) ring(t *testing.T, audience string) *Ring {
	t.Helper()
	field, material := "public", k.Public
	switch {
	case k.Secret != "":
		field, material = "secret", k.Secret
	case k.Private != "":
		field, material = "private", k.Private
	}
	entry := fmt.Sprintf(`{"id": %q, "alg": %q, "state": %q, %q: %q}`,
		k.ID, k.Alg, cmp.Or(k.State, StateSign), field, base64.StdEncoding.EncodeToString(unhex(t, material)))
	return ringOf(t, keyFile(t, "STEM_SIGNING_KEYS_FILE", entry), "STEM_SIGNING_AUDIENCE="+audience)
}

// ringOf makes the ring of an environment that has nothing wrong.
func ringOf(tb testing.TB, environ ...string) *Ring {
	tb.Helper()
	ring, err := FromEnviron(environ)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// messages makes an empty message of each type.
var messages = map[string]func() Message{
	"job":      func() Message { return &Job{} },
	"schedule": func() Message { return &Schedule{} },
	"result":   func() Message { return &Result{} },
	"control":  func() Message { return &Control{} },
}

// snake writes the name of a Go field as the vectors do.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 && unicode.IsLower(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// encodeMessage writes a message as the vectors have it: what is the zero value is left out, unless it must be there.
func encodeMessage(t *testing.T, m Message) json.RawMessage {
	t.Helper()
	fields := map[string]any{}
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		name := snake(v.Type().Field(i).Name)
		switch f := v.Field(i).Interface().(type) {
		case [16]byte:
			fields[name] = hex.EncodeToString(f[:])
		case string:
			if f != "" {
				fields[name] = f
			}
		case []byte:
			switch {
			case f == nil:
			case len(f) > 4096 && keylist.Repeated(f):
				fields[name+"_repeat"] = map[string]any{"hex": hex.EncodeToString(f[:1]), "times": len(f)}
			case !strings.ContainsFunc(string(f), func(r rune) bool { return r < 0x20 || r > 0x7e }):
				fields[name] = string(f)
			default:
				fields[name+"_hex"] = hex.EncodeToString(f)
			}
		case time.Time:
			if !f.IsZero() {
				fields[name+"_us"] = f.UnixMicro()
			}
		case time.Duration:
			if f != 0 {
				fields[name+"_us"] = f.Microseconds()
			}
		case int:
			if f != 0 || name != "payload_version" {
				fields[name] = f
			}
		case int64, bool:
			fields[name] = f
		case map[string]string:
			if len(f) > 0 {
				fields[name] = f
			}
		default:
			t.Fatalf("%s: a %T has no form in the vectors", name, f)
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// decodeMessage is the way back.
func decodeMessage(t *testing.T, kind string, text json.RawMessage) Message {
	t.Helper()
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	take := func(name string, into any) bool {
		raw, there := fields[name]
		delete(fields, name)
		if !there {
			return false
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return true
	}
	m := messages[kind]()
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		name := snake(v.Type().Field(i).Name)
		var s string
		var n int64
		var repeat struct {
			Hex   string
			Times int
		}
		switch f := v.Field(i).Addr().Interface().(type) {
		case *[16]byte:
			take(name, &s)
			copy(f[:], unhex(t, s))
		case *[]byte:
			switch {
			case take(name, &s):
				*f = []byte(s)
			case take(name+"_hex", &s):
				*f = unhex(t, s)
			case take(name+"_repeat", &repeat):
				*f = []byte(strings.Repeat(string(unhex(t, repeat.Hex)), repeat.Times))
			}
		case *time.Time:
			if take(name+"_us", &n) {
				*f = time.UnixMicro(n).UTC()
			}
		case *time.Duration:
			take(name+"_us", &n)
			*f = time.Duration(n) * time.Microsecond
		default:
			take(name, f)
		}
	}
	for name := range fields {
		t.Fatalf("a %s has no field %s", kind, name)
	}
	return m
}

// flips returns, for every field of a message, the message with that field changed and nothing else.
func flips(t *testing.T, kind string, text json.RawMessage) map[string]Message {
	t.Helper()
	changed := map[string]Message{}
	for i := range reflect.TypeOf(messages[kind]()).Elem().NumField() {
		m := decodeMessage(t, kind, text)
		v := reflect.ValueOf(m).Elem()
		switch f := v.Field(i).Addr().Interface().(type) {
		case *[16]byte:
			f[15] ^= 1
		case *string:
			*f += "x"
		case *[]byte:
			*f = append([]byte("x"), *f...)
		case *time.Time:
			if f.IsZero() {
				*f = time.UnixMicro(1_767_323_045_000_000).UTC()
			}
			*f = f.Add(time.Microsecond)
		case *time.Duration:
			*f += time.Microsecond
		case *int:
			*f = (*f + 1) % math.MaxInt32
		case *int64:
			*f++
		case *bool:
			*f = !*f
		case *map[string]string:
			*f = map[string]string{"tenant": "t2"}
		default:
			t.Fatalf("%T", f)
		}
		changed[snake(v.Type().Field(i).Name)] = m
	}
	return changed
}

func readVectors(t *testing.T) map[string]vectorFile {
	t.Helper()
	paths, err := filepath.Glob(vectorDir + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]vectorFile{}
	for _, path := range paths {
		if filepath.Base(path) == "encryption.json" { // signing/encryption has it
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file vectorFile
		if err := json.Unmarshal(text, &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		files[filepath.Base(path)] = file
	}
	return files
}

func writeVectors(t *testing.T, name string, file vectorFile) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "{\n  \"about\": %s,\n  \"vectors\": [\n", quoted(t, file.About))
	for i, v := range file.Vectors {
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "    %s", line)
		if i < len(file.Vectors)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("  ]\n}\n")
	path := filepath.Join(vectorDir, name)
	got, err := os.ReadFile(path)
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not what is generated (%v); go test ./signing -run TestVectors -update, and look at the difference", path, err)
	}
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
