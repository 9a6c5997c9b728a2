package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/doctor"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/pgsession"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/worker"
	"github.com/stemqueue/stem/worker/tasksfile"
)

func newWorker(a *App) *cobra.Command {
	return group("worker", "Run a worker", "  stem worker run --tasks-file tasks.yaml", newWorkerRun(a))
}

// workerFlags are settings that a flag may decide, for the commands that run a worker.
type workerFlags struct {
	tasksFile   string
	queues      arg.Slots
	concurrency arg.Int
	node        string
}

func (w *workerFlags) bind(cmd *cobra.Command) {
	w.concurrency = arg.Between(1, arg.MaxSlots, 0)
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&w.tasksFile, "tasks-file", "", "tasks as commands or HTTP calls (default: that of the settings)")
	f.Var(&w.queues, "queue", "work on this queue with so many slots; give it again for more")
	f.Var(&w.concurrency, "concurrency", "slots of a queue that names none (default: that of the settings)")
	f.StringVar(&w.node, "node", "", "name of this worker (default: the name of the host)")
	for flag, key := range map[string]string{
		"tasks-file": "tasks_file", "queue": "worker.queues", "concurrency": "concurrency", "node": "worker.node",
	} {
		config.BindFlag(f.Lookup(flag), key)
	}
}

func newWorkerRun(a *App) *cobra.Command {
	var (
		flags    workerFlags
		pollOnly bool
	)
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run tasks as commands or HTTP calls",
		Long: "Run a worker whose tasks are commands or HTTP calls: those of the tasks file.\n\n" +
			"SIGTERM makes it drain: it claims nothing more and ends when what runs has ended, or after the shutdown grace and\n" +
			"two seconds. SIGINT stops what runs and puts it back within two seconds; a second one does not wait for what would\n" +
			"not stop, nor does SIGQUIT, which also prints all goroutines. SIGHUP reads the keys of\n" +
			"signing and of encryption again: new ones count at once; when anything is wrong the old ones stay.",
		Example: "  stem worker run --tasks-file tasks.yaml\n  stem worker run --queue mail=10 --queue default",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var reg worker.Registry
			file, err := a.tasksFile()
			if err != nil {
				return err
			}
			if file == nil {
				a.warn(fault.Config("no_tasks", "no tasks file: %s does not exist, so this worker knows no task; name one with --tasks-file",
					a.Config.TasksFile).About("tasks_file"))
			} else {
				file.Register(&reg)
			}
			signals := a.shutdownOnSignal(cmd.Context())
			return signals.result(a.runWorker(signals.ctx, signals.direct, &reg, pollOnly))
		},
	}
	flags.bind(cmd)
	cmd.Flags().BoolVar(&pollOnly, "poll-only", false, "do not LISTEN: find jobs by polling alone")
	return daemon(cmd)
}

// tasksFile loads the tasks file of the settings. It is nil when that is the default one and not there.
func (a *App) tasksFile() (*tasksfile.File, error) {
	origin := a.Config.Origin("tasks_file")
	file, err := tasksfile.Load(a.Config.TasksFile)
	problems, isData := errors.AsType[*tasksfile.Error](err)
	switch {
	case err == nil:
		return file, nil
	case isData:
		var all []error
		for _, p := range problems.Problems {
			all = append(all, fault.Data("%s", p).About(p.Where).Because(err))
		}
		return nil, errors.Join(all...)
	case errors.Is(err, fs.ErrNotExist) && origin == config.Default:
		return nil, nil //nolint:nilnil // no file is an answer
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.New(fault.ExitPermission, "permission_denied", "%s", err).About(origin).Because(err)
	}
	return nil, fault.New(fault.ExitNoInput, "input_missing", "%s", err).About(origin).Because(err)
}

// runWorker runs a worker until ctx is done and it has drained. It shows the worker to direct, unless that is nil, before.
func (a *App) runWorker(ctx context.Context, direct func(*worker.Worker), reg *worker.Registry, pollOnly bool) error {
	run, err := a.openWorker(ctx, direct, reg, pollOnly)
	if err != nil {
		return err
	}
	return run(ctx)
}

