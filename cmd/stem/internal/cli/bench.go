package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/bench"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/progress"
)

// benchConnections is enough for eight producers beside a connection that is held.
const benchConnections = 12

func newBench(a *App) *cobra.Command {
	var (
		jobs     = arg.Between(100, 1_000_000, 20_000)
		duration = arg.Within(100*time.Millisecond, 10*time.Minute, 3*time.Second)
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure throughput and latency of this database, with what they mean",
		Long: `Measure what this database does, from where this program runs: enqueue in bulk and one by one, a worker that drains a backlog,
how soon an idle worker picks a job up, and what notifications and synchronous_commit cost; then say what that means, and warn of
what makes it slow, unsafe or doubtful. It takes about half a minute.

It is load, as heavy as the database takes, and asks no question: at a busy time, give it less with --jobs and --duration. It
works in a queue of its own, named stem-bench-…, with jobs that do nothing. At the end, also after a failure or Ctrl-C, it takes
back what waits, forgets the queue, and keeps nothing of the jobs but their envelopes (some 400 bytes each): these leave with the ring
within 32 hours, and how many they are is in the result. The audit log has what it did. A setting is only ever changed for connections
of its own. The login needs what a producer, a worker and an operator may do.`,
		Example: "  stem bench\n  stem bench --jobs 100000 --duration 10s --json\n  stem bench --jobs 1000 --duration 500ms",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.bench(cmd.Context(), bench.Options{Jobs: jobs.Value, Duration: duration.Value})
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(&jobs, "jobs", "how many are enqueued in bulk and drained; half as many, at most, in each section that enqueues one by one")
	f.Var(&duration, "duration", "how long each section may take that is not counted in jobs")
	return cmd
}

func (a *App) bench(ctx context.Context, o bench.Options) error {
	listen := a.listenConfig(ctx, "stem/bench/listen")
	pool, err := a.Open(ctx, PoolOptions{Name: "stem/bench/" + hostname(a.Config), MaxConns: benchConnections})
	if err != nil {
		return err
	}
	defer pool.Close()
	o.Node, o.Poll, o.Listen = a.Config.WorkerNode, a.Config.PollInterval, listen
	if o.Logger = a.Log; !a.Log.Enabled(ctx, slog.LevelDebug) {
		o.Logger = slog.New(troubles{a.Log.Handler()})
	}
	a.Printer.Note("stem bench: at most %d jobs of its own go through %s", o.MostJobs(), a.database.Target())
	var bar *progress.Bar
	o.Progress = func(done, total int, section string) {
		if bar == nil {
			bar = a.Steps(section, total)
		}
		bar.Say(section)
		bar.Add(done - bar.Done())
	}
	report, err := bench.Run(ctx, pool, o)
	if bar != nil {
		bar.Stop()
	}
	if report.Left.Queue {
		a.Printer.Note("queue %s could not be cleaned up; later: stem queue purge %[1]s --yes; stem queue forget %[1]s", report.Queue)
	}
	switch {
	case err == nil:
		return a.printBench(report)
	case ctx.Err() == nil:
		if report.Left.Envelopes > 0 {
			a.Printer.Note("stem bench: %s", left(report))
		}
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.New(fault.ExitTryLater, "timeout", "gave up: the time limit passed: %s", left(report))
	}
	return fault.New(fault.ExitInterrupted, "interrupted", "interrupted: %s", left(report))
}

// troubles lets through what somebody should know: that the bench's worker came and went is no news.
type troubles struct{ slog.Handler }

func (t troubles) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && t.Handler.Enabled(ctx, l)
}

// left says what remains of a run.
func left(r bench.Report) string {
	state := "is gone"
	if r.Left.Queue {
		state = "is still there"
	}
	text := fmt.Sprintf("queue %s %s, %d waiting jobs were cancelled", cmp.Or(r.Queue, "-"), state, r.Left.Cancelled)
	if r.Left.Envelopes == 0 {
		return text
	}
	return fmt.Sprintf("%s; %d envelopes, about %s, leave with the ring within 32 hours", text, r.Left.Envelopes, megabytes(r.Left.Bytes))
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
