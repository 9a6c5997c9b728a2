package spec_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

func parse(tb testing.TB, text string) *spec.Spec {
	tb.Helper()
	s, err := spec.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	z, err := spec.Zone(name)
	if err != nil {
		tb.Fatal(err)
	}
	return z
}

func instant(tb testing.TB, text string) time.Time {
	tb.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		tb.Fatal(err)
	}
	return at
}

func TestSpecsAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, reason, marked string }{
		{"61 * * * *", `cron: minute: "61"; want 0-59 (column 1 of "61 * * * *")`, "61"},
		{"* * * *", "4 fields; want 5", "* * * *"},
		{"", "0 fields", ""},
		{"* * * * * * *", "7 fields", "* * * * * * *"},
		{"5/0 * * * *", `minute: step "0"; want 1-59`, "0"},
		{"*/60 * * * *", `minute: step "60"; want 1-59`, "60"},
		{"*/ * * * *", `minute: step ""; want 1-59`, ""},
		{"0 9 * * MON-FUN", `day of week: "FUN"; want 0-7 or SUN-SAT. Did you mean SUN?`, "FUN"},
		{"0 9 * JNA *", `month: "JNA"; want 1-12 or JAN-DEC. Did you mean JAN?`, "JNA"},
		{"0 24 * * *", `hour: "24"; want 0-23`, "24"},
		{"0 0 0 * *", `day of month: "0"; want 1-31`, "0"},
		{"0 0 * 13 *", `month: "13"; want 1-12`, "13"},
		{"0 0 * * 8", `day of week: "8"; want 0-7`, "8"},
		{"60 0 0 * * *", `second: "60"; want 0-59`, "60"},
		{"0 22-2 * * *", `hour: "22-2" runs backwards`, "22-2"},
		{"0 0 * * FRI-MON", `day of week: "FRI-MON" runs backwards`, "FRI-MON"},
		{"0,,5 * * * *", "minute: nothing; want a number", ","},
		{"1- * * * *", "minute: nothing; want 0-59", " "},
		{"0 * * * 1,", "day of week: nothing; want a number", ""},
		{"0 * * * 1-", "day of week: nothing; want 0-7", ""},
		{"-1 * * * *", "minute: nothing; want 0-59", "-"},
		{"+1 * * * *", `minute: "+1"; want 0-59`, "+1"},
		{"? * * * *", `minute: "?"; want 0-59`, "?"},
		{"0 0 W * *", "day of month: nothing; want 1-31", "W"},
		{"0 0 32W * *", `day of month: "32"`, "32"},
		{"0 0 * * FRI#6", `day of week: number "6"; want 1-5`, "6"},
		{"0 0 * * X#1", `day of week: "X"`, "X"},
		{"0 0 * * L", `day of week: "L"`, "L"},
		{"0 0 * * 9L", `day of week: "9"`, "9"},
		{"  61 * * * *", "column 3", "61"},
		{"é * * * *", `minute: "é"`, "é"},
		{"0 0 30 2 *", "never matches any date", "0 0 30 2 *"},
		{"0 0 31 4,6,9,11 *", "never matches any date", "0 0 31 4,6,9,11 *"},
		{"@reboot", `"@reboot"; want @hourly`, "@reboot"},
		{strings.Repeat("9", 100) + " * * * *", `minute: "` + strings.Repeat("9", 40) + `"…; want 0-59`, strings.Repeat("9", 100)},
		{strings.Repeat("*", 5000), "5000 bytes; want 4096", ""},
		{"every:0s", "every: 0s; want 1s or more", ""},
		{"every:10ms", "every: 10ms; want 1s or more", ""},
		{"every:-5m", "every: -5m0s; want 1s or more", ""},
		{"every:5", `every: "5"; want a duration`, ""},
		{"every:--5m", `every: "--5m"; want a duration`, ""},
		{"every:xd", `every: "xd"; want a duration`, ""},
		{"every:1.0001s", "want whole milliseconds", ""},
		{"every:60000d", "want 100 years or less", ""},
		{"every:2000000h", "want 100 years or less", ""},
		{`{"every": 10}`, "every: 10ms; want 1s or more", ""},
		{`{"every": true}`, "every: \"true\"; want milliseconds or a text", ""},
		{`{"everyMs": 9000000000000000}`, "want 100 years or less", ""},
		{`{"every": "5m", "startAt": "2026-01-02T00:00:00Z", "endAt": "2026-01-01T00:00:00Z"}`, "endAt: 2026-01-01T00:00:00Z is before startAt", ""},
		{`{"every": "5m", "endAt": "2026-01-01"}`, "want the offset from UTC as well", ""},
		{`{"every": "5m", "startAt": "soon"}`, `startAt: "soon"; want an instant`, ""},
		{`{"every": "5m", "strtAt": "2026-01-02T00:00:00Z"}`, `unknown key "strtAt". Did you mean startAt?`, ""},
		{`{"clocked": "2026-02-30T09:00:00Z"}`, `clocked: "2026-02-30T09:00:00Z": no such date or time`, ""},
		{`{"clocked": "2026-02-03T09:00:00.0000001Z"}`, "no more than six digits", ""},
		{`{"clocked": "0000-02-03T09:00:00Z"}`, "want a year from 1 to 9999", ""},
		{`{"clocked": "2026-02-03T09:00:00"}`, "want the offset from UTC as well", ""},
		{`{"clocked": "2026-02-03T09:00:00Z", "runOnce": false}`, "runOnce: false; a clocked schedule fires once", ""},
		{`{"cron": "* * * * *", "every": "5m"}`, "every and cron; give exactly one of cron, every, clocked, calendar, solar", ""},
		{`{}`, "none; give exactly one", ""},
		{`{"cron": 5}`, `cron: "5"; want a text`, ""},
		{`{"cron": "* * * * *", "cron": "* * * * *"}`, "cron: given twice", ""},
		{`{"cron": }`, "not JSON", ""},
		{`{"cron": "* * * * *"`, "not JSON", ""},
		{`{"cron": "* * * * *"} {}`, "something follows the object", ""},
		{`{5: 5}`, "not JSON", ""},
		{`{"kind": "corn"}`, `kind: "corn"; want one of interval, cron, calendar, solar, clocked. Did you mean cron?`, ""},
		{`{"kind": "cron"}`, `kind: cron needs "expression"`, ""},
		{`{"kind": 5}`, `kind: "5"; want a text`, ""},
		{`{"calendar": {"hours": [9, 25]}}`, `calendar.hours[1]: hour: "25"; want 0-23`, ""},
		{`{"calendar": {"hours": [9.5]}}`, `calendar.hours[0]: hour: "9.5"; want 0-23`, ""},
		{`{"calendar": {"hours": [null]}}`, `calendar.hours[0]: hour: "null"; want 0-23`, ""},
		{`{"calendar": {"hours": 9}}`, `calendar.hours: "9"; want a list`, ""},
		{`{"calendar": {"weekday": [1]}}`, `calendar: unknown key "weekday". Did you mean weekdays?`, ""},
		{`{"calendar": {"weekdays": ["FUN"]}}`, `calendar.weekdays[0]: day of week: "FUN"`, ""},
		{`{"calendar": {"months": [2], "monthdays": [30]}}`, "calendar: never matches any date", ""},
		{`{"calendar": [9]}`, "calendar: want a JSON object", ""},
		{`{"calendar": {}, "hours": [9]}`, `unknown key "hours"`, ""},
		{`{"solar": "moonrise", "latitude": 1, "longitude": 1}`, `solar: "moonrise"; want one of sunrise, sunset, noon, dawn, dusk`, ""},
		{`{"solar": "sunrise", "latitude": 91, "longitude": 1}`, "latitude: 91; want degrees from -90 to 90", ""},
		{`{"solar": "sunrise", "latitude": 9, "longitude": -181}`, "longitude: -181; want degrees from -180 to 180", ""},
		{`{"solar": "sunrise", "latitude": 9}`, "longitude: nothing; want degrees", ""},
		{`{"solar": "sunrise", "latitude": "9", "longitude": 1}`, `want degrees`, ""},
		{`{"solar": "sunrise", "latitude": 9, "longitude": 1, "offset": "13h"}`, "offset: 13h0m0s; want -12h to 12h", ""},
		{`{"solar": "sunrise", "latitude": 9, "longitude": 1, "offset": "x"}`, `offset: "x"; want a duration`, ""},
	}
	for _, tt := range tests {
		_, err := spec.Parse(tt.text)
		e, ok := errors.AsType[*spec.Error](err)
		if !ok || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%.60q: %v; want %q", tt.text, err, tt.reason)
			continue
		}
		if marked := e.Text[e.Offset : e.Offset+e.Length]; marked != tt.marked {
			t.Errorf("%.60q: %q is marked, want %q", tt.text, marked, tt.marked)
		}
	}
}

