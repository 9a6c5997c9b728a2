package arg_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
)

// The texts are those of the bad-input catalogue; the command line puts the flag's name in front.
func TestSetRefuses(t *testing.T) {
	t.Parallel()
	limit := func() pflag.Value { return new(arg.Limit(50)) }
	delay := func() pflag.Value { return new(arg.Within(0, arg.Year, 0)) }
	instant := func() pflag.Value { return new(arg.Instant) }
	id := func() pflag.Value { return new(arg.JobID) }
	names := func() pflag.Value { return new(arg.Names) }
	headers := func() pflag.Value { return new(arg.Headers) }
	tests := []struct {
		value     func() pflag.Value
		set, want string
	}{
		{limit, "0", `want an integer from 1 to 10000, got "0"`},
		{limit, "-1", `want an integer from 1 to 10000, got "-1"`},
		{limit, "1e3", `want an integer from 1 to 10000, got "1e3"`},
		{limit, "99999999", `want an integer from 1 to 10000, got "99999999"`},
		{limit, "+5", `want an integer from 1 to 10000, got "+5"`},
		{delay, "5", `"5" has no unit; write 5s, 2m, 1h30m or 500ms`},
		{delay, "-5s", `must be between 0 and 8760h (1 year)`},
		{delay, "999999h", `must be between 0 and 8760h (1 year)`},
		{delay, "99999999999999h", `must be between 0 and 8760h (1 year)`},
		{delay, "soon", `want a duration such as 5s, 2m, 1h30m or 500ms, got "soon"`},
		{delay, "", `want a duration such as 5s, 2m, 1h30m or 500ms, got ""`},
		{instant, "yesterday", `want RFC 3339 (2026-01-02T15:04:05Z) or a duration like 2h, got "yesterday"`},
		{instant, "-2h", `want RFC 3339 (2026-01-02T15:04:05Z) or a duration like 2h, got "-2h"`},
		{instant, "", `want RFC 3339 (2026-01-02T15:04:05Z) or a duration like 2h, got ""`},
		{instant, "2026-01-02T15:04:05", `time has no zone; add Z or +01:00`},
		{id, "abc", `"abc" is not a job id (want a UUID, 36 characters)`},
		{func() pflag.Value { return new(arg.KeyID) }, "v1:c2VjcmV0", `want the id of a key, 1-64 letters, digits, _ . -; got 11 bytes`},
		{names, "", `names are 1-128 of letters, digits, _ . : / -; got ""`},
		{names, "a b", `names are 1-128 of letters, digits, _ . : / -; got "a b"`},
		{names, "../x", `names are 1-128 of letters, digits, _ . : / -; got "../x"`},
		{names, strings.Repeat("q", 200), `names are 1-128 of letters, digits, _ . : / -; got "` + strings.Repeat("q", 64) + `… (200 bytes)"`},
		{headers, "tenant", `want key=value, got "tenant"`},
		{headers, "=x", `the key is empty in "=x"`},
		{headers, strings.Repeat("k", 300) + "=v", `the key is 300 bytes; limit 256`},
		{headers, "a\tb=v", `control characters are not allowed, got "a\tb=v"`},
		{headers, "a=" + strings.Repeat("v", 20000), `all headers together are 20001 bytes; limit 16384`},
		{func() pflag.Value { return new(arg.OneOf("table", "table", "json", "csv")) }, "jsn", `want table, json or csv, got "jsn". Did you mean json?`},
		{func() pflag.Value { return new(arg.Slots) }, "mail=0", `slots of mail: want an integer from 1 to 10000, got "0"`},
		{func() pflag.Value { return new(arg.Time) }, "2h", `want RFC 3339 (2026-01-02T15:04:05Z), got "2h"`},
		{func() pflag.Value { return new(arg.Time) }, "9999-01-01T00:00:00Z", `want a year from 2000 to 2200, got "9999-01-01T00:00:00Z"`},
	}
	for _, tt := range tests {
		err := tt.value().Set(tt.set)
		if err == nil {
			t.Errorf("Set(%q) is accepted, want %q", clip(tt.set), tt.want)
			continue
		}
		if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
			t.Errorf("Set(%q): %s", clip(tt.set), diff)
		}
	}
}

func clip(s string) string { return s[:min(len(s), 40)] }

func TestSetAccepts(t *testing.T) {
	t.Parallel()
	limit := arg.Limit(50)
	delay := arg.Within(0, arg.Year, 0)
	var (
		id      arg.JobID
		names   arg.Names
		headers arg.Headers
		slots   arg.Slots
	)
	for _, s := range []struct {
		value pflag.Value
		set   string
		want  string
	}{
		{&limit, "10000", "10000"},
		{&delay, "1h30m", "1h30m"},
		{&delay, "7d", "168h"},
		{&delay, "1d12h", "36h"},
		{&delay, "0", ""},
		{&id, "0198F0C2-0000-7000-8000-00000000000A", "0198f0c2-0000-7000-8000-00000000000a"},
		{&names, "mail,default", "mail,default"},
		{&names, "mail", "mail,default"},
		{&headers, "b=x=y", "b=x=y"},
		{&headers, "a=", "a=,b=x=y"},
		{&slots, "mail=10, default", "mail=10,default"},
	} {
		if err := s.value.Set(s.set); err != nil {
			t.Errorf("Set(%q): %v", s.set, err)
		}
		if got := s.value.String(); got != s.want {
			t.Errorf("after Set(%q) the value is %q, want %q", s.set, got, s.want)
		}
	}
	if err := headers.Set("a=again"); err == nil {
		t.Error("a header given twice is accepted")
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var w arg.Window
	if since, until, err := w.Resolve(now); err != nil || !since.IsZero() || !until.IsZero() {
		t.Errorf("an empty window is %v, %v, %v", since, until, err)
	}
	set(t, &w.Since, "2h")
	set(t, &w.Until, "2026-03-01T11:30:00+00:00")
	since, until, err := w.Resolve(now)
	if err != nil || !since.Equal(now.Add(-2*time.Hour)) || !until.Equal(now.Add(-30*time.Minute)) {
		t.Errorf("window is %v, %v, %v", since, until, err)
	}
	set(t, &w.Since, "1m")
	_, _, err = w.Resolve(now)
	if want := "--since (1m) is after --until (2026-03-01T11:30:00+00:00)"; err == nil || err.Error() != want {
		t.Errorf("Resolve: %v, want %s", err, want)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                            "0s",
		250 * time.Millisecond:       "250ms",
		12300 * time.Millisecond:     "12s",
		1540 * time.Millisecond:      "1.5s",
		187 * time.Second:            "3m7s",
		3 * time.Minute:              "3m",
		2 * time.Hour:                "2h",
		90 * time.Minute:             "1h30m",
		10 * time.Microsecond:        "10µs",
		-(2*time.Hour + time.Second): "-2h0m1s",
	} {
		if got := arg.Text(d); got != want {
			t.Errorf("Text(%d) = %q, want %q", d, got, want)
		}
	}
}

func set(t *testing.T, v pflag.Value, s string) {
	t.Helper()
	if err := v.Set(s); err != nil {
		t.Fatalf("Set(%q): %v", s, err)
	}
}

func TestPrecise(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0.00µs", 1500: "1.50µs", 345678: "346µs", 1354321: "1.35ms", 12400000: "12.4ms", -12900: "-12.9µs", 2500 * time.Millisecond: "2.50s",
		90 * time.Second: "90.0s", time.Hour: "1h",
	} {
		if got := arg.Precise(d); got != want {
			t.Errorf("%d ns: got %q, want %q", d, got, want)
		}
	}
}
