package spec_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

// list returns the runs after an instant, a line each: local time, offset, notes.
func list(tb testing.TB, s *spec.Spec, zone *time.Location, p spec.Policy, after string, n int) string {
	tb.Helper()
	var b strings.Builder
	at := instant(tb, after)
	for range n {
		run, ok := s.Next(at, zone, p)
		if !ok {
			b.WriteString("never\n")
			break
		}
		b.WriteString(run.At.Format("2006-01-02 15:04:05 -07:00"))
		for _, note := range run.Notes {
			fmt.Fprintf(&b, "; %s", note)
		}
		b.WriteByte('\n')
		at = run.At
	}
	return b.String()
}

func TestLocalTimesThatDoNotExistOrExistTwice(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, zone, spec string
		policy           spec.Policy
		after, want      string
	}{
		{"a listed hour in a gap runs at its end", "America/New_York", "30 2 * * *", spec.Policy{}, "2026-03-07T12:00:00Z", `
2026-03-08 03:00:00 -04:00; shifted: 2026-03-08 02:30:00 does not exist, runs at the end of the gap
2026-03-09 02:30:00 -04:00
`},
		{"many in a gap run once", "America/New_York", "*/20 2,3 * * *", spec.Policy{}, "2026-03-07T12:00:00Z", `
2026-03-08 03:00:00 -04:00; shifted: 2026-03-08 02:00:00 to 2026-03-08 02:40:00 does not exist, runs at the end of the gap
2026-03-08 03:20:00 -04:00
`},
		{"or not", "America/New_York", "30 2 * * *", spec.Policy{Gap: "skip"}, "2026-03-07T12:00:00Z", `
2026-03-09 02:30:00 -04:00; skipped: 2026-03-08 02:30:00 does not exist
2026-03-10 02:30:00 -04:00
`},
		{"a listed hour runs once in an overlap", "America/New_York", "30 1 * * *", spec.Policy{}, "2026-10-31T12:00:00Z", `
2026-11-01 01:30:00 -04:00; repeated: 2026-11-01 01:30:00 exists twice, this is the first
2026-11-02 01:30:00 -05:00
`},
		{"the second time", "America/New_York", "30 1 * * *", spec.Policy{Overlap: "second"}, "2026-10-31T12:00:00Z", `
2026-11-01 01:30:00 -05:00; repeated: 2026-11-01 01:30:00 exists twice, this is the second
2026-11-02 01:30:00 -05:00
`},
		{"or twice", "America/New_York", "30 1 * * *", spec.Policy{Overlap: "both"}, "2026-10-31T12:00:00Z", `
2026-11-01 01:30:00 -04:00; repeated: 2026-11-01 01:30:00 exists twice, this is the first
2026-11-01 01:30:00 -05:00; repeated: 2026-11-01 01:30:00 exists twice, this is the second
2026-11-02 01:30:00 -05:00
`},
		{"every hour is every hour", "America/New_York", "0 * * * *", spec.Policy{}, "2026-11-01T04:30:00Z", `
2026-11-01 01:00:00 -04:00; repeated: 2026-11-01 01:00:00 exists twice, this is the first
2026-11-01 01:00:00 -05:00; repeated: 2026-11-01 01:00:00 exists twice, this is the second
2026-11-01 02:00:00 -05:00
`},
		{"in spring, too", "America/New_York", "30 * * * *", spec.Policy{}, "2026-03-08T06:00:00Z", `
2026-03-08 01:30:00 -05:00
2026-03-08 03:30:00 -04:00; skipped: 2026-03-08 02:30:00 does not exist
`},
		{"midnight in Cairo", "Africa/Cairo", "0 0 * * *", spec.Policy{}, "2026-04-23T12:00:00Z", `
2026-04-24 01:00:00 +03:00; shifted: 2026-04-24 00:00:00 does not exist, runs at the end of the gap
2026-04-25 00:00:00 +03:00
`},
		{"half an hour on Lord Howe", "Australia/Lord_Howe", "15 2 * * *", spec.Policy{}, "2026-10-03T00:00:00Z", `
2026-10-04 02:30:00 +11:00; shifted: 2026-10-04 02:15:00 does not exist, runs at the end of the gap
2026-10-05 02:15:00 +11:00
`},
		{"and back", "Australia/Lord_Howe", "45 1 * * *", spec.Policy{}, "2026-04-04T00:00:00Z", `
2026-04-05 01:45:00 +11:00; repeated: 2026-04-05 01:45:00 exists twice, this is the first
2026-04-06 01:45:00 +10:30
`},
		{"a day that Samoa never had", "Pacific/Apia", "0 9 * * *", spec.Policy{}, "2011-12-29T12:00:00Z", `
2011-12-29 09:00:00 -10:00
2011-12-31 00:00:00 +14:00; shifted: 2011-12-30 09:00:00 does not exist, runs at the end of the gap
2011-12-31 09:00:00 +14:00
`},
		{"a shift onto a match is one run", "America/New_York", "0 2,3 * * *", spec.Policy{}, "2026-03-07T12:00:00Z", `
2026-03-08 03:00:00 -04:00; shifted: 2026-03-08 02:00:00 does not exist, runs at the end of the gap
2026-03-09 02:00:00 -04:00
`},
		{"always in the gap", "America/New_York", "30 2 * 3 SUN#2", spec.Policy{Gap: "skip"}, "2026-01-01T00:00:00Z", "\nnever\n"},
		{"before there were zones", "Europe/Berlin", "0 12 * * *", spec.Policy{}, "1700-01-01T00:00:00Z", "\n1700-01-01 12:00:00 +00:53\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := strings.TrimPrefix(tt.want, "\n")
			if got := list(t, parse(t, tt.spec), zone(t, tt.zone), tt.policy, tt.after, strings.Count(want, "\n")); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestCronDays(t *testing.T) {
	t.Parallel()
	tests := []struct{ spec, want string }{ // the dates after the end of January 2026, a Saturday
		{"0 0 13 * FRI", "02-06 02-13 02-20 02-27"},  // either
		{"0 0 */2 * FRI", "02-13 02-27 03-13 03-27"}, // both
		{"0 0 13 * *", "02-13 03-13 04-13 05-13"},
		{"0 0 * * 7", "02-01 02-08 02-15 02-22"},
		{"0 0 * * 5-7", "02-01 02-06 02-07 02-08"},
		{"0 0 * * sat-sun", "02-01 02-07 02-08 02-14"},
		{"0 0 * * 0-1", "02-01 02-02 02-08 02-09"},
		{"0 0 25/3 * *", "02-25 02-28 03-25 03-28"},
		{"0 0 L * *", "02-28 03-31 04-30 05-31"},
		{"0 0 LW * *", "02-27 03-31 04-30 05-29"},
		{"0 0 1W * *", "02-02 03-02 04-01 05-01"},  // a Sunday, a Sunday
		{"0 0 31W * *", "03-31 05-29 07-31 08-31"}, // 31 May is a Sunday
		{"0 0 15W * *", "02-16 03-16 04-15 05-15"},
		{"0 0 1W 8 *", "08-03"}, // a Saturday
		{"0 0 * * FRIL", "02-27 03-27 04-24 05-29"},
		{"0 0 * * 5#5", "05-29 07-31 10-30"},
		{"0 0 * * MON#1,2L", "02-02 02-24 03-02 03-31"},
		{"0 0 L * MON#1", "02-02 02-28 03-02 03-31"},
		{"0 0 29 2 *", "2028-02-29 2032-02-29"},
		{"@weekly", "02-01 02-08"},
		{"@MONTHLY", "02-01 03-01"},
		{"@yearly", "2027-01-01 2028-01-01"},
		{`{"calendar": {"months": [3], "monthdays": [2, 4], "weekdays": ["TUE"], "hours": [0], "minutes": [0]}}`, "03-02 03-03 03-04 03-10"},
		{`{"calendar": {"months": ["MAR"], "monthdays": [2, 4], "hours": [0], "minutes": [0]}}`, "03-02 03-04"},
	}
	for _, tt := range tests {
		at := time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
		var got []string
		for want := range strings.FieldsSeq(tt.want) {
			run, ok := parse(t, tt.spec).Next(at, time.UTC, spec.Policy{})
			if !ok {
				t.Fatalf("%s ends after %v", tt.spec, got)
			}
			at = run.At
			layout := "01-02"
			if len(want) > len(layout) {
				layout = time.DateOnly
			}
			got = append(got, at.Format(layout))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.spec, got, tt.want)
		}
	}
}

func TestCronTimes(t *testing.T) {
	t.Parallel()
	tests := []struct{ spec, want string }{ // the times after 10:15:30.5
		{"* * * * *", "10:16:00 10:17:00"},
		{"* * * * * *", "10:15:31 10:15:32"},
		{"*/20 * * * * *", "10:15:40 10:16:00"},
		{"5/10 * * * *", "10:25:00 10:35:00"},
		{"50-59/4,3 * * * *", "10:50:00 10:54:00 10:58:00 11:03:00"},
		{"15 */5 * * *", "15:15:00 20:15:00 00:15:00"},
		{"30 15 10 * * *", "10:15:30 10:15:30"},
		{"@hourly", "11:00:00 12:00:00"},
		{"@daily", "00:00:00"},
	}
	for _, tt := range tests {
		at := time.Date(2026, 1, 31, 10, 15, 30, 5e8, time.UTC)
		var got []string
		for range strings.FieldsSeq(tt.want) {
			run, _ := parse(t, tt.spec).Next(at, time.UTC, spec.Policy{})
			at = run.At
			got = append(got, at.Format(time.TimeOnly))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.spec, got, tt.want)
		}
	}
}
