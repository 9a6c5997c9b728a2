package main

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestSpreadIsTheMedianWithTheExtremes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{7}, spread{7, 7, 7}},
		{[]float64{9, 1, 5}, spread{5, 1, 9}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("spreadOf(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestQuantileInterpolatesAndLeavesTheValuesAlone(t *testing.T) {
	t.Parallel()
	values := []float64{30, 10, 20}
	for q, want := range map[float64]float64{0: 10, 0.25: 15, 0.5: 20, 0.95: 29, 1: 30} {
		if got := quantile(values, q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile(%v) = %v, want %v", q, got, want)
		}
	}
	if values[0] != 30 {
		t.Errorf("the values were sorted in place: %v", values)
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("quantile of nothing = %v, want NaN", got)
	}
}

func TestLatenciesAreInMilliseconds(t *testing.T) {
	t.Parallel()
	got := latencies([]time.Duration{time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond})
	if got["p50_ms"] != 2 || got["samples"] != 3 || got["p99_ms"] <= got["p95_ms"] {
		t.Errorf("latencies = %v", got)
	}
}

func TestAStopwatchKeepsWhatFitsAndNeverGoesBelowZero(t *testing.T) {
	t.Parallel()
	w := newStopwatch(2)
	for i := range 3 {
		w.handler(newLoad(int64(i), time.Now().UnixNano()))
	}
	got := w.since(func(i int) int64 { return w.begun[i] - int64(i) + int64(1-i)*5 })
	if len(got) != 2 || got[0] != 0 || got[1] != 1 {
		t.Errorf("since = %v, want [0s 1ns]", got)
	}
}

func TestTheSameSeedGivesTheSamePayloadOfAbout200Bytes(t *testing.T) {
	t.Parallel()
	if again := pad(1); again != pad(1) || again == pad(2) {
		t.Error("the seed does not decide the letters")
	}
	text, err := json.Marshal(newLoad(100_000, time.Now().UnixNano()))
	if err != nil || len(text) < 190 || len(text) > 230 {
		t.Errorf("the payload has %d bytes (%v), want about 200", len(text), err)
	}
}

func TestAFigureThatNoRunCanHaveDoesNotCount(t *testing.T) {
	t.Parallel()
	good := sample{Value: 1, Metrics: map[string]float64{"p50_ms": 2, "dead_tuples": 0}}
	if err := good.makesSense([]string{"p50_ms"}); err != nil {
		t.Errorf("%+v: %v", good, err)
	}
	for name, s := range map[string]sample{
		"zero":            {Metrics: map[string]float64{"p50_ms": 1}},
		"below zero":      {Value: -1, Metrics: map[string]float64{"p50_ms": 1}},
		"no number":       {Value: math.NaN(), Metrics: map[string]float64{"p50_ms": 1}},
		"without end":     {Value: math.Inf(1), Metrics: map[string]float64{"p50_ms": 1}},
		"no metric":       {Value: 1},
		"a metric is NaN": {Value: 1, Metrics: map[string]float64{"p50_ms": 1, "rate": math.NaN()}},
		"a metric below":  {Value: 1, Metrics: map[string]float64{"p50_ms": -1}},
	} {
		if err := s.makesSense([]string{"p50_ms"}); err == nil {
			t.Errorf("%s: %+v was accepted", name, s)
		}
	}
}
