package spec_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stemqueue/stem/scheduler/spec"
)

// specs are of any kind but clocked, which has nothing to be ordered. One whose months do not have its day is refused rightly: another is drawn.
var specs = rapid.Custom(anySpec).Filter(func(s *spec.Spec) bool { return s != nil })

func anySpec(t *rapid.T) *spec.Spec {
	of := func(label string, items ...string) string { return rapid.SampledFrom(items).Draw(t, label) }
	number := func(label string, low, high int) string { return fmt.Sprint(rapid.IntRange(low, high).Draw(t, label)) }
	var text string
	switch of("kind", "cron", "cron", "cron", "every", "calendar", "solar") {
	case "cron":
		text = strings.Join([]string{
			of("second", "0", "*", "*/7", "59"),
			of("minute", "*", "*/"+number("m", 1, 59), number("m", 0, 59)),
			of("hour", "*", "*/3", "0-3", number("h", 0, 23)),
			of("day", "*", "*/2", "L", "LW", number("d", 1, 31)+"W", number("d", 1, 31)),
			of("month", "*", "*", "3,4,9-11", "1/5"),
			of("week", "*", "SUN", "5L", "SUN#2", "MON-FRI"),
		}, " ")
	case "every":
		text = "every:" + number("every", 1, 1_000_000) + "s"
	case "calendar":
		text = fmt.Sprintf(`{"calendar":{"hours":[%s,2],"minutes":[%s]}}`, number("h", 0, 23), number("m", 0, 59))
	default:
		text = fmt.Sprintf(`{"solar":%q,"latitude":%s,"longitude":%s,"offset":"%sm"}`, of("event", "sunrise", "sunset", "noon", "dawn", "dusk"),
			number("latitude", -85, 85), number("longitude", -180, 180), number("offset", -700, 700))
	}
	s, err := spec.Parse(text)
	if err != nil && strings.HasSuffix(err.Error(), "never matches any date") {
		return nil
	} else if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

// TestRunsAreInOrderAndNoneIsPassedOver: the next run is later, and it is the next of each instant before it as well. So whoever asks late, or
// again, misses nothing and gets nothing twice.
func TestRunsAreInOrderAndNoneIsPassedOver(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := specs.Draw(r, "spec")
		name := rapid.SampledFrom(zones).Draw(r, "zone")
		z := zone(t, name)
		at := instant(t, "2024-01-01T00:00:00Z").Add(time.Duration(rapid.IntRange(0, 9*365*86400).Draw(r, "at")) * time.Second)
		if all := changes(t, name); len(all) > 0 && rapid.Bool().Draw(r, "near a change") {
			at = rapid.SampledFrom(all).Draw(r, "change").Add(-time.Duration(rapid.IntRange(-7200, 7200).Draw(r, "before")) * time.Second)
		}
		p := spec.Policy{
			Gap:     rapid.SampledFrom([]string{"", "next", "skip"}).Draw(r, "gap"),
			Overlap: rapid.SampledFrom([]string{"", "first", "second", "both"}).Draw(r, "overlap"),
		}
		run, ok := s.Next(at, z, p)
		if !ok {
			return
		}
		if !run.At.After(at) || run.At.Location() != z {
			r.Fatalf("%s after %s: %s", s, at, run.At)
		}
		between := time.Duration(rapid.Int64Range(0, int64(run.At.Sub(at))-1).Draw(r, "between"))
		if again, ok := s.Next(at.Add(between), z, p); !ok || !again.At.Equal(run.At) {
			r.Fatalf("%s after %s: %s, but after %s: %s", s, at, run.At, at.Add(between), again.At)
		}
		if later, ok := s.Next(run.At, z, p); ok && !later.At.After(run.At) {
			r.Fatalf("%s after %s: %s", s, run.At, later.At)
		}
	})
}
