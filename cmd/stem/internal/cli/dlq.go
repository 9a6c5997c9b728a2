package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
)

func newDLQ(a *App) *cobra.Command {
	return group("dlq", "Look at dead letters, replay and purge them", "  stem dlq list --queue mail\n  stem dlq replay --reason exhausted --since 1h",
		newDLQList(a), newDLQShow(a), newDLQReplay(a), newDLQPurge(a), newDLQExport(a))
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

// deadReason is a word such as "exhausted". A sentence is one that was meant for the audit log, and must not be taken for a filter
// that happens to match nothing.
type deadReason string

var reasonWord = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

func (r *deadReason) Set(s string) error {
	if !reasonWord.MatchString(s) {
		return fmt.Errorf("want the reason of a death such as exhausted, got %q; the text for the audit log is --because", s)
	}
	*r = deadReason(s)
	return nil
}

func (r *deadReason) String() string { return string(*r) }

func (*deadReason) Type() string { return "word" }

// deadFilter is the flags that say which dead letters, the same for lists and changes.
type deadFilter struct {
	queue       arg.Name
	task        arg.Name
	reason      deadReason
	fingerprint string
	window      arg.Window
}

var deadFilters = []string{"queue", "task", "reason", "fingerprint", "since", "until"}

func (f *deadFilter) bind(cmd *cobra.Command) {
	cmd.Flags().Var(&f.queue, "queue", "only of this queue (default: every queue)")
	cmd.Flags().Var(&f.task, "task", "only of this task")
	cmd.Flags().Var(&f.reason, "reason", "only those that died of this")
	cmd.Flags().StringVar(&f.fingerprint, "fingerprint", "", "only those with this error")
	f.window.Bind(cmd.Flags())
}

func (f *deadFilter) resolve() (control.DeadFilter, error) {
	since, until, err := window(&f.window)
	return control.DeadFilter{
		Queue: string(f.queue), Task: string(f.task), Reason: string(f.reason), Fingerprint: f.fingerprint, Since: since, Until: until,
	}, err
}

// deadCursor is where a list of dead letters goes on: when the last one died, and its id.
type deadCursor struct {
	at time.Time
	id uuid.UUID
}

func (c *deadCursor) Set(s string) error {
	at, id, _ := strings.Cut(s, "/")
	var died arg.Time
	parsed, err := arg.ParseJobID(id)
	if err != nil || died.Set(at) != nil {
		return fmt.Errorf("want the cursor that another list ended with, got %q", s)
	}
	*c = deadCursor{died.Value, uuid.MustParse(string(parsed))}
	return nil
}

func (c *deadCursor) String() string {
	if c.id == uuid.Nil {
		return ""
	}
	return c.at.Format(time.RFC3339Nano) + "/" + c.id.String()
}

func (*deadCursor) Type() string { return "cursor" }

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
	return cmd
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
	if table := a.Printer.Format == output.Table || a.Printer.Format == output.Wide; table && !a.Printer.Quiet {
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
		return output.One(a.Printer, &detailSheet, *d)
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
			return output.List(a.Printer, &exportSheet, func(yield func(control.Detail, error) bool) {
				for row, err := range plane.Dead(ctx, f) {
					var d *control.Detail
					if err == nil {
						d, err = plane.DeadLetter(ctx, row.ID)
					}
					switch {
					case errors.Is(err, control.ErrNotFound): // replayed or purged meanwhile
					case err != nil:
						yield(control.Detail{}, err)
						return
					case !yield(*d, nil):
						return
					}
				}
			})
		},
	}
	filter.bind(cmd)
	return cmd
}
