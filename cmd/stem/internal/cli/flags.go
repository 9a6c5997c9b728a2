package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/nearest"
)

// flagError says what is wrong with a flag. A mistyped command comes first: its flags are unknown only because it is.
func (a *App) flagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() {
		if _, rest, findErr := cmd.Root().Find(a.args); findErr == nil {
			if name := firstArgument(cmd.Flags(), rest); name != "" {
				return unknownCommand(cmd, []string{name})
			}
		}
	}
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return unknownFlag(cmd, e)
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		name := "--" + e.GetFlag().Name
		return fault.Usage("missing_value", "flag %s needs a value", name).About("flag " + name)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		name := "--" + e.GetFlag().Name
		if e.GetFlag().Value.Type() == "bool" {
			return fault.Usage("bad_flag", "%s: want true or false, got %q", name, e.GetValue()).About("flag " + name)
		}
		return fault.Usage("bad_flag", "%s: %s", name, e.Unwrap()).About("flag " + name)
	}
	return fault.Usage("bad_flag", "%s", err).About("command line")
}

func unknownFlag(cmd *cobra.Command, e *pflag.NotExistError) error {
	name := "--" + e.GetSpecifiedName()
	if e.GetSpecifiedShortnames() != "" {
		name = "-" + e.GetSpecifiedName()
	}
	err := fault.Usage("unknown_flag", "unknown flag %s for %q", name, cmd.CommandPath()).About("flag " + name)
	names := func(yield func(string) bool) {
		more := true
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			more = more && (f.Hidden || yield(f.Name))
		})
	}
	if near, ok := nearest.Name(e.GetSpecifiedName(), names); ok {
		err.Message += ". Did you mean --" + near + "?"
		return err
	}
	return err.WithHint("see %s --help", cmd.CommandPath())
}

// firstArgument is the first of args that is neither a flag nor the value of one that is known.
func firstArgument(flags *pflag.FlagSet, args []string) string {
	for i := 0; i < len(args); i++ {
		s := args[i]
		if !strings.HasPrefix(s, "-") || s == "-" {
			return s
		}
		var f *pflag.Flag
		switch {
		case s == "--":
			return ""
		case strings.Contains(s, "="):
		case strings.HasPrefix(s, "--"):
			f = flags.Lookup(s[2:])
		case len(s) == 2:
			f = flags.ShorthandLookup(s[1:])
		}
		if f != nil && f.NoOptDefVal == "" {
			i++
		}
	}
	return ""
}
