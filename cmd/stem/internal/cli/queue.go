package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/nearest"
)

func newQueue(a *App) *cobra.Command {
	return group("queue", "Look at queues, pause, set and purge them", "  stem queue ls\n  stem queue pause mail --reason \"provider is down\"",
		newQueueList(a), newQueueShow(a), newQueuePause(a), newQueueResume(a), newQueueSet(a), newQueueForget(a), newQueuePurge(a))
}

var queueSheet = output.Sheet[control.Queue]{Noun: "queue", Columns: []output.Column[control.Queue]{
	{Header: "Name", Value: func(q control.Queue) any { return q.Name }, Name: true},
	{Header: "State", Value: func(q control.Queue) any {
		if q.Paused {
			return "paused"
		}
		return "active"
	}, Tone: func(q control.Queue) output.Tone {
		if q.Paused {
			return output.Warn
		}
		return output.Plain
	}},
	{Header: "Ready", Value: func(q control.Queue) any { return q.Ready.N }},
	{Header: "Scheduled", Value: func(q control.Queue) any { return q.Scheduled.N }},
	{Header: "Running", Value: func(q control.Queue) any { return q.Running }},
	{Header: "Dead", Value: func(q control.Queue) any { return q.Dead.N }},
	{Header: "Oldest", Value: func(q control.Queue) any { return optionalSpan(q.Oldest) }},
	{Header: "Workers", Value: func(q control.Queue) any { return q.Workers }},
	{Header: "Slots", Value: func(q control.Queue) any { return q.Slots }},
	{Header: "Exact", Value: func(q control.Queue) any { return exact(q) }, Wide: true},
	{Header: "Paused since", Value: func(q control.Queue) any { return q.PausedSince }, Wide: true},
	{Header: "Paused by", Value: func(q control.Queue) any { return optional(q.PausedBy) }, Wide: true},
	{Header: "Paused why", Value: func(q control.Queue) any { return optional(q.PausedWhy) }, Wide: true},
	{Header: "Keeps finished", Value: func(q control.Queue) any { return q.KeepFinished }, Data: true},
}}

func exact(q control.Queue) bool { return q.Ready.Exact && q.Scheduled.Exact && q.Dead.Exact }

func newQueueList(a *App) *cobra.Command {
	return a.watchable(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List queues with what waits, runs and is dead in each",
		Example: "  stem queue ls\n  stem queue ls --output wide",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plane, err := a.plane(cmd.Context())
			if err != nil {
				return err
			}
			queues, err := plane.Queues(cmd.Context())
			if err != nil {
				return err
			}
			if err := output.List(a.Printer, &queueSheet, output.Rows(queues)); err != nil {
				return err
			}
			for _, q := range queues {
				if !exact(q) {
					a.Printer.Note("the counts of queue %q are estimates", q.Name)
				}
			}
			return nil
		},
	})
}

// queue finds the queue that is named on the command line.
func (a *App) queue(ctx context.Context, plane *control.Plane, name string) (control.Queue, error) {
	q, err := plane.Queue(ctx, name)
	if !errors.Is(err, control.ErrNotFound) {
		return q, err
	}
	missing := fault.NotFound("no queue %q (schema stem)", name).Because(err)
	all, err := plane.Queues(ctx)
	if err != nil {
		return q, missing
	}
	near, ok := nearest.Name(name, func(yield func(string) bool) {
		for _, q := range all {
			if !yield(q.Name) {
				return
			}
		}
	})
	if ok {
		missing.Message += `. Did you mean "` + near + `"?`
	}
	return q, missing
}

// queueCommand is a command about one queue.
func (a *App) queueCommand(use, short, example string, run func(ctx context.Context, plane *control.Plane, name string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Example: example, Args: takes("NAME"), ValidArgsFunction: a.completingFirst(queueNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := arg.ParseName(args[0])
			if err != nil {
				return bad("NAME", err)
			}
			plane, err := a.plane(cmd.Context())
			if err != nil {
				return err
			}
			return run(cmd.Context(), plane, name)
		},
	}
}

func (a *App) showQueue(ctx context.Context, plane *control.Plane, name string) error {
	q, err := a.queue(ctx, plane, name)
	if err != nil {
		return err
	}
	return output.One(a.Printer, &queueSheet, q)
}

func newQueueShow(a *App) *cobra.Command {
	return a.queueCommand("show", "Show a queue", "  stem queue show mail", a.showQueue)
}

