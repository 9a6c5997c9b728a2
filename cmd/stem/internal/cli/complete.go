package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/control"
)

// patience is how long a shell may wait for the database while somebody types, and "stem version" too.
const patience = time.Second

// completeFlags makes the shell know the values of flags: words that are fixed, and names that the database has.
func (a *App) completeFlags(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if listed, ok := f.Value.(interface{ Words() []string }); ok {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(listed.Words(), cobra.ShellCompDirectiveNoFileComp))
		}
		switch f.Name {
		case "queue":
			_ = cmd.RegisterFlagCompletionFunc(f.Name, a.completing(queueNames))
		case "task":
			_ = cmd.RegisterFlagCompletionFunc(f.Name, a.completing(taskNamesOf))
		}
	})
	for _, below := range cmd.Commands() {
		a.completeFlags(below)
	}
}

// names asks the database for names that fit.
type names func(ctx context.Context, a *App, plane *control.Plane) ([]string, error)

func queueNames(ctx context.Context, _ *App, plane *control.Plane) ([]string, error) {
	queues, err := plane.Queues(ctx)
	var list []string
	for _, q := range queues {
		list = append(list, q.Name)
	}
	return list, err
}

func taskNamesOf(ctx context.Context, a *App, plane *control.Plane) ([]string, error) {
	tasks, err := plane.Tasks(ctx, a.Config.Namespace)
	var list []string
	for _, t := range tasks {
		list = append(list, t.Name)
	}
	return slices.Compact(list), err // several workers may say several things of one
}

// completing is names as cobra wants them. Without a database, or when it is slow, there are none: a shell is no place for errors.
func (a *App) completing(of names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), patience)
		defer cancel()
		if a.quietConfig(cmd) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		plane, err := a.plane(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, err := of(ctx, a, plane)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list = slices.DeleteFunc(list, func(name string) bool { return !strings.HasPrefix(name, word) })
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// completingFirst is completing for a command with one argument.
func (a *App) completingFirst(of names) cobra.CompletionFunc {
	complete := a.completing(of)
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, word)
	}
}

var errUnconfigured = errors.New("no database is configured")

// quietConfig reads the settings for what works without them: it says nothing about what is wrong with them.
func (a *App) quietConfig(cmd *cobra.Command) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	cfg, _, err := config.Load(config.Sources{
		Flags: cmd.Flags(), Environ: a.streams.Environ, Dir: dir, File: a.global.file, Database: a.global.database,
	})
	if err != nil {
		return err
	}
	a.Config = cfg
	if !cfg.Database.Given() {
		return errUnconfigured
	}
	return nil
}
