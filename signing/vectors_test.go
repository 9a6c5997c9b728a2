package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The keys of the vectors are those of the design's page: 32 bytes, which count up, as an HMAC key and as a seed.
var (
	hmacKey    = vectorKey{ID: "v1", Alg: HMACSHA256, Secret: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}
	ed25519Key = vectorKey{
		ID: "e1", Alg: Ed25519, Private: hmacKey.Secret,
		Public: "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8",
	}
	audience = "stem/prod"

	pageTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pageID   = [16]byte{0x01, 0x98, 0x0f, 0x3e, 0x7a, 0x1c, 0x7b, 0x2c, 0x9d, 0x3e, 0x4f, 0x50, 0x61, 0x72, 0x83, 0x94}
	otherID  = [16]byte{0x01, 0x98, 0x0f, 0x3e, 0x7a, 0x1d, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}
)

// pageJob is the job of the design's page.
func pageJob() *Job {
	return &Job{
		ID: pageID, Task: "mail.welcome", Queue: "default", Codec: "application/json",
		Payload:  []byte(`{"to":"ada@example.com","cents":1250}`),
		Headers:  map[string]string{"tenant": "t1", "traceparent": "00-aa-bb-01"},
		RunAt:    pageTime.Add(678901 * time.Microsecond),
		IssuedAt: pageTime, Priority: 5, MaxAttempts: 20, HardLimit: 30 * time.Second, Origin: "app",
	}
}

// with returns the job of the page with something changed.
func with(change func(*Job)) *Job {
	j := pageJob()
	change(j)
	return j
}

// fullJob has every field, but run_at, which excludes delay.
func fullJob() *Job {
	return with(func(j *Job) {
		j.RunAt, j.Delay = time.Time{}, 90*time.Second
		j.ExpiresAt, j.NominalAt = pageTime.Add(time.Hour), pageTime.Add(-time.Microsecond)
		j.SoftLimit, j.UniqueKey, j.PayloadVersion = 25*time.Second, []byte("mail.welcome\x00ada"), 3
		j.Origin, j.Group = "schedule:nightly", "spring/é"
	})
}

func pageSchedule() *Schedule {
	return &Schedule{
		ID: "nightly", Task: "mail.digest", Queue: "mail", Codec: "application/json", Payload: []byte(`{"kind":"digest"}`),
		Headers: map[string]string{"tenant": "t1"}, Version: 7, Spec: `{"cron":"0 9 * * MON-FRI"}`, Zone: "Europe/Berlin",
		Priority: 5, MaxAttempts: 20, HardLimit: 10 * time.Minute, SoftLimit: 9 * time.Minute,
		Start: pageTime, End: pageTime.AddDate(1, 0, 0), Enabled: true, Policies: `{"missed":"last","overlap":"first"}`, Jitter: 30 * time.Second,
	}
}

func pageResult() *Result {
	return &Result{
		JobID: pageID, Generation: 1, Attempt: 2, ClaimID: otherID, Outcome: "completed", Result: []byte(`{"sent":true}`), Codec: "application/json",
	}
}

func pageControl() *Control {
	return &Control{
		ID: otherID, Verb: "shutdown", Target: "*", Argument: []byte(`{"mode":"warm"}`), IssuedAt: pageTime, TTL: 30 * time.Second,
		Nonce: pageID, Issuer: "ada@ops-1",
	}
}

// makeVector signs a message and describes it.
func makeVector(t *testing.T, name string, key vectorKey, kind string, m Message) vector {
	t.Helper()
	body, message := encodings(t, key, audience, m)
	sum := sha256.Sum256(message)
	return vector{
		Name: name, Type: kind, Key: key, Audience: audience, Message: encodeMessage(t, m),
		Body: hex.EncodeToString(body), MessageSHA256: hex.EncodeToString(sum[:]),
		Signature: vectorSignature{KeyID: key.ID, Alg: key.Alg, Bytes: hex.EncodeToString(signRaw(t, key, message))}, Outcome: "valid",
	}
}

func encodings(t *testing.T, key vectorKey, audience string, m Message) (body, message []byte) {
	t.Helper()
	e := takeEncoder()
	defer e.put()
	message, err := e.message(m, kindOf(m).mediaType, key.Alg, key.ID, audience)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(e.buf[room:]), slices.Clone(message)
}

// signRaw signs any bytes, without a ring.
func signRaw(t *testing.T, key vectorKey, message []byte) []byte {
	t.Helper()
	if key.Alg == Ed25519 {
		return ed25519.Sign(ed25519.NewKeyFromSeed(unhex(t, key.Private)), message)
	}
	h := hmac.New(sha256.New, unhex(t, key.Secret))
	h.Write(message)
	return h.Sum(nil)
}

