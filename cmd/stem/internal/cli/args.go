package cli

import (
	"fmt"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/nearest"
)

// group is a command that only has commands below it.
func group(use, short, example string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: unknownCommand}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var names []string
		for c := range available(cmd) {
			names = append(names, c.Name())
		}
		return fault.Usage("missing_command", "%s needs a command: %s", cmd.CommandPath(), strings.Join(names, ", ")).
			WithHint("see %s --help", cmd.CommandPath())
	}
	cmd.AddCommand(below...)
	return standalone(cmd)
}

// noArgs accepts no positional arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fault.Usage("unexpected_argument", "%s takes no arguments, got %q", cmd.CommandPath(), args[0]).
			WithHint("see %s --help", cmd.CommandPath())
	}
	return nil
}

// takes accepts exactly one argument for each name.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return missing(cmd, names[len(args)])
		case len(args) > len(names):
			return fault.Usage("unexpected_argument", "%s takes %s, got %q as well",
				cmd.CommandPath(), strings.Join(names, " "), args[len(names)]).WithHint("see %s --help", cmd.CommandPath())
		}
		return nil
	}
}

// takesSome accepts one argument or more.
func takesSome(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return missing(cmd, name)
		}
		return nil
	}
}

func missing(cmd *cobra.Command, name string) error {
	return fault.Usage("missing_argument", "%s needs %s", cmd.CommandPath(), name).
		About("argument "+name).WithHint("usage: %s", cmd.UseLine())
}

// bad is an error about a positional argument.
func bad(name string, err error) error {
	return fault.Usage("bad_argument", "%s: %s", name, err).About("argument " + name)
}

// exclusive fails when more than one of the flags is given.
func exclusive(cmd *cobra.Command, names ...string) error {
	var given []string
	for _, n := range names {
		if cmd.Flags().Changed(n) {
			given = append(given, "--"+n)
		}
	}
	if len(given) < 2 {
		return nil
	}
	return fault.Usage("conflicting_flags", "%s exclude each other", strings.Join(given, " and ")).About("flag " + given[0])
}

// unknownCommand refuses what is not the name of a command below cmd.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if cmd.HasParent() {
		text += fmt.Sprintf(" for %q", cmd.CommandPath())
	}
	names := func(yield func(string) bool) {
		for c := range available(cmd) {
			if !yield(c.Name()) {
				return
			}
		}
	}
	near, ok := nearest.Name(args[0], names)
	if ok {
		text += fmt.Sprintf(". Did you mean %q?", near)
	}
	err := fault.Usage("unknown_command", "%s", text).About("command line")
	if !ok {
		err = err.WithHint("see %s --help", cmd.CommandPath())
	}
	return err
}

// available lists the commands below cmd that can be run.
func available(cmd *cobra.Command) iter.Seq[*cobra.Command] {
	return func(yield func(*cobra.Command) bool) {
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() && !yield(c) {
				return
			}
		}
	}
}
