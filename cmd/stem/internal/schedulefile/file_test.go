package schedulefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stemqueue/stem/cmd/stem/internal/schedulefile"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

func newQueue(tb testing.TB) *queue.Queue {
	tb.Helper()
	q, err := queue.New(queue.Config{MaxPayloadBytes: 262_144})
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

// problems are those of a text, without the name of the file, each with its caret below.
func problems(t *testing.T, text string) string {
	t.Helper()
	f, err := schedulefile.Parse("s.yaml", []byte(text), newQueue(t))
	if err == nil {
		return "fine: " + strings.Repeat("x", len(f.Entries))
	}
	e, ok := errors.AsType[*schedulefile.Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	var b strings.Builder
	for _, p := range e.Problems {
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(p.String(), "s.yaml:"), " ") + "\n")
		if p.Caret != "" {
			b.WriteString(p.Caret + "\n")
		}
	}
	return b.String()
}

// entry is a file of one schedule, x, with these lines from the third on.
func entry(lines string) string {
	return "x:\n  task: t\n  " + strings.ReplaceAll(lines, "\n", "\n  ") + "\n"
}

// The rows are those of the catalogue of bad input.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ row, text, want string }{
		{"69 tab", "x:\n  task: t\n  queue: q\n\tcron: x\n", "4:1: tabs cannot indent YAML\n"},
		{"69 tab behind blanks", "x:\n  task: t\n  \tcron: x\n", "3:3: tabs cannot indent YAML\n"},
		{"69 not YAML", "x: [1, 2\n", "1:4: sequence end token ']' not found\n"},
		{"69 colon", entry("cron: a: b"), "3:9: mapping value is not allowed in this context; quote a text that has \": \" in it\n"},
		{"69 tab in a text", entry("cron: 0\t9 * * *"), "3:9: a tab inside of a text; quote the text\n"},
		{"69 at", entry("cron: @daily"), "3:9: '@' is a reserved character; quote the text\n"},
		{"69 control character", "x: \x07\n", "1:4: control character U+0007\n"},
		{"70", entry("cron: 0 9 * * *\ntimezon: UTC"), "4:3: unknown key \"timezon\" in schedule \"x\". Did you mean timezone?\n"},
		{"70 nothing near", entry("cron: 0 9 * * *\nfrobnicate: 1"), "4:3: unknown key \"frobnicate\" in schedule \"x\"\n"},
		{"70 option", entry("every: 5m\noptions: {maxAtempts: 3}"), "4:13: unknown key \"maxAtempts\" in schedule \"x\". Did you mean maxAttempts?\n"},
		{"70 top", "schedule:\n  x: {task: t, every: 5m}\n", "1:1: no schedule in schedule \"schedule\"; give exactly one of cron, every, clocked, calendar, solar\n1:1: no task in schedule \"schedule\"\n2:3: unknown key \"x\" in schedule \"schedule\"\n"},
		{"71 id in a list", "- {id: a, task: t, every: 5m}\n- id: a\n  task: t\n  every: 5m\n", "2:7: schedule \"a\" is defined twice, first in line 1\n"},
		{"71 id in a map", "a: {task: t, every: 5m}\na: {task: t, every: 5m}\n", "2:1: schedule \"a\" is defined twice, first in line 1\n"},
		{"71 key", entry("every: 5m\ntask: u"), "4:3: \"task\" in schedule \"x\" is given twice, first in line 2\n"},
		{"71 key in two spellings", entry("every: 5m\ntaskName: u"), "4:3: \"taskName\" in schedule \"x\" means the same as \"task\" in line 2; give one\n"},
		{"71 key in snake case", entry("every: 5m\nstart_at: 2026-01-01T00:00:00Z\nstartAt: 2026-01-01T00:00:00Z"), "5:3: \"startAt\" in schedule \"x\" means the same as \"start_at\" in line 4; give one\n"},
		{"72 documents", "x: {task: t, every: 5m}\n---\ny: {task: t, every: 5m}\n", "3:1: a second document; want one\n"},
		{"72 list in a map", "x: [1]\n", "1:4: want key: value in schedule \"x\"\n"},
		{"72 text", "hello\n", "1:1: want a list of schedules, or a map of them by id\n"},
		{"72 list of texts", "- a\n", "1:3: want key: value in a schedule without an id\n1:3: schedule without an id\n"},
		{"72 beside", "schedules: []\nentries: []\nx: {}\n", "2:1: both schedules and entries; give one\n3:1: unknown key \"x\" beside schedules or entries\n"},
		{"72 number", "schedules: 5\n", "1:12: schedules: want a list of schedules, or a map of them by id\n"},
		{"empty", "# nothing\n", "no schedules; write schedules: {} if none is what you mean\n"},
		{"73 range", entry("cron: 61 * * * *"), "3:9: schedule \"x\": cron: minute: \"61\"; want 0-59\n61 * * * *\n^^\n"},
		{"73 fields", entry(`cron: "* * * *"`), "3:10: schedule \"x\": cron: 4 fields; want 5 (minute, hour, day of month, month, day of week), or 6 with seconds first\n* * * *\n^^^^^^^\n"},
		{"73 step", entry("cron: 5/0 * * * *"), "3:11: schedule \"x\": cron: minute: step \"0\"; want 1-59\n5/0 * * * *\n  ^\n"},
		{"73 name", entry(`schedule: '0 9 * * MON-FUN'`), "3:26: schedule \"x\": cron: day of week: \"FUN\"; want 0-7 or SUN-SAT. Did you mean SUN?\n0 9 * * MON-FUN\n            ^^^\n"},
		{"73 star without quotes", entry("cron: */5 * * * *"), "3:9: a text that begins with * must be quoted, and aliases are not supported\n"},
		{"73 folded", entry("cron: >-\n  61 * *\n  * *"), "3:9: schedule \"x\": cron: minute: \"61\"; want 0-59\n61 * * * *\n^^\n"},
		{"74", entry("cron: 0 0 30 2 *"), "3:9: schedule \"x\": cron: never matches any date\n0 0 30 2 *\n^^^^^^^^^^\n"},
		{"75 nought", entry("every: 0s"), "3:10: schedule \"x\": every: 0s; want 1s or more\n"},
		{"75 short", entry("every: 10ms"), "3:10: schedule \"x\": every: 10ms; want 1s or more\n"},
		{"75 negative", entry("every: -5m"), "3:10: schedule \"x\": every: -5m0s; want 1s or more\n"},
		{"75 unit", entry("every: 300"), "3:10: every: \"300\" has no unit; write 5s, 2m or 1h30m\n"},
		{"75 milliseconds", entry("schedule: {kind: interval, everyMs: 10}"), "3:39: schedule \"x\": every: 10ms; want 1s or more\n"},
		{"76 abbreviation", entry("every: 5m\ntimezone: CEST"), "4:13: schedule \"x\": timezone: unknown time zone \"CEST\"; use an IANA name such as Europe/Berlin. Did you mean CET?\n"},
		{"76 typo", entry("every: 5m\ntimezone: Europe/Berln"), "4:13: schedule \"x\": timezone: unknown time zone \"Europe/Berln\"; use an IANA name such as Europe/Berlin. Did you mean Europe/Berlin?\n"},
		{"76 offset", entry("every: 5m\ntimezone: '+02:00'"), "4:13: schedule \"x\": timezone: unknown time zone \"+02:00\"; use an IANA name such as Europe/Berlin\n"},
		{"77", entry("clocked: 2026-02-30T09:00:00Z"), "3:12: schedule \"x\": clocked: \"2026-02-30T09:00:00Z\": no such date or time\n"},
		{"77 end", entry("every: 5m\nexpireAt: 2026-02-30T09:00:00Z"), "4:13: expireAt: no such date or time, got \"2026-02-30T09:00:00Z\"\n"},
		{"77 run at", entry("schedule: {kind: clocked, runAt: 2026-02-30T09:00:00Z}"), "3:36: schedule \"x\": clocked: \"2026-02-30T09:00:00Z\": no such date or time\n"},
		{"78", entry("every: 5m\ncron: 0 9 * * *"), "4:3: both every and cron in schedule \"x\"; give exactly one of cron, every, clocked, calendar, solar\n"},
		{"78 none", "x:\n  task: t\n", "1:1: no schedule in schedule \"x\"; give exactly one of cron, every, clocked, calendar, solar\n"},
		{"78 of another kind", entry("cron: 0 9 * * *\nstartAt: 2026-01-01T00:00:00Z\nlatitude: 3"), "4:3: startAt in schedule \"x\" belongs to every\n5:3: latitude in schedule \"x\" belongs to solar\n"},
		{"78 two in an object", entry("schedule: {every: 5m, cron: 0 9 * * *}"), "3:13: schedule \"x\": every and cron; give exactly one of cron, every, clocked, calendar, solar\n"},
		{"79", entry("solar: sunrise\nlatitude: 91\nlongitude: 13"), "4:13: schedule \"x\": latitude: 91; want degrees from -90 to 90\n"},
		{"79 event", entry("solar: sunris\nlatitude: 9\nlongitude: 13"), "3:10: schedule \"x\": solar: \"sunris\"; want one of sunrise, sunset, noon, dawn, dusk. Did you mean sunrise?\n"},
		{"calendar", entry("calendar:\n  hours: [9]\n  minutes:\n  - 0\n  - 61"), "7:7: schedule \"x\": calendar.minutes[1]: minute: \"61\"; want 0-59\n"},
		{"calendar of the other system", entry("schedule: {kind: calendar, hours: [25]}"), "3:38: schedule \"x\": calendar.hours[0]: hour: \"25\"; want 0-23\n"},
		{"calendar key", entry("calendar: {hour: [9]}"), "3:20: schedule \"x\": calendar: unknown key \"hour\". Did you mean hours?\n"},
		{"calendar as a list", entry("calendar: [9]"), "3:13: calendar: want months, weekdays, monthdays, hours or minutes, each a list\n"},
		{"80", entry("every: 5m\nargs: [1]"), "4:9: args: want an object, key: value\n"},
		{"80 text", entry("every: 5m\nargs: hello"), "4:9: args: want an object, key: value\n"},
		{"80 limit", entry("every: 5m\nargs: {a: \"" + strings.Repeat("x", 300_000) + "\"}"), "4:9: schedule \"x\": payload is 300 008 bytes; limit 262 144 (STEM_MAX_PAYLOAD_BYTES). Store the data elsewhere and pass a reference\n"},
		{"80 key in both", entry("every: 5m\nargs: {a: 1}\nkwargs: {b: 1, a: 2}"), "5:18: kwargs.a: args has the same key in line 4\n"},
		{"80 key twice", entry("every: 5m\nargs: {a: {b: 1, b: 2}}"), "4:20: \"b\" is given twice, first in line 4\n"},
		{"82 aliases", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "1:4: anchors, aliases and merge keys are not supported; write the value out\n2:4: anchors, aliases and merge keys are not supported; write the value out\n2:8: a text that begins with * must be quoted, and aliases are not supported\n3:5: a text that begins with * must be quoted, and aliases are not supported\n"},
		{"82 size", strings.Repeat("#", 1<<20+1), "larger than 1 MiB\n"},
		{"82 depth", entry("args: " + strings.Repeat("[", 1000)), "3:109: nested too deep\n"},
		{"82 depth of lists", strings.Repeat("- ", 1000), "1:201: nested too deep\n"},
		{"82 depth of lines", deep(1000), "202:202: nested too deep\n"},
		{"83 truth", entry("every: 5m\nenabled: yes"), "4:12: enabled: want true or false, got yes\n"},
		{"83 truth as a text", entry("every: 5m\nenabled: \"true\""), "4:12: enabled: want true or false, got \"true\"\n"},
		{"83 Norway", entry("every: 5m\nmeta: {country: no}\nargs: {country: no, on: on}"), "4:19: meta.country: no is not a text to all who read YAML; write \"no\"\n5:19: args.country: no is not the same to all who read YAML; write false, or \"no\" for the text\n5:27: args.on: on is not the same to all who read YAML; write true, or \"on\" for the text\n"},
		{"83 octal", entry("every: 5m\npriority: 08\nqueue: 08\nargs: {n: 08}"), "4:13: priority: want a whole number such as 8, got 08\n5:10: queue: 08 is not a text to all who read YAML; write \"08\"\n6:13: args.n: 08 is not the same to all who read YAML; write 8, or \"08\" for the text\n"},
		{"83 underscore", entry("every: 5m\noptions: {maxAttempts: 1_000, group: 1_000}\nargs: {n: 1_000, m: 0x1F}"), "4:26: options.maxAttempts: want a whole number such as 8, got 1_000\n4:40: options.group: 1_000 is not a text to all who read YAML; write \"1_000\"\n5:13: args.n: 1_000 is not the same to all who read YAML; write 1000, or \"1_000\" for the text\n5:23: args.m: 0x1F is not the same to all who read YAML; write a decimal number, or \"0x1F\" for the text\n"},
		{"83 number as a text", entry("every: 5m\ntimezone: 5"), "4:13: timezone: 5 is not a text to all who read YAML; write \"5\"\n"},
		{"84 UTF-16", "\xff\xfex\x00:\x00", "1:1: UTF-16; save as UTF-8\n"},
		{"84 UTF-16 without a mark", "x\x00:\x00", "1:1: UTF-16; save as UTF-8\n"},
		{"84 Latin 1", "x:\n  task: \xe9\n", "2:9: not UTF-8\n"},
		{"id", "a b: {task: t, every: 5m}\n", "1:1: schedule \"a b\": id: want 1 to 128 of letters, digits, _ . : / -\n"},
		{"no id", "- {task: t, every: 5m}\n", "1:3: schedule without an id\n"},
		{"two ids", "x: {id: y, task: t, every: 5m}\n", "1:9: id: \"y\" stands under the key \"x\"; leave one out\n"},
		{"no task", "x:\n  every: 5m\n", "1:1: no task in schedule \"x\"\n"},
		{"no value", entry("every: 5m\nqueue:"), "4:3: queue: no value\n"},
		{"names", "x: {task: a b, queue: '', every: 5m}\n", "1:11: schedule \"x\": task: names are 1-128 of letters, digits, _ . : / -; got \"a b\"\n1:16: queue: no value\n"},
		{"job", entry("every: 5m\npriority: 12\nqueue: a b\nmeta: {\"\": x}\noptions: {maxAttempts: 0, hardLimit: 5s, softLimit: 9s, expiresIn: 0, version: -1, group: \"a\\tb\"}"), `4:13: schedule "x": priority: want 0 to 9, got 12
5:10: schedule "x": queue: names are 1-128 of letters, digits, _ . : / -; got "a b"
6:9: schedule "x": header "": names are 1-128 bytes without control characters
7:26: schedule "x": max attempts: want 1 to 1000, got 0
7:55: schedule "x": soft limit 9s is above the hard limit 5s
7:70: schedule "x": ExpiresIn: want more than 0, got 0s
7:82: schedule "x": version: want 1 or more, got -1
7:93: schedule "x": group: want at most 256 bytes of text without control characters, got "a\tb"
`},
		{"headers", entry("every: 5m\nmeta: {a: b}\noptions: {headers: {a: c}}"), "5:23: options.headers.a: the same header as meta.a in line 4\n"},
		{"policies", entry("every: 5m\npolicies: {gap: nxt, catchUpMax: 0, catchUpWindow: 0s, previous: allow, missed: some, pauseAfterFailures: 101}"), `4:19: schedule "x": policies.gap: "nxt"; want one of next, skip
4:36: policies.catchUpMax: want 1 or more, got 0
4:54: policies.catchUpWindow: want 1s or more, got 0; for none write missed: skip
4:83: schedule "x": policies.missed: "some"; want one of last, skip, all
4:109: schedule "x": policies.pauseAfterFailures: want 0 (never) to 100, got 101
`},
		{"jitter", entry("every: 5m\njitter: 10m"), "4:11: schedule \"x\": jitter: 10m0s is longer than the 5m0s between two runs\n"},
		{"jitter in milliseconds", entry("every: 5m\njitterMs: -1"), "4:13: jitterMs: want 0 to 31536000000, got -1\n"},
		{"wide characters", "x: {description: \"ä\", task: t, cron: \"0 9 * * ü\"}\n", "1:47: schedule \"x\": cron: day of week: \"ü\"; want 0-7 or SUN-SAT\n0 9 * * ü\n        ^\n"},
		{
			"all at once", "schedules:\n  a:\n    tsk: t\n    cron: 61 * * * *\n    priority: 10\n  b:\n    task: t\n    every: 5m\n    timezone: Mars\n  c: {}\n",
			`2:3: no task in schedule "a"
3:5: unknown key "tsk" in schedule "a". Did you mean task?
4:11: schedule "a": cron: minute: "61"; want 0-59
61 * * * *
^^
5:15: schedule "a": priority: want 0 to 9, got 10
9:15: schedule "b": timezone: unknown time zone "Mars"; use an IANA name such as Europe/Berlin
10:3: no schedule in schedule "c"; give exactly one of cron, every, clocked, calendar, solar
10:3: no task in schedule "c"
`,
		},
	} {
		t.Run(tt.row, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, problems(t, tt.text)); diff != "" {
				t.Errorf("%.200q (-want +got):\n%s", tt.text, diff)
			}
		})
	}
}

