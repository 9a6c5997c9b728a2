package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

type diffOptions struct {
	file  string
	prune bool
}

func newScheduleDiff(a *App) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:     "diff",
		Short:   "Show what applying a file would change",
		Long:    "Show what stem schedule apply would change, and change nothing. Exits 1 when there is a difference.",
		Example: "  stem schedule diff -f schedules.yaml --prune\n  stem schedule diff -f schedules.yaml --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			return needsFile(cmd, o.file)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	fromFile(cmd.Flags(), &o.file, "the schedules")
	cmd.Flags().BoolVar(&o.prune, "prune", false, "schedules that are not in the file differ, too")
	return cmd
}

func (o *diffOptions) run(ctx context.Context, a *App) error {
	file, _, plan, err := a.plan(ctx, o.file, o.prune)
	if err != nil {
		return err
	}
	if err := a.printPlan(plan, file); err != nil {
		return err
	}
	if n, words := tallied(plan); n > 0 {
		return fault.New(fault.ExitNotFound, "differs", "the database differs from %s: %s", file.Name, words).About(file.Name).
			WithHint("stem schedule apply -f %s", o.file)
	}
	a.Printer.Note("no difference: the database has the schedules of %s as they are", file.Name)
	return nil
}
