package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
)

func newTasks(a *App) *cobra.Command {
	return group("tasks", "Look at the tasks that workers know", "  stem tasks ls", newTasksList(a))
}

var taskSheet = output.Sheet[control.Task]{
	Noun: "task of a live worker", Plural: "tasks: no live worker has registered any",
	Columns: []output.Column[control.Task]{
		{Header: "Name", Value: func(t control.Task) any { return t.Name }, Name: true},
		{Header: "Kind", Value: func(t control.Task) any { return optional(t.Kind) }},
		{Header: "Default queue", Value: func(t control.Task) any { return optional(t.Queue) }},
		{Header: "Max attempts", Value: func(t control.Task) any {
			if t.MaxAttempts == 0 {
				return nil
			}
			return t.MaxAttempts
		}},
		{Header: "Soft limit", Value: func(t control.Task) any { return optionalSpan(t.SoftLimit) }},
		{Header: "Hard limit", Value: func(t control.Task) any { return optionalSpan(t.HardLimit) }},
		{Header: "Workers", Value: func(t control.Task) any { return t.Workers }},
		{Header: "Queues", Value: func(t control.Task) any { return t.Queues }},
		{Header: "Nodes", Value: func(t control.Task) any { return t.Nodes }, Wide: true},
		{Header: "Malformed", Value: func(t control.Task) any { return t.Malformed }, Wide: true, Tone: func(control.Task) output.Tone {
			return output.Warn
		}},
	},
}

func newTasksList(a *App) *cobra.Command {
	return a.watchable(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List what live workers have registered",
		Long: "List the tasks that live workers have registered, with the defaults of their definitions; a producer may decide otherwise.\n" +
			"A task of which workers say different things has several lines.",
		Example: "  stem tasks ls\n  stem tasks ls --namespace blue --output wide",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plane, err := a.plane(cmd.Context())
			if err != nil {
				return err
			}
			tasks, err := plane.Tasks(cmd.Context(), a.Config.Namespace)
			if err != nil {
				return err
			}
			if err := output.List(a.Printer, &taskSheet, output.Rows(tasks)); err != nil {
				return err
			}
			a.noteMalformed(tasks)
			return nil
		},
	})
}

// noteMalformed says which registrations could not be read; the table shows them as if the worker had said nothing.
func (a *App) noteMalformed(tasks []control.Task) {
	const most = 5
	tasks = slices.DeleteFunc(tasks, func(t control.Task) bool { return len(t.Malformed) == 0 })
	for _, t := range tasks[:min(len(tasks), most)] {
		a.Printer.Note("task %q: %s registered it malformed: %s", t.Name, strings.Join(t.Nodes[:min(len(t.Nodes), most)], ", "), strings.Join(t.Malformed, ", "))
	}
	if rest := len(tasks) - most; rest > 0 {
		a.Printer.Note("… and %d more", rest)
	}
}
