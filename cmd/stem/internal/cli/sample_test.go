package cli

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
)

// Two commands as they are meant to be written, over letters in memory: a list and a change.

type letter struct {
	ID    arg.JobID
	Queue string
	Died  time.Time
	Age   time.Duration
}

var letterSheet = output.Sheet[letter]{Noun: "letter", Columns: []output.Column[letter]{
	{Header: "ID", Value: func(l letter) any { return l.ID }, Name: true},
	{Header: "Queue", Value: func(l letter) any { return l.Queue }},
	{Header: "Age", Value: func(l letter) any { return l.Age }},
	{Header: "Died at", Value: func(l letter) any { return l.Died }, Wide: true},
}}

var letters = []letter{
	{"0198f0c2-0000-7000-8000-000000000001", "mail", time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), 12300 * time.Millisecond},
	{"0198f0c2-0000-7000-8000-000000000002", "default", time.Date(2026, 1, 2, 16, 4, 5, 0, time.UTC), time.Hour},
}

func newSample(a *App) *cobra.Command {
	return group("sample", "Commands for the tests", "  stem sample list",
		newSampleList(a), newSampleReplay(a), newSampleSend(a), newSampleHang(a))
}

type sampleListOptions struct {
	limit  arg.Int
	queues arg.Names
	window arg.Window
}

func newSampleList(a *App) *cobra.Command {
	o := sampleListOptions{limit: arg.Limit(50)}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List letters",
		Example: "  stem sample list --queue mail --since 2h",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	cmd.Flags().Var(&o.limit, "limit", "at most so many")
	cmd.Flags().Var(&o.queues, "queue", "only of these queues")
	o.window.Bind(cmd.Flags())
	return cmd
}

func (o *sampleListOptions) run(_ context.Context, a *App) error {
	if _, _, err := o.window.Resolve(time.Now()); err != nil {
		return fault.Usage("bad_window", "%s", err)
	}
	return output.List(a.Printer, &letterSheet, o.letters())
}

func (o *sampleListOptions) letters() iter.Seq2[letter, error] {
	var rows []letter
	for _, l := range letters {
		if len(o.queues) == 0 || o.queues[0] == l.Queue {
			rows = append(rows, l)
		}
	}
	return output.Rows(rows[:min(len(rows), o.limit.Value)])
}

func newSampleReplay(a *App) *cobra.Command {
	var change Change
	cmd := &cobra.Command{
		Use:     "replay ID...",
		Short:   "Replay letters",
		Example: "  stem sample replay 0198f0c2-0000-7000-8000-000000000001 --yes",
		Args:    takesSome("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, s := range args {
				if _, err := arg.ParseJobID(s); err != nil {
					return bad("ID", err)
				}
			}
			ok, err := a.Confirm(cmd.Context(), change,
				Effect{Verb: "replay", Count: 214, Noun: "entry", Plural: "entries", Sample: args})
			if !ok {
				return err
			}
			bar := a.Progress("replaying", 214)
			defer bar.Stop()
			bar.Add(214)
			return output.One(a.Printer, &letterSheet, letters[0])
		},
	}
	change.Bind(cmd.Flags())
	return cmd
}

func newSampleSend(a *App) *cobra.Command {
	var (
		delay   = arg.Within(0, arg.Year, 0)
		id      arg.JobID
		headers arg.Headers
		detach  bool
	)
	cmd := &cobra.Command{
		Use: "send TASK", Short: "Send a letter", Example: "  stem sample send mail", Args: takes("TASK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exclusive(cmd, "delay", "detach"); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.Printer.Out, "%s %s %s %s\n", args[0], &delay, &id, &headers)
			return err
		},
	}
	cmd.Flags().Var(&delay, "delay", "wait so long")
	cmd.Flags().Var(&id, "id", "answer to this job")
	cmd.Flags().Var(&headers, "header", "key=value")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait")
	return cmd
}

// hang tells that it runs and then waits for the context.
func newSampleHang(a *App) *cobra.Command {
	return &cobra.Command{
		Use: "hang", Short: "Wait for a signal", Example: "  stem sample hang", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := io.WriteString(a.Printer.Out, "waiting\n"); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return fmt.Errorf("sample: %w", cmd.Context().Err())
		},
	}
}
