package cli

import (
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
		{Header: "Workers", Value: func(t control.Task) any { return t.Workers }},
		{Header: "Queues", Value: func(t control.Task) any { return t.Queues }},
		{Header: "Nodes", Value: func(t control.Task) any { return t.Nodes }, Wide: true},
	},
}

func newTasksList(a *App) *cobra.Command {
	return a.watchable(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List what live workers have registered",
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
			return output.List(a.Printer, &taskSheet, output.Rows(tasks))
		},
	})
}
