package cli

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/control"
)

func newDLQReplay(a *App) *cobra.Command {
	o := deadChange{what: action{verb: "replay", doing: "replaying", done: "replayed", noun: "entry", plural: "entries"}}
	delay := arg.Within(0, arg.Year, 0)
	o.named = func(ctx context.Context, plane *control.Plane, ids []uuid.UUID) ([]control.Result, error) {
		return plane.Replay(ctx, o.change.Reason, delay.Value, ids...)
	}
	o.all = func(ctx context.Context, plane *control.Plane, f control.DeadFilter, b control.Bulk) (control.Progress, error) {
		b.Delay = delay.Value
		return plane.ReplayAll(ctx, f, b)
	}
	cmd := o.command(a, &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Put dead letters back in the line",
		Example: `  stem dlq replay 0198f0c2-0000-7000-8000-000000000001
  stem dlq replay --queue mail --reason exhausted --dry-run
  stem dlq replay --all --delay 5m --yes --because "provider is back"`,
	})
	cmd.Flags().Var(&delay, "delay", "they are due so long from now")
	return cmd
}

func newDLQPurge(a *App) *cobra.Command {
	o := deadChange{what: action{verb: "purge", doing: "purging", done: "purged", noun: "entry", plural: "entries"}}
	o.named = func(ctx context.Context, plane *control.Plane, ids []uuid.UUID) ([]control.Result, error) {
		return plane.PurgeDead(ctx, o.change.Reason, ids...)
	}
	o.all = func(ctx context.Context, plane *control.Plane, f control.DeadFilter, b control.Bulk) (control.Progress, error) {
		return plane.PurgeDeadAll(ctx, f, b)
	}
	return o.command(a, &cobra.Command{
		Use:   "purge [ID...]",
		Short: "Forget dead letters for good",
		Example: `  stem dlq purge 0198f0c2-0000-7000-8000-000000000001
  stem dlq purge --fingerprint 5d41402abc4b2a76 --yes
  stem dlq purge --all --until 720h --yes`,
	})
}

// deadChange is a command that changes dead letters: named ones, or all that a filter lists.
type deadChange struct {
	what   action
	change Change
	filter deadFilter
	every  bool

	named func(context.Context, *control.Plane, []uuid.UUID) ([]control.Result, error)
	all   func(context.Context, *control.Plane, control.DeadFilter, control.Bulk) (control.Progress, error)
}

func (o *deadChange) command(a *App, cmd *cobra.Command) *cobra.Command {
	cmd.Args = takesIDs(slices.Concat([]string{"all"}, deadFilters)...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd, a, args) }
	o.filter.bind(cmd)
	cmd.Flags().BoolVar(&o.every, "all", false, "every dead letter")
	o.change.bind(cmd.Flags(), "because")
	return cmd
}

func (o *deadChange) run(cmd *cobra.Command, a *App, args []string) error {
	ctx := cmd.Context()
	if err := checkReason("because", o.change.Reason); err != nil {
		return err
	}
	f, err := o.filter.resolve()
	if err != nil {
		return err
	}
	if len(args) == 0 && !o.every && f == (control.DeadFilter{}) { // --all=false, --fingerprint ""
		return fault.Usage("missing_argument", "%s needs ID, a filter or --all", cmd.CommandPath()).About("argument ID")
	}
	plane, err := a.plane(ctx)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		what := o.what
		what.noun, what.plural = "dead letter", ""
		return a.changeJobs(ctx, o.change, what, args,
			func(id uuid.UUID) (*control.Detail, error) { return plane.DeadLetter(ctx, id) },
			func(ids []uuid.UUID) ([]control.Result, error) { return o.named(ctx, plane, ids) })
	}
	count, err := plane.CountDead(ctx, f)
	if err != nil {
		return err
	}
	sample, err := first(plane.Dead(ctx, f), deadLine)
	if err != nil {
		return err
	}
	return a.changeAll(ctx, o.change, o.what, count, sample,
		func(b control.Bulk) (control.Progress, error) { return o.all(ctx, plane, f, b) })
}
