package cli

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
)

func newDLQ(a *App) *cobra.Command {
	return group("dlq", "Look at dead letters, replay, sign anew and purge them", "  stem dlq list --queue mail\n  stem dlq replay --reason exhausted --since 1h",
		newDLQList(a), newDLQShow(a), newDLQReplay(a), newDLQResign(a), newDLQPurge(a), newDLQExport(a))
}

var deadSheet = output.Sheet[control.DeadJob]{Noun: "dead letter", Columns: []output.Column[control.DeadJob]{
	{Header: "ID", Value: func(d control.DeadJob) any { return d.ID.String() }, Name: true},
	{Header: "Queue", Value: func(d control.DeadJob) any { return d.Queue }},
	{Header: "Task", Value: func(d control.DeadJob) any { return d.Task }},
	{Header: "Reason", Value: func(d control.DeadJob) any { return d.Reason }},
	{Header: "Attempt", Value: func(d control.DeadJob) any { return d.Attempt }},
	{Header: "Died at", Value: func(d control.DeadJob) any { return d.DiedAt }},
	{Header: "Created at", Value: func(d control.DeadJob) any { return d.CreatedAt }, Wide: true},
	{Header: "Fingerprint", Value: func(d control.DeadJob) any { return optional(d.Fingerprint) }, Wide: true},
	{Header: "Generation", Value: func(d control.DeadJob) any { return d.Generation }, Data: true},
	{Header: "Failures", Value: func(d control.DeadJob) any { return d.Failures }, Data: true},
	{Header: "Crashes", Value: func(d control.DeadJob) any { return d.Crashes }, Data: true},
	{Header: "Max attempts", Value: func(d control.DeadJob) any { return d.MaxAttempts }, Data: true},
	{Header: "Priority", Value: func(d control.DeadJob) any { return d.Priority }, Data: true},
	{Header: "Origin", Value: func(d control.DeadJob) any { return optional(d.Origin) }, Data: true},
	{Header: "Group", Value: func(d control.DeadJob) any { return optional(d.Group) }, Data: true},
	{Header: "Worker", Value: func(d control.DeadJob) any { return optionalID(d.Worker) }, Data: true},
	{Header: "Signature key", Value: func(d control.DeadJob) any { return optional(d.SignatureKey) }, Data: true},
	{Header: "Payload bytes", Value: func(d control.DeadJob) any { return d.PayloadBytes }, Data: true},
	{Header: "Error", Value: func(d control.DeadJob) any { return optional(d.Error) }},
}}

// exportSheet adds the very bytes of the payload, which is what the signature is about.
var exportSheet = output.Sheet[control.Detail]{Noun: "dead letter", Columns: append(detailColumns(), output.Column[control.Detail]{
	Header: "Payload base64", Value: func(d control.Detail) any { return base64.StdEncoding.EncodeToString(d.Payload) }, Data: true,
})}

type dlqListOptions struct {
	filter deadFilter
	limit  arg.Int
	cursor deadCursor
}

func newDLQList(a *App) *cobra.Command {
	o := dlqListOptions{limit: arg.Limit(50)}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List dead letters, latest death first",
		Example: `  stem dlq list
  stem dlq list --queue mail --reason exhausted --since 2h
  stem dlq list --limit 1000 --output csv`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	o.filter.bind(cmd)
	cmd.Flags().Var(&o.limit, "limit", "at most so many")
	cmd.Flags().Var(&o.cursor, "cursor", "go on where another list ended")
	return a.watchable(cmd)
}

func (o *dlqListOptions) run(ctx context.Context, a *App) error {
	f, err := o.filter.resolve()
	if err != nil {
		return err
	}
	plane, err := a.plane(ctx)
	if err != nil {
		return err
	}
	page := f
	page.BeforeDiedAt, page.BeforeID = o.cursor.at, o.cursor.id
	var last *control.DeadJob
	rows := limited(plane.Dead(ctx, page), o.limit.Value, func(d control.DeadJob) { last = &d })
	if a.Printer.ForPeople() && !a.Printer.Quiet {
		var all []control.DeadJob
		for d, err := range rows {
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		if last != nil {
			if err := a.countDead(ctx, plane, f); err != nil {
				return err
			}
		}
		rows = output.Rows(all)
	}
	if err := output.List(a.Printer, &deadSheet, rows); err != nil {
		return err
	}
	if last != nil {
		a.Printer.Note("there are more: --cursor %s", &deadCursor{last.DiedAt, last.ID})
	}
	return nil
}

// countDead says of how many the list is a part: counts by reason, and the errors that most have in common.
func (a *App) countDead(ctx context.Context, plane *control.Plane, f control.DeadFilter) error {
	for _, by := range []string{"reason", "fingerprint"} {
		groups, err := plane.DeadGroups(ctx, f, by)
		if err != nil {
			return err
		}
		for _, g := range groups[:min(len(groups), samples)] {
			if by == "reason" {
				a.Printer.Note("%d × reason %s", g.Count, g.Reason)
			} else if g.Fingerprint != "" {
				a.Printer.Note("%d × fingerprint %s: %s", g.Count, g.Fingerprint, g.SampleError)
			}
		}
	}
	return nil
}

func newDLQShow(a *App) *cobra.Command {
	var (
		id    arg.JobID
		queue arg.Name
	)
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show everything about a dead letter",
		Example: "  stem dlq show 0198f0c2-0000-7000-8000-000000000001",
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("id") {
				return noArgs(cmd, args)
			}
			return takes("ID")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{string(id)}
			}
			return a.showLetter(cmd.Context(), args[0], string(queue))
		},
	}
	cmd.Flags().Var(&id, "id", "the same as ID")
	cmd.Flags().Var(&queue, "queue", "fail unless it is of this queue")
	return cmd
}

func (a *App) showLetter(ctx context.Context, s, queue string) error {
	ids, err := parseIDs([]string{s})
	if err != nil {
		return err
	}
	plane, err := a.plane(ctx)
	if err != nil {
		return err
	}
	d, err := plane.DeadLetter(ctx, ids[0])
	switch {
	case err == nil && (queue == "" || d.Queue == queue):
		return a.showDetail(d)
	case err == nil:
		return notFound("dead letter", ids[0], queue).WithHint("it is in queue %q", d.Queue)
	case !errors.Is(err, control.ErrNotFound):
		return err
	}
	missing := notFound("dead letter", ids[0], queue).Because(err)
	if job, err := plane.Job(ctx, ids[0]); err == nil {
		return missing.WithHint("the job is %s: stem job show %s", job.State, ids[0])
	}
	return missing
}

func newDLQExport(a *App) *cobra.Command {
	var filter deadFilter
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write dead letters as JSON lines, each with all there is",
		Example: `  stem dlq export > dead.jsonl
  stem dlq export --queue mail --since 24h | jq -r .error`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			f, err := filter.resolve()
			if err != nil {
				return err
			}
			plane, err := a.plane(ctx)
			if err != nil {
				return err
			}
			switch a.Printer.Format {
			case output.Table, output.Wide, output.JSON: // an export may be larger than the memory
				a.Printer.Format = output.JSONL
			}
			return output.List(a.Printer, &exportSheet, plane.DeadLetters(ctx, f))
		},
	}
	filter.bind(cmd)
	return cmd
}
