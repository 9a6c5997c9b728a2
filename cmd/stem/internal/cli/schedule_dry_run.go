package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/cmd/stem/internal/schedulefile"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/scheduler/spec"
)

// foreseen is a schedule with the runs that come.
type foreseen struct {
	id, task, spec, zone, change string
	runs                         []foreseenRun
}

// foreseenRun is one line of a table: a run, or a schedule that has none.
type foreseenRun struct {
	of     foreseen
	at     time.Time // in the zone of the schedule; zero for none
	jitter time.Duration
	note   string
}

var foreseenRunColumns = []output.Column[foreseenRun]{
	{Header: "UTC", Key: "utc", Value: func(r foreseenRun) any { return r.at.UTC() }},
	{Header: "Local", Value: func(r foreseenRun) any { return r.local(time.RFC3339Nano) }},
	{Header: "Offset", Value: func(r foreseenRun) any { return r.local("-07:00") }},
	{Header: "Jitter", Key: "jitterSeconds", Value: func(r foreseenRun) any { return r.jitter.Seconds() }},
	{Header: "Note", Value: func(r foreseenRun) any { return optional(r.note) }},
}

func (r *foreseenRun) local(layout string) any {
	if r.at.IsZero() {
		return nil
	}
	return r.at.Format(layout)
}

// document is the result for programs.
type document []foreseen

var documentSheet = output.Sheet[document]{Noun: "document", Columns: []output.Column[document]{{
	Header: "Schedules", Value: func(d document) any { return output.Nest(&foreseenSheet, d) },
}}}

var foreseenSheet = output.Sheet[foreseen]{Noun: "schedule", Columns: []output.Column[foreseen]{
	{Header: "ID", Value: func(f foreseen) any { return optional(f.id) }, Name: true},
	{Header: "Task", Value: func(f foreseen) any { return optional(f.task) }},
	{Header: "Spec", Value: func(f foreseen) any { return f.spec }},
	{Header: "Timezone", Value: func(f foreseen) any { return f.zone }},
	{Header: "Change", Value: func(f foreseen) any { return f.change }},
	{Header: "Runs", Value: func(f foreseen) any {
		return output.Nest(&output.Sheet[foreseenRun]{Noun: "run", Columns: foreseenRunColumns}, f.runs)
	}},
}}

// lineSheet has a line for each run. A spec that stands nowhere has no id, and only what is in a file changes something.
func (a *App) lineSheet(named, withChange bool) *output.Sheet[foreseenRun] {
	layout := time.RFC3339Nano
	if a.Printer.ForPeople() {
		layout = "Mon 2006-01-02 15:04:05"
	}
	return &output.Sheet[foreseenRun]{Noun: "schedule", Columns: []output.Column[foreseenRun]{
		{Header: "ID", Value: func(r foreseenRun) any { return optional(r.of.id) }, Name: true, Data: !named},
		{Header: "Change", Value: func(r foreseenRun) any { return r.of.change }, Wide: !withChange},
		{Header: "Local", Value: func(r foreseenRun) any { return r.local(layout) }},
		{Header: "UTC", Key: "utc", Value: func(r foreseenRun) any { return r.at.UTC() }},
		{Header: "Offset", Value: func(r foreseenRun) any { return r.local("-07:00") }},
		{Header: "Jitter", Value: func(r foreseenRun) any { return r.jitter }},
		{Header: "Note", Value: func(r foreseenRun) any { return optional(r.note) }, Tone: func(foreseenRun) output.Tone { return output.Warn }},
		{Header: "Timezone", Value: func(r foreseenRun) any { return r.of.zone }, Wide: true},
		{Header: "Task", Value: func(r foreseenRun) any { return optional(r.of.task) }, Wide: true},
		{Header: "Spec", Value: func(r foreseenRun) any { return r.of.spec }, Wide: true},
	}}
}

type dryRunOptions struct {
	file, spec, zone string
	from             arg.Time
	count            arg.Int
}