// deep is a map in a map, a blank further in on each line.
func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

const full = `nightly:
  task: report
  queue: slow
  cron: "0 2 * * *"
  timezone: Europe/Berlin
  jitter: 90s
  enabled: false
  expireAt: 2030-01-01T00:00:00Z
  description: every night
  args: {kind: daily, n: 1e3, big: 12345678901234567890123, "null": null, list: [true, -0.50]}
  kwargs: {deep: {ä: "\u00e9\ud83d\ude00"}}
  meta: {team: ops, empty: ""}
  priority: 7
  options: {maxAttempts: 3, hardLimit: 1h, softLimit: 50m, uniqueKey: k, headers: {a: b}, expiresIn: 1d, group: g, version: 2}
  policies: {gap: skip, overlap: both, missed: all, catchUpWindow: 2h, catchUpMax: 5, previous: queue, pauseAfterFailures: 3}
`

func TestEverythingOfAnEntry(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	f, err := schedulefile.Parse("s.yaml", []byte(full), q)
	if err != nil {
		t.Fatal(err)
	}
	e := f.Entries[0]
	template, err := q.Template(e.Job)
	if err != nil {
		t.Fatal(err)
	}
	e.Job = queue.Request{}
	want := scheduler.Entry{
		ID: "nightly", Spec: `{"cron":"0 2 * * *"}`, Zone: "Europe/Berlin", Jitter: 90 * time.Second,
		ExpireAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Enabled: new(false), Description: "every night",
		Policies: scheduler.Policies{
			Gap: "skip", Overlap: "both", Missed: "all", CatchUpWindow: 2 * time.Hour, CatchUpMax: 5, Previous: "queue", PauseAfterFailures: 3,
		},
	}
	if diff := cmp.Diff(want, e, cmp.Comparer(func(a, b queue.Request) bool { return true })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	payload := `{"kind":"daily","n":1e3,"big":12345678901234567890123,"null":null,"list":[true,-0.50],"deep":{"ä":"é😀"}}`
	if got := string(template.Payload); got != payload {
		t.Errorf("payload %s, want %s", got, payload)
	}
	got := template.Envelope
	if got.Task != "report" || got.Queue != "slow" || got.Priority != 7 || got.MaxAttempts != 3 || got.HardLimit != time.Hour ||
		got.SoftLimit != 50*time.Minute || string(got.UniqueKey) != "report\x00k" || template.ExpiresIn != 24*time.Hour || got.Group != "g" ||
		got.PayloadVersion != 2 {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff(map[string]string{"team": "ops", "empty": "", "a": "b"}, got.Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	for field, want := range map[string]string{"task": "s.yaml:2:9", "queue": "s.yaml:3:10", "spec": "s.yaml:4:9", "nothing": "s.yaml:1:1"} {
		if got := f.Where("nightly", field); got != want {
			t.Errorf("%s is at %s, want %s", field, got, want)
		}
	}
}

func TestShapesAndSpellings(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"a: {task: t, every: 5m}\nb: {task: t, cron: 0 9 * * *}\n",
		"- {id: a, task: t, every: 5m}\n- {name: b, taskName: t, spec: 0 9 * * *}\n",
		"schedules:\n  a: {task: t, schedule: 'every:5m'}\n  b:\n    task: t\n    cron: 0 9 * * *\n",
		"entries:\n- id: a\n  task: t\n  schedule: {kind: interval, everyMs: 300000}\n- id: b\n  task: t\n  schedule: {kind: cron, expression: 0 9 * * *}\n",
		"{\n\t\"schedules\": [\n\t\t{\"id\": \"a\", \"task\": \"t\", \"spec\": {\"every\": \"5m\"}},\n\t\t{\"id\": \"b\", \"task_name\": \"t\", \"cron\": \"0 9 * * *\"}\n\t]\n}\n",
		"\ufeffa:\r\n  task: t\r\n  every: 5m\r\nb:\r\n  task: t\r\n  cron: 0 9 * * *\r\n",
		"---\na: {task: t, every: 5m}\nb: {task: t, cron: 0 9 * * *} # daily\n...\n",
	} {
		f, err := schedulefile.Parse("s.yaml", []byte(text), newQueue(t))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var got []string
		for _, e := range f.Entries {
			got = append(got, e.ID)
		}
		if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	for text, n := range map[string]int{
		"schedules: {}": 0, "[]": 0, "entries: []\n": 0, "{}": 0,
		"x: {task: t, solar: sunset, latitude: 52.5, longitude: -13, offset: -15m}":           1,
		"x: {task: t, calendar: {months: [1], weekdays: [MON], hours: [9]}}":                  1,
		"x: {task: t, clocked: 2027-02-01T09:00:00Z, enabled: true, jitterMs: 500}":           1,
		"x: {task: t, every: 1h, startAt: 2026-01-01T00:00:00Z, endAt: 2027-01-01T00:00:00Z}": 1,
		"x: {task: t, every: 1h, args: , kwargs: {}, policies: {pauseAfterFailures: 0}}":      1,
	} {
		if got := problems(t, text); got != "fine: "+strings.Repeat("x", n) {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestHistoryIsIgnoredWithOneWarning(t *testing.T) {
	t.Parallel()
	f, err := schedulefile.Parse("s.yaml", []byte("a: {task: t, every: 5m, lastRunAt: null, version: 3}\nb: {task: t, every: 5m, version: 4, drift_ms: 1}\n"), newQueue(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Ignored.String(); got != "s.yaml: ignored, because the database has it: lastRunAt, version, drift_ms" {
		t.Errorf("got %s", got)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.yaml")
	if _, err := schedulefile.Load(path, newQueue(t)); !errors.Is(err, os.ErrNotExist) || err.Error() != path+": no such file or directory" {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte(full), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := schedulefile.Load(path, newQueue(t)); err != nil || len(f.Entries) != 1 {
		t.Errorf("got %v, %v", f, err)
	}
}

// Whatever is in a file, it is refused with places that are in it, or all its schedules stand the check.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		full, entry("cron: 61 * * * *"), entry("cron: >-\n  61 * *\n  * *"), "- {id: a, task: t, every: 5m}\n", "? a\n: b", "- - a", "a: &x\nb: *x",
		`{"entries": [{"name": "a", "spec": {"kind": "solar", "event": "noon", "latitude": 1, "longitude": 2}}]}`, "\t", "a: [", "a: \"", "---\n---\n",
		"x: {task: t, calendar: {hours: [08, {}]}, args: |\n  x}", "%TAG\n", "\xff\xfe", "a:\r\n\tb", "x: {task: \"\\ud83d\", schedule: {cron: [}}",
	} {
		f.Add([]byte(seed))
	}
	q := newQueue(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := schedulefile.Parse("s.yaml", data, q)
		if err == nil {
			if err := scheduler.Check(q, file.Entries...); err != nil {
				t.Fatal(err)
			}
			return
		}
		e, ok := errors.AsType[*schedulefile.Error](err)
		if !ok || len(e.Problems) == 0 {
			t.Fatalf("got %v", err)
		}
		lines := strings.Split(string(data), "\n")
		for _, p := range e.Problems {
			if p.Line < 0 || p.Line > len(lines) || p.Line > 0 && (p.Column < 1 || p.Column > len([]rune(lines[p.Line-1]))+1) {
				t.Fatalf("%+v is not in %q", p, data)
			}
		}
	})
}

func TestTheExampleIsRead(t *testing.T) {
	t.Parallel()
	f, err := schedulefile.Load("../../../../examples/schedules/schedules.yaml", newQueue(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Entries) != 5 {
		t.Errorf("%d entries", len(f.Entries))
	}
}
