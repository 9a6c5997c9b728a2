package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/scheduler"
)

func newObserve(a *App) *cobra.Command {
	return group("observe", "See at a glance how things stand", "  stem observe schedules", newObserveSchedules(a))
}

// overview is how all schedules stand.
type overview struct {
	due, overdue int
	maxDrift     time.Duration
	schedules    []standing
}

var observedSheet = output.Sheet[standing]{Noun: "schedule", Empty: "No schedules found.", Columns: []output.Column[standing]{
	{Header: "ID", Value: func(s standing) any { return s.ID }, Name: true},
	{Header: "Status", Value: func(s standing) any { return s.status }, Tone: statusTone},
	{Header: "Total runs", Value: func(s standing) any { return s.Fired }},
	{Header: "Next run", Value: func(s standing) any { return s.NextAt }},
	{Header: "Last run", Value: func(s standing) any { return s.LastAt }},
	{Header: "Last drift", Value: func(s standing) any { return s.LastDrift }},
	{Header: "Last error", Value: func(s standing) any { return optional(s.why) }},
}}

var overviewSheet = output.Sheet[overview]{Noun: "overview", Columns: []output.Column[overview]{
	{Header: "Due", Value: func(o overview) any { return o.due }, Name: true},
	{Header: "Overdue", Value: func(o overview) any { return o.overdue }},
	{Header: "Max drift", Value: func(o overview) any { return o.maxDrift }},
	{Header: "Schedules", Value: func(o overview) any { return output.Nest(&observedSheet, o.schedules) }},
}}

func newObserveSchedules(a *App) *cobra.Command {
	return a.watchable(&cobra.Command{
		Use:   "schedules",
		Short: "Say whether schedules run, and how late",
		Long: "Say whether schedules run, and how late: how many are due at this moment, how many are overdue because no scheduler fires them,\n" +
			"and the largest drift of their last runs; then each with its runs and what keeps it from running.",
		Example: "  stem observe schedules\n  stem observe schedules --watch\n  stem observe schedules --json | jq .overdue",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.observeSchedules(cmd.Context()) },
	})
}

func (a *App) observeSchedules(ctx context.Context) error {
	table, err := a.schedules(ctx)
	if err != nil {
		return err
	}
	var o overview
	for s, err := range a.standings(ctx, table) {
		if err != nil {
			return err
		}
		if s.Enabled && !s.DueAt.IsZero() && !s.DueAt.After(s.now) {
			o.due++
		}
		if s.status == scheduler.StatusOverdue {
			o.overdue++
		}
		if s.LastDrift != nil {
			o.maxDrift = max(o.maxDrift, *s.LastDrift)
		}
		o.schedules = append(o.schedules, s)
	}
	switch a.Printer.Format {
	case output.CSV, output.Name:
	case output.Table, output.Wide:
		if _, err := fmt.Fprintf(a.Printer.Out, "due=%d overdue=%d maxDrift=%s\n", o.due, o.overdue, arg.Text(o.maxDrift)); err != nil {
			return err
		}
	default:
		return output.One(a.Printer, &overviewSheet, o)
	}
	return output.List(a.Printer, &observedSheet, output.Rows(o.schedules))
}
