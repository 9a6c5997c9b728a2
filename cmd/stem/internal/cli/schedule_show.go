package cli

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/scheduler"
)

// scheduleDetail is everything about a schedule.
type scheduleDetail struct {
	standing
	job  scheduler.Job
	next []foreseenRun
	runs []scheduler.Run
}

var nextRunSheet = output.Sheet[foreseenRun]{Noun: "run", Columns: foreseenRunColumns}

const shown = 5 // runs to come, and runs of the ledger

var scheduleDetailSheet = output.Sheet[scheduleDetail]{Noun: "schedule", Columns: scheduleDetailColumns()}

func scheduleDetailColumns() []output.Column[scheduleDetail] {
	var columns []output.Column[scheduleDetail]
	more := func(header string, value func(d scheduleDetail) any) {
		columns = append(columns, output.Column[scheduleDetail]{Header: header, Value: value})
	}
	for _, c := range scheduleColumns(false) {
		if c.Header == "Last drift" {
			continue // the ledger below has it
		}
		from := output.Column[scheduleDetail]{
			Header: c.Header, Key: c.Key, Name: c.Name,
			Value: func(d scheduleDetail) any { return c.Value(d.standing) },
		}
		if c.Tone != nil {
			from.Tone = func(d scheduleDetail) output.Tone { return c.Tone(d.standing) }
		}
		columns = append(columns, from)
		if c.Header == "Why" {
			more("To do", func(d scheduleDetail) any { return optional(d.advice()) })
		}
	}
	more("Gap", func(d scheduleDetail) any { return d.Policies.Gap })
	more("Overlap", func(d scheduleDetail) any { return d.Policies.Overlap })
	more("Missed", func(d scheduleDetail) any { return d.Policies.Missed })
	more("Catch up window", func(d scheduleDetail) any { return d.Policies.CatchUpWindow })
	more("Catch up max", func(d scheduleDetail) any { return d.Policies.CatchUpMax })
	more("Previous", func(d scheduleDetail) any { return d.Policies.Previous })
	more("Pause after failures", func(d scheduleDetail) any {
		if d.Policies.PauseAfterFailures == 0 {
			return nil
		}
		return d.Policies.PauseAfterFailures
	})
	more("Priority", func(d scheduleDetail) any { return d.job.Priority })
	more("Max attempts", func(d scheduleDetail) any { return d.job.MaxAttempts })
	more("Hard limit", func(d scheduleDetail) any { return optionalSpan(d.job.HardLimit) })
	more("Soft limit", func(d scheduleDetail) any { return optionalSpan(d.job.SoftLimit) })
	more("Expires in", func(d scheduleDetail) any { return optionalSpan(d.job.ExpiresIn) })
	more("Unique key", func(d scheduleDetail) any { return readable(d.job.UniqueKey) })
	more("Group", func(d scheduleDetail) any { return optional(d.job.Group) })
	more("Headers", func(d scheduleDetail) any {
		if len(d.job.Headers) == 0 {
			return nil
		}
		text, _ := json.Marshal(d.job.Headers) // texts: cannot fail
		return json.RawMessage(text)
	})
	more("Codec", func(d scheduleDetail) any { return optional(d.job.Codec) })
	more("Payload version", func(d scheduleDetail) any { return d.job.Version })
	more("Args", func(d scheduleDetail) any {
		if d.job.Sealed {
			return nil
		}
		return readable(d.job.Payload)
	})
	more("Next runs", func(d scheduleDetail) any { return output.Nest(&nextRunSheet, d.next) })
	more("Last runs", func(d scheduleDetail) any { return output.Nest(&runSheet, d.runs) })
	return columns
}

// advice says what to do about a schedule that does not run.
func (s *standing) advice() string {
	switch s.status {
	case scheduler.StatusRejected:
		return "apply its entry again; or, when somebody has looked at what would run: stem schedule resign --reviewed " + s.ID
	case scheduler.StatusFailing:
		if s.Broken != nil {
			return "apply its entry again, or delete it: stem schedule delete " + s.ID
		}
		return "mend what it says; schedulers try again every ten seconds"
	case scheduler.StatusPaused:
		return "mend what fails (stem dlq list --task " + s.Task + "), then: stem schedule enable " + s.ID
	case scheduler.StatusOverdue:
		return "start a scheduler: stem scheduler run"
	case scheduler.StatusDisabled:
		return "switch it on: stem schedule enable " + s.ID
	}
	return ""
}

func newScheduleShow(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show everything about a schedule",
		Long: "Show everything about a schedule: what it enqueues and when, its next runs, what became of the last ones, why it does not run\n" +
			"and what to do about that.",
		Example:           "  stem schedule show nightly-report\n  stem schedule show nightly-report --json | jq .nextRuns",
		Args:              takes("ID"),
		ValidArgsFunction: a.completingFirst(scheduleNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.showSchedule(cmd.Context(), args[0]) },
	}
}

func (a *App) showSchedule(ctx context.Context, name string) error {
	id, err := scheduleID(name)
	if err != nil {
		return err
	}
	table, err := a.schedules(ctx)
	if err != nil {
		return err
	}
	s, err := findSchedule(ctx, table, id)
	if err != nil {
		return err
	}
	now, err := table.Now(ctx)
	if err != nil {
		return err
	}
	refused, err := a.refusedSchedules(ctx, table, id)
	if err != nil {
		return err
	}
	d := scheduleDetail{standing: newStanding(s, now, refused[id]), job: *s.Job}
	if !s.DueAt.IsZero() && s.Broken == nil {
		d.next = foreseeRuns(s.Timing(), now, shown)
	}
	for run, err := range limited(table.History(ctx, scheduler.RunFilter{Schedule: id}), shown, func(scheduler.Run) {}) {
		if err != nil {
			return err
		}
		d.runs = append(d.runs, run)
	}
	if s.Job.Sealed {
		a.Printer.Note("its args are encrypted, and not shown: this configuration has not got the key")
	}
	return output.One(a.Printer, &scheduleDetailSheet, d)
}
