package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
)

// triggered is the job of a schedule that was triggered.
type triggered struct {
	schedule string
	enqueued
}

// triggerSheet is that of an enqueued job, with the schedule.
func triggerSheet(waiting bool) *output.Sheet[triggered] {
	s := &output.Sheet[triggered]{Noun: "job", Columns: []output.Column[triggered]{
		{Header: "Schedule", Value: func(t triggered) any { return t.schedule }},
	}}
	columns := enqueuedColumns
	if waiting {
		columns = append(append([]output.Column[enqueued]{}, columns...), endedColumns...)
	}
	for _, c := range columns {
		from := output.Column[triggered]{Header: c.Header, Key: c.Key, Name: c.Name, Value: func(t triggered) any { return c.Value(t.enqueued) }}
		if c.Tone != nil {
			from.Tone = func(t triggered) output.Tone { return c.Tone(t.enqueued) }
		}
		s.Columns = append(s.Columns, from)
	}
	return s
}

type triggerOptions struct {
	reason  string
	wait    arg.Duration
	waiting bool
}

func newScheduleTrigger(a *App) *cobra.Command {
	o := triggerOptions{wait: arg.Within(0, 24*time.Hour, 0)}
	cmd := &cobra.Command{
		Use:   "trigger ID",
		Short: "Enqueue the job of a schedule now, and wait for its result if told to",
		Long: "Enqueue the job of a schedule now, once, be it on or off; when it runs next stays as it is. That needs the role stem_scheduler.\n" +
			"With --wait the exit code is 0 when the job completed, 1 when it ended otherwise, and 75 when it had not ended in time.",
		Example:           "  stem schedule trigger nightly-report --reason \"the numbers were wrong\"\n  stem schedule trigger nightly-report --wait=5m --json",
		Args:              takes("ID"),
		ValidArgsFunction: a.completingFirst(scheduleNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.waiting = cmd.Flags().Changed("wait")
			return o.run(cmd, a, args[0])
		},
	}
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for the audit log")
	cmd.Flags().Var(&o.wait, "wait", "wait until it ended, at most so long: --wait or --wait=30s")
	cmd.Flags().Lookup("wait").NoOptDefVal = "0"
	return cmd
}

func (o *triggerOptions) run(cmd *cobra.Command, a *App, name string) error {
	ctx := cmd.Context()
	id, err := scheduleID(name)
	if err == nil {
		err = checkReason("reason", o.reason)
	}
	if err != nil {
		return err
	}
	q, err := a.producer()
	if err != nil {
		return err
	}
	table, err := a.schedulesOver(ctx, q)
	if err != nil {
		return err
	}
	s, err := findSchedule(ctx, table, id)
	if err == nil {
		err = unread(s)
	}
	if err != nil {
		return err
	}
	row := triggered{id, enqueued{task: s.Task, queue: s.Queue}}
	if row.receipt, err = table.Trigger(ctx, id, o.reason); err != nil {
		return scheduleFault(ctx, table, id, err)
	}
	if a.Printer.ForPeople() {
		text := fmt.Sprintf("Triggered schedule %q as job %s.\n", id, row.receipt.ID)
		if row.receipt.Duplicate {
			text = fmt.Sprintf("Schedule %q was not triggered: job %s holds its unique key.\n", id, row.receipt.ID)
		}
		if _, err := fmt.Fprint(a.Printer.Out, text); err != nil || !o.waiting {
			return err
		}
	}
	var ended error
	if o.waiting {
		pool, err := a.Pool(ctx)
		if err != nil {
			return err
		}
		row.result, ended = a.await(ctx, pool, row.enqueued, o.wait.Value)
	}
	if err := output.One(a.Printer, triggerSheet(o.waiting), row); err != nil {
		return err
	}
	return ended
}
