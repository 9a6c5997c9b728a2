package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/cmd/stem/internal/schedulefile"
	"github.com/stemqueue/stem/scheduler"
)

type applyOptions struct {
	file          string
	prune, strict bool
	change        Change
}

func newScheduleApply(a *App) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make the schedules of a file those of the database",
		Long: "Make the schedules of a file those of the database: all of them or, when anything is wrong, none. The file is checked first, and\n" +
			"every problem is told with its line and column. What changes is shown before it is done. Counters and the last run stay, and a\n" +
			"schedule whose timing does not change keeps its next instant. Schedules that are not in the file stay unless --prune.\n\n" +
			"A schedule that somebody else changed in between ends it with 75, and nothing is changed.",
		Example: "  stem schedule apply -f schedules.yaml --dry-run\n  stem schedule apply -f schedules.yaml --prune --yes --reason \"deploy 42\"",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			return needsFile(cmd, o.file)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	fromFile(f, &o.file, "the schedules")
	f.BoolVar(&o.prune, "prune", false, "delete the schedules that are not in the file")
	f.BoolVar(&o.strict, "strict", false, "take a warning for an error, before anything is changed")
	o.change.Bind(f)
	return cmd
}

func needsFile(cmd *cobra.Command, file string) error {
	if file != "" {
		return nil
	}
	return fault.Usage("missing_argument", "%s needs --file FILE", cmd.CommandPath()).About("flag --file").WithHint("usage: %s -f FILE", cmd.CommandPath())
}

func (o *applyOptions) run(ctx context.Context, a *App) error {
	if err := checkReason("reason", o.change.Reason); err != nil {
		return err
	}
	file, table, plan, err := a.plan(ctx, o.file, o.prune)
	if err != nil {
		return err
	}
	if err := a.voiceDoubts(ctx, plan, file, o.strict); err != nil {
		return err
	}
	n, words := tallied(plan)
	// A result for programs is printed when it has come about.
	early := a.Printer.ForPeople() || o.change.DryRun || n == 0
	if early {
		if err := a.printPlan(plan, file); err != nil {
			return err
		}
	}
	if n == 0 {
		a.Printer.Note("nothing to apply: the database has the schedules of %s as they are", file.Name)
		return nil
	}
	effect := Effect{Verb: "apply", Count: n, Noun: "change"}
	if !early {
		for _, c := range plan.Changes {
			if c.Kind != scheduler.KindSame && len(effect.Sample) < samples {
				effect.Sample = append(effect.Sample, c.Kind+" "+c.ID)
			}
		}
	}
	if ok, err := a.Confirm(ctx, o.change, effect); !ok {
		return err
	}
	if err := table.Apply(ctx, plan, o.change.Reason); err != nil {
		return planFault(err)
	}
	a.Printer.Note("applied %s: %s", counted(n, "change"), words)
	if early {
		return nil
	}
	return output.List(a.Printer, &changeSheet, output.Rows(plan.Changes))
}

// plan reads a file and compares it with the table.
func (a *App) plan(ctx context.Context, path string, prune bool) (*schedulefile.File, *scheduler.Table, *scheduler.Plan, error) {
	file, err := a.scheduleFile(path)
	if err != nil {
		return nil, nil, nil, err
	}
	table, err := a.schedules(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	plan, err := table.Plan(ctx, prune, file.Entries...)
	if err != nil {
		return nil, nil, nil, planFault(err)
	}
	return file, table, plan, nil
}

// voiceDoubts warns of what is perhaps not meant, or fails with it when strict.
func (a *App) voiceDoubts(ctx context.Context, plan *scheduler.Plan, file *schedulefile.File, strict bool) error {
	list, err := a.doubts(ctx, plan, file)
	if err != nil {
		if strict {
			return err
		}
		a.warn(fault.New(fault.ExitUnavailable, "workers_unknown", "whether workers serve these schedules is not known: %s", fault.From(err, a.database.Target())).About("database"))
	}
	var all []error
	for _, doubt := range list {
		if !strict {
			a.warn(doubt)
		}
		all = append(all, doubt)
	}
	if strict {
		return errors.Join(all...)
	}
	return nil
}
