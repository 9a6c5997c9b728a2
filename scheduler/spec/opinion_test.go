package spec_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt")

var zones = []string{
	"America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo", "Africa/Casablanca", "Pacific/Chatham", "Pacific/Apia", "Asia/Kathmandu",
}

// row is a question in the form that second_opinion.py reads.
type row struct {
	zone, cron   string
	policy       spec.Policy
	after, until time.Time
}

func (r row) String() string {
	return strings.Join([]string{
		r.zone, r.cron, r.policy.Gap, r.policy.Overlap, r.after.UTC().Format(time.RFC3339), r.until.UTC().Format(time.RFC3339),
	}, " | ")
}

// answer is the row with the runs that the evaluator gives.
func (r row) answer(tb testing.TB) string {
	tb.Helper()
	s, z := parse(tb, r.cron), zone(tb, r.zone)
	var line strings.Builder
	line.WriteString(r.String())
	at := r.after
	for range 6 {
		run, ok := s.Next(at, z, r.policy)
		if !ok || run.At.After(r.until) {
			break
		}
		line.WriteString(" | " + run.At.UTC().Format(time.RFC3339))
		at = run.At
	}
	return line.String()
}

// changes are the instants from 2024 to 2032 at which a zone's offset is another.
func changes(tb testing.TB, name string) []time.Time {
	tb.Helper()
	var found []time.Time
	z := zone(tb, name)
	for at := instant(tb, "2024-01-01T00:00:00Z").In(z); at.Year() < 2033; {
		_, end := at.ZoneBounds()
		if end.IsZero() || end.Year() > 2032 {
			break
		}
		at = end
		found = append(found, end)
	}
	return found
}

// golden are the rows of testdata/golden.txt: at each change of 2024 to 2032, times that do not exist or exist twice.
func golden(tb testing.TB) []row {
	tb.Helper()
	var rows []row
	for _, name := range zones {
		z := zone(tb, name)
		at := changes(tb, name)
		if name == "Pacific/Apia" {
			at = append(at, instant(tb, "2011-12-30T10:00:00Z").In(z)) // where 30 December was not
		}
		for i, change := range at {
			_, before := change.Add(-1).Zone()
			_, now := change.Zone()
			middle := change.UTC().Add(time.Duration(before+now) * time.Second / 2) // of the local times that it leaves out or repeats
			daily := fmt.Sprintf("%d %d * * *", middle.Minute(), middle.Hour())
			weekly := fmt.Sprintf("%d %d * * %d", middle.Minute(), middle.Hour(), middle.Weekday())
			hourly := fmt.Sprintf("%d * * * *", middle.Minute())
			after, until := change.Add(-20*time.Hour), change.Add(40*time.Hour)
			policies := []spec.Policy{{Gap: "next", Overlap: "first"}, {Gap: "skip", Overlap: "first"}}
			if now < before {
				policies = []spec.Policy{{Gap: "next", Overlap: "first"}, {Gap: "next", Overlap: "second"}, {Gap: "next", Overlap: "both"}}
			}
			for _, p := range policies {
				rows = append(rows, row{name, daily, p, after, until})
			}
			p := policies[i%len(policies)]
			rows = append(rows, row{name, weekly, p, after, until}, row{name, hourly, p, change.Add(-90 * time.Minute), until})
		}
		for year := 2024; year <= 2032; year++ {
			after := time.Date(year, time.Month(year%12+1), 27, 11, 7, 0, 0, z)
			rows = append(rows, row{name, "*/15 9-17/4 1 * MON-FRI", spec.Policy{Gap: "next", Overlap: "first"}, after, after.Add(96 * time.Hour)})
		}
	}
	return rows
}

