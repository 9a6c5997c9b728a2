package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/escape"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/cmd/stem/internal/terminal"
)

// commands is the tree below the root, in the order of the help text.
var commands = []Command{
	newDev,
	newMigrate, newRoles,
	newEnqueue,
	newWorker, newScheduler,
	newJob, newQueue, newDLQ, newTasks, newSchedule,
	newObserve,
	newHealth, newDoctor,
	newSigning,
	newBench,
	newConfig,
	newCompletion,
	newVersion,
}

func newRoot(a *App, extra []Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "stem",
		Short: "A transactional job queue that needs Postgres and nothing else",
		Example: `  stem dev                                   try it: a private Postgres, a worker, a dashboard
  stem enqueue email.welcome --args '{"user":7}'
  stem queue ls
  stem config show`,
		Args:              unknownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: a.prepare,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetOut(a.out)
	root.SetErr(a.streams.Err)
	root.SetIn(a.streams.In)
	root.SetFlagErrorFunc(a.flagError)
	root.SetHelpFunc(help)
	root.SetHelpCommand(newHelp())
	standalone(root)
	a.bindGlobals(root)
	for _, c := range slices.Concat(commands, extra) {
		root.AddCommand(c(a))
	}
	root.AddCommand(topics()...)
	a.completeFlags(root)
	return root
}

func (a *App) bindGlobals(root *cobra.Command) {
	f, g := root.PersistentFlags(), &a.global
	f.SortFlags = false
	f.StringVar(&g.database, "database-url", "", "the database: env:NAME, file:PATH, or a URL without a password")
	f.StringVar(&g.file, "config", "", "settings file (default: stem.yaml here, in the XDG config directory, in /etc/stem)")
	f.Var(&g.namespace, "namespace", `workers and schedulers to talk to (default "stem")`)
	f.Var(&g.timeout, "timeout", "give up after this time, such as 30s")
	f.VarP(&g.format, "output", "o", "format of results")
	f.BoolVar(&g.json, "json", false, "short for --output json")
	f.Var(&g.colour, "color", "when to colour")
	f.Var(&g.logLevel, "log-level", "least level that is logged")
	f.BoolVarP(&g.verbose, "verbose", "v", false, "log more: short for --log-level debug")
	f.BoolVarP(&g.quiet, "quiet", "q", false, "only data and errors: no notes, no progress, no warnings")
	config.BindFlag(f.Lookup("namespace"), "namespace")
	config.BindFlag(f.Lookup("log-level"), "log.level")
}

// Marks that a command carries in its annotations.
const (
	markStandalone = "stem/standalone" // no settings are read
	markDaemon     = "stem/daemon"     // no signals are taken and no --timeout is applied
)

// standalone marks a command that must work whatever the settings say, such as help.
func standalone(cmd *cobra.Command) *cobra.Command { return mark(cmd, markStandalone) }

// daemon marks a command that runs until it is told to stop, and handles signals itself.
func daemon(cmd *cobra.Command) *cobra.Command { return mark(cmd, markDaemon) }

func mark(cmd *cobra.Command, with string) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[with] = "yes"
	return cmd
}

// prepare runs before every command, when its flags are parsed.
func (a *App) prepare(cmd *cobra.Command, _ []string) error {
	if err := a.preparePrinter(cmd); err != nil {
		return err
	}
	a.Timeout = a.global.timeout.Value
	asked := cmd.Name() == cobra.ShellCompRequestCmd || cmd.Name() == cobra.ShellCompNoDescRequestCmd // by a shell, which wants no errors
	if cmd.Annotations[markStandalone] == "" && !asked {
		if err := a.configure(cmd); err != nil {
			return err
		}
	}
	if cmd.Annotations[markDaemon] == "" {
		cmd.SetContext(a.bounded(cmd.Context()))
	}
	return nil
}

// configure reads the settings. A standalone command may call it when it finds that it needs them.
func (a *App) configure(cmd *cobra.Command) error {
	if err := a.loadConfig(cmd); err != nil {
		return err
	}
	a.Log = a.newLogger(cmd)
	a.daemon = cmd.Annotations[markDaemon] != ""
	a.insecureBanner(cmd.Context())
	return nil
}

func (a *App) preparePrinter(cmd *cobra.Command) error {
	g := &a.global
	if err := exclusive(cmd, "json", "output"); err != nil && g.format.Value != output.JSON {
		return err
	}
	if err := exclusive(cmd, "verbose", "log-level"); err != nil {
		return err
	}
	if g.json {
		g.format.Value = output.JSON
	}
	a.Printer.Format = g.format.Value
	a.Printer.Quiet = g.quiet
	a.Printer.Width = terminal.Width(a.streams.Out)
	a.Printer.Colour = terminal.Colour(g.colour.Value, a.getenv, terminal.Is(a.streams.Out))
	return nil
}

func (a *App) loadConfig(cmd *cobra.Command) error {
	dir, err := os.Getwd()
	if err != nil {
		dir = "" // the directory was removed; the other places remain
	}
	environ := a.streams.Environ
	if f := cmd.Flags().Lookup(insecureFlag); f != nil && f.Value.String() == "true" {
		environ = append(slices.Clone(environ), "STEM_TLS_ALLOW_INSECURE=true")
	}
	cfg, warnings, err := config.Load(config.Sources{
		Flags: cmd.Flags(), Environ: environ, Dir: dir, File: a.global.file, Database: a.global.database,
	})
	for _, w := range warnings {
		a.warn(w)
	}
	a.Config = cfg
	return err
}

// warn says something on stderr that is not the reason for a failure.
func (a *App) warn(w *fault.Error) {
	switch {
	case a.global.quiet:
	case a.machine():
		fault.PrintJSONWarning(a.streams.Err, w)
	default:
		fmt.Fprintf(a.streams.Err, "stem: warning: %s\n", escape.Text(w.Message))
	}
}

// newLogger logs text to a terminal and JSON elsewhere, unless the settings say otherwise.
func (a *App) newLogger(cmd *cobra.Command) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(a.Config.LogLevel)) // one of four words that it knows
	if a.global.verbose {
		level = slog.LevelDebug
	}
	if a.global.quiet && !cmd.Flags().Changed("log-level") {
		level = slog.LevelError
	}
	o := &slog.HandlerOptions{Level: level}
	if f := a.Config.LogFormat; f == "json" || f == "auto" && !terminal.Is(a.streams.Err) {
		return slog.New(slog.NewJSONHandler(a.streams.Err, o))
	}
	return slog.New(slog.NewTextHandler(a.streams.Err, o))
}

// bounded ends the context at SIGINT or SIGTERM, whose second coming kills, and after --timeout.
func (a *App) bounded(ctx context.Context) context.Context {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	a.signals = ctx
	context.AfterFunc(ctx, stop)
	if a.Timeout == 0 {
		return ctx
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	a.release = append(a.release, cancel)
	return ctx
}
