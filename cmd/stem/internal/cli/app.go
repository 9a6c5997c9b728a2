package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/cmd/stem/internal/progress"
	"github.com/stemqueue/stem/cmd/stem/internal/terminal"
)

// Streams are the standard streams and the environment of the process.
type Streams struct {
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Environ []string
}

// App is what a command works with. Config, Printer and Log are ready when RunE is called; in a command marked
// standalone Config is nil.
type App struct {
	Config  *config.Config
	Printer *output.Printer // where results go; Printer.Note speaks to people
	Log     *slog.Logger    // on stderr
	In      io.Reader
	Timeout time.Duration // --timeout; 0 when not given

	streams     Streams
	args        []string
	global      globals
	out         *pipe
	interactive bool // a person can be asked
	pool        *pgxpool.Pool
	database    dsn.DSN
	daemon      bool            // runs until it is told to stop; what it says goes to the log
	blind       bool            // the login may not read whole schedules, which --watch need not find out again and again
	disposable  bool            // the database is a private one that goes with this process
	told        sync.Map        // what insecure mode has said of the server, once each
	signals     context.Context // done when a signal came; nil before RunE and in a daemon
	release     []func()
}

// globals are the values of the flags that every command has.
type globals struct {
	database  string
	file      string
	namespace arg.Name
	timeout   arg.Duration
	format    arg.Choice
	json      bool
	colour    arg.Choice
	logLevel  arg.Choice
	verbose   bool
	quiet     bool
}

func newApp(args []string, streams Streams) *App {
	a := &App{args: args, streams: streams, In: streams.In, out: &pipe{w: streams.Out}}
	a.global = globals{
		timeout:  arg.Within(0, 24*time.Hour, 0),
		format:   arg.OneOf(output.Table, output.Formats...),
		colour:   arg.OneOf(terminal.Auto, terminal.Auto, terminal.Always, terminal.Never),
		logLevel: arg.OneOf("info", config.LogLevels...),
	}
	a.interactive = terminal.Is(streams.In) && terminal.Is(streams.Err)
	a.Printer = &output.Printer{Out: a.out, Err: streams.Err}
	a.Log = slog.New(slog.DiscardHandler)
	return a
}

// Progress shows how far long work has come, on stderr. The caller stops it.
func (a *App) Progress(verb string, total int) *progress.Bar {
	return progress.Start(a.progressOptions(verb, total))
}

// Steps is Progress for steps of which each is another: the caller says which.
func (a *App) Steps(first string, total int) *progress.Bar {
	o := a.progressOptions(first, total)
	o.Steps = true
	return progress.Start(o)
}

func (a *App) progressOptions(verb string, total int) progress.Options {
	return progress.Options{
		Out: a.streams.Err, Terminal: terminal.Is(a.streams.Err), Verb: verb, Total: total, Quiet: a.global.quiet,
	}
}

// getenv looks into the environment that the app was started with.
func (a *App) getenv(name string) string {
	for _, pair := range a.streams.Environ {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

func (a *App) close() {
	for _, release := range slices.Backward(a.release) {
		release()
	}
	a.release = nil
}

func hostname(c *config.Config) string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return c.WorkerNode
}