func TestACaretIsUnderTheMistake(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0 25 * * *":         "0 25 * * *\n  ^^",
		"0 é 25 * *":         "0 é 25 * *\n  ^",
		"0 \x1b[31m 25 * *":  "0 ?[31m 25 * *\n  ^^^^^",
		"0 * * * 1,":         "0 * * * 1,\n          ^",
		"*/ * * * *":         "*/ * * * *\n  ^",
		`{"cron": "9 x * *"`: "",
	} {
		_, err := spec.Parse(text)
		e, ok := errors.AsType[*spec.Error](err)
		if !ok || e.Caret() != want {
			t.Errorf("%q: %q, want %q", text, e.Caret(), want)
		}
	}
}

func TestSpellings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"every:5m":                        `{"every":"5m"}`,
		"every:1d":                        `{"every":"24h"}`,
		"every:1d1h30m":                   `{"every":"25h30m"}`,
		"every:1500ms":                    `{"every":"1.5s"}`,
		`{"everyMs": 300000}`:             `{"every":"5m"}`,
		`{"every_ms": 300000}`:            `{"every":"5m"}`,
		`{"every": 300000, "kind": null}`: `{"every":"5m"}`,
		`{"kind":"interval","everyMs":60000,"startAt":"2026-01-01T01:00:00+01:00","end_at":"2027-01-01T00:00:00.5Z"}`: `{"every":"1m","startAt":"2026-01-01T00:00:00Z","endAt":"2027-01-01T00:00:00.5Z"}`,
		" 0  9 * * MON-FRI ":    `{"cron":"0  9 * * MON-FRI"}`,
		"@hourly":               `{"cron":"@hourly"}`,
		`{"cron": "0 9 * * *"}`: `{"cron":"0 9 * * *"}`,
		`{"kind":"cron","expression":"0 9 * * *","description":"x","secondField":"0"}`: `{"cron":"0 9 * * *"}`,
		`{"calendar":{"hours":[9],"weekdays":["mon",7],"months":[]}}`:                  `{"calendar":{"hours":[9],"weekdays":[1,7]}}`,
		`{"kind":"calendar","minutes":[30]}`:                                           `{"calendar":{"minutes":[30]}}`,
		`{"solar":"sunrise","latitude":52.5,"longitude":-13,"offset":"-15m"}`:          `{"solar":"sunrise","latitude":52.5,"longitude":-13,"offset":"-15m"}`,
		`{"kind":"solar","event":"noon","latitude":0,"longitude":0,"offsetMs":1000}`:   `{"solar":"noon","latitude":0,"longitude":0,"offset":"1s"}`,
		`{"kind":"solar","event":"noon","latitude":0,"longitude":0,"offset":"0s"}`:     `{"solar":"noon","latitude":0,"longitude":0}`,
		`{"clocked":"2026-02-01T10:00:00+01:00"}`:                                      `{"clocked":"2026-02-01T09:00:00Z"}`,
		`{"kind":"clocked","run_at":"2026-02-01T09:00:00Z","run_once":true}`:           `{"clocked":"2026-02-01T09:00:00Z"}`,
	} {
		s := parse(t, text)
		if s.String() != want {
			t.Errorf("%s: %s, want %s", text, s, want)
		}
		if again := parse(t, s.String()); again.String() != want || again.Kind() != s.Kind() || !strings.Contains(want, `"`+s.Kind()+`"`) {
			t.Errorf("%s of kind %s read again is %s of kind %s", s, s.Kind(), again, again.Kind())
		}
	}
}

