package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
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

// PoolOptions says for whom a pool is.
type PoolOptions struct {
	Name     string // application_name
	MaxConns int32  // 0 is what the URL says, else what pgx thinks right
}

// Pool is the connection of a command to the database: made at the first call, closed by Main. Its errors are faults.
func (a *App) Pool(ctx context.Context) (*pgxpool.Pool, error) {
	if a.pool != nil {
		return a.pool, nil
	}
	pool, err := a.Open(ctx, PoolOptions{Name: "stem/cli/" + hostname(a.Config), MaxConns: 4})
	if err != nil {
		return nil, err
	}
	a.pool = pool
	a.release = append(a.release, pool.Close)
	return pool, nil
}

// Session settings of a connection. They are sent as startup parameters, which poolers such as PgBouncer refuse; then
// the connection is made without them, and role defaults can stand in.
var sessionSettings = map[string]string{
	"statement_timeout":                   "30s",
	"lock_timeout":                        "3s",
	"idle_in_transaction_session_timeout": "60s",
	"client_connection_check_interval":    "10s",
}

// Open makes a pool that the caller closes, and proves that it can connect.
func (a *App) Open(ctx context.Context, o PoolOptions) (*pgxpool.Pool, error) {
	d, err := a.Config.RequireDatabase()
	if err != nil {
		return nil, err
	}
	a.database = d
	cfg, err := d.Pool()
	if err != nil {
		return nil, fault.Config("bad_database_url", "%s: %s", a.Config.Origin("database_url"), err)
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = o.Name
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	if o.MaxConns > 0 && !strings.Contains(d.String(), "pool_max_conns=") {
		cfg.MaxConns = o.MaxConns
	}
	own := cfg.Copy()
	for name, value := range sessionSettings {
		if _, given := own.ConnConfig.RuntimeParams[name]; !given {
			own.ConnConfig.RuntimeParams[name] = value
		}
	}
	pool, err := connect(ctx, own)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && strings.Contains(pe.Message, "unsupported startup parameter") {
		a.Log.DebugContext(ctx, "pooler refuses session settings", "message", pe.Message)
		pool, err = connect(ctx, cfg)
	}
	if err != nil {
		return nil, fault.From(err, d.Target())
	}
	return pool, nil
}

func connect(ctx context.Context, cfg *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
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