// openWorker is runWorker up to where it would block.
func (a *App) openWorker(
	ctx context.Context, direct func(*worker.Worker), reg *worker.Registry, pollOnly bool,
) (run func(context.Context) error, err error) {
	c := a.workerConfig(ctx, pollOnly)
	// Tasks of a file do not use this pool, and the worker opens connections of its own.
	pool, err := a.Open(ctx, PoolOptions{Name: "stem/worker/" + c.Node, MaxConns: 1})
	if err != nil {
		return nil, err
	}
	if err := a.warnOfSettings(ctx, pool); err != nil {
		pool.Close()
		return nil, fault.From(err, a.database.Target())
	}
	w, err := worker.New(pool, reg, c)
	if err != nil {
		pool.Close()
		return nil, fault.Config("bad_setting", "%s", err).Because(err)
	}
	if direct != nil {
		direct(w)
	}
	a.sayKeys(ctx)
	return closing(pool, w.Run), nil
}

// closing closes the pool of what has run. When that failed the process ends: a pool that is in trouble is not waited for.
func closing(pool *pgxpool.Pool, run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := run(ctx); err != nil {
			return err
		}
		pool.Close()
		return nil
	}
}

// sayKeys logs what jobs are verified and opened with, and what is allowed that should not stay.
func (a *App) sayKeys(ctx context.Context) {
	if a.Config.Keys.Policy() != signing.Off {
		a.Log.InfoContext(ctx, "signing", "ring", a.Config.Keys)
	}
	for _, warning := range a.Config.Keys.Warnings() {
		a.Log.WarnContext(ctx, "signing", "warning", warning)
	}
	if a.Config.Encryption.On() {
		a.Log.InfoContext(ctx, "encryption", "ring", a.Config.Encryption)
	}
	for _, warning := range a.Config.Encryption.Warnings() {
		a.Log.WarnContext(ctx, "encryption", "warning", warning)
	}
}

// reloadKeys reads files and credentials again. A ring keeps what it has when anything is wrong with its own.
func (a *App) reloadKeys(ctx context.Context) {
	signs, opens := a.Config.Keys.Reload(), a.Config.Encryption.Reload()
	for _, problem := range config.KeyProblems("signing", signs) {
		a.Log.ErrorContext(ctx, "signing keys not reloaded; those of before stay", "error", problem)
	}
	for _, problem := range config.KeyProblems("encryption", opens) {
		a.Log.ErrorContext(ctx, "encryption keys not reloaded; those of before stay", "error", problem)
	}
	if signs == nil && opens == nil {
		a.sayKeys(ctx)
	}
}

// warnOfSettings logs what the server's settings put at risk. A server that goes with this process may lose what it likes.
func (a *App) warnOfSettings(ctx context.Context, pool *pgxpool.Pool) error {
	if a.disposable {
		return nil
	}
	found, err := doctor.Unsafe(ctx, pool)
	for _, f := range found {
		a.Log.WarnContext(ctx, "a setting of the server puts jobs at risk", "setting", f.Name, "risk", f.Message, "fix", f.Fix)
	}
	return err
}

// workerConfig is what the settings say.
func (a *App) workerConfig(ctx context.Context, pollOnly bool) worker.Config {
	s := a.Config
	c := worker.Config{
		Queues: map[string]int{}, Node: s.WorkerNode, Namespace: s.Namespace, Version: thisBuild().Version,
		Lease: s.Lease, Heartbeat: s.Heartbeat, PollInterval: s.PollInterval,
		ShutdownGrace: cmp.Or(s.ShutdownGrace, -1), // nought is none here, the default there
		PollOnly:      pollOnly, Logger: a.Log,
		Keys: s.Keys, UnsignedQueues: s.UnsignedQueues, Encryption: s.Encryption,
	}
	for _, q := range s.WorkerQueues {
		c.Queues[q.Queue] = cmp.Or(q.Slots, s.Concurrency)
	}
	if len(c.Queues) == 0 {
		c.Queues[s.DefaultQueue] = s.Concurrency
	}
	if pollOnly {
		return c
	}
	c.ListenConfig = a.listenConfig(ctx, "stem/listen/"+c.Node)
	return c
}

// listenConfig is the connection of the settings for LISTEN, nil for that of the pool.
func (a *App) listenConfig(ctx context.Context, name string) *pgx.ConnConfig {
	if !a.Config.Listen.Given() {
		return nil
	}
	a.Config.Listen = a.Config.Listen.Negotiate(ctx)
	listen := a.Config.Listen.Config(a.events(ctx))
	pgsession.Name(listen.RuntimeParams, name)
	return listen
}

// taskNames is for people.
func taskNames(reg *worker.Registry) string {
	if names := reg.Tasks(); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "none"
}
