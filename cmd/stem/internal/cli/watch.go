package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/cmd/stem/internal/terminal"
)

// watchable gives a list --watch: the command runs again and again until Ctrl-C or --timeout.
func (a *App) watchable(cmd *cobra.Command) *cobra.Command {
	var (
		watch bool
		every = arg.Within(100*time.Millisecond, time.Hour, 2*time.Second)
		once  = cmd.RunE
	)
	cmd.Flags().BoolVar(&watch, "watch", false, "list again and again: redraw on a terminal, else append what changed as JSON lines")
	cmd.Flags().Var(&every, "interval", "how often, with --watch")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !watch {
			return once(cmd, args)
		}
		return a.watch(cmd.Context(), every.Value, func() error { return once(cmd, args) })
	}
	return cmd
}

// watch shows what list prints until the context ends, which is how it is meant to end: 130 after Ctrl-C, as everywhere.
func (a *App) watch(ctx context.Context, every time.Duration, list func() error) error {
	p, out, notes := a.Printer, a.Printer.Out, a.Printer.Err
	show := appended(out)
	switch p.Format {
	case output.Table, output.Wide:
		if terminal.Is(a.streams.Out) {
			show = a.redrawn(out)
			break
		}
		p.Format = output.JSONL
	case output.JSON:
		p.Format = output.JSONL
	case output.JSONL:
	default:
		return fault.Usage("conflicting_flags", "--watch and --output %s exclude each other; want table, wide, json or jsonl", p.Format).
			About("flag --watch")
	}
	defer func() { p.Out, p.Err = out, notes }()
	for {
		var text, said bytes.Buffer
		p.Out, p.Err = &text, &said
		p.Width = terminal.Width(a.streams.Out)
		if err := list(); err != nil {
			return err
		}
		if err := show(text.String(), said.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// appended writes the lines that were not there the time before: new rows, and rows that changed.
func appended(out io.Writer) func(text, said string) error {
	before := map[string]bool{}
	return func(text, _ string) error {
		var fresh strings.Builder
		now := map[string]bool{}
		for line := range strings.Lines(text) {
			now[line] = true
			if !before[line] {
				fresh.WriteString(line)
			}
		}
		before = now
		_, err := io.WriteString(out, fresh.String())
		return err
	}
}

// redrawn writes over what was there the time before, line by line so that nothing flickers, and no more than fits.
func (a *App) redrawn(out io.Writer) func(text, said string) error {
	return func(text, said string) error {
		var screen strings.Builder
		screen.WriteString("\x1b[H")
		room := terminal.Height(a.streams.Out) - 1
		for line := range strings.Lines(text + said) {
			if room--; room < 0 {
				break
			}
			// A line that wraps would count for two.
			screen.WriteString(ansi.Truncate(strings.TrimSuffix(line, "\n"), a.Printer.Width, "") + "\x1b[K\n")
		}
		screen.WriteString("\x1b[J")
		_, err := io.WriteString(out, screen.String())
		return err
	}
}
