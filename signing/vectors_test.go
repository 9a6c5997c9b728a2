package signing

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"testing"
	"time"
)

func mainJob() *Job {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &Job{
		ID:   [16]byte{0x01, 0x98, 0x0f, 0x3e, 0x7a, 0x1c, 0x7b, 0x2c, 0x9d, 0x3e, 0x4f, 0x50, 0x61, 0x72, 0x83, 0x94},
		Task: "mail.welcome", Queue: "default", Codec: "application/json",
		Payload:  []byte(`{"to":"ada@example.com","cents":1250}`),
		Headers:  map[string]string{"tenant": "t1", "traceparent": "00-aa-bb-01"},
		RunAt:    at.Add(678901 * time.Microsecond),
		IssuedAt: at, Priority: 5, MaxAttempts: 20, HardLimit: 30 * time.Second, Origin: "app",
	}
}

func firstKey() string {
	var b [32]byte
	for i := range b {
		b[i] = byte(i)
	}
	return base64.StdEncoding.EncodeToString(b[:])
}

// TestPage holds the vectors that the design gives.
func TestPage(t *testing.T) {
	t.Parallel()
	ring, err := FromEnviron([]string{"STEM_SIGNING_KEYS=v1:" + firstKey(), "STEM_SIGNING_ACTIVE_KEY=v1", "STEM_SIGNING_AUDIENCE=stem/prod"})
	if err != nil {
		t.Fatal(err)
	}
	e := encoders.New().(*encoder)
	msg, err := e.message(mainJob(), "application/vnd.stem.job.v1", HMACSHA256, "v1", "stem/prod")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(msg)
	if got, want := hex.EncodeToString(sum[:]), "126a4bccf7df05f42d5564e6415f457395214dcd2cd3a3214c9d7ec541133e79"; got != want || len(msg) != 306 {
		t.Errorf("MSG of %d bytes, sha256 %s; want 306, %s", len(msg), got, want)
	}
	s, err := ring.Sign(mainJob())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(s.Bytes), "98b9c89f8938eab741693fd45981c93c357bd01a7b99273bd4f2c504f7545cbb"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := ring.Verify(mainJob(), s); err != nil {
		t.Error(err)
	}
	if got := ring.Keys()[0].Fingerprint; got != "1cd2643646c5ffff" {
		t.Error(got)
	}
	ring, err = FromEnviron([]string{
		"STEM_SIGNING_ALGORITHM=ed25519", "STEM_SIGNING_PRIVATE_KEYS=e1:" + firstKey(),
		"STEM_SIGNING_ACTIVE_KEY=e1", "STEM_SIGNING_AUDIENCE=stem/prod",
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err = ring.Sign(mainJob())
	if got, want := hex.EncodeToString(s.Bytes), "cc8342acb9282bea23d9346a47fa087f53cf9995da647ad3dda7ad1675b438e3ba6027303c96e5051615d196d0b55feaa4d577c1af8892ddcd88f701944ec804"; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if err := ring.Verify(mainJob(), s); err != nil {
		t.Error(err)
	}
}

func BenchmarkVerify(b *testing.B) {
	ring, err := FromEnviron([]string{"STEM_SIGNING_KEYS=v1:" + firstKey(), "STEM_SIGNING_ACTIVE_KEY=v1"})
	if err != nil {
		b.Fatal(err)
	}
	job := mainJob()
	job.Payload = make([]byte, 200)
	s, err := ring.Sign(job)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := ring.Verify(job, s); err != nil {
			b.Fatal(err)
		}
	}
}
