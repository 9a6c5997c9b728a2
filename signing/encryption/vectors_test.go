package encryption

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stemqueue/stem/signing"
)

type vectorFile struct {
	About   string   `json:"about"`
	Vectors []vector `json:"vectors"`
}

type vector struct {
	Name     string          `json:"name"`
	Type     string          `json:"type"`
	Key      vectorKey       `json:"key"`
	Audience string          `json:"audience"`
	Message  json.RawMessage `json:"message"` // without the payload, as in the other files
	AAD      string          `json:"aad"`
	Stored   string          `json:"stored"`
	Outcome  string          `json:"outcome"` // "opens" or "refused"
	Plain    string          `json:"plain"`   // what it opens to
}

type vectorKey struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

type message struct {
	signing.Message

	kind, json string
}

// messages are each in Go and as the vectors write them; that the two are the same is what verify.py finds out.
var messages = []message{
	{
		pageJob(), "job", `{"codec":"enc+a256gcm","headers":{"tenant":"t1"},"id":"01980f3e7a1c7b2c9d3e4f5061728394","issued_at_us":1767323045000000,` +
			`"max_attempts":20,"origin":"app","priority":5,"queue":"default","task":"mail.welcome"}`,
	},
	{
		&signing.Schedule{
			ID: "nightly", Task: "mail.digest", Queue: "mail", Codec: "enc+a256gcm;text/plain", Version: 7, Spec: "every:5m",
			Priority: 5, MaxAttempts: 20, Enabled: true,
		}, "schedule", `{"codec":"enc+a256gcm;text/plain","enabled":true,"id":"nightly","max_attempts":20,"priority":5,"queue":"mail","spec":"every:5m",` +
			`"task":"mail.digest","version":7}`,
	},
	{
		&signing.Result{JobID: pageID, Generation: 1, Attempt: 2, ClaimID: otherID, Outcome: "completed", Codec: "enc+a256gcm"},
		"result", `{"attempt":2,"claim_id":"01980f3e7a1d70008000000000000001","codec":"enc+a256gcm","generation":1,` +
			`"job_id":"01980f3e7a1c7b2c9d3e4f5061728394","outcome":"completed"}`,
	},
}

// sealFixed is Seal once more, with salt and nonce given.
func sealFixed(t *testing.T, m signing.Message, k vectorKey, audience string, salt, nonce, plain []byte) (aad, stored []byte) {
	t.Helper()
	aad, err := signing.AssociatedData(m, "a256gcm", k.ID, audience)
	if err != nil {
		t.Fatal(err)
	}
	derived, err := hkdf.Key(sha256.New, unhex(t, k.Secret), salt, "stem payload v1|"+k.ID, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aad, aead.Seal(slices.Concat([]byte{1, byte(len(k.ID))}, []byte(k.ID), salt, nonce), nonce, plain, aad)
}

func makeVectors(t *testing.T) vectorFile {
	t.Helper()
	k := vectorKey{"k1", master}
	salt, nonce := unhex(t, "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"), unhex(t, "b0b1b2b3b4b5b6b7b8b9babb")
	file := vectorFile{About: "What signing/encryption stores, what it is bound to (aad), and what it opens to. Messages are written as in the other files."}
	for i, m := range messages {
		for _, plain := range []string{`{"to":"ada@example.com","cents":1250}`, "", strings.Repeat("0123456789abcdef", 4)} {
			aad, stored := sealFixed(t, m.Message, k, "stem/prod", salt, nonce, []byte(plain))
			v := vector{
				Name: m.kind + ", " + size(len(plain)), Type: m.kind, Key: k, Audience: "stem/prod", Message: json.RawMessage(m.json),
				AAD: hex.EncodeToString(aad), Stored: hex.EncodeToString(stored), Outcome: "opens", Plain: plain,
			}
			file.Vectors = append(file.Vectors, v)
			if plain == "" || i > 0 && len(plain) > 40 {
				continue
			}
			v.Outcome, v.Plain = "refused", ""
			last := len(v.Stored) - 1
			for name, change := range map[string]func(*vector){
				"another tag":          func(v *vector) { v.Stored = v.Stored[:last] + otherDigit(v.Stored[last:]) },
				"another first byte":   func(v *vector) { v.Stored = "02" + v.Stored[2:] },
				"another salt":         func(v *vector) { v.Stored = strings.Replace(v.Stored, "a0a1", "a1a1", 1) },
				"another nonce":        func(v *vector) { v.Stored = strings.Replace(v.Stored, "b0b1", "b1b1", 1) },
				"one byte less":        func(v *vector) { v.Stored = v.Stored[:last-1] },
				"an unknown key":       func(v *vector) { v.Stored = strings.Replace(v.Stored, "6b31", "6b32", 1) },
				"nothing but a header": func(v *vector) { v.Stored = v.Stored[:8] },
			} {
				w := v
				w.Name += ": " + name
				change(&w)
				file.Vectors = append(file.Vectors, w)
			}
		}
	}
	slices.SortStableFunc(file.Vectors, func(a, b vector) int { return strings.Compare(a.Name, b.Name) })
	return file
}

func otherDigit(s string) string {
	if s == "0" {
		return "1"
	}
	return "0"
}

func size(n int) string {
	if n == 0 {
		return "nothing"
	}
	return string(rune('0'+n/10)) + string(rune('0'+n%10)) + " bytes"
}

// TestVectors: what is in testdata is what this file says, and opens to what it says.
func TestVectors(t *testing.T) {
	t.Parallel()
	want, err := json.MarshalIndent(makeVectors(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(vectorPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(vectorPath)
	if err != nil || !bytes.Equal(text, want) {
		t.Errorf("%s is not what is generated (%v); go test ./signing/encryption -run TestVectors -update, and look at the difference", vectorPath, err)
	}
	var file vectorFile
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Vectors {
		i := slices.IndexFunc(messages, func(m message) bool { return m.kind == v.Type })
		ring := ringOf(t, "STEM_ENCRYPTION_KEYS="+v.Key.ID+":"+base64.StdEncoding.EncodeToString(unhex(t, v.Key.Secret)), "STEM_SIGNING_AUDIENCE="+v.Audience)
		plain, err := ring.Open(messages[i].Message, unhex(t, v.Stored))
		if (err == nil) != (v.Outcome == "opens") || string(plain) != v.Plain {
			t.Errorf("%s: got %q, %v", v.Name, plain, err)
		}
	}
	if len(file.Vectors) < 20 {
		t.Errorf("%d vectors", len(file.Vectors))
	}
}

// TestVectorsElsewhere: see the test of the same name in package signing.
func TestVectorsElsewhere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"python3", "openssl"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v, and CI may lack nothing", err)
			}
			t.Skipf("%v: the second opinion is not heard", err)
		}
	}
	const verify = "../../testdata/signing/verify.py"
	if _, err := os.ReadFile(verify); err != nil { // read here for the test cache, which does not see what Python reads
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "python3", verify, vectorPath).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " vectors are as they say") {
		t.Errorf("%v\n%s", err, out)
	}
}