func newScheduleDryRun(a *App) *cobra.Command {
	o := dryRunOptions{count: arg.Between(1, 1000, 5)}
	cmd := &cobra.Command{
		Use:   "dry-run [ID...]",
		Short: "Show when schedules would run",
		Long: "Show when schedules would run, strictly after --from (default: now): every schedule of the database, those named, those of a file, or a\n" +
			"spec that stands nowhere yet. A note says what daylight saving shifts, skips or repeats, and on which days there is no sunrise.\n" +
			"Jitter is what the run is put off by; it is the same whenever somebody asks.\n\n" +
			"--spec needs no database and no settings: a cron expression, every:5m, or JSON. With --file each entry is new, changed or the same\n" +
			"against the database, or unknown when that cannot be asked.",
		Example: `  stem schedule dry-run
  stem schedule dry-run --file schedules.yaml --count 3
  stem schedule dry-run --spec "30 2 * * *" --timezone Europe/Berlin --from 2026-03-27T00:00:00Z`,
		Args:              cobra.ArbitraryArgs, // ids, read below
		ValidArgsFunction: a.completing(scheduleNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, a, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	fromFile(f, &o.file, "the schedules of a file")
	f.StringVar(&o.spec, "spec", "", `a spec: "0 9 * * MON-FRI", every:5m, or JSON`)
	f.StringVar(&o.zone, "timezone", "", "with --spec: the IANA name of its time zone (default: UTC)")
	f.Var(&o.from, "from", "only runs after this time: RFC 3339 with a zone (default: now)")
	f.Var(&o.count, "count", "how many runs of each")
	return standalone(cmd)
}

func (o *dryRunOptions) run(cmd *cobra.Command, a *App, args []string) error {
	given := cmd.Flags().Changed
	if err := exclusive(cmd, "spec", "file"); err != nil {
		return err
	}
	if given("spec") {
		if len(args) > 0 {
			return fault.Usage("conflicting_flags", "--spec excludes ID, got %q", args[0]).About("flag --spec")
		}
		return o.ofSpec(a)
	}
	if given("timezone") {
		return fault.Usage("bad_flag", "--timezone belongs to --spec; a schedule has its own").About("flag --timezone")
	}
	ids, err := scheduleIDs(args)
	if err != nil {
		return err
	}
	if err := a.configure(cmd); err != nil {
		return err
	}
	var list []foreseen
	if given("file") {
		list, err = o.ofFile(cmd.Context(), a, ids)
	} else {
		list, err = o.ofDatabase(cmd.Context(), a, ids)
	}
	if err != nil {
		return err
	}
	return a.printForeseen(list, a.lineSheet(true, given("file")))
}

func (o *dryRunOptions) ofSpec(a *App) error {
	parsed, err := spec.Parse(o.spec)
	if err != nil {
		mistake := fault.Usage("bad_spec", "--spec: %s", err).About("flag --spec").Because(err)
		if e, ok := errors.AsType[*spec.Error](err); ok {
			mistake.Excerpt = e.Caret()
		}
		return mistake
	}
	zone := time.UTC
	if o.zone != "" {
		if zone, err = spec.Zone(o.zone); err != nil {
			return fault.Usage("bad_flag", "--%s", err).About("flag --timezone").Because(err) // it begins with timezone
		}
	}
	f := foreseen{spec: parsed.String(), zone: zone.String(), change: "spec"}
	f.runs = foreseeRuns(scheduler.Timing{Spec: parsed, Zone: zone}, o.after(time.Now()), o.count.Value)
	return a.printForeseen([]foreseen{f}, a.lineSheet(false, false))
}

func (o *dryRunOptions) after(now time.Time) time.Time {
	if o.from.Value.IsZero() {
		return now
	}
	return o.from.Value
}

func (o *dryRunOptions) ofDatabase(ctx context.Context, a *App, ids []string) ([]foreseen, error) {
	table, err := a.schedules(ctx)
	if err != nil {
		return nil, err
	}
	now, err := table.Now(ctx)
	if err != nil {
		return nil, err
	}
	var list []foreseen
	found := map[string]bool{}
	for s, err := range table.List(ctx) {
		if err != nil {
			return nil, err
		}
		if len(ids) > 0 && !slices.Contains(ids, s.ID) {
			continue
		}
		found[s.ID] = true
		f := foreseen{id: s.ID, task: s.Task, spec: s.Spec, zone: s.Zone, change: scheduler.KindSame}
		switch status := s.Status(now); {
		case s.Broken != nil:
			a.Printer.Note("schedule %q cannot be understood: %v", s.ID, s.Broken)
			list = append(list, f)
			continue
		case status == scheduler.StatusDisabled, status == scheduler.StatusPaused, status == scheduler.StatusRejected:
			a.Printer.Note("schedule %q is %s; these would be its runs", s.ID, status)
		}
		f.runs = foreseeRuns(s.Timing(), o.after(now), o.count.Value)
		list = append(list, f)
	}
	for _, id := range ids {
		if !found[id] {
			return nil, noSchedule(ctx, table, id)
		}
	}
	return list, nil
}

func (o *dryRunOptions) ofFile(ctx context.Context, a *App, ids []string) ([]foreseen, error) {
	file, err := a.scheduleFile(o.file)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(file.Entries, func(e scheduler.Entry) bool { return e.ID == id }) {
			return nil, fault.NotFound("no schedule %q in %s", id, file.Name)
		}
	}
	changes, now, err := a.against(ctx, file)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		reason := fault.From(err, a.database.Target())
		a.warn(fault.New(fault.ExitUnavailable, "database_unknown", "what is new or changed is not known: %s", reason).About("database"))
	}
	q, err := a.checker()
	if err != nil {
		return nil, err
	}
	var list []foreseen
	for _, e := range file.Entries {
		if len(ids) > 0 && !slices.Contains(ids, e.ID) {
			continue
		}
		f, err := foreseeEntry(q, &e, o.after(now), o.count.Value)
		if err != nil {
			return nil, err
		}
		if f.change = changes[e.ID]; f.change == "" {
			f.change = "unknown"
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b foreseen) int { return strings.Compare(a.id, b.id) })
	return list, nil
}

