package signing

import (
	"math"
	"strings"
	"testing"
	"time"
)

// TestLimits: what cannot be stored is not signed, and a row that has it was not signed either.
func TestLimits(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1")
	const names = "names are 1-128 of letters, digits, _ . : / -; got "
	many := map[string]string{}
	for i := range 65 {
		many[strings.Repeat("n", i+1)] = ""
	}
	for want, change := range map[string]func(*Job){
		"id is missing":            func(j *Job) { j.ID = [16]byte{} },
		"task: " + names + `""`:    func(j *Job) { j.Task = "" },
		"task: " + names + `"a b"`: func(j *Job) { j.Task = "a b" },
		"task: " + names + `"` + strings.Repeat("t", 60) + `"…`:                                                func(j *Job) { j.Task = strings.Repeat("t", 129) },
		"queue: " + names + `"é"`:                                                                              func(j *Job) { j.Queue = "é" },
		"codec: want 1 to 128 bytes, got 0":                                                                    func(j *Job) { j.Codec = "" },
		"codec: want 1 to 128 bytes, got 129":                                                                  func(j *Job) { j.Codec = strings.Repeat("c", 129) },
		"origin: want 1 to 256 bytes, got 0":                                                                   func(j *Job) { j.Origin = "" },
		"origin: want 1 to 256 bytes, got 257":                                                                 func(j *Job) { j.Origin = strings.Repeat("o", 257) },
		`origin: want valid UTF-8 without NUL, got "a\x00"`:                                                    func(j *Job) { j.Origin = "a\x00" },
		`group: want valid UTF-8 without NUL, got "\xff"`:                                                      func(j *Job) { j.Group = "\xff" },
		"group: want 1 to 256 bytes, got 257":                                                                  func(j *Job) { j.Group = strings.Repeat("g", 257) },
		"unique key: want 1 to 2048 bytes, got 0":                                                              func(j *Job) { j.UniqueKey = []byte{} },
		"unique key: want 1 to 2048 bytes, got 2049":                                                           func(j *Job) { j.UniqueKey = make([]byte, 2049) },
		"run_at and delay exclude each other":                                                                  func(j *Job) { j.Delay = time.Second },
		"issued_at is missing":                                                                                 func(j *Job) { j.IssuedAt = time.Time{} },
		"run_at: want a time from 2000 to 2200, got year 1999":                                                 func(j *Job) { j.RunAt = time.UnixMicro(earliest - 1).UTC() },
		"run_at: want a time from 2000 to 2200, got year 2200":                                                 func(j *Job) { j.RunAt = time.UnixMicro(latest + 1).UTC() },
		"expires_at: want a time from 2000 to 2200, got year 294247":                                           func(j *Job) { j.ExpiresAt = time.UnixMicro(math.MaxInt64).UTC() },
		"nominal_at: want a time from 2000 to 2200, got year -290308":                                          func(j *Job) { j.NominalAt = time.UnixMicro(math.MinInt64).UTC() },
		"run_at: 2026-01-02 03:04:05.000000001 +0000 UTC has fractions of a microsecond, which are not stored": func(j *Job) { j.RunAt = pageTime.Add(1) },
		"delay: want whole microseconds, got -1µs":                                                             func(j *Job) { j.RunAt, j.Delay = time.Time{}, -time.Microsecond },
		"hard limit: want whole microseconds, got 1.5µs":                                                       func(j *Job) { j.HardLimit = 1500 },
		"soft limit: want whole microseconds, got 1ns":                                                         func(j *Job) { j.SoftLimit = 1 },
		"priority: 2147483648 does not fit in 32 bits":                                                         func(j *Job) { j.Priority = math.MaxInt32 + 1 },
		"max_attempts: -2147483649 does not fit in 32 bits":                                                    func(j *Job) { j.MaxAttempts = math.MinInt32 - 1 },
		"payload_version: 4294967297 does not fit in 32 bits":                                                  func(j *Job) { j.PayloadVersion = 1<<32 + 1 },
		"headers: want at most 64, got 65":                                                                     func(j *Job) { j.Headers = many },
		"headers: want at most 16384 bytes together, got 16385":                                                func(j *Job) { j.Headers = map[string]string{"a": strings.Repeat("v", 16<<10)} },
		`header "": want a name, and valid UTF-8 without NUL`:                                                  func(j *Job) { j.Headers = map[string]string{"": "v"} },
		`header "a\xff": want a name, and valid UTF-8 without NUL`:                                             func(j *Job) { j.Headers = map[string]string{"a\xff": "v"} },
		`header "a": want a name, and valid UTF-8 without NUL`:                                                 func(j *Job) { j.Headers = map[string]string{"a": "\xff"} },
		`header "b": want a name, and valid UTF-8 without NUL`:                                                 func(j *Job) { j.Headers = map[string]string{"a": "v", "b": "\x00"} },
	} {
		job := with(change)
		s, err := ring.Sign(job)
		if err == nil || err.Error() != "signing: job: "+want || s.Bytes != nil {
			t.Errorf("got %v, want %s", err, want)
		}
		err = ring.Verify(job, Signature{Bytes: make([]byte, 32), KeyID: "v1", Algorithm: HMACSHA256})
		if err == nil || err.Error() != "signing: signature_invalid: job: "+want {
			t.Errorf("verifying: got %v, want %s", err, want)
		}
	}
	if _, err := ring.Sign(nil); err == nil || err.Error() != "signing: job: there is no message" {
		t.Errorf("got %v", err)
	}
}

