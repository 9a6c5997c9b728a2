package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// floor is what a figure must show, and what it should.
type floor struct {
	what              string
	scenario, variant string // the variant's name begins so
	to                string // the first contender is divided by the one whose name begins so; "" takes its own figure
	metric            string // "" is the value
	bound             bound
}

// bound says which way is better, too.
type bound struct {
	most       bool // the figure must be at most so much; else at least
	floor, aim float64
}

func atLeast(floor, aim float64) bound { return bound{floor: floor, aim: aim} }
func atMost(floor, aim float64) bound  { return bound{most: true, floor: floor, aim: aim} }

// floors are what was asked of Stem before it was measured. 0 means that nothing was.
var floors = []floor{
	{"drain, 1 000 slots, both at their best", "drain", "1 000 slots", "river", "", atLeast(2.5, 5)},
	{"drain at default settings, 100 slots", "drain", "100 slots, default", "river", "", atLeast(15, 25)},
	{"bulk enqueue, one connection", "bulk", "connections: 1", "river", "", atLeast(1.5, 2.5)},
	{"bulk enqueue, four connections", "bulk", "connections: 4", "river", "", atLeast(1.5, 2.5)},
	{"single enqueue, 8 producers, a busy worker", "single", "8 producers, a busy", "river", "", atLeast(1.5, 2)},
	{"single enqueue, 8 producers, an idle worker", "single", "8 producers, an idle", "river", "", atLeast(0, 0)},
	{"single enqueue, 32 producers, a busy worker", "single", "32 producers, a busy", "river", "", atLeast(1.5, 2)},
	{"single enqueue, 32 producers, an idle worker", "single", "32 producers, an idle", "river", "", atLeast(0, 0)},
	{"full cycle", "cycle", "", "river", "", atLeast(2.5, 4)},
	{"full cycle, a snapshot held", "held", "", "river", "", atLeast(5, 8)},
	{"full cycle, a snapshot held, ÷ Stem without", "held", "", "stem", "", atLeast(0.8, 0)},
	// "Flat" was given no number: this one is of the reference measurements.
	{"full cycle, a snapshot held, last third ÷ first", "held", "", "", "last_third_to_first", atLeast(0.8, 0)},
	{"WAL a job, insert to finished and kept", "cycle", "", "river", "wal_bytes_per_job", atMost(0.4, 0.3)},
	{"Postgres CPU a job in the drain", "drain", "1 000 slots", "river", "pg_us_per_job", atMost(0.35, 0.25)},
	{"pickup p50 at 50/s ÷ River's defaults", "pickup", "50/s", "river, defaults", "p50_ms", atMost(0.15, 0)},
	{"pickup p99 at 50/s ÷ River's defaults", "pickup", "50/s", "river, defaults", "p99_ms", atMost(0.15, 0)},
	{"pickup p50 at 50/s ÷ River's best", "pickup", "50/s", "river, best", "p50_ms", atMost(1, 0)},
	{"pickup p99 at 50/s ÷ River's best", "pickup", "50/s", "river, best", "p99_ms", atMost(1, 0)},
	{"pickup p99 from commit, half load ÷ River's best", "halfload", "from commit", "river", "p99_ms", atMost(1, 0)},
	{"pickup p99 from commit, half load, ms", "halfload", "from commit", "", "p99_ms", atMost(50, 0)},
	{"drain with signatures ÷ without", "signing", "1 000 slots", "stem", "", atLeast(0.9, 0)},
	{"claim p99, the longest line ÷ a short one", "claim", "a long line", "stem", "p99_ms", atMost(3, 1.5)},
}

// verdict is what became of a floor in this run.
type verdict struct {
	What     string  `json:"what"`
	Scenario string  `json:"scenario"`
	Floor    string  `json:"floor,omitempty"`
	Aim      string  `json:"aim,omitempty"`
	Measured float64 `json:"measured"`
	Reached  string  `json:"reached,omitempty"` // "aim", "floor" or "no"; "" where there is no floor
}

// judge looks each floor up. missing names those whose scenario ran, but without such a figure.
func judge(results []result) (list []verdict, missing []string) {
	for _, f := range floors {
		for _, r := range results {
			if r.Scenario != f.scenario {
				continue
			}
			if measured, ok := f.measured(r); ok {
				list = append(list, verdict{f.what, f.scenario, f.bound.text(f.bound.floor), f.bound.text(f.bound.aim), measured, f.bound.reached(measured)})
			} else {
				missing = append(missing, f.what)
			}
		}
	}
	return list, missing
}

func (f floor) measured(r result) (float64, bool) {
	for _, c := range r.Comparisons {
		if !strings.HasPrefix(c.Variant, f.variant) {
			continue
		}
		if f.to == "" {
			return c.Entries[0].figure(f.metric)
		}
		for _, other := range c.Entries[1:] {
			if strings.HasPrefix(other.Name, f.to) {
				return ratio(c.Entries[0], other, f.metric)
			}
		}
	}
	return 0, false
}

func (b bound) holds(v, limit float64) bool {
	if b.most {
		return v <= limit
	}
	return v >= limit
}

func (b bound) reached(v float64) string {
	switch {
	case b.floor == 0:
		return ""
	case b.aim > 0 && b.holds(v, b.aim):
		return "aim"
	case b.holds(v, b.floor):
		return "floor"
	default:
		return "no"
	}
}

func (b bound) text(limit float64) string {
	switch {
	case limit == 0:
		return ""
	case b.most:
		return fmt.Sprintf("≤ %g", limit)
	default:
		return fmt.Sprintf("≥ %g", limit)
	}
}

func writeVerdicts(w io.Writer, list []verdict, z size) error {
	if len(list) == 0 {
		return nil
	}
	title := "floors"
	if z != full {
		title += " (a short run on little data: a hint, not a judgement)"
	}
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  \tfloor\tmeasured\taim\treached")
	for _, v := range list {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", v.What, v.Floor, short(v.Measured), v.Aim, v.Reached)
	}
	return t.Flush()
}
