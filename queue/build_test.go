package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestOptionErrors: every bad value of every option, with the exact text.
func TestOptionErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 257)
	many := func(n int) []Option {
		var list []Option
		for i := range n {
			list = append(list, Header(strings.Repeat("h", i+1), "v"))
		}
		return list
	}
	for _, c := range []struct {
		options []Option
		want    string
	}{
		{[]Option{On("a b")}, `queue: names are 1-128 of letters, digits, _ . : / -; got "a b"`},
		{[]Option{Priority(-1)}, "priority: want 0 to 9, got -1"},
		{[]Option{Priority(10)}, "priority: want 0 to 9, got 10"},
		{[]Option{MaxAttempts(0)}, "max attempts: want 1 to 1000, got 0"},
		{[]Option{MaxAttempts(32768)}, "max attempts: want 1 to 1000, got 32768"},
		{[]Option{After(-time.Second)}, "delay: want 0 to 8784h (a year), got -1s"},
		{[]Option{After(8785 * time.Hour)}, "delay: want 0 to 8784h (a year), got 8785h0m0s"},
		{[]Option{At(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}, "run at: want a time from 2000 to 2200, got 10000-01-01T00:00:00Z"},
		{[]Option{At(time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC))}, "run at: want a time from 2000 to 2200, got 1969-01-01T00:00:00Z"},
		{[]Option{ExpiresAt(time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC))}, "expires at: want a time from 2000 to 2200, got 1969-01-01T00:00:00Z"},
		{[]Option{NominalAt(time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC))}, "nominal at: want a time from 2000 to 2200, got 2300-01-01T00:00:00Z"},
		{[]Option{ExpiresIn(0)}, "ExpiresIn: want more than 0, got 0s"},
		{[]Option{HardLimit(-1)}, "time limits: want 0 (none) or more, got hard -1ns and soft 0s"},
		{[]Option{HardLimit(time.Second), SoftLimit(time.Minute)}, "soft limit 1m0s is above the hard limit 1s"},
		{[]Option{Version(-1)}, "version: want 1 or more, got -1"},
		{[]Option{Replace()}, "Replace needs a unique key: UntilFinished, UntilStarted or UniqueFor"},
		{[]Option{WithID(uuid.Nil), WithID(uuid.MustParse("5f0c6a0e-7f9f-4a52-8f2e-3d4d3c1f0a11"))}, "id 5f0c6a0e-7f9f-4a52-8f2e-3d4d3c1f0a11: want a UUIDv7"},
		{[]Option{Group(long)}, `group: want at most 256 bytes of text without control characters, got "` + long[:60] + `…"`},
		{[]Option{Origin("a\x00")}, `origin: want at most 256 bytes of text without control characters, got "a\x00"`},
		{[]Option{UntilFinished("")}, "unique key: want at least one character"},
		{[]Option{UniqueFor("k", time.Millisecond)}, "UniqueFor: want a period of 1s or more, got 1ms"},
		{[]Option{Backoff(0, time.Second)}, "Backoff: want 0 < first <= most, got 0s and 1s"},
		{[]Option{Header("", "v")}, `header "": names are 1-128 bytes without control characters`},
		{[]Option{Header(strings.Repeat("h", 300), "v")}, `header "` + strings.Repeat("h", 60) + `…": names are 1-128 bytes without control characters`},
		{[]Option{Header("a\n", "v")}, `header "a\n": names are 1-128 bytes without control characters`},
		{[]Option{Header("a", "\xff")}, `header "a": the value is not valid UTF-8 without NUL`},
		{many(65), "headers: want at most 64, got 65"},
		{[]Option{Header("a", strings.Repeat("v", 16<<10))}, "headers: want at most 16384 bytes together, got 16385"},
	} {
		q := &Queue{config: Config{}.withDefaults()}
		_, err := q.Enqueue(t.Context(), nil, Raw("t", []byte("{}"), "", c.options...))
		if want := "queue: enqueue t: invalid job: " + c.want; err == nil || err.Error() != want || !errors.Is(err, ErrInvalid) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// TestPayloadErrors: what cannot be a payload names where it is.
func TestPayloadErrors(t *testing.T) {
	t.Parallel()
	type args struct {
		Name  string
		Ratio float64
		Tags  []string
	}
	task := NewTask[args]("t")
	q := &Queue{config: Config{}.withDefaults()}
	for _, c := range []struct {
		request Request
		want    string
	}{
		{task.New(args{Ratio: math.NaN()}), "t: invalid job: Args.Ratio: NaN cannot be JSON"},
		{task.New(args{Name: "abcd\xff"}), "t: invalid job: Args.Name: invalid UTF-8 at byte 4"},
		{task.New(args{Name: "a\ufffdé\xff"}), "t: invalid job: Args.Name: invalid UTF-8 at byte 6"},
		{task.New(args{Tags: []string{"a", "\xff"}}), "t: invalid job: Args.Tags[1]: invalid UTF-8 at byte 0"},
		{NewTask[chan int]("t").New(nil), "t: invalid job: arguments of type chan int cannot be JSON: json: unsupported type: chan int"},
		{Raw("t", []byte("{"), ""), "t: invalid job: payload: not valid JSON: unexpected end of JSON input"},
		{Raw("t", nil, "a\nb"), `t: invalid job: codec: want a media type of at most 128 bytes, got "a\nb"`},
		{Raw("t", make([]byte, 1_204_331), "text/plain"), "t: invalid job: payload is 1 204 331 bytes; limit 1 048 576 (STEM_MAX_PAYLOAD_BYTES). Store the data elsewhere and pass a reference"},
		{Raw("", []byte("{}"), ""), `: invalid job: task: names are 1-128 of letters, digits, _ . : / -; got ""`},
	} {
		if _, err := q.Enqueue(t.Context(), nil, c.request); err == nil || err.Error() != "queue: enqueue "+c.want {
			t.Errorf("got  %v\nwant queue: enqueue %s", err, c.want)
		}
	}
	for n, want := range map[int]string{
		0:      "queue: enqueue: invalid job: want 1 to 10000 jobs in one call, got 0",
		10_001: "queue: enqueue: invalid job: want 1 to 10000 jobs in one call, got 10001",
	} {
		if _, err := q.Enqueue(t.Context(), nil, make([]Request, n)...); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	_, err := q.Enqueue(t.Context(), nil, Raw("t", []byte("{}"), ""), Raw("t", []byte("{}"), "", Priority(10)))
	if want := "queue: enqueue t: invalid job: job 1: priority: want 0 to 9, got 10"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestNewIDs: UUIDv7 of that instant, each above the one before it, and no two calls alike.
func TestNewIDs(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_767_323_045_678)
	ids := newIDs(at, MaxBatch)
	for i, id := range ids {
		if s, ns := id.Time().UnixTime(); id.Version() != 7 || id.Variant() != uuid.RFC4122 || !time.Unix(s, ns).Equal(at) {
			t.Fatalf("got %s of %v", id, time.Unix(s, ns))
		}
		if i > 0 && bytes.Compare(ids[i-1][:], id[:]) >= 0 {
			t.Fatalf("%s comes after %s", id, ids[i-1])
		}
	}
	seen := map[uuid.UUID]bool{}
	distances := map[uint32]bool{}
	for range 1000 {
		two := newIDs(at, 2)
		seen[two[0]], distances[binary.BigEndian.Uint32(two[1][12:])-binary.BigEndian.Uint32(two[0][12:])] = true, true
	}
	if len(seen) != 1000 || len(distances) < 990 {
		t.Errorf("1000 calls began with %d ids, and their second ones had %d distances from the first", len(seen), len(distances))
	}
}

func TestALongKeyIsHashed(t *testing.T) {
	t.Parallel()
	if got := uniqueKey("t", strings.Repeat("k", 1025)); len(got) != 2+sha256.Size {
		t.Errorf("a long key has %d bytes", len(got))
	}
}
