package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stemqueue/stem/cmd/stem/internal/bench"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
)

func TestBar(t *testing.T) {
	t.Parallel()
	for share, want := range map[float64]string{0: "", 0.0001: "▏", 0.5: "████", 0.55: "████▍", 1: "████████"} {
		if got := bar(share, 8); got != want {
			t.Errorf("bar(%g): got %q, want %q", share, got, want)
		}
	}
}

func benchReport() bench.Report {
	return bench.Report{
		Server: "17.2", Queue: "stem-bench-x", Payload: 203, Batch: 500, Slots: 100, Jobs: 2000, Duration: time.Second, Took: 12 * time.Second,
		Rates: []bench.Rate{
			{Name: "bulk_1", What: "in bulk", Jobs: 1000, Took: 20 * time.Millisecond},
			{Name: "single_1", What: "one by one", Jobs: 1000, Took: time.Second},
		},
		Latencies: []bench.Latency{
			{Name: "round_trip", What: "round trip", Samples: 100, P50: 100_000, P95: 110_000, P99: 120_000},
			{Name: "commit", What: "commit", Skipped: "it would be seen"},
		},
		Costs: []bench.Cost{
			{Name: "notifications", What: "wakes", Samples: 10, On: 1_400_000, Off: 1_300_000},
			{Name: "synchronous_commit", What: "waits", Skipped: "a pooler refuses it"},
		},
		Meaning:  []string{"It is fast."},
		Warnings: []bench.Warning{{Name: "fsync_off", Message: "fsync is off", Fix: "turn it on"}},
		Left:     bench.Left{Cancelled: 7, Envelopes: 3000, Bytes: 1_200_000},
	}
}

const benchTables = `Postgres 17.2, at ; it took 12s.

Throughput
WHAT        JOBS    TOOK  JOBS/S
in bulk     1000  20.0ms   50000  ████████████████████████
one by one  1000   1.00s    1000  ▌

Latency
WHAT        SAMPLES    P50    P95    P99
round trip      100  100µs  110µs  120µs  ████████████████████████
commit            0      -      -      -  -

What settings cost an enqueue
NAME                WHAT   SAMPLES      ON     OFF   COST
notifications       wakes       10  1.40ms  1.30ms  100µs
synchronous_commit  waits        0       -       -      -
Not measured: commit: it would be seen.
Not measured: synchronous_commit: a pooler refuses it.

What it means
It is fast.

Warnings
! fsync is off
  fix: turn it on

What is left
queue stem-bench-x is gone, 7 waiting jobs were cancelled; 3000 envelopes, about 1.2 MB, leave with the ring within 32 hours.
`

func TestPrintBench(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := newApp(nil, Streams{Out: &out, Err: &bytes.Buffer{}})
	a.Printer.Format = output.Table
	if err := a.printBench(benchReport()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(benchTables, out.String()); diff != "" {
		t.Error(diff)
	}

	out.Reset()
	calm := benchReport()
	calm.Warnings = nil
	if err := a.printBench(calm); err != nil || !strings.Contains(out.String(), "\nWarnings\nNone.\n") {
		t.Errorf("%v, got %s", err, out.String())
	}

	// A bar takes what a narrow terminal leaves, and no line is wider.
	out.Reset()
	a.Printer.Width = 80
	if err := a.printBench(benchReport()); err != nil || strings.Contains(out.String(), "█████████████") || !strings.Contains(out.String(), "  ████████████\n") {
		t.Errorf("%v, got %s", err, out.String())
	}

	for _, format := range output.Formats[2:] {
		out.Reset()
		a.Printer.Format = format
		if err := a.printBench(benchReport()); err != nil || !strings.Contains(out.String(), "stem-bench-x") {
			t.Errorf("%s: %v, got %s", format, err, out.String())
		}
	}
}

func TestOnlyTroublesOfTheWorkerAreLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(troubles{slog.NewTextHandler(&out, nil)})
	log.InfoContext(t.Context(), "worker started")
	log.WarnContext(t.Context(), "claim failed")
	if got := out.String(); strings.Contains(got, "started") || !strings.Contains(got, "claim failed") {
		t.Errorf("got %q", got)
	}
	quiet := slog.New(troubles{slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})})
	if quiet.Enabled(t.Context(), slog.LevelWarn) {
		t.Error("--quiet is not heard")
	}
}

func TestLeft(t *testing.T) {
	t.Parallel()
	r := bench.Report{Queue: "stem-bench-x", Left: bench.Left{Queue: true}}
	if got, want := left(r), "queue stem-bench-x is still there, 0 waiting jobs were cancelled"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