func TestIntervalsKeepTheirPhase(t *testing.T) {
	t.Parallel()
	tests := []struct{ spec, after, want string }{
		{"every:5m", "2026-01-01T00:03:07Z", "2026-01-01T00:05:00Z"},
		{"every:5m", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"},
		{"every:5m", "1969-12-31T23:58:00Z", "1970-01-01T00:00:00Z"},
		{"every:5m", "1969-12-31T23:52:00Z", "1969-12-31T23:55:00Z"},
		{`{"every":"7m","startAt":"2026-01-01T00:00:01Z"}`, "2025-01-01T00:00:00Z", "2026-01-01T00:00:01Z"},
		{`{"every":"7m","startAt":"2026-01-01T00:00:01Z"}`, "2026-01-01T00:00:01Z", "2026-01-01T00:07:01Z"},
		{`{"every":"5m","endAt":"2026-01-01T00:06:00Z"}`, "2026-01-01T00:04:00Z", "2026-01-01T00:05:00Z"},
		{`{"every":"5m","endAt":"2026-01-01T00:06:00Z"}`, "2026-01-01T00:05:00Z", ""},
		{`{"clocked":"2026-02-01T09:00:00Z"}`, "2026-02-01T08:59:59Z", "2026-02-01T09:00:00Z"},
		{`{"clocked":"2026-02-01T09:00:00Z"}`, "2026-02-01T09:00:00Z", ""},
	}
	for _, tt := range tests {
		run, ok := parse(t, tt.spec).Next(instant(t, tt.after), time.UTC, spec.Policy{})
		got := ""
		if ok {
			got = run.At.Format(time.RFC3339)
		}
		if got != tt.want {
			t.Errorf("%s after %s: %s, want %s", tt.spec, tt.after, got, tt.want)
		}
	}
}

func TestZonesHaveTheirWholeName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"CEST":          "use an IANA name such as Europe/Berlin",
		"Europe/Berln":  "Did you mean Europe/Berlin?",
		"europe/berlin": "Did you mean Europe/Berlin?",
		"+02:00":        "unknown time zone",
		"Local":         "unknown time zone",
		"":              "unknown time zone",
		"../etc/passwd": "unknown time zone",
	} {
		if _, err := spec.Zone(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	for _, name := range []string{"UTC", "Europe/Berlin", "Pacific/Apia"} {
		if zone(t, name).String() != name {
			t.Errorf("%s is called %s", name, zone(t, name))
		}
	}
}

func TestPoliciesAreChecked(t *testing.T) {
	t.Parallel()
	for p, want := range map[spec.Policy]string{
		{Gap: "nxt"}:        `gap: "nxt"; want one of next, skip. Did you mean next?`,
		{Overlap: "thirds"}: `overlap: "thirds"; want one of first, second, both`,
	} {
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	for _, p := range []spec.Policy{{}, {Gap: "skip", Overlap: "both"}, {Gap: "next", Overlap: "second"}} {
		if err := p.Check(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestJitterIsDrawnFromTheScheduleAndTheInstant(t *testing.T) {
	t.Parallel()
	at := instant(t, "2026-01-01T00:00:00Z")
	// sha256("nightly" 00 0006474846204000), its first 64 bits as a fraction, of 30001.
	if got, want := spec.Jitter("nightly", at, 30*time.Second), 26343*time.Millisecond; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var sum time.Duration
	seen := map[time.Duration]bool{}
	for i := range 1000 {
		d := spec.Jitter("nightly", at.Add(time.Duration(i)*time.Minute), time.Second)
		if d < 0 || d > time.Second || d%time.Millisecond != 0 {
			t.Fatalf("%s", d)
		}
		sum, seen[d] = sum+d, true
	}
	if mean := sum / 1000; mean < 450*time.Millisecond || mean > 550*time.Millisecond || len(seen) < 550 {
		t.Errorf("mean %s, %d values", mean, len(seen))
	}
	if spec.Jitter("a", at, time.Hour) == spec.Jitter("b", at, time.Hour) {
		t.Error("two schedules are together")
	}
	if got := spec.Jitter("a", at, 0); got != 0 {
		t.Errorf("%s without jitter", got)
	}
}
