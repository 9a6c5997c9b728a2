package bench

import (
	"math"
	"slices"
	"time"
)

// quantile is the value that a share q of the values does not exceed, interpolated; nought for no values.
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + time.Duration(float64(sorted[high]-sorted[low])*(at-float64(low)))
}

func median(values []time.Duration) time.Duration { return quantile(values, 0.5) }

func latencyOf(name, what string, values []time.Duration) Latency {
	return Latency{
		Name: name, What: what, Samples: len(values),
		P50: median(values), P95: quantile(values, 0.95), P99: quantile(values, 0.99),
	}
}
