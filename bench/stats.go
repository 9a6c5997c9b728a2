package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// sample is what one run of one contender gave.
type sample struct {
	Value   float64            `json:"value"`
	Metrics map[string]float64 `json:"metrics,omitempty"`
	Series  []float64          `json:"series,omitempty"`        // the value in each slice of the run
	Slice   float64            `json:"slice_seconds,omitempty"` // how long each is
}

// makesSense refuses a figure that no run can have, whatever the machine, and the lack of a metric.
func (s sample) makesSense(gives []string) error {
	if !(s.Value > 0) || math.IsInf(s.Value, 0) {
		return fmt.Errorf("the figure is %v: the run does not count", s.Value)
	}
	for name, v := range s.Metrics {
		if !(v >= 0) || math.IsInf(v, 0) {
			return fmt.Errorf("%s is %v: the run does not count", name, v)
		}
	}
	for _, name := range gives {
		if _, ok := s.Metrics[name]; !ok {
			return fmt.Errorf("%s was not measured: the run does not count", name)
		}
	}
	return nil
}

// spread is a median and what lay around it.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	return spread{Median: quantile(values, 0.5), Min: slices.Min(values), Max: slices.Max(values)}
}

// quantile interpolates between the two nearest values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (sorted[high]-sorted[low])*(at-float64(low))
}

// latencies turns durations into the metrics of a latency scenario, in milliseconds.
func latencies(durations []time.Duration) map[string]float64 {
	ms := make([]float64, len(durations))
	for i, d := range durations {
		ms[i] = float64(d.Microseconds()) / 1000
	}
	return map[string]float64{
		"p50_ms": quantile(ms, 0.5), "p95_ms": quantile(ms, 0.95), "p99_ms": quantile(ms, 0.99), "samples": float64(len(ms)),
	}
}