// TestOtherLimits are those of the other messages, where they have their own.
func TestOtherLimits(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1")
	schedule, result, control := pageSchedule(), pageResult(), pageControl()
	schedule.Spec = strings.Repeat("s", 64<<10+1)
	result.ClaimID = [16]byte{}
	control.TTL = 0
	expired := pageControl()
	expired.IssuedAt = time.Time{}
	for want, m := range map[string]Message{
		"signing: schedule: spec: want 1 to 65536 bytes, got 65537": schedule,
		"signing: result: claim id is missing":                      result,
		"signing: control: ttl is missing":                          control,
		"signing: control: issued_at is missing":                    expired,
	} {
		if _, err := ring.Sign(m); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestEncoderForgets: what one message left behind in the pool is in no other.
func TestEncoderForgets(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1")
	want, err := ring.Sign(pageJob())
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if data, err := AssociatedData(pageJob(), "a256gcm", "k1", "stem"); err != nil || len(fieldsOf(t, data)) != 14 {
			t.Fatalf("%x, %v", data, err)
		}
		for _, bad := range []*Job{fullJob(), with(func(j *Job) { j.Task = "" }), with(func(j *Job) { j.Headers = map[string]string{"a": "\x00"} })} {
			_, _ = ring.Sign(bad)
		}
		if err := ring.Verify(pageJob(), want); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoAllocation: what is on the path of every job that is claimed allocates nothing, and of every one enqueued its signature.
func TestNoAllocation(t *testing.T) {
	if raceEnabled { // sync.Pool drops what it is given now and then, on purpose: step unit runs this test once more without -race
		t.Skip("the race detector empties pools at random")
	}
	ring := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1")
	job := fullJob()
	s, err := ring.Sign(job)
	if err != nil {
		t.Fatal(err)
	}
	// A job of its own each time, as a worker fills it from a row: it may not escape.
	if n := testing.AllocsPerRun(1000, func() { row := *job; err = ring.Verify(&row, s) }); n > 0 || err != nil {
		t.Errorf("Verify: %v allocations, %v", n, err)
	}
	if n := testing.AllocsPerRun(1000, func() { row := *job; s, err = ring.Sign(&row) }); n > 1 || err != nil {
		t.Errorf("Sign: %v allocations, %v", n, err)
	}
}

func benchmark(b *testing.B, environ []string, run func(*Ring, *Job, Signature) error) {
	b.Helper()
	ring := ringOf(b, environ...)
	job := pageJob()
	job.Payload = make([]byte, 200)
	s, err := ring.Sign(job)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := run(ring, job, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B)   { algorithms(b, signOnce) }
func BenchmarkVerify(b *testing.B) { algorithms(b, verifyOnce) }

func signOnce(r *Ring, j *Job, _ Signature) error {
	_, err := r.Sign(j)
	return err
}

func verifyOnce(r *Ring, j *Job, s Signature) error { return r.Verify(j, s) }

func algorithms(b *testing.B, run func(*Ring, *Job, Signature) error) {
	b.Helper()
	b.Run(HMACSHA256, func(b *testing.B) {
		benchmark(b, []string{"STEM_SIGNING_KEYS=v1:" + key1, "STEM_SIGNING_ACTIVE_KEY=v1"}, run)
	})
	b.Run(Ed25519, func(b *testing.B) {
		benchmark(b, []string{"STEM_SIGNING_ALGORITHM=ed25519", "STEM_SIGNING_PRIVATE_KEYS=e1:" + key1, "STEM_SIGNING_ACTIVE_KEY=e1"}, run)
	})
}
