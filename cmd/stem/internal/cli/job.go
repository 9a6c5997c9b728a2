package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"iter"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/queue"
)

func newJob(a *App) *cobra.Command {
	return group("job", "Look at jobs, cancel and retry them", "  stem job ls --queue mail --state running\n  stem job show ID",
		newJobList(a), newJobShow(a), newJobErrors(a), newJobCancel(a), newJobRetry(a), newJobWait(a))
}

var jobSheet = output.Sheet[control.Job]{Noun: "job", Columns: []output.Column[control.Job]{
	{Header: "ID", Value: func(j control.Job) any { return j.ID.String() }, Name: true},
	{Header: "State", Value: func(j control.Job) any { return j.State }, Tone: func(j control.Job) output.Tone { return stateTone(j.State) }},
	{Header: "Queue", Value: func(j control.Job) any { return j.Queue }},
	{Header: "Task", Value: func(j control.Job) any { return j.Task }},
	{Header: "Attempt", Value: func(j control.Job) any { return j.Attempt }},
	{Header: "Created at", Value: func(j control.Job) any { return j.CreatedAt }},
	{Header: "Due at", Value: func(j control.Job) any { return j.DueAt }, Wide: true},
	{Header: "Claimed at", Value: func(j control.Job) any { return j.ClaimedAt }, Wide: true},
	{Header: "Ended at", Value: func(j control.Job) any { return j.EndedAt }, Wide: true},
	{Header: "Worker", Value: func(j control.Job) any { return optionalID(j.Worker) }, Wide: true},
	{Header: "Reason", Value: func(j control.Job) any { return optional(j.Reason) }, Wide: true},
	{Header: "Priority", Value: func(j control.Job) any { return j.Priority }, Data: true},
	{Header: "Max attempts", Value: func(j control.Job) any { return j.MaxAttempts }, Data: true},
	{Header: "Failures", Value: func(j control.Job) any { return j.Failures }, Data: true},
	{Header: "Crashes", Value: func(j control.Job) any { return j.Crashes }, Data: true},
	{Header: "Releases", Value: func(j control.Job) any { return j.Releases }, Data: true},
	{Header: "Generation", Value: func(j control.Job) any { return j.Generation }, Data: true},
	{Header: "Cancel at", Value: func(j control.Job) any { return j.CancelAt }, Data: true},
	{Header: "Started at", Value: func(j control.Job) any { return j.StartedAt }, Data: true},
	{Header: "Expires at", Value: func(j control.Job) any { return j.ExpiresAt }, Data: true},
	{Header: "Origin", Value: func(j control.Job) any { return optional(j.Origin) }, Data: true},
	{Header: "Group", Value: func(j control.Job) any { return optional(j.Group) }, Data: true},
}}

var attemptSheet = output.Sheet[control.Attempt]{
	Noun: "attempt that went wrong", Plural: "attempts that went wrong",
	Columns: []output.Column[control.Attempt]{
		{Header: "Attempt", Value: func(t control.Attempt) any { return t.Attempt }, Name: true},
		{Header: "Outcome", Value: func(t control.Attempt) any { return t.Outcome }},
		{Header: "Ended at", Value: func(t control.Attempt) any { return t.EndedAt }},
		{Header: "Took", Value: func(t control.Attempt) any { return took(t) }, Wide: true},
		{Header: "Generation", Value: func(t control.Attempt) any { return t.Generation }, Wide: true},
		{Header: "Worker", Value: func(t control.Attempt) any { return optionalID(t.Worker) }, Wide: true},
		{Header: "Fingerprint", Value: func(t control.Attempt) any { return optional(t.Fingerprint) }, Wide: true},
		{Header: "Started at", Value: func(t control.Attempt) any { return t.StartedAt }, Data: true},
		{Header: "Error", Value: func(t control.Attempt) any { return optional(t.Error) }},
	},
}

func took(t control.Attempt) *time.Duration {
	if t.StartedAt.IsZero() || t.EndedAt.IsZero() {
		return nil
	}
	d := t.EndedAt.Sub(t.StartedAt)
	return &d
}

// detailSheet is all of a job, a dead letter too.
var detailSheet = output.Sheet[control.Detail]{Noun: "job", Columns: detailColumns()}

