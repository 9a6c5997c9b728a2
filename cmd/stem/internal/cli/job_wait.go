package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/queue"
)

var outcomeSheet = output.Sheet[queue.Result]{Noun: "job", Columns: []output.Column[queue.Result]{
	{Header: "ID", Value: func(r queue.Result) any { return r.ID.String() }, Name: true},
	{Header: "State", Value: func(r queue.Result) any { return r.State }, Tone: func(r queue.Result) output.Tone { return stateTone(r.State) }},
	{Header: "Attempt", Value: func(r queue.Result) any { return r.Attempt }},
	{Header: "Reason", Value: func(r queue.Result) any { return optional(r.Reason) }},
	{Header: "Error", Value: func(r queue.Result) any { return optional(r.Error) }},
	{Header: "Result", Value: func(r queue.Result) any { return readable(r.Value) }},
}}

func newJobWait(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "wait ID",
		Short: "Wait until a job has ended, and print its result",
		Long:  "Wait until a job has ended, and print its result. Exits 0 when it completed, 1 when it ended otherwise, 75 after --timeout.",
		Example: `  stem job wait 0198f0c2-0000-7000-8000-000000000001 --timeout 30s
  stem job wait 0198f0c2-0000-7000-8000-000000000001 --json | jq .result`,
		Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.waitForJob(cmd.Context(), args) },
	}
}

func (a *App) waitForJob(ctx context.Context, args []string) error {
	ids, err := parseIDs(args)
	if err != nil {
		return err
	}
	pool, err := a.Pool(ctx)
	if err != nil {
		return err
	}
	r, err := queue.Wait(ctx, pool, ids[0])
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return notFound("job", ids[0], "").Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.ExitTryLater, "timeout", "job %s had not ended after %s", ids[0], arg.Text(a.Timeout)).
			WithHint("stem job show %s tells where it is", ids[0]).Because(err)
	case err != nil:
		return err
	}
	a.openResult(&r)
	if err := output.One(a.Printer, &outcomeSheet, r); err != nil {
		return err
	}
	if !r.Completed() {
		return fault.New(fault.ExitNotFound, "not_completed", "job %s is %s", r.ID, r.State)
	}
	return nil
}
