package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entry is one contender's result.
type entry struct {
	Name     string            `json:"name"`
	Settings string            `json:"settings"`
	Value    spread            `json:"value"`
	Metrics  map[string]spread `json:"metrics,omitempty"`
	Runs     []sample          `json:"runs"`
}

type comparison struct {
	Variant  string    `json:"variant"`
	Entries  []entry   `json:"entries"`
	Ratio    float64   `json:"ratio,omitempty"` // of the medians of the first two; 0 when there is one
	Against  []against `json:"against,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
}

// against is the first contender divided by another one: the value, and the metrics that can be compared.
type against struct {
	To     string             `json:"to"`
	Ratios map[string]float64 `json:"ratios"` // by metric; "value" is that of the scenario
}

// comparableMetrics are the metrics of which a ratio says something, in the order in which they are printed.
var comparableMetrics = []string{
	"p50_ms", "p95_ms", "p99_ms", "pg_us_per_job", "client_us_per_job", "wal_bytes_per_job",
	"pg_cpu_ms_per_s", "client_cpu_ms_per_s", "wal_bytes_per_s",
}

// figure is the median of a metric, or of the value.
func (e entry) figure(metric string) (float64, bool) {
	if metric == "" {
		return e.Value.Median, true
	}
	s, ok := e.Metrics[metric]
	return s.Median, ok
}

// ratio divides the medians. There is none to something that is missing, or zero.
func ratio(a, b entry, metric string) (float64, bool) {
	x, ok := a.figure(metric)
	y, there := b.figure(metric)
	if !ok || !there || y <= 0 {
		return 0, false
	}
	return x / y, true
}

type result struct {
	Scenario    string       `json:"scenario"`
	About       string       `json:"about"`
	Unit        string       `json:"unit"`
	Comparisons []comparison `json:"comparisons"`
}

// runScenario runs every variant of it whose name contains only, the contenders in turn. onlyHeadline stops after the first variant.
func runScenario(ctx context.Context, l *lab, s scenario, rounds int, only string, onlyHeadline bool) (result, error) {
	r := result{Scenario: s.name, About: s.about, Unit: s.unit}
	variants, done, err := s.open(ctx, l)
	if err != nil {
		return r, err
	}
	defer done()
	all := variants
	if variants = slices.DeleteFunc(slices.Clone(all), func(v variant) bool { return !strings.Contains(v.name, only) }); len(variants) == 0 {
		var names []string
		for _, v := range all {
			names = append(names, strconv.Quote(v.name))
		}
		return r, fmt.Errorf("%s: no variant contains %q; there are %s", s.name, only, strings.Join(names, ", "))
	}
	if onlyHeadline {
		variants = variants[:1]
	}
	for i, v := range variants {
		runs := make([][]sample, len(v.contenders))
		for round := range rounds {
			for k, c := range v.contenders {
				said := l.progress(fmt.Sprintf("%s %d/%d  %s  round %d/%d  %s", s.name, i+1, len(variants), v.name, round+1, rounds, c.name))
				one, err := c.run(ctx)
				said()
				if err == nil {
					err = one.makesSense(s.gives)
				}
				if err != nil {
					return r, fmt.Errorf("%s, %s, %s: %w", s.name, v.name, c.name, err)
				}
				runs[k] = append(runs[k], one)
				l.say("%s %d/%d  %s  round %d/%d  %-16s %12.1f %s", s.name, i+1, len(variants), v.name, round+1, rounds, c.name, one.Value, s.unit)
			}
		}
		if l.size == smoke {
			v.reference = 0 // nothing is to be read from its figures
		}
		r.Comparisons = append(r.Comparisons, compare(v, s.unit, runs))
		for _, w := range r.Comparisons[i].Warnings {
			l.say("WARNING: %s", w)
		}
	}
	return r, nil
}

func compare(v variant, unit string, runs [][]sample) comparison {
	c := comparison{Variant: v.name}
	for k, list := range runs {
		e := entry{Name: v.contenders[k].name, Settings: v.contenders[k].settings, Runs: list, Metrics: map[string]spread{}}
		values := map[string][]float64{}
		var heads []float64
		for _, one := range list {
			heads = append(heads, one.Value)
			for name, value := range one.Metrics {
				values[name] = append(values[name], value)
			}
		}
		e.Value = spreadOf(heads)
		for name, list := range values {
			e.Metrics[name] = spreadOf(list)
		}
		c.Entries = append(c.Entries, e)
	}
	for _, other := range c.Entries[1:] {
		a := against{To: other.Name, Ratios: map[string]float64{}}
		for _, metric := range append([]string{""}, comparableMetrics...) {
			if r, ok := ratio(c.Entries[0], other, metric); ok {
				a.Ratios[cmp.Or(metric, "value")] = r
			}
		}
		c.Against = append(c.Against, a)
	}
	if len(c.Against) > 0 {
		c.Ratio = c.Against[0].Ratios["value"]
		c.Warnings = doubts(v, unit, c.Entries[1])
	}
	return c
}

// doubts says when River did less than half as well as it can.
func doubts(v variant, unit string, river entry) []string {
	got := river.Value.Median
	switch {
	case v.reference == 0:
		return nil
	case unit == "ms" && got > 2*v.reference:
		return []string{fmt.Sprintf("%s took %.0f ms in %q, more than twice the %.0f that were measured for it on a quiet machine "+
			"of 2 vCPU: a fault of the bench or a busy machine; do not publish this ratio", river.Name, got, v.name, v.reference)}
	case unit != "ms" && got < v.reference/2:
		return []string{fmt.Sprintf("%s reached %.0f %s in %q, less than half of the %.0f that were measured for it on a quiet machine "+
			"of 2 vCPU: a fault of the bench or a busy machine; do not publish this ratio", river.Name, got, unit, v.name, v.reference)}
	default:
		return nil
	}
}

// progress says every ten seconds that a run goes on, until it is told to end.
func (l *lab) progress(what string) (end func()) {
	began, done, over := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		beat := time.NewTicker(10 * time.Second)
		defer beat.Stop()
		for {
			select {
			case <-done:
				return
			case <-beat.C:
				l.say("… %s: %.0f s", what, time.Since(began).Seconds())
			}
		}
	}()
	return func() {
		close(done)
		<-over
	}
}
