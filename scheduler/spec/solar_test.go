package spec_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/scheduler/spec"
)

// arc reads degrees and minutes.
func arc(t *testing.T, text string) float64 {
	t.Helper()
	degrees, minutes, _ := strings.Cut(text, ":")
	d, err := strconv.ParseFloat(degrees, 64)
	if err != nil {
		t.Fatal(err)
	}
	m, err := strconv.ParseFloat(minutes, 64)
	if err != nil {
		t.Fatal(err)
	}
	if d < 0 {
		m = -m
	}
	return d + m/60
}

func TestTheSunIsWhereTheNavalObservatorySaysItIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/sun.txt")
	if err != nil {
		t.Fatal(err)
	}
	places, worst := map[string]int{}, time.Duration(0)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		w := strings.Fields(line)
		events := []string{"sunrise", "sunset"}
		if strings.HasPrefix(w[0], "civil:") {
			events = []string{"dawn", "dusk"}
		}
		places[w[0]]++
		day := instant(t, w[3]+"T00:00:00Z")
		for i, event := range events {
			s := parse(t, fmt.Sprintf(`{"solar":%q,"latitude":%g,"longitude":%g}`, event, arc(t, w[1]), arc(t, w[2])))
			run, ok := s.Next(day.Add(-time.Second), time.UTC, spec.Policy{})
			if !ok {
				t.Fatalf("%s: never", line)
			}
			if polar := map[string]string{"****": spec.PolarDay, "----": spec.PolarNight}[w[4+i]]; polar != "" {
				if len(run.Notes) != 1 || run.Notes[0].Kind != polar || run.At.Sub(day) < 20*24*time.Hour {
					t.Errorf("%s%s: %s %v, want %s", line, event, run.At, run.Notes, polar)
				}
				continue
			}
			want := instant(t, w[3]+"T"+w[4+i][:2]+":"+w[4+i][2:]+":00Z")
			// The table is rounded to the minute.
			off := run.At.Sub(want).Abs()
			worst = max(worst, off)
			if off > 2*time.Minute {
				t.Errorf("%s%s: %s is %s off", line, event, run.At, off)
			}
		}
	}
	if len(places) != 11 {
		t.Errorf("%d places", len(places))
	}
	t.Logf("at most %s off", worst)
}

func TestPolarDaysAreSkippedAndNamed(t *testing.T) {
	t.Parallel()
	// The table of the Naval Observatory for Longyearbyen in 2020 has the first sunset at 11:54 on 16 February, the last before the night at 11:31
	// on 25 October, the last sunrise of spring at 23:18 on 17 April and the next at 23:50 on 24 August. The dates in notes are the place's.
	tests := []struct{ event, after, want string }{
		{"sunset", "2020-01-01T00:00:00Z", "2020-02-16 11:54; skipped: polar night 2020-01-01 to 2020-02-15"},
		{"sunset", "2020-10-25T00:00:00Z", "2020-10-25 11:31"},
		{"sunrise", "2020-04-17T12:00:00Z", "2020-04-17 23:17"},
		{"sunrise", "2020-04-17T23:30:00Z", "2020-08-24 23:50; skipped: polar day 2020-04-19 to 2020-08-24"},
		{"noon", "2020-06-20T00:00:00Z", "2020-06-20 10:59"},
	}
	for _, tt := range tests {
		s := parse(t, fmt.Sprintf(`{"solar":%q,"latitude":78.2166,"longitude":15.6333}`, tt.event))
		run, ok := s.Next(instant(t, tt.after), time.UTC, spec.Policy{})
		var got strings.Builder
		got.WriteString(run.At.Format("2006-01-02 15:04"))
		for _, note := range run.Notes {
			got.WriteString("; " + note.String())
		}
		if !ok || got.String() != tt.want {
			t.Errorf("%s after %s: %s, want %s", tt.event, tt.after, got.String(), tt.want)
		}
	}
}

func TestAnOffsetMovesTheRunNotTheSun(t *testing.T) {
	t.Parallel()
	const place = `{"solar":"sunrise","latitude":52.5,"longitude":13.4,"offset":%q}`
	plain := parse(t, fmt.Sprintf(place, "0s"))
	for _, offset := range []string{"-12h", "-15m", "1h", "12h"} {
		moved := parse(t, fmt.Sprintf(place, offset))
		d, err := time.ParseDuration(offset)
		if err != nil {
			t.Fatal(err)
		}
		at := instant(t, "2026-03-01T00:00:00Z")
		for range 400 {
			a, _ := plain.Next(at, time.UTC, spec.Policy{})
			b, ok := moved.Next(at.Add(d), time.UTC, spec.Policy{})
			if !ok || !b.At.Equal(a.At.Add(d)) || len(a.Notes) > 0 {
				t.Fatalf("%s: %s and %s", offset, a.At, b.At)
			}
			at = a.At
		}
	}
}

func TestThereIsNoSunriseAtAPole(t *testing.T) {
	t.Parallel()
	if run, ok := parse(t, `{"solar":"sunrise","latitude":90,"longitude":0}`).Next(time.Unix(0, 0), time.UTC, spec.Policy{}); ok {
		t.Errorf("%v", run)
	}
}
