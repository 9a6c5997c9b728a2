package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/devpg"
	"github.com/stemqueue/stem/worker"
)

const databaseVar = "STEM_DATABASE_URL"

func newDev(a *App) *cobra.Command {
	d := &dev{App: a}
	cmd := &cobra.Command{
		Use:   "dev [-- CMD ARGS...]",
		Short: "Try it: a private Postgres, the schema, a worker with sample tasks and a scheduler",
		Long: `Start a private Postgres (or use the one that STEM_DATABASE_URL names), apply the migrations, run a worker with sample
tasks (hello, fail, sleep) and those of --tasks-file, and a scheduler, and wait for Ctrl-C. Nothing of it is left behind.

With a command behind -- that is run instead of waiting, with STEM_DATABASE_URL set; "stem" is this very binary. When it
ends, everything is stopped, and its exit code is returned. Its stdout is its own: all else goes to stderr.`,
		Example: `  stem dev
  stem dev --tasks-file tasks.yaml
  stem dev -- stem enqueue hello --args '{"name":"Ada"}' --wait=30s --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch at := cmd.ArgsLenAtDash(); {
			case at < 0:
				return noArgs(cmd, args)
			case at > 0:
				return noArgs(cmd, args[:at])
			case len(args) == 0:
				return fault.Usage("missing_argument", "stem dev needs a command behind --").About("command line")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return d.run(cmd.Context(), args) },
	}
	d.flags.bind(cmd)
	return daemon(cmd)
}

// dev is one run of "stem dev".
type dev struct {
	*App
	flags   workerFlags
	server  *devpg.Server
	url     string // of the login that everybody connects as; empty on a server that is not private
	signals devSignals
	running sync.WaitGroup
	ended   chan error // what the worker and the scheduler ended with
}

func (d *dev) run(ctx context.Context, command []string) (err error) {
	ctx, stop := d.signals.take(ctx)
	defer stop()
	var reg worker.Registry
	if d.Config.Origin("tasks_file") != config.Default {
		file, err := d.tasksFile()
		if err != nil {
			return err
		}
		file.Register(&reg)
		for _, t := range file.Tasks {
			if t.Queue != "" {
				_ = d.Config.WorkerQueues.Set(t.Queue) // a double is one too many, and no harm
			}
		}
	}
	addSamples(&reg)
	if d.Config.Origin("shutdown_grace") == config.Default {
		d.Config.ShutdownGrace = 3 * time.Second // who plays is not kept waiting
	}

	if err := d.startServer(ctx); err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, d.stopServer(ctx)) }()
	if err := d.prepareDatabase(ctx); err != nil {
		return interrupted(ctx, err)
	}
	work, drain := context.WithCancel(ctx)
	defer drain()
	works, err := d.openWorker(work, nil, &reg, false)
	if err != nil {
		return interrupted(ctx, err)
	}
	schedules, err := d.openScheduler(work, false)
	if err != nil {
		return interrupted(ctx, err)
	}
	d.ended = make(chan error, 2)
	d.keep(work, "worker", works)
	d.keep(work, "scheduler", schedules)
	defer func() {
		drain()
		d.running.Wait()
		close(d.ended)
		for ended := range d.ended {
			if err == nil {
				err = interrupted(ctx, ended)
			}
		}
	}()
	if len(command) > 0 {
		return d.child(ctx, command)
	}
	return d.wait(ctx, &reg)
}

// keep runs a part of dev beside the others until it ends.
func (d *dev) keep(ctx context.Context, name string, run func(context.Context) error) {
	d.running.Go(func() {
		err := run(ctx)
		if err != nil && ctx.Err() == nil {
			d.say("the %s ended: %s", name, err)
		}
		d.ended <- err
	})
}

// interrupted is nil when err is only the consequence of Ctrl-C, which is how dev ends.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// say speaks of what goes on, on stderr.
func (d *dev) say(format string, args ...any) { d.Printer.Note("stem dev: "+format, args...) }

func (d *dev) startServer(ctx context.Context) (err error) {
	origin := d.Config.Origin("database_url")
	if d.Config.Database.Given() && origin != databaseVar {
		d.warn(fault.Config("ignored", "stem dev takes the database of %s only; that of %s is left alone", databaseVar, origin).About(origin))
	}
	d.server, err = devpg.Start(ctx, devpg.Config{
		Getenv: d.securedEnv, URLVar: databaseVar, Fetch: true, Log: func(line string) { d.say("%s", line) },
	})
	if missing, ok := errors.AsType[*devpg.NotFoundError](err); ok {
		return fault.New(fault.ExitUnavailable, "no_postgres", "%s", missing).About("database").Because(err)
	}
	if err != nil {
		return err
	}
	if d.server.Rung == devpg.RungURL {
		return nil
	}
	if err := d.use(d.server.URL); err != nil {
		return errors.Join(err, d.stopServer(ctx))
	}
	return nil
}

// use makes url the database of every command from now on. What it loses nobody misses.
func (d *dev) use(url string) error {
	own, err := dsn.Parse(url)
	if err == nil {
		own, err = own.Secure(dsn.TLS{})
	}
	d.Config.Database, d.Config.Listen, d.disposable = own, dsn.DSN{}, true
	return err
}

// securedEnv is the environment with the URL in it as the settings understood it: with the rules of TLS, which are not
// devpg's.
func (d *dev) securedEnv(name string) string {
	if name == databaseVar && d.Config.Origin("database_url") == databaseVar {
		return d.Config.Database.URL()
	}
	return d.getenv(name)
}

func (d *dev) stopServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return d.server.Stop(ctx)
}

// wait says where everything is and returns at Ctrl-C, or when something ended by itself.
func (d *dev) wait(ctx context.Context, reg *worker.Registry) error {
	where, err := d.urlFile()
	if err != nil {
		return err
	}
	out := fmt.Sprintf("\nStem is running: a worker and a scheduler. Tasks: %s.\n\nIn another terminal:\n\n", taskNames(reg))
	if where != "" {
		out += fmt.Sprintf("  export %s_FILE=%s\n", databaseVar, where)
	}
	out += "  stem enqueue hello --args '{\"name\":\"Ada\"}' --wait\n"
	if where != "" {
		out += fmt.Sprintf("  psql \"$(cat %s)\"\n", where)
	}
	if _, err := fmt.Fprintf(d.Printer.Out, "%s\nCtrl-C ends it and removes the database.\n", out); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		d.say("stopping")
		return nil
	case err := <-d.ended:
		return err
	case <-d.server.Done():
		return fault.New(fault.ExitUnavailable, "postgres_ended", "Postgres ended by itself").About("database")
	}
}

// urlFile writes the URL, which holds a password, where only this user can read it and where it goes with the server.
// There is none for a server that is not private.
func (d *dev) urlFile() (string, error) {
	if d.server.Dir == "" {
		return "", nil
	}
	path := filepath.Join(d.server.Dir, "database-url")
	return path, os.WriteFile(path, []byte(d.url+"\n"), 0o600)
}
