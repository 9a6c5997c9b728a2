package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/scheduler"
)

// backfilled is what a backfill has done.
type backfilled struct {
	scheduler.BackfillCount
	schedule string
	from, to time.Time
	dry      bool // enqueued is what would be
}

var backfillSheet = output.Sheet[backfilled]{Noun: "backfill", Columns: []output.Column[backfilled]{
	{Header: "Schedule", Value: func(b backfilled) any { return b.schedule }, Name: true},
	{Header: "From", Value: func(b backfilled) any { return b.from }},
	{Header: "To", Value: func(b backfilled) any { return b.to }},
	{Header: "Instants", Value: func(b backfilled) any { return b.Instants }},
	{Header: "Enqueued", Value: func(b backfilled) any { return b.Enqueued }},
	{Header: "Had", Value: func(b backfilled) any { return b.Had }},
	{Header: "Duplicates", Value: func(b backfilled) any { return b.Duplicates }},
	{Header: "Dry run", Value: func(b backfilled) any { return b.dry }},
}}

type backfillOptions struct {
	change   Change
	from, to arg.Instant
}

func newScheduleBackfill(a *App) *cobra.Command {
	var o backfillOptions
	cmd := &cobra.Command{
		Use:   "backfill ID",
		Short: "Enqueue the jobs of past instants that had none",
		Long: "Enqueue a job for each instant of a schedule from --from to --to, both included, that has had none: what was missed, skipped or\n" +
			"rejected, and what was before the schedule was made. Each instant once, however often this is run, as long as the ledger remembers\n" +
			"(--keep-runs of the schedulers). What is not past is left to the schedulers. It goes in batches: after Ctrl-C run it again for the\n" +
			"rest. That needs the role stem_scheduler.",
		Example: `  stem schedule backfill hourly-import --from 2026-01-02T00:00:00Z --to 2026-01-03T00:00:00Z --dry-run
  stem schedule backfill hourly-import --from 6h --yes --reason "the source was away"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := takes("ID")(cmd, args); err != nil {
				return err
			}
			if !o.from.Given() {
				return fault.Usage("missing_argument", "%s needs --from", cmd.CommandPath()).About("flag --from").WithHint("see %s --help", cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: a.completingFirst(scheduleNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args[0]) },
	}
	cmd.Flags().Var(&o.from, "from", "the first instant: RFC 3339 with a zone, or a duration ago such as 6h")
	cmd.Flags().Var(&o.to, "to", "the last instant: RFC 3339 with a zone, or a duration ago (default: now)")
	o.change.Bind(cmd.Flags())
	return cmd
}

func (o *backfillOptions) run(ctx context.Context, a *App, name string) error {
	id, err := scheduleID(name)
	if err == nil {
		err = checkReason("reason", o.change.Reason)
	}
	if err != nil {
		return err
	}
	q, err := a.producer()
	if err != nil {
		return err
	}
	table, err := a.schedulesOver(ctx, q)
	if err != nil {
		return err
	}
	s, err := findSchedule(ctx, table, id)
	if err == nil {
		err = unread(s)
	}
	if err != nil {
		return err
	}
	now, err := table.Now(ctx)
	if err != nil {
		return err
	}
	b := backfilled{schedule: id, from: o.from.Before(now), to: now}
	if o.to.Given() {
		b.to = o.to.Before(now)
	}
	if b.to.Before(b.from) {
		return fault.Usage("bad_window", "--from (%s) is after --to (%s)", &o.from, b.to.Format(time.RFC3339)).About("flag --from")
	}
	what := scheduler.Backfill{From: b.from, To: b.to, Reason: o.change.Reason, DryRun: true}
	would, err := table.Backfill(ctx, id, what)
	if err != nil {
		return scheduleFault(ctx, table, id, err)
	}
	a.Printer.Note("%s from %s to %s, of which %d have had their job", counted(int(would.Instants), "instant"),
		b.from.Format(time.RFC3339), b.to.Format(time.RFC3339), would.Had)
	e := Effect{Verb: "enqueue", Count: int(would.Enqueued), Noun: "job of schedule " + id, Plural: "jobs of schedule " + id}
	if ok, err := a.Confirm(ctx, o.change, e); err != nil {
		return err
	} else if !ok {
		b.BackfillCount, b.dry = would, o.change.DryRun
		return output.One(a.Printer, &backfillSheet, b)
	}
	what.DryRun = false
	return a.backfill(ctx, table, b, what, would)
}

func (a *App) backfill(ctx context.Context, table *scheduler.Table, b backfilled, what scheduler.Backfill, would scheduler.BackfillCount) error {
	bar := a.Progress("enqueueing", int(would.Instants))
	defer bar.Stop()
	what.Progress = func(c scheduler.BackfillCount) { bar.Add(int(c.Instants) - bar.Done()) }
	done, err := table.Backfill(ctx, b.schedule, what)
	bar.Stop()
	b.BackfillCount = done
	if err := output.One(a.Printer, &backfillSheet, b); err != nil {
		return err
	}
	if done.Duplicates > 0 {
		a.Printer.Note("%s not enqueued: another job holds the unique key", counted(int(done.Duplicates), "job"))
	}
	if err != nil {
		err = scheduleFault(ctx, table, b.schedule, err)
	}
	return a.cut(ctx, action{done: "enqueued"}, control.Progress{Seen: done.Enqueued, Done: done.Enqueued}, would.Enqueued, err)
}
