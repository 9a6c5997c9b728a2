package cli

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
)

// standing is a schedule and how it is now.
type standing struct {
	scheduler.Schedule
	status string
	why    string // what the status is about, where somebody must act
	now    time.Time
}

var scheduleStatuses = []string{
	scheduler.StatusActive, scheduler.StatusDisabled, scheduler.StatusPaused, scheduler.StatusFinished,
	scheduler.StatusRejected, scheduler.StatusFailing, scheduler.StatusOverdue,
}

// newStanding judges a schedule by what a scheduler met when it was last due, or by a refusal of its signature as it is now.
func newStanding(s *scheduler.Schedule, now time.Time, refusal *scheduler.Verdict) standing {
	r := standing{Schedule: *s, status: s.Status(now), now: now}
	if refusal != nil && refusal.Version == s.Version && s.Enabled && s.Broken == nil && r.status != scheduler.StatusFinished {
		r.status, r.why = scheduler.StatusRejected, refusal.Reason+": "+refusal.Detail
		if refusal.Action == signing.Release {
			r.status = scheduler.StatusFailing // tried again, for the key may come
		}
	}
	if r.why != "" {
		return r
	}
	switch r.status {
	case scheduler.StatusRejected:
		r.why = s.Refused
	case scheduler.StatusFailing:
		r.why = s.Failed
		if s.Broken != nil {
			r.why = s.Broken.Error()
		}
	case scheduler.StatusPaused:
		r.why = s.PausedWhy
	case scheduler.StatusOverdue:
		r.why = "it has been due for " + arg.Text(now.Sub(s.DueAt)) + ", and no scheduler fires it"
	}
	return r
}

func statusTone(s standing) output.Tone {
	switch s.status {
	case scheduler.StatusRejected, scheduler.StatusFailing:
		return output.Bad
	case scheduler.StatusPaused, scheduler.StatusOverdue:
		return output.Warn
	case scheduler.StatusDisabled, scheduler.StatusFinished:
		return output.Faint
	}
	return output.Plain
}

// scheduleColumns are those of a list. How long it is until the next run is for tables alone: to programs every look would be a change.
func scheduleColumns(tables bool) []output.Column[standing] {
	columns := []output.Column[standing]{
		{Header: "ID", Value: func(s standing) any { return s.ID }, Name: true},
		{Header: "Task", Value: func(s standing) any { return s.Task }},
		{Header: "Queue", Value: func(s standing) any { return s.Queue }},
		{Header: "Spec", Key: "when", Value: func(s standing) any { return specWords(s.Spec) }},
		{Header: "Zone", Value: func(s standing) any { return s.Zone }},
		{Header: "Status", Value: func(s standing) any { return s.status }, Tone: statusTone},
		{Header: "Next", Key: "nextAt", Value: func(s standing) any { return s.NextAt }},
	}
	if tables {
		columns = append(columns, output.Column[standing]{Header: "In", Value: func(s standing) any {
			if s.NextAt.IsZero() {
				return nil
			}
			return away(s.NextAt, s.now)
		}})
	}
	return append(columns,
		output.Column[standing]{Header: "Last", Key: "lastAt", Value: func(s standing) any { return s.LastAt }},
		output.Column[standing]{Header: "Fired", Value: func(s standing) any { return s.Fired }},
		output.Column[standing]{Header: "Why", Value: func(s standing) any { return optional(s.why) }, Wide: true},
		output.Column[standing]{Header: "Last drift", Value: func(s standing) any { return s.LastDrift }, Wide: true},
		output.Column[standing]{Header: "Jitter", Value: func(s standing) any { return optionalSpan(s.Jitter) }, Wide: true},
		output.Column[standing]{Header: "Key", Value: func(s standing) any { return optional(s.Key) }, Wide: true},
		output.Column[standing]{Header: "Description", Value: func(s standing) any { return optional(s.Description) }, Wide: true},
		output.Column[standing]{Header: "Updated at", Value: func(s standing) any { return s.UpdatedAt }, Wide: true},
		output.Column[standing]{Header: "Updated by", Value: func(s standing) any { return optional(s.UpdatedBy) }, Wide: true},
		output.Column[standing]{Header: "Enabled", Value: func(s standing) any { return s.Enabled }, Data: true},
		output.Column[standing]{Header: "Version", Value: func(s standing) any { return s.Version }, Data: true},
		output.Column[standing]{Header: "Due at", Value: func(s standing) any { return s.DueAt }, Data: true},
		output.Column[standing]{Header: "Queued at", Value: func(s standing) any { return s.QueuedAt }, Data: true},
		output.Column[standing]{Header: "Expire at", Value: func(s standing) any { return s.ExpireAt }, Data: true},
		output.Column[standing]{Header: "Last job", Value: func(s standing) any { return optionalID(s.LastJob) }, Data: true},
		output.Column[standing]{Header: "Paused at", Value: func(s standing) any { return s.PausedAt }, Data: true},
		output.Column[standing]{Header: "Algorithm", Value: func(s standing) any { return optional(s.Algorithm) }, Data: true},
		output.Column[standing]{Header: "Spec JSON", Key: "spec", Value: func(s standing) any { return readable([]byte(s.Spec)) }, Data: true},
	)
}