// against says what is new, changed or the same against the database, and the time there. With an error it is the time here.
func (a *App) against(ctx context.Context, file *schedulefile.File) (map[string]string, time.Time, error) {
	table, err := a.schedules(ctx)
	if err != nil {
		return nil, time.Now(), err
	}
	plan, err := table.Plan(ctx, false, file.Entries...)
	if err != nil {
		return nil, time.Now(), err
	}
	now, err := table.Now(ctx)
	if err != nil {
		return nil, time.Now(), err
	}
	changes := map[string]string{}
	for _, c := range plan.Changes {
		changes[c.ID] = c.Kind
	}
	return changes, now, nil
}

// foreseeEntry foresees an entry that has been checked.
func foreseeEntry(q *queue.Queue, e *scheduler.Entry, after time.Time, count int) (foreseen, error) {
	template, err := q.Template(e.Job)
	if err != nil {
		return foreseen{}, err
	}
	t, err := e.Timing()
	if err != nil {
		return foreseen{}, err
	}
	return foreseen{id: e.ID, task: template.Task, spec: t.Spec.String(), zone: t.Zone.String(), runs: foreseeRuns(t, after, count)}, nil
}

// foreseeRuns are the next runs after an instant, at most so many.
func foreseeRuns(t scheduler.Timing, after time.Time, count int) []foreseenRun {
	var list []foreseenRun
	for range count {
		run, ok := t.Next(after)
		if !ok {
			break
		}
		list = append(list, foreseenRun{at: run.At, jitter: t.Delay(run.At), note: run.Remarks()})
		after = run.At
	}
	return list
}

func (a *App) printForeseen(list []foreseen, sheet *output.Sheet[foreseenRun]) error {
	switch a.Printer.Format {
	case output.JSON, output.JSONL, output.YAML:
		return output.One(a.Printer, &documentSheet, document(list))
	case output.Name:
		return output.List(a.Printer, &foreseenSheet, output.Rows(list))
	}
	var lines []foreseenRun
	for _, f := range list {
		for _, r := range f.runs {
			r.of = f
			lines = append(lines, r)
		}
		if len(f.runs) == 0 {
			lines = append(lines, foreseenRun{of: f, note: "no run comes"})
		}
	}
	return output.List(a.Printer, sheet, output.Rows(lines))
}