func newQueuePause(a *App) *cobra.Command {
	var reason string
	cmd := a.queueCommand("pause", "Let no job of a queue begin, until it is resumed",
		`  stem queue pause mail --reason "provider is down"`,
		func(ctx context.Context, plane *control.Plane, name string) error {
			if err := checkReason("reason", reason); err != nil {
				return err
			}
			_, err := plane.Queue(ctx, name)
			if err != nil && !errors.Is(err, control.ErrNotFound) {
				return err
			}
			unheard := err != nil
			changed, err := plane.Pause(ctx, name, reason)
			if err != nil {
				return err
			}
			switch {
			case unheard:
				a.Printer.Note("queue %q has no jobs and no workers yet", name)
			case !changed:
				a.Printer.Note("queue %q was paused before; by whom and why stays", name)
			}
			return a.showQueue(ctx, plane, name)
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log and for whoever looks at the queue")
	return cmd
}

func newQueueResume(a *App) *cobra.Command {
	var reason string
	cmd := a.queueCommand("resume", "Let jobs of a queue begin again", "  stem queue resume mail",
		func(ctx context.Context, plane *control.Plane, name string) error {
			if err := checkReason("reason", reason); err != nil {
				return err
			}
			if _, err := a.queue(ctx, plane, name); err != nil {
				return err
			}
			changed, err := plane.Resume(ctx, name, reason)
			if err != nil {
				return err
			}
			if !changed {
				a.Printer.Note("queue %q was not paused", name)
			}
			return a.showQueue(ctx, plane, name)
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func newQueueSet(a *App) *cobra.Command {
	var (
		keep   bool
		reason string
	)
	cmd := a.queueCommand("set", "Change the settings of a queue",
		"  stem queue set metrics --keep-finished=false --reason \"nobody asks\"\n  stem queue set mail --keep-finished",
		func(ctx context.Context, plane *control.Plane, name string) error {
			if err := checkReason("reason", reason); err != nil {
				return err
			}
			changed, err := plane.SetQueue(ctx, name, control.QueueSettings{KeepFinished: &keep}, reason)
			if err != nil {
				return err
			}
			if !changed {
				a.Printer.Note("queue %q was so before", name)
			}
			return a.showQueue(ctx, plane, name)
		})
	cmd.Long = "Change the settings of a queue, from now on and for all workers. With --keep-finished=false nothing is kept of jobs that\n" +
		"finish: no result, no history. What is kept already stays until its time is over. A queue need not have been heard of."
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := takes("NAME")(cmd, args); err != nil {
			return err
		}
		if !cmd.Flags().Changed("keep-finished") {
			return fault.Usage("missing_argument", "%s needs a setting: --keep-finished", cmd.CommandPath()).
				About("flag --keep-finished").WithHint("see %s --help", cmd.CommandPath())
		}
		return nil
	}
	cmd.Flags().BoolVar(&keep, "keep-finished", true, "keep finished jobs, with their results, for the retention")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func newQueueForget(a *App) *cobra.Command {
	var reason string
	cmd := a.queueCommand("forget", "Take the settings of a queue back to the defaults", "  stem queue forget metrics",
		func(ctx context.Context, plane *control.Plane, name string) error {
			if err := checkReason("reason", reason); err != nil {
				return err
			}
			q, err := a.queue(ctx, plane, name)
			if err != nil {
				return err
			}
			if q.Paused {
				return fault.New(fault.ExitNotFound, "paused", "queue %q is paused", name).WithHint("stem queue resume %s", name)
			}
			changed, err := plane.ForgetQueue(ctx, name, reason)
			if err != nil {
				return err
			}
			if !changed {
				a.Printer.Note("queue %q has the defaults", name)
			}
			q.KeepFinished = true
			return output.One(a.Printer, &queueSheet, q)
		})
	cmd.Long = "Take the settings of a queue back to the defaults. Its jobs are left alone; without any, and without a worker, it is not listed any more."
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func newQueuePurge(a *App) *cobra.Command {
	var change Change
	cmd := a.queueCommand("purge", "Cancel all jobs of a queue that wait",
		"  stem queue purge mail --dry-run\n  stem queue purge mail --yes --reason \"wrong import\"",
		func(ctx context.Context, plane *control.Plane, name string) error {
			if err := checkReason("reason", change.Reason); err != nil {
				return err
			}
			if _, err := a.queue(ctx, plane, name); err != nil {
				return err
			}
			count, err := plane.Waiting(ctx, name)
			if err != nil {
				return err
			}
			var sample []string
			if count > 0 {
				waiting := control.Filter{Queue: name, States: []string{"ready", "scheduled"}}
				if sample, err = first(plane.Jobs(ctx, waiting), jobLine); err != nil {
					return err
				}
			}
			what := action{verb: "cancel", doing: "cancelling", done: "cancelled", noun: "waiting job"}
			return a.changeAll(ctx, change, what, count, sample,
				func(b control.Bulk) (control.Progress, error) { return plane.PurgeQueue(ctx, name, b) })
		})
	change.Bind(cmd.Flags())
	return cmd
}
