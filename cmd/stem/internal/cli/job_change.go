package cli

import (
	"context"
	"iter"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/control"
)

func newJobCancel(a *App) *cobra.Command {
	var (
		change Change
		filter jobFilter
	)
	cmd := &cobra.Command{
		Use:   "cancel [ID...]",
		Short: "Take waiting jobs out of the line and ask running ones to stop",
		Example: `  stem job cancel 0198f0c2-0000-7000-8000-000000000001 --reason "sent twice"
  stem job cancel --queue mail --task mail.welcome --dry-run
  stem job cancel --queue mail --since 1h --yes`,
		Args: takesIDs(jobFilters...),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, what := cmd.Context(), action{verb: "cancel", doing: "cancelling", done: "cancelled", noun: "job"}
			f, plane, err := a.resolveJobs(ctx, change, &filter)
			switch {
			case err != nil:
				return err
			case len(args) > 0:
				return a.changeJobs(ctx, change, what, args,
					func(id uuid.UUID) (*control.Detail, error) { return plane.Job(ctx, id) },
					func(ids []uuid.UUID) ([]control.Result, error) { return plane.Cancel(ctx, change.Reason, ids...) })
			}
			if f.States == nil {
				f.States = filter.states.Words()
			}
			count, err := plane.CountJobs(ctx, f)
			if err != nil {
				return err
			}
			sample, err := first(plane.Jobs(ctx, f), jobLine)
			if err != nil {
				return err
			}
			return a.changeAll(ctx, change, what, count, sample,
				func(b control.Bulk) (control.Progress, error) { return plane.CancelAll(ctx, f, b) })
		},
	}
	filter.bind(cmd, "ready", "scheduled", "running")
	change.Bind(cmd.Flags())
	return cmd
}

func newJobRetry(a *App) *cobra.Command {
	var (
		change Change
		filter jobFilter
	)
	cmd := &cobra.Command{
		Use:   "retry [ID...]",
		Short: "Make dead jobs and those that wait for a retry run now",
		Example: `  stem job retry 0198f0c2-0000-7000-8000-000000000001
  stem job retry --queue mail --state scheduled --yes`,
		Args: takesIDs(jobFilters...),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, what := cmd.Context(), action{verb: "retry", doing: "retrying", done: "retried", noun: "job"}
			f, plane, err := a.resolveJobs(ctx, change, &filter)
			switch {
			case err != nil:
				return err
			case len(args) > 0:
				return a.changeJobs(ctx, change, what, args,
					func(id uuid.UUID) (*control.Detail, error) { return plane.Job(ctx, id) },
					func(ids []uuid.UUID) ([]control.Result, error) { return plane.Retry(ctx, change.Reason, ids...) })
			}
			count, err := length(plane.Retryable(ctx, f))
			if err != nil {
				return err
			}
			sample, err := first(plane.Retryable(ctx, f), jobLine)
			if err != nil {
				return err
			}
			return a.changeAll(ctx, change, what, count, sample,
				func(b control.Bulk) (control.Progress, error) { return plane.RetryAll(ctx, f, b) })
		},
	}
	filter.bind(cmd, "scheduled", "dead")
	change.Bind(cmd.Flags())
	return cmd
}

// resolveJobs reads what a change of jobs is given, and connects when it makes sense.
func (a *App) resolveJobs(ctx context.Context, change Change, filter *jobFilter) (control.Filter, *control.Plane, error) {
	if err := checkReason("reason", change.Reason); err != nil {
		return control.Filter{}, nil, err
	}
	f, err := filter.resolve()
	if err != nil {
		return f, nil, err
	}
	plane, err := a.plane(ctx)
	return f, plane, err
}

func length[T any](rows iter.Seq2[T, error]) (n int64, err error) {
	for _, err := range rows {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
