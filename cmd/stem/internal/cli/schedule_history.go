package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/scheduler"
)

var outcomes = []string{
	string(scheduler.Fired), string(scheduler.Late), string(scheduler.CaughtUp), string(scheduler.Skipped), string(scheduler.Overlapped),
	string(scheduler.Queued), string(scheduler.Duplicate), string(scheduler.Rejected), string(scheduler.Triggered), string(scheduler.Backfilled),
}

func outcomeTone(r scheduler.Run) output.Tone {
	switch r.Outcome {
	case scheduler.Fired, scheduler.Triggered, scheduler.Backfilled:
		return output.Good
	case scheduler.Late, scheduler.CaughtUp, scheduler.Queued, scheduler.Duplicate:
		return output.Warn
	case scheduler.Rejected:
		return output.Bad
	case scheduler.Skipped, scheduler.Overlapped:
		return output.Faint
	}
	return output.Plain
}

var runSheet = output.Sheet[scheduler.Run]{Noun: "run", Columns: []output.Column[scheduler.Run]{
	{Header: "Schedule", Value: func(r scheduler.Run) any { return r.Schedule }, Name: true},
	{Header: "Nominal at", Value: func(r scheduler.Run) any { return r.NominalAt }},
	{Header: "Recorded at", Value: func(r scheduler.Run) any { return r.RecordedAt }},
	{Header: "Outcome", Value: func(r scheduler.Run) any { return string(r.Outcome) }, Tone: outcomeTone},
	{Header: "Drift", Value: func(r scheduler.Run) any { return r.Drift }},
	{Header: "Job", Value: func(r scheduler.Run) any { return optionalID(r.JobID) }},
	{Header: "State", Value: func(r scheduler.Run) any { return optional(r.State) }, Tone: func(r scheduler.Run) output.Tone { return stateTone(r.State) }},
	{Header: "Jitter", Value: func(r scheduler.Run) any { return optionalSpan(r.Jitter) }, Wide: true},
	{Header: "Note", Value: func(r scheduler.Run) any { return optional(r.Note) }},
}}

type historyOptions struct {
	outcomes arg.Choices
	window   arg.Window
	limit    arg.Int
}

func newScheduleHistory(a *App) *cobra.Command {
	o := historyOptions{outcomes: arg.SomeOf(outcomes...), limit: arg.Limit(50)}
	cmd := a.watchable(&cobra.Command{
		Use:   "history [ID]",
		Short: "List what became of the instants of a schedule, or of all",
		Long: "List what became of the instants of a schedule, newest first; without an ID of all schedules, latest written first. --since and\n" +
			"--until are about the instants with an ID, about when it was written without. Drift is how much later than its instant and jitter\n" +
			"a job was enqueued. The ledger is kept for a week, unless a scheduler runs with --keep-runs.",
		Example: `  stem schedule history nightly-report
  stem schedule history --outcome rejected,skipped --since 24h
  stem schedule history --watch`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return takes("ID")(cmd, args)
		},
		ValidArgsFunction: a.completingFirst(scheduleNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := ""
			if len(args) > 0 {
				var err error
				if id, err = scheduleID(args[0]); err != nil {
					return err
				}
			}
			return o.run(cmd.Context(), a, id)
		},
	})
	cmd.Flags().Var(&o.outcomes, "outcome", "only those that came out so")
	o.window.Bind(cmd.Flags())
	cmd.Flags().Var(&o.limit, "limit", "at most so many")
	return cmd
}

func (o *historyOptions) run(ctx context.Context, a *App, id string) error {
	f := scheduler.RunFilter{Schedule: id}
	for _, word := range o.outcomes.Values {
		f.Outcomes = append(f.Outcomes, scheduler.Outcome(word))
	}
	var err error
	if f.Since, f.Until, err = window(&o.window); err != nil {
		return err
	}
	table, err := a.schedules(ctx)
	if err != nil {
		return err
	}
	some := limited(table.History(ctx, f), o.limit.Value, func(last scheduler.Run) {
		before := last.RecordedAt
		if id != "" {
			before = last.NominalAt
		}
		a.Printer.Note("there are more: --until %s", before.Format(time.RFC3339Nano))
	})
	return output.List(a.Printer, &runSheet, func(yield func(scheduler.Run, error) bool) {
		n := 0
		for r, err := range some {
			if n++; !yield(r, err) {
				return
			}
		}
		if n == 0 && id != "" {
			if err := heardOf(ctx, table, id); err != nil {
				yield(scheduler.Run{}, err)
			}
		}
	})
}

// heardOf fails for a schedule that neither is nor was: one that was deleted keeps its ledger for a while.
func heardOf(ctx context.Context, table *scheduler.Table, id string) error {
	for _, err := range table.History(ctx, scheduler.RunFilter{Schedule: id}) {
		return err
	}
	for s, err := range table.List(ctx) {
		if err != nil || s.ID == id {
			return err
		}
	}
	return noSchedule(ctx, table, id)
}
