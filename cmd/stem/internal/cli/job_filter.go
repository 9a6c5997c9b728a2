package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/control"
)

// jobFilter is the flags that say which jobs, the same for lists and changes.
type jobFilter struct {
	states arg.Choices
	queue  arg.Name
	task   arg.Name
	window arg.Window
}

var jobStates = []string{"ready", "scheduled", "running", "dead", "completed", "cancelled", "expired", "replaced"}

func (f *jobFilter) bind(cmd *cobra.Command, states ...string) {
	f.states = arg.SomeOf(states...)
	cmd.Flags().Var(&f.states, "state", "only in these states")
	cmd.Flags().Var(&f.queue, "queue", "only of this queue")
	cmd.Flags().Var(&f.task, "task", "only of this task")
	f.window.Bind(cmd.Flags())
}

func (f *jobFilter) resolve() (control.Filter, error) {
	since, until, err := window(&f.window)
	return control.Filter{States: f.states.Values, Queue: string(f.queue), Task: string(f.task), Since: since, Until: until}, err
}

func window(w *arg.Window) (since, until time.Time, err error) {
	since, until, err = w.Resolve(time.Now())
	if err != nil {
		return since, until, fault.Usage("bad_window", "%s", err).About("flag --since")
	}
	return since, until, nil
}

var jobFilters = []string{"state", "queue", "task", "since", "until"}

// takesIDs accepts ids, or none with at least one of the filters.
func takesIDs(filters ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		given := ""
		for _, name := range filters {
			if cmd.Flags().Changed(name) {
				given = name
			}
		}
		switch {
		case len(args) > 0 && given != "":
			return fault.Usage("conflicting_flags", "ID and --%s exclude each other", given).About("flag --" + given)
		case len(args) == 0 && given == "":
			return fault.Usage("missing_argument", "%s needs ID, or a filter such as --%s", cmd.CommandPath(), filters[0]).
				About("argument ID").WithHint("see %s --help", cmd.CommandPath())
		}
		_, err := parseIDs(args)
		return err
	}
}
