package cli

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/control"
)

func newDLQReplay(a *App) *cobra.Command {
	o := deadChange{what: action{verb: "replay", doing: "replaying", done: "replayed", noun: "entry", plural: "entries"}}
	delay, edit := arg.Within(0, arg.Year, 0), deadEdit{}
	o.named = func(ctx context.Context, plane *control.Plane, ids []uuid.UUID) ([]control.Result, error) {
		return plane.Replay(ctx, o.change.Reason, delay.Value, ids...)
	}
	o.all = func(ctx context.Context, plane *control.Plane, f control.DeadFilter, b control.Bulk) (control.Progress, error) {
		b.Delay = delay.Value
		return plane.ReplayAll(ctx, f, b)
	}
	cmd := o.command(a, &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Put dead letters back in the line, as they are or edited",
		Long: "Put dead letters back in the line: with the same id and the same bytes, so that their signatures stay valid.\n\n" +
			"With an ID, --queue and --payload edit it instead: a new job with an id of its own, its origin the old one's, signed with the\n" +
			"active key of this configuration, takes the letter's place. What died of its signature needs --reviewed for that, or\n" +
			"stem dlq resign.",
		Example: `  stem dlq replay 0198f0c2-0000-7000-8000-000000000001
  stem dlq replay --queue mail --reason exhausted --dry-run
  stem dlq replay --all --delay 5m --yes --because "provider is back"
  stem dlq replay 0198f0c2-0000-7000-8000-000000000001 --payload @fixed.json --queue mail`,
	})
	filters := slices.DeleteFunc(slices.Clone(deadFilters), func(name string) bool { return name == "queue" })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return takesIDs(append(filters, "all")...)(cmd, args)
		}
		for _, flag := range []string{"payload", "reviewed"} {
			if cmd.Flags().Changed(flag) {
				return fault.Usage("missing_argument", "--%s: name the dead letters that are to be edited", flag).About("argument ID")
			}
		}
		return takesIDs(slices.Concat([]string{"all"}, deadFilters)...)(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || !cmd.Flags().Changed("queue") && !cmd.Flags().Changed("payload") {
			if cmd.Flags().Changed("reviewed") {
				return fault.Usage("bad_flag", "--reviewed belongs to an edit with --queue or --payload, or to stem dlq resign").About("flag --reviewed")
			}
			return o.run(cmd, a, args)
		}
		return edit.run(cmd, a, &o, delay.Value, args)
	}
	cmd.Flags().Var(&delay, "delay", "they are due so long from now")
	cmd.Flags().StringVar(&edit.payload, "payload", "", "with an ID, edit: the new payload: JSON, @FILE, or - for stdin")
	cmd.Flags().BoolVar(&edit.reviewed, "reviewed", false, "with an edit: somebody has looked at what would run, though its signature was refused")
	cmd.Flags().Lookup("queue").Usage = "only of this queue (default: every queue); with an ID, edit: the queue to go to"
	return cmd
}

// deadEdit is what flags say is to be changed of dead letters.
type deadEdit struct {
	payload  string
	reviewed bool
}

func (e *deadEdit) run(cmd *cobra.Command, a *App, o *deadChange, delay time.Duration, args []string) error {
	change := control.Edit{Reviewed: e.reviewed}
	if cmd.Flags().Changed("queue") {
		change.Queue = string(o.filter.queue)
		o.filter.queue = ""
	}
	if cmd.Flags().Changed("payload") {
		var err error
		if change.Payload, err = readInput(a, "--payload", e.payload); err != nil {
			return err
		}
	}
	producer, err := a.producer()
	if err != nil {
		return err
	}
	o.what.anew = true
	o.named = func(ctx context.Context, plane *control.Plane, ids []uuid.UUID) ([]control.Result, error) {
		return plane.Reissue(ctx, producer, o.change.Reason, delay, change, ids...)
	}
	return o.run(cmd, a, args)
}

func newDLQResign(a *App) *cobra.Command {
	o := deadChange{what: action{verb: "resign", doing: "resigning", done: "resigned", noun: "entry", plural: "entries", anew: true}}
	delay, reviewed := arg.Within(0, arg.Year, 0), false
	cmd := o.command(a, &cobra.Command{
		Use:   "resign [ID...]",
		Short: "Enqueue dead letters anew, signed with this configuration's key",
		Long: "Enqueue dead letters anew: each as a new job with an id of its own, its origin the old one's, signed with the active key of this\n" +
			"configuration. For what died of its signature, once somebody has looked at it, and for what an old key has signed before\n" +
			"that key is removed. Whoever wrote a letter into the table is believed from then on, hence --reviewed.",
		Example: `  stem dlq resign --reviewed 0198f0c2-0000-7000-8000-000000000001
  stem dlq resign --reviewed --key v1 --dry-run
  stem dlq resign --reviewed --reason signature_missing --queue mail --yes --because "checked with the producer"`,
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !reviewed {
			return fault.Usage("needs_review", "stem dlq resign signs what is in the table, whoever wrote it: pass --reviewed when somebody has looked at it").
				About("flag --reviewed").WithHint("stem signing verify --dead says what is wrong with it, stem dlq show ID shows it")
		}
		if _, err := a.ring(); err != nil {
			return err
		}
		producer, err := a.producer()
		if err != nil {
			return err
		}
		edit := control.Edit{Reviewed: true}
		o.named = func(ctx context.Context, plane *control.Plane, ids []uuid.UUID) ([]control.Result, error) {
			return plane.Reissue(ctx, producer, o.change.Reason, delay.Value, edit, ids...)
		}
		o.all = func(ctx context.Context, plane *control.Plane, f control.DeadFilter, b control.Bulk) (control.Progress, error) {
			b.Delay = delay.Value
			return plane.ReissueAll(ctx, producer, f, edit, b)
		}
		return o.run(cmd, a, args)
	}
	cmd.Flags().Var(&delay, "delay", "they are due so long from now")
	cmd.Flags().BoolVar(&reviewed, "reviewed", false, "somebody has looked at what would run")
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
