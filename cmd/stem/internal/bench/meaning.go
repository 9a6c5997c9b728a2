package bench

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
)

// meaning says in sentences what the numbers are good for. Those of sections that were not measured are left out.
func (r *Report) meaning(poll time.Duration) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if n := r.rate(drained).PerSecond(); n > 0 {
		add("About %s jobs/s go through one worker process when their handlers do nothing, %s an hour.", number(n), number(n*3600))
	}
	one, eight, bulk := r.latency(singleOne), r.rate(singleEight).PerSecond(), r.rate(bulkOne).PerSecond()
	if one.P50 > 0 && eight > 0 {
		add("An enqueue of one job takes %s%s. 8 producers at once make %s/s.", arg.Precise(one.P50), r.parts(one.P50), number(eight))
	}
	if n := r.rate(singleOne).PerSecond(); n > 0 && bulk > n {
		add("Many jobs in one call are %s times as fast as one by one: %s/s on one connection.", number(bulk/n), number(bulk))
	}
	if p := r.latency(pickup); p.P50 > 0 {
		add("On an idle queue a handler begins %s after its job was enqueued, 99 of 100 within %s.", arg.Precise(p.P50), arg.Precise(p.P99))
	}
	if c := r.cost(notify); c.measured() {
		add("Waking a worker costs an enqueue %s. With queue.NoNotify a job waits for the next poll instead, about %s at most.",
			c.difference(), arg.Text(cmp.Or(poll, time.Second)))
	}
	if c := r.cost(synchronous); c.measured() {
		add("Waiting for the disk costs an enqueue %s. With synchronous_commit off nobody waits, and a crash loses jobs that were reported as enqueued.",
			c.difference())
	}
	return list
}

// parts splits an enqueue into the round trip, the flush of its commit, and the rest.
func (r *Report) parts(whole time.Duration) string {
	trip, flush := r.latency(roundTrip).P50, r.latency(commit).P50
	switch sync := r.cost(synchronous); {
	case flush > 0:
		flush -= trip
	case sync.measured():
		flush = sync.On - sync.Off
	}
	flush = max(flush, 0)
	if trip <= 0 || trip+flush >= whole {
		return "" // the machine was busier for the one than for the other
	}
	return fmt.Sprintf(": %s for the round trip, %s for the commit, %s for the statement",
		arg.Precise(trip), noticeable(flush), arg.Precise(whole-trip-flush))
}

// least is a time that makes no difference to an enqueue.
const least = 20 * time.Microsecond

func noticeable(d time.Duration) string {
	if d < least {
		return "next to nothing"
	}
	return arg.Precise(d)
}

func (c Cost) measured() bool { return c.On > 0 && c.Off > 0 }

// difference is in words: what is within the noise is nothing.
func (c Cost) difference() string {
	d := c.On - c.Off
	if d < least || d < c.Off/20 {
		return "nothing that can be measured"
	}
	return fmt.Sprintf("%s (%s instead of %s)", arg.Precise(d), arg.Precise(c.On), arg.Precise(c.Off))
}

// number is rounded to three digits, with blanks between thousands: 14 200.
func number(n float64) string {
	switch {
	case n >= 1e9:
		return number(n/1e6) + " million"
	case n >= 1e6:
		return strconv.FormatFloat(n/1e6, 'g', 3, 64) + " million"
	case n < 10:
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(significant(n), 'f', 0, 64)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// significant rounds to three digits.
func significant(n float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(n))-2)
	return math.Round(n/unit) * unit
}