type scheduleFilter struct {
	statuses arg.Choices
	task     arg.Name
	queue    arg.Name
}

func (f *scheduleFilter) matches(s standing) bool {
	return (f.statuses.Values == nil || slices.Contains(f.statuses.Values, s.status)) &&
		(f.task == "" || s.Task == string(f.task)) && (f.queue == "" || s.Queue == string(f.queue))
}

func newScheduleList(a *App) *cobra.Command {
	f := scheduleFilter{statuses: arg.SomeOf(scheduleStatuses...)}
	cmd := a.watchable(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List schedules with when they run next and what keeps them from it",
		Long: "List schedules with when they run next and what keeps them from it. With keys in the settings every signature is verified, so\n" +
			"that a schedule which was tampered with is rejected here before a scheduler meets it; that needs the role stem_operator. What\n" +
			"stem_observer sees is what schedulers found.",
		Example: "  stem schedule list\n  stem schedule list --status rejected,failing,paused,overdue -o wide\n  stem schedule list --queue reports --json",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.list(cmd.Context(), a) },
	})
	cmd.Flags().Var(&f.statuses, "status", "only those that are so")
	cmd.Flags().Var(&f.task, "task", "only of this task")
	cmd.Flags().Var(&f.queue, "queue", "only into this queue")
	return cmd
}

func (f *scheduleFilter) list(ctx context.Context, a *App) error {
	table, err := a.schedules(ctx)
	if err != nil {
		return err
	}
	var troubled []standing
	rows := func(yield func(standing, error) bool) {
		for s, err := range a.standings(ctx, table) {
			if err == nil && !f.matches(s) {
				continue
			}
			if s.why != "" {
				troubled = append(troubled, s)
			}
			if !yield(s, err) {
				return
			}
		}
	}
	sheet := output.Sheet[standing]{Noun: "schedule", Empty: "No schedules found.", Columns: scheduleColumns(a.Printer.ForPeople())}
	if err := output.List(a.Printer, &sheet, rows); err != nil {
		return err
	}
	if a.Printer.ForPeople() {
		a.noteTroubled(troubled)
	}
	return nil
}

// noteTroubled says why schedules do not run, which has no room in a table.
func (a *App) noteTroubled(list []standing) {
	for _, s := range list[:min(len(list), samples)] {
		a.Printer.Note("schedule %q is %s: %s", s.ID, s.status, s.why)
	}
	if rest := len(list) - samples; rest > 0 {
		a.Printer.Note("… and %d more: --output wide", rest)
	} else if len(list) > 0 {
		a.Printer.Note("what to do about it: stem schedule show ID")
	}
}

// standings yields the schedules by id.
func (a *App) standings(ctx context.Context, table *scheduler.Table) iter.Seq2[standing, error] {
	return func(yield func(standing, error) bool) {
		now, err := table.Now(ctx)
		if err != nil {
			yield(standing{}, err)
			return
		}
		refused, err := a.refusedSchedules(ctx, table)
		if err != nil {
			yield(standing{}, err)
			return
		}
		for s, err := range table.List(ctx) {
			if err != nil {
				yield(standing{}, err)
				return
			}
			if !yield(newStanding(s, now, refused[s.ID]), nil) {
				return
			}
		}
	}
}

// refusedSchedules verifies those on the list, or those of some ids. A login that may not read whole schedules is told so.
func (a *App) refusedSchedules(ctx context.Context, table *scheduler.Table, ids ...string) (map[string]*scheduler.Verdict, error) {
	if a.Config.Keys.Policy() == signing.Off {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if a.blind {
		return a.unverified()
	}
	refused := map[string]*scheduler.Verdict{}
	for v, err := range table.Verify(ctx, ids...) {
		if isDenied(err) {
			a.blind = true
			return a.unverified()
		}
		if err != nil {
			return nil, err
		}
		if v.Refused() {
			refused[v.ID] = &v
		}
	}
	return refused, nil
}

func (a *App) unverified() (map[string]*scheduler.Verdict, error) {
	a.Printer.Note("signatures were not verified: that needs the role stem_operator")
	return nil, nil //nolint:nilnil // none is known
}