func TestTheGoldenTable(t *testing.T) {
	t.Parallel()
	rows := golden(t)
	if len(rows) < 200 {
		t.Errorf("%d rows", len(rows))
	}
	var b strings.Builder
	b.WriteString("# zone | expression | gap | overlap | after | until | the first six runs, of which second_opinion.py says the same\n")
	for _, r := range rows {
		b.WriteString(r.answer(t) + "\n")
	}
	const path = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wants := strings.Split(string(want), "\n")
	for i, line := range strings.Split(b.String(), "\n") {
		if i >= len(wants) || line != wants[i] {
			t.Fatalf("line %d: %s", i+1, line)
		}
	}
	if out, err := python(t, want, "--check"); err != nil || !strings.Contains(out, fmt.Sprintf("%d of %[1]d rows are right", len(rows))) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := python(t, []byte(wants[1]+" | 2024-01-01T00:00:00Z"), "--check"); err == nil || !strings.Contains(out, "but it is") {
		t.Errorf("a wrong row is right: %v\n%s", err, out)
	}
}

// TestAThousandSpecsHaveASecondOpinion asks a program that looks at each minute, mostly where a zone changes its offset.
func TestAThousandSpecsHaveASecondOpinion(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(6, 2026))
	var questions, answers strings.Builder
	for range 1000 {
		q := randomRow(t, r)
		questions.WriteString(q.String() + "\n")
		answers.WriteString(q.answer(t) + "\n")
	}
	out, err := python(t, []byte(questions.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, want := strings.Split(answers.String(), "\n"), strings.Split(out, "\n")
	if len(got) != len(want) {
		t.Fatalf("%d answers, %d of the other program", len(got), len(want))
	}
	differ, runs := 0, 0
	for i := range got {
		runs += max(0, strings.Count(got[i], " | ")-5)
		if got[i] != want[i] {
			if differ++; differ < 6 {
				t.Errorf("got  %s\nwant %s", got[i], want[i])
			}
		}
	}
	if differ > 0 || runs < 2000 {
		t.Errorf("%d of 1000 differ, of %d runs", differ, runs)
	}
}

func randomRow(tb testing.TB, r *rand.Rand) row {
	tb.Helper()
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	name := pick(zones...)
	at := instant(tb, "2024-01-01T00:00:00Z").Add(time.Duration(r.IntN(9*365*1440)) * time.Minute)
	if all := changes(tb, name); len(all) > 0 && r.IntN(10) > 0 {
		at = all[r.IntN(len(all))].Add(-time.Duration(r.IntN(30*3600)) * time.Second)
	}
	n := func(below int) string { return fmt.Sprint(r.IntN(below)) }
	minute := pick("*", "*/"+fmt.Sprint(1+r.IntN(59)), n(60), n(60), n(60)+","+n(60), "5-50/"+fmt.Sprint(1+r.IntN(30)), n(60)+"/"+fmt.Sprint(1+r.IntN(40)))
	hour := pick("*", "*/2", "*/5", n(4), n(4), n(24), n(3)+","+n(24), "0-4", "1-23/"+fmt.Sprint(1+r.IntN(4)), n(4)+"/3")
	day := pick("*", "*", "*", "*/2", fmt.Sprint(1+r.IntN(31)), "25-31", "1-15/2", "20/3")
	week := pick("*", "*", "*", "SUN", "0", "7", "MON-FRI", "FRI,SUN", "5-7", "*/2")
	return row{
		name, strings.Join([]string{minute, hour, day, "*", week}, " "),
		spec.Policy{Gap: pick("next", "skip"), Overlap: pick("first", "second", "both")},
		at, at.Add(48 * time.Hour),
	}
}

// python hands a text to second_opinion.py and returns what it says.
func python(t *testing.T, text []byte, args ...string) (string, error) {
	t.Helper()
	const program = "testdata/second_opinion.py"
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v, and CI may lack nothing", err)
		}
		t.Skipf("%v: the second opinion is not heard", err)
	}
	if _, err := os.ReadFile(program); err != nil { // read here for the test cache, which does not see what Python reads
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "python3", append([]string{program}, args...)...)
	c.Stdin = bytes.NewReader(text)
	out, err := c.CombinedOutput()
	return string(out), err
}
