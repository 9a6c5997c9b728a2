package spec_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

var elapse = regexp.MustCompile(`(?:Next elapse|\(in UTC\)|Iter\. #\d+): \w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC`)

// TestSystemdAgrees asks systemd-analyze about a thousand specs that both can say. systemd combines days of the month and days
// of the week by AND and has its own idea of changes of the offset, so the specs restrict one of the two, and the day is far from
// any change.
func TestSystemdAgrees(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" && runtime.GOOS == "linux" {
			t.Fatalf("%v, and CI may lack nothing", err)
		}
		t.Skipf("%v: the second opinion is not heard", err)
	}
	r := rand.New(rand.NewPCG(6, 252))
	for range 20 {
		base := time.Date(2024+r.IntN(9), time.Month(5+r.IntN(3)), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), 0, time.UTC)
		args := []string{"calendar", "--iterations=3", "--base-time=" + base.Format(time.DateTime) + " UTC"}
		var ours []string
		for range 50 {
			cron, theirs := both(r)
			name := zones[r.IntN(len(zones))]
			args = append(args, theirs+" "+name)
			line, at := cron+" "+name+":", base
			for range 3 {
				run, _ := parse(t, cron).Next(at, zone(t, name), spec.Policy{})
				at = run.At
				line += " " + at.UTC().Format(time.DateTime)
			}
			ours = append(ours, line)
		}
		c := exec.CommandContext(t.Context(), "systemd-analyze", args...)
		c.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C", "SYSTEMD_COLORS=0")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		answers := strings.Split(strings.TrimSpace(string(out)), "\n\n")
		if len(answers) != len(ours) {
			t.Fatalf("%d answers to %d questions\n%s", len(answers), len(ours), out)
		}
		for i, answer := range answers {
			cron, _, _ := strings.Cut(ours[i], ":")
			var line strings.Builder
			line.WriteString(cron + ":")
			for _, m := range elapse.FindAllStringSubmatch(answer, -1) {
				line.WriteString(" " + m[1])
			}
			if line.String() != ours[i] {
				t.Errorf("after %s\ngot  %s\nwant %s\n%s", base, ours[i], line.String(), args[i+3])
			}
		}
	}
}

// both draws a spec, as cron and as systemd write it. Runs stay within three weeks.
func both(r *rand.Rand) (cron, systemd string) {
	pick := func(of ...[2]string) [2]string { return of[r.IntN(len(of))] }
	same := func(n int) [2]string { return [2]string{fmt.Sprint(n), fmt.Sprint(n)} }
	list := func(a, b int) [2]string { return [2]string{fmt.Sprintf("%d,%d", a, b), fmt.Sprintf("%d,%d", a, b)} }
	step := func(from, by int) [2]string {
		return [2]string{fmt.Sprintf("%d/%d", from, by), fmt.Sprintf("%d/%d", from, by)}
	}
	star := [2]string{"*", "*"}
	minute := pick(star, same(r.IntN(60)), list(r.IntN(60), r.IntN(60)), step(r.IntN(30), 1+r.IntN(30)), [2]string{"10-20", "10..20"})
	hour := pick(star, same(r.IntN(24)), list(r.IntN(24), r.IntN(24)), step(r.IntN(12), 1+r.IntN(12)), [2]string{"9-17", "9..17"})
	day, week := star, [2]string{"*", ""}
	if r.IntN(2) == 0 {
		day = pick(star, step(1+r.IntN(8), 1+r.IntN(7)), [2]string{"5-25", "5..25"}, [2]string{"2,11,20", "2,11,20"})
	} else {
		week = pick([2]string{"MON-FRI", "Mon..Fri "}, [2]string{"5-7", "Fri..Sun "}, [2]string{"0,WED", "Sun,Wed "}, [2]string{"2", "Tue "})
	}
	return strings.Join([]string{minute[0], hour[0], day[0], "*", week[0]}, " "),
		fmt.Sprintf("%s*-*-%s %s:%s:00", week[1], day[1], hour[1], minute[1])
}
