package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/stemqueue/stem/cmd/stem/internal/escape"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

// Change is the flags of a command that destroys or moves things.
type Change struct {
	Yes    bool
	DryRun bool
	Reason string
}

// Bind adds the flags.
func (c *Change) Bind(f *pflag.FlagSet) { c.bind(f, "reason") }

// bind is Bind with another name for --reason, where that is taken by a filter.
func (c *Change) bind(f *pflag.FlagSet, reason string) {
	f.BoolVarP(&c.Yes, "yes", "y", false, "do it without asking; needed where nobody can be asked")
	f.BoolVar(&c.DryRun, "dry-run", false, "only say what would be done")
	f.StringVar(&c.Reason, reason, "", "why, for the audit log")
}

// Effect is what a change would do.
type Effect struct {
	Verb   string // "replay"
	Count  int
	Noun   string // what is counted, singular: "entry"
	Plural string // "" adds an s
	Sample []string
}

func (e Effect) String() string {
	noun := e.Noun
	if e.Count != 1 {
		noun = e.Plural
		if noun == "" {
			noun = e.Noun + "s"
		}
	}
	return fmt.Sprintf("%s %d %s", e.Verb, e.Count, noun)
}

// Confirm tells whether to go ahead. It does not when there is nothing to do or with --dry-run, and fails when the
// answer is no or nobody can be asked.
func (a *App) Confirm(ctx context.Context, c Change, e Effect) (bool, error) {
	switch {
	case e.Count == 0:
		a.Printer.Note("nothing to %s", e.Verb)
		return false, nil
	case c.DryRun:
		a.Printer.Note("would %s", e)
		a.sample(e)
		return false, nil
	case c.Yes:
		return true, nil
	case !a.interactive:
		return false, fault.Usage("needs_yes", "would %s; pass --yes (stdin is not a terminal)", e).About("flag --yes")
	}
	fmt.Fprintf(a.streams.Err, "This would %s:\n", e)
	a.sample(e)
	fmt.Fprint(a.streams.Err, "Go ahead? [y/N] ")
	answer, err := a.ask(ctx)
	if err != nil {
		return false, err
	}
	if answer != "y" && answer != "yes" {
		return false, fault.New(fault.ExitNotFound, "not_confirmed", "not confirmed; nothing was changed")
	}
	return true, nil
}

func (a *App) sample(e Effect) {
	for _, s := range e.Sample {
		a.Printer.Note("  %s", escape.Text(s))
	}
	if more := e.Count - len(e.Sample); more > 0 && len(e.Sample) > 0 {
		a.Printer.Note("  … and %d more", more)
	}
}

// ask reads one line. A terminal cannot be read with a deadline, so the reader is left behind when the context ends;
// the process is about to.
func (a *App) ask(ctx context.Context) (string, error) {
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.In).ReadString('\n') // no answer is a no
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answers:
		return answer, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
