package bench

import (
	"time"
)

// A Report is what was measured. That of a run that failed has what was measured before, and always what is left.
type Report struct {
	Server   string // version of Postgres
	Queue    string
	Payload  int // bytes of each job
	Batch    int // jobs in a call of the bulk sections, at most
	Slots    int // of the worker
	Jobs     int // of Options
	Duration time.Duration
	Took     time.Duration

	Rates     []Rate
	Latencies []Latency
	Costs     []Cost
	Meaning   []string // sentences
	Warnings  []Warning
	Left      Left
}

// A Rate is how many jobs went through how fast.
type Rate struct {
	Name string // a stable word
	What string
	Jobs int
	Took time.Duration
}

// PerSecond is nought for a rate that was not measured.
func (r Rate) PerSecond() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.Jobs) / r.Took.Seconds()
}

// A Latency is how long something takes once.
type Latency struct {
	Name          string
	What          string
	Samples       int
	P50, P95, P99 time.Duration
	Skipped       string // why it was not measured; "" when it was
}

// A Cost is the same enqueue with a setting on and off, in turn: medians.
type Cost struct {
	Name    string
	What    string
	Samples int // of each
	On, Off time.Duration
	Skipped string
}

// A Warning is something that makes the database slow, or unsafe, or the numbers doubtful.
type Warning struct {
	Name    string
	Message string
	Fix     string
}

// Left is what the run could not take back, and what it took back at the end.
type Left struct {
	Cancelled int64 // waiting jobs
	Envelopes int   // these leave with the ring
	Bytes     int64 // of the envelopes with their index, about
	Queue     bool  // the queue is still there: Run says why in its error
}

// envelopeBytes is what an envelope of the bench takes in its leaf: 20 000 of them were measured, row and primary key.
const envelopeBytes = 400

// The names of what is measured.
const (
	bulkOne     = "bulk_1"
	bulkFour    = "bulk_4"
	singleOne   = "single_1"
	singleEight = "single_8"
	drained     = "drain"
	roundTrip   = "round_trip"
	commit      = "commit"
	pickup      = "pickup"
	notify      = "notifications"
	synchronous = "synchronous_commit"
)

func (r *Report) rate(name string) Rate {
	for _, one := range r.Rates {
		if one.Name == name {
			return one
		}
	}
	return Rate{}
}

func (r *Report) latency(name string) Latency {
	for _, one := range r.Latencies {
		if one.Name == name {
			return one
		}
	}
	return Latency{}
}

func (r *Report) cost(name string) Cost {
	for _, one := range r.Costs {
		if one.Name == name {
			return one
		}
	}
	return Cost{}
}
