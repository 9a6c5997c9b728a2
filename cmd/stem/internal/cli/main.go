package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
)

// A Command makes a command, or a group of them, on top of the app.
type Command func(*App) *cobra.Command

// Main runs the command line and returns the exit code. args[0] is the program's name. The tests add commands of their
// own.
func Main(args []string, streams Streams, extra ...Command) int {
	// With the signal taken, writing to a closed pipe is an error that unwinds the command instead of a sudden death
	// with connections open. Ignoring it instead would be inherited by the commands that stem runs.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)

	a := newApp(args[1:], streams)
	return a.exit(a.run(extra))
}

func (a *App) run(extra []Command) (err error) {
	defer a.close()
	defer func() {
		if p := recover(); p != nil { // Go's own exit code would be 2, which promises a partial success
			fmt.Fprintf(a.streams.Err, "%s\n", debug.Stack())
			err = fault.New(fault.ExitInternal, "panic", "panic: %v", p).WithHint("this is a bug in stem; please report it")
		}
	}()
	for i, s := range a.args {
		if !utf8.ValidString(s) {
			return fault.Usage("invalid_utf8", "argument %d is not valid UTF-8", i+1)
		}
	}
	root := newRoot(a, extra)
	root.SetArgs(a.args)
	err = root.ExecuteContext(context.Background())
	return a.interpret(err)
}

// interpret gives an error of any layer its final form.
func (a *App) interpret(err error) error {
	if err == nil {
		return nil
	}
	if a.signals != nil && a.signals.Err() != nil {
		message := "interrupted"
		if f, ok := errors.AsType[*fault.Error](err); ok && !errors.Is(f, context.Canceled) {
			message = f.Message
		}
		return fault.New(fault.ExitInterrupted, "interrupted", "%s", message).Because(context.Cause(a.signals))
	}
	// Cobra's own checks return plain text.
	for _, prefix := range []string{"required flag(s)", "if any flags in the group"} {
		if strings.HasPrefix(err.Error(), prefix) {
			return fault.Usage("bad_flags", "%s", err)
		}
	}
	return fault.From(err, a.database.Target())
}

// exit prints the error in the form that was asked for and returns the code of the process.
func (a *App) exit(err error) int {
	switch {
	case a.out.closed:
		return fault.ExitOK // the reader has seen enough
	case err == nil:
		return fault.ExitOK
	case a.machine():
		fault.PrintJSON(a.streams.Err, err)
	default:
		fault.Print(a.streams.Err, err)
	}
	return fault.Exit(err)
}

// machine tells whether errors are to be JSON. The flags may not have been parsed, or not to their end.
func (a *App) machine() bool {
	for i, s := range a.args {
		value, ok := s, false
		switch {
		case s == "--":
			return false
		case s == "--json", s == "--json=true":
			return true
		case s == "--output", s == "-o":
			if i+1 < len(a.args) {
				value, ok = a.args[i+1], true
			}
		case strings.HasPrefix(s, "-o"), strings.HasPrefix(s, "--output="):
			value, ok = strings.TrimPrefix(strings.TrimPrefix(s, "--output="), "-o"), true
		}
		if p := (output.Printer{Format: value}); ok && p.Machine() {
			return true
		}
	}
	return false
}

// pipe remembers that the reader of stdout went away. The error alone would not do: a lost connection is EPIPE too.
type pipe struct {
	w      io.Writer
	closed bool
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		p.closed = true
	}
	return n, err
}