func jobVectors(t *testing.T) []vector {
	t.Helper()
	list := []vector{
		makeVector(t, "the page's own", hmacKey, "job", pageJob()),
		makeVector(t, "the page's own, ed25519", ed25519Key, "job", pageJob()),
		makeVector(t, "every field but run_at", hmacKey, "job", fullJob()),
		makeVector(t, "every field but run_at, ed25519", ed25519Key, "job", fullJob()),
	}
	for _, c := range []struct {
		name   string
		change func(*Job)
	}{
		{"due at once, no limits, no headers", func(j *Job) { j.RunAt, j.HardLimit, j.Headers = time.Time{}, 0, nil }},
		{"delay", func(j *Job) { j.RunAt, j.Delay = time.Time{}, time.Microsecond }},
		{"expires_at", func(j *Job) { j.ExpiresAt = pageTime.Add(time.Hour) }},
		{"unique_key", func(j *Job) { j.UniqueKey = []byte{0} }},
		{"nominal_at", func(j *Job) { j.NominalAt = pageTime }},
		{"payload_version", func(j *Job) { j.PayloadVersion = 1 }},
		{"soft_limit", func(j *Job) { j.SoftLimit = time.Second }},
		{"group", func(j *Job) { j.Group = "g" }},
		{"empty payload", func(j *Job) { j.Payload = nil }},
		{"payload of 1 MiB", func(j *Job) { j.Payload = []byte(strings.Repeat("a", 1<<20)) }},
		{"payload of no text", func(j *Job) { j.Payload, j.Codec = []byte{0xff, 0, 0x80}, "application/octet-stream" }},
		{"a broadcast message", func(j *Job) { j.Queue = "broadcast:cache" }},
		{"names of headers sort by their bytes", func(j *Job) { j.Headers = map[string]string{"b": "1", "B": "2", "é": "ü", "aa": "", "a": "3"} }},
		{"priority and max_attempts 0", func(j *Job) { j.Priority, j.MaxAttempts = 0, 0 }},
		{"the largest and the least", func(j *Job) {
			j.Priority, j.MaxAttempts, j.PayloadVersion = math.MinInt32, math.MaxInt32, math.MaxInt32
			j.RunAt, j.IssuedAt = time.UnixMicro(latest).UTC(), time.UnixMicro(earliest).UTC()
			j.HardLimit, j.SoftLimit = math.MaxInt64/1000*1000, time.Microsecond
		}},
		{"every length at its limit", func(j *Job) {
			j.Task, j.Queue, j.Codec = strings.Repeat("t", 128), strings.Repeat("/", 128), strings.Repeat("c", 128)
			j.UniqueKey = []byte(strings.Repeat("\xff", 2048))
			j.Origin, j.Group = strings.Repeat("o", 256), strings.Repeat("é", 128)
			j.Headers = map[string]string{}
			for i := range 64 {
				name := string(rune('0'+i/10)) + string(rune('0'+i%10))
				j.Headers[name] = strings.Repeat("v", 16<<10/64-2)
			}
		}},
	} {
		list = append(list, makeVector(t, c.name, hmacKey, "job", with(c.change)))
	}
	return list
}

func scheduleVectors(t *testing.T) []vector {
	t.Helper()
	bare := &Schedule{
		ID: "s", Task: "t", Queue: "default", Codec: "application/json", Payload: []byte("{}"), Version: 1, Spec: "every:5m", MaxAttempts: 20,
	}
	return []vector{
		makeVector(t, "every field", hmacKey, "schedule", pageSchedule()),
		makeVector(t, "every field, ed25519", ed25519Key, "schedule", pageSchedule()),
		makeVector(t, "what must be there, disabled", hmacKey, "schedule", bare),
	}
}

func otherVectors(t *testing.T, kind string, m Message) []vector {
	t.Helper()
	return []vector{
		makeVector(t, "every field", hmacKey, kind, m),
		makeVector(t, "every field, ed25519", ed25519Key, kind, m),
	}
}

// TestVectorsAreGenerated: what is in testdata is what this file says.
func TestVectorsAreGenerated(t *testing.T) {
	t.Parallel()
	const form = " Times and durations are microseconds, ids and _hex fields hexadecimal; what is not there is left out of the body."
	writeVectors(t, "job.json", vectorFile{"Jobs that verify." + form, jobVectors(t)})
	writeVectors(t, "schedule.json", vectorFile{"Schedules that verify." + form, scheduleVectors(t)})
	writeVectors(t, "result.json", vectorFile{"Results that verify." + form, otherVectors(t, "result", pageResult())})
	writeVectors(t, "control.json", vectorFile{"Control commands that verify." + form, otherVectors(t, "control", pageControl())})
	writeVectors(t, "refused.json", vectorFile{
		"What must not verify, and the reason that a worker gives. Where there is a field signed, the signature is right over that." + form,
		refusedVectors(t),
	})
}