func detailColumns() []output.Column[control.Detail] {
	var columns []output.Column[control.Detail]
	for _, c := range jobSheet.Columns {
		from := output.Column[control.Detail]{
			Header: c.Header, Name: c.Name,
			Value: func(d control.Detail) any { return c.Value(d.Job) },
		}
		if c.Tone != nil {
			from.Tone = func(d control.Detail) output.Tone { return c.Tone(d.Job) }
		}
		columns = append(columns, from)
	}
	more := func(header string, value func(d control.Detail) any) {
		columns = append(columns, output.Column[control.Detail]{Header: header, Value: value})
	}
	more("Ahead", func(d control.Detail) any {
		if d.Ahead < 0 {
			return nil
		}
		return d.Ahead
	})
	more("Run at", func(d control.Detail) any { return d.RunAt })
	more("Delay", func(d control.Detail) any { return optionalSpan(d.Delay) })
	more("Nominal at", func(d control.Detail) any { return d.NominalAt })
	more("Hard limit", func(d control.Detail) any { return optionalSpan(d.HardLimit) })
	more("Soft limit", func(d control.Detail) any { return optionalSpan(d.SoftLimit) })
	more("Unique key", func(d control.Detail) any { return readable(d.UniqueKey) })
	more("Unique scope", func(d control.Detail) any {
		return optional(map[int]string{1: "until started", 2: "until finished", 3: "period"}[d.UniqueScope])
	})
	more("Issued at", func(d control.Detail) any { return d.IssuedAt })
	more("Signature key", func(d control.Detail) any { return optional(d.SignatureKey) })
	more("Algorithm", func(d control.Detail) any { return optional(d.Algorithm) })
	more("Signature", func(d control.Detail) any { return optional(base64.StdEncoding.EncodeToString(d.Signature)) })
	more("Codec", func(d control.Detail) any { return optional(d.Codec) })
	more("Payload version", func(d control.Detail) any { return d.PayloadVersion })
	more("Headers", func(d control.Detail) any { return d.Headers })
	more("Payload", func(d control.Detail) any { return readable(d.Payload) })
	more("Result", func(d control.Detail) any { return readable(d.Result) })
	more("Error", func(d control.Detail) any { return optional(d.Error) })
	more("Fingerprint", func(d control.Detail) any { return optional(d.Fingerprint) })
	more("Attempts", func(d control.Detail) any { return output.Nest(&attemptSheet, d.Attempts) })
	return columns
}

func optionalSpan(d time.Duration) *time.Duration {
	if d == 0 {
		return nil
	}
	return &d
}

// readable is bytes as people can read them: JSON as it is, other text as a string, the rest in base64.
func readable(b []byte) any {
	switch {
	case len(b) == 0:
		return nil
	case !utf8.Valid(b):
		return "base64:" + base64.StdEncoding.EncodeToString(b)
	case json.Valid(b):
		return json.RawMessage(b)
	}
	return string(b)
}

func stateTone(state string) output.Tone {
	switch state {
	case "completed":
		return output.Good
	case "dead":
		return output.Bad
	case "cancelled", "expired", "replaced":
		return output.Faint
	}
	return output.Plain
}

// jobFilter is the flags that say which jobs, the same for lists and changes.
type jobFilter struct {
	states arg.Choices
	queue  arg.Name
	task   arg.Name
	window arg.Window
}

var jobStates = []string{"ready", "scheduled", "running", "dead", "completed", "cancelled", "expired", "replaced"}

func (f *jobFilter) bind(cmd *cobra.Command, states ...string) {
	f.states = arg.SomeOf(states...)
	cmd.Flags().Var(&f.states, "state", "only in these states")
	cmd.Flags().Var(&f.queue, "queue", "only of this queue")
	cmd.Flags().Var(&f.task, "task", "only of this task")
	f.window.Bind(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
}

func (f *jobFilter) resolve() (control.Filter, error) {
	since, until, err := window(&f.window)
	return control.Filter{States: f.states.Values, Queue: string(f.queue), Task: string(f.task), Since: since, Until: until}, err
}

func window(w *arg.Window) (since, until time.Time, err error) {
	since, until, err = w.Resolve(time.Now())
	if err != nil {
		return since, until, fault.Usage("bad_window", "%s", err).About("flag --since")
	}
	return since, until, nil
}

var jobFilters = []string{"state", "queue", "task", "since", "until"}

// takesIDs accepts ids, or none with at least one of the filters.
func takesIDs(filters ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		given := ""
		for _, name := range filters {
			if cmd.Flags().Changed(name) {
				given = name
			}
		}
		switch {
		case len(args) > 0 && given != "":
			return fault.Usage("conflicting_flags", "ID and --%s exclude each other", given).About("flag --" + given)
		case len(args) == 0 && given == "":
			return fault.Usage("missing_argument", "%s needs ID, or a filter such as --%s", cmd.CommandPath(), filters[0]).
				About("argument ID").WithHint("see %s --help", cmd.CommandPath())
		}
		_, err := parseIDs(args)
		return err
	}
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
	return cmd
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
			return output.One(a.Printer, &detailSheet, *d)
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
	if err := output.One(a.Printer, &outcomeSheet, r); err != nil {
		return err
	}
	if !r.Completed() {
		return fault.New(fault.ExitNotFound, "not_completed", "job %s is %s", r.ID, r.State)
	}
	return nil
}
