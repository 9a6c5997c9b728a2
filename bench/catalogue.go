package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// contender is one system with one group of settings.
type contender struct {
	name     string // "stem", "river", "stem, defaults", …
	settings string
	run      func(ctx context.Context) (sample, error)
}

// variant is one comparison of a scenario. Its contenders run in turn, A B A B.
type variant struct {
	name       string
	contenders []contender // the ratio is that of the first to the second
	reference  float64     // what River gives on a quiet machine: half of it is a fault of the bench; 0 means unknown
}

// scenario is a subject. open prepares it and returns its variants, the headline first, and how to clean up.
type scenario struct {
	name  string
	about string
	unit  string   // of sample.Value; "ms" is better when less
	gives []string // the metrics of every run
	takes int      // minutes that a full run of three rounds takes on 2 vCPU, about
	open  func(ctx context.Context, l *lab) ([]variant, func(), error)
}

// costs are the metrics of a gauge, percentiles those of latencies.
var (
	costs       = []string{"pg_us_per_job", "client_us_per_job", "wal_bytes_per_job", "dead_tuples"}
	percentiles = []string{"p50_ms", "p95_ms", "p99_ms"}
)

func scenarios() []scenario {
	list := slices.Concat(drainScenarios(), enqueueScenarios(), cycleScenarios(), doorScenarios(), pickupScenarios(),
		claimScenarios(), historyScenarios(), processScenarios(), scheduleScenarios())
	slices.SortStableFunc(list, func(a, b scenario) int { return strings.Compare(a.name, b.name) })
	// What the server can do comes first: the others are held against it.
	return append(limitScenarios(), list...)
}

// resolve turns what --scenario said into scenarios, in the catalogue's order, each once.
func resolve(all []scenario, wanted []string) ([]scenario, error) {
	chosen := map[string]bool{}
	for _, name := range wanted {
		name = strings.TrimSpace(name)
		if name == "all" {
			return all, nil
		}
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.name == name }) {
			return nil, fmt.Errorf("no scenario %q; did you mean %q? --list names all of them", name, nearest(all, name))
		}
		chosen[name] = true
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no scenario was named; give --scenario NAME or --scenario all; --list names them")
	}
	return slices.DeleteFunc(slices.Clone(all), func(s scenario) bool { return !chosen[s.name] }), nil
}

func nearest(all []scenario, name string) string {
	best, least := "", 1<<30
	for _, s := range all {
		if d := distance(s.name, name); d < least {
			best, least = s.name, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j]+1, row[j+1]+1, substitute)
		}
	}
	return row[len(b)]
}
