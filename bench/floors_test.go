package main

import (
	"slices"
	"strings"
	"testing"
)

func drained(stem, river float64) result {
	v := variant{name: "1 000 slots, both at their best", contenders: []contender{{name: "stem"}, {name: "river"}}}
	return result{Scenario: "drain", Unit: "jobs/s", Comparisons: []comparison{compare(v, "jobs/s", [][]sample{
		{{Value: stem, Metrics: map[string]float64{"pg_us_per_job": 10}}},
		{{Value: river, Metrics: map[string]float64{"pg_us_per_job": 50}}},
	})}}
}

func TestAFloorIsJudgedByTheMedians(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stem float64
		want string
	}{{24, "no"}, {25, "floor"}, {49, "floor"}, {50, "aim"}} {
		list, missing := judge([]result{drained(c.stem, 10)})
		// The headline's ratio and the CPU's; the default settings were not run.
		if len(list) != 2 || !slices.Equal(missing, []string{"drain at default settings, 100 slots"}) {
			t.Fatalf("judge = %+v, missing %v", list, missing)
		}
		if list[0].Measured != c.stem/10 || list[0].Reached != c.want {
			t.Errorf("%v ÷ 10: %+v, want %q", c.stem, list[0], c.want)
		}
		if list[1].Measured != 0.2 || list[1].Reached != "aim" {
			t.Errorf("CPU 10 ÷ 50: %+v, want the aim of at most 0.25", list[1])
		}
	}
}

func TestEveryFloorIsOfAScenarioThatThereIs(t *testing.T) {
	t.Parallel()
	for _, f := range floors {
		if _, err := resolve(scenarios(), []string{f.scenario}); err != nil {
			t.Errorf("%q: %v", f.what, err)
		}
		if f.bound.aim > 0 && !f.bound.holds(f.bound.aim, f.bound.floor) {
			t.Errorf("%q: the aim %v is below the floor %v", f.what, f.bound.aim, f.bound.floor)
		}
	}
}

func TestFloorsAndSharesArePrinted(t *testing.T) {
	t.Parallel()
	limit := result{Scenario: "limits", Comparisons: []comparison{
		compare(variant{name: "DELETE, one statement", contenders: []contender{{name: "postgres"}}}, "rows/s", [][]sample{{{Value: 7}}}),
		compare(variant{name: "DELETE and INSERT elsewhere, one statement", contenders: []contender{{name: "postgres"}}}, "rows/s", [][]sample{{{Value: 100}}}),
	}}
	results := []result{limit, drained(48, 12)}
	var b strings.Builder
	writeShares(&b, shares(results))
	list, _ := judge(results)
	if err := writeVerdicts(&b, list, quick); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"stem 0.48; river 0.12 of DELETE and INSERT\n", "≥ 2.5   4.00      ≥ 5     floor", "a hint, not a judgement"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if got := shares(results[1:]); got != nil {
		t.Errorf("shares without limits: %v", got)
	}
}
