package cli

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
)

func newJob(a *App) *cobra.Command {
	return group("job", "Look at jobs, cancel and retry them", "  stem job ls --queue mail --state running\n  stem job show ID",
		newJobList(a), newJobShow(a), newJobErrors(a), newJobCancel(a), newJobRetry(a), newJobWait(a))
}

type jobListOptions struct {
	filter jobFilter
	limit  arg.Int
	cursor arg.JobID
}

func newJobList(a *App) *cobra.Command {
	o := jobListOptions{limit: arg.Limit(50)}
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List jobs, newest first",
		Example: `  stem job ls --queue mail --state ready,scheduled
  stem job ls --state dead --since 2h --output name
  stem job ls --limit 1000 --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	o.filter.bind(cmd, jobStates...)
	cmd.Flags().Var(&o.limit, "limit", "at most so many")
	cmd.Flags().Var(&o.cursor, "cursor", "go on below this id, the last of another list")
	return a.watchable(cmd)
}

func (o *jobListOptions) run(ctx context.Context, a *App) error {
	f, err := o.filter.resolve()
	if err != nil {
		return err
	}
	if o.cursor != "" {
		f.Before = uuid.MustParse(string(o.cursor))
	}
	plane, err := a.plane(ctx)
	if err != nil {
		return err
	}
	return output.List(a.Printer, &jobSheet, limited(plane.Jobs(ctx, f), o.limit.Value, func(last control.Job) {
		a.Printer.Note("there are more: --cursor %s", last.ID)
	}))
}

// job finds a job that is named on the command line.
func (a *App) job(ctx context.Context, s string) (*control.Detail, error) {
	ids, err := parseIDs([]string{s})
	if err != nil {
		return nil, err
	}
	plane, err := a.plane(ctx)
	if err != nil {
		return nil, err
	}
	d, err := plane.Job(ctx, ids[0])
	if errors.Is(err, control.ErrNotFound) {
		return nil, notFound("job", ids[0], "").Because(err)
	}
	return d, err
}

func newJobShow(a *App) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show everything about a job",
		Example: "  stem job show 0198f0c2-0000-7000-8000-000000000001",
		Args:    takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !d.Envelope {
				a.Printer.Note("its envelope is gone: what the producer gave is not known any more")
			}
			return a.showDetail(d)
		},
	}
}

func newJobErrors(a *App) *cobra.Command {
	return &cobra.Command{
		Use:     "errors ID",
		Short:   "List a job's attempts that went wrong, with their errors",
		Example: "  stem job errors 0198f0c2-0000-7000-8000-000000000001",
		Args:    takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return output.List(a.Printer, &attemptSheet, output.Rows(d.Attempts))
		},
	}
}
