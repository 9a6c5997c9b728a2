package cli

import (
	"testing"
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

func TestSpecWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"every:30s": "every 30s",
		`{"every":"5m","startAt":"2026-01-01T00:00:00Z","endAt":"2027-01-01T00:00:00Z"}`: "every 5m from 2026-01-01T00:00:00Z until 2027-01-01T00:00:00Z",
		"0 2 * * *":                          "cron 0 2 * * *",
		"@daily":                             "cron @daily",
		`{"clocked":"2026-02-01T09:00:00Z"}`: "once 2026-02-01T09:00:00Z",
		`{"solar":"dawn","latitude":-33.9,"longitude":151,"offset":"15m"}`:                   "dawn at -33.9,151 +15m",
		`{"solar":"noon","latitude":0,"longitude":0}`:                                        "noon at 0,0",
		`{"calendar":{"months":["DEC"],"weekdays":[7,"MON"],"hours":[0,12],"minutes":[30]}}`: "calendar months DEC weekdays SUN,MON hours 0,12 minutes 30",
		`{"calendar":{}}`: "calendar",
	} {
		s, err := spec.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := specWords(s.String()); got != want {
			t.Errorf("%s (%s): %q, want %q", text, s, got, want)
		}
	}
	for _, text := range []string{"", "nonsense", "5", "{}", `{"calendar":7}`} {
		if got := specWords(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestAway(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "in 0s", 5 * time.Minute: "in 5m", -3 * time.Second: "3s ago", 47 * time.Hour: "in 47h", 73 * time.Hour: "in 3d", -100 * time.Hour: "4d ago",
	} {
		if got := away(now.Add(d), now); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