// TestVectors verifies every vector as a worker would, from the files alone, and signs those that are valid again.
func TestVectors(t *testing.T) {
	t.Parallel()
	count := 0
	for name, file := range readVectors(t) {
		for _, v := range file.Vectors {
			t.Run(name+"/"+v.Name, func(t *testing.T) {
				t.Parallel()
				ring, m := v.Key.ring(t, v.Audience), decodeMessage(t, v.Type, v.Message)
				err := ring.Verify(m, v.Signature.signature(t))
				got := "valid"
				if err != nil {
					got = string(reasonOf(t, err))
				}
				if got != v.Outcome {
					t.Errorf("got %v, want %s", err, v.Outcome)
				}
				body, message := encodings(t, v.Key, v.Audience, m)
				sum := sha256.Sum256(message)
				if hex.EncodeToString(body) != v.Body || hex.EncodeToString(sum[:]) != v.MessageSHA256 {
					t.Errorf("body %x, sha256 %x; want %s, %s", body, sum, v.Body, v.MessageSHA256)
				}
				if v.Outcome != "valid" {
					return
				}
				s, err := ring.Sign(m)
				if err != nil || hex.EncodeToString(s.Bytes) != v.Signature.Bytes || s.KeyID != v.Signature.KeyID || s.Algorithm != v.Signature.Alg {
					t.Errorf("signed %x by %s (%s), %v", s.Bytes, s.KeyID, s.Algorithm, err)
				}
			})
			count++
		}
	}
	if count < 100 {
		t.Errorf("%d vectors", count)
	}
}

func reasonOf(t *testing.T, err error) Reason {
	t.Helper()
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("%v is no refusal", err)
	}
	return refusal.Reason
}

// TestPage holds the numbers that the design's page gives; nothing generates them.
func TestPage(t *testing.T) {
	t.Parallel()
	body, message := encodings(t, hmacKey, audience, pageJob())
	sum := sha256.Sum256(message)
	if got := hex.EncodeToString(sum[:]); len(body) != 264 || len(message) != 306 ||
		got != "126a4bccf7df05f42d5564e6415f457395214dcd2cd3a3214c9d7ec541133e79" {
		t.Errorf("BODY of %d bytes, MSG of %d, sha256 %s", len(body), len(message), got)
	}
	fields := fieldsOf(t, body)
	for i, want := range map[int]string{
		7: "e24c6e492dbf706676a7dcd7f77d50596915b763daea110882e5bdb7ea31d0f6",
		8: "b5b4fb23f71ac65a6666227d3e1ce3b3fbde0c317c821f3719e4472c70f03586",
	} {
		if got := hex.EncodeToString(fields[i][6:]); got != want {
			t.Errorf("field %d: got %s, want %s", i+1, got, want)
		}
	}
	body, _ = encodings(t, hmacKey, audience, with(func(j *Job) { j.Headers = nil }))
	if got := hex.EncodeToString(fieldsOf(t, body)[8][6:]); got != "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119" {
		t.Errorf("no headers: got %s", got)
	}
	for key, want := range map[vectorKey]string{
		hmacKey: "98b9c89f8938eab741693fd45981c93c357bd01a7b99273bd4f2c504f7545cbb",
		ed25519Key: "cc8342acb9282bea23d9346a47fa087f53cf9995da647ad3dda7ad1675b438e3" +
			"ba6027303c96e5051615d196d0b55feaa4d577c1af8892ddcd88f701944ec804",
	} {
		s, err := key.ring(t, audience).Sign(pageJob())
		if got := hex.EncodeToString(s.Bytes); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", key.Alg, got, err, want)
		}
	}
	if got := hmacKey.ring(t, audience).Keys()[0].Fingerprint; got != "1cd2643646c5ffff" {
		t.Errorf("fingerprint %s", got)
	}
	// Who has the private key and who has the public one call it the same.
	for _, key := range []vectorKey{ed25519Key, {ID: "e1", Alg: Ed25519, Public: ed25519Key.Public}} {
		if got := key.ring(t, audience).Keys()[0].Fingerprint; got != "ec1ef1042b1cfa5a" {
			t.Errorf("fingerprint %s", got)
		}
	}
}

// TestVectorsElsewhere has the vectors verified by a program that shares nothing with this package: Python for the bytes, OpenSSL for the
// cryptography.
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
	if _, err := os.ReadFile(vectorDir + "/verify.py"); err != nil { // read here for the test cache, which does not see what Python reads
		t.Fatal(err)
	}
	verify := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "python3", append([]string{vectorDir + "/verify.py"}, args...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := verify(); err != nil || !strings.Contains(out, " vectors are as they say") {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(vectorDir + "/result.json")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "result.json")
	if err := os.WriteFile(path, bytes.Replace(text, []byte(`"attempt":2`), []byte(`"attempt":3`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(path); err == nil || !strings.Contains(out, "result.json: every field: the outcome is signature_invalid") {
		t.Errorf("a vector that is wrong passes: %v\n%s", err, out)
	}
}
