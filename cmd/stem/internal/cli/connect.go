package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/cmd/stem/internal/dsn"
	"github.com/stemqueue/stem/cmd/stem/internal/escape"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/devpg"
	"github.com/stemqueue/stem/internal/pgsession"
)

// PoolOptions says for whom a pool is.
type PoolOptions struct {
	Name     string // application_name
	MaxConns int32  // 0 is what the URL says, else what pgx thinks right
	AnyKind  bool   // also a database that Stem could not work with: to say what is wrong with it
}

// Pool is the connection of a command to the database: made at the first call, closed by Main. Its errors are faults.
func (a *App) Pool(ctx context.Context) (*pgxpool.Pool, error) {
	return a.sharedPool(ctx, PoolOptions{Name: "stem/cli/" + hostname(a.Config), MaxConns: 4})
}

func (a *App) sharedPool(ctx context.Context, o PoolOptions) (*pgxpool.Pool, error) {
	if a.pool != nil {
		return a.pool, nil
	}
	pool, err := a.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	a.pool = pool
	a.release = append(a.release, pool.Close)
	return pool, nil
}

// chooseDatabase takes the database of the settings.
func (a *App) chooseDatabase(ctx context.Context) error {
	d, err := a.Config.RequireDatabase()
	if err != nil {
		return err
	}
	a.Config.Database = d.Negotiate(ctx) // once for the process
	a.database = a.Config.Database
	return nil
}

// Open makes a pool that the caller closes, and proves that it can connect. Its connections have time limits, unless a
// pooler refuses those.
func (a *App) Open(ctx context.Context, o PoolOptions) (*pgxpool.Pool, error) {
	if err := a.chooseDatabase(ctx); err != nil {
		return nil, err
	}
	cfg, err := a.database.Pool(a.events(ctx))
	if err != nil {
		return nil, fault.Config("bad_database_url", "%s: %s", a.Config.Origin("database_url"), err)
	}
	cfg.BeforeConnect = a.refresh(ctx, cfg.BeforeConnect)
	if !o.AnyKind {
		cfg.ConnConfig.AfterConnect = a.suitable
	}
	pgsession.Name(cfg.ConnConfig.RuntimeParams, o.Name)
	if o.MaxConns > 0 && !strings.Contains(a.database.String(), "pool_max_conns=") {
		cfg.MaxConns = o.MaxConns
	}
	own := cfg.Copy()
	pgsession.Bound(own.ConnConfig.RuntimeParams)
	pool, err := connect(ctx, own)
	if pgsession.Refused(err) {
		a.Log.DebugContext(ctx, "session settings refused", "error", err)
		pool, err = connect(ctx, cfg)
	}
	if err != nil {
		target := a.database.Target()
		target.Conns = int(cfg.MaxConns)
		return nil, fault.From(err, target)
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

// refresh reads changed certificates again, for the connections of the database and, when that has another URL, for the
// one that listens.
func (a *App) refresh(ctx context.Context, database func(context.Context, *pgx.ConnConfig) error) func(context.Context, *pgx.ConnConfig) error {
	var listen func(context.Context, *pgx.ConnConfig) error
	if a.Config.Listen.Given() {
		listen = a.Config.Listen.Refresh(a.events(ctx))
	}
	return func(ctx context.Context, c *pgx.ConnConfig) error {
		for _, hook := range []func(context.Context, *pgx.ConnConfig) error{database, listen} {
			if hook == nil {
				continue
			}
			if err := hook(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// suitable refuses a server that Stem cannot work with, by what it says of itself in its greeting.
func (a *App) suitable(_ context.Context, conn *pgconn.PgConn) error {
	version, encoding := conn.ParameterStatus("server_version"), conn.ParameterStatus("server_encoding")
	if old(version) {
		return fault.Config("server_too_old", "PostgreSQL %s; need %d or newer", version, devpg.Oldest).About("database")
	}
	if encoding != "" && encoding != "UTF8" {
		return fault.Config("bad_encoding", "database %q is %s; Stem needs UTF8", a.database.Target().Database, encoding).About("database").
			WithHint("make another: createdb --encoding UTF8 --template template0 NAME")
	}
	return nil
}

// old tells whether a version such as 13.4 is of a server that Stem does not know. A version without a number is not.
func old(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n < devpg.Oldest
}

// events is what is said about certificates.
func (a *App) events(ctx context.Context) dsn.Events {
	return dsn.Events{
		Unverified: func(host string, err error) {
			message := fmt.Sprintf("the certificate of %s would be refused: %s", host, err)
			if _, again := a.told.LoadOrStore(message, message); !again {
				a.insist(ctx, fault.Config("certificate_not_enforced", "%s", message).About("STEM_TLS_ALLOW_INSECURE"))
			}
		},
		Reloaded: func() { a.Log.InfoContext(ctx, "certificates changed and were read again") },
		Unreadable: func(err error) {
			a.Log.ErrorContext(ctx, "certificates changed and cannot be used; the old ones stay in force", "error", err)
		},
	}
}

// insecureBanner says at every start, and in a program that goes on every hour, that certificates are not enforced.
func (a *App) insecureBanner(ctx context.Context) {
	if a.Config == nil || !a.Config.Insecure {
		return
	}
	banner := fault.Config("certificates_not_enforced", "STEM_TLS_ALLOW_INSECURE is on: nothing makes sure that the database is the right one").
		About("STEM_TLS_ALLOW_INSECURE")
	if host, plain := a.Config.Database.Exposed(); plain {
		banner = fault.Config("not_encrypted", "sslmode=disable and STEM_TLS_ALLOW_INSECURE: everything goes to %s in the clear", host).
			About("STEM_TLS_ALLOW_INSECURE")
	}
	a.insist(ctx, banner)
	if a.daemon {
		ctx, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			every(ctx, time.Hour, func() { a.insist(ctx, banner) })
		}()
		a.release = append(a.release, func() { stop(); <-done })
	}
}

// insist says what --quiet does not silence: in a daemon to the log, where somebody must act upon it.
func (a *App) insist(ctx context.Context, w *fault.Error) {
	switch {
	case a.daemon:
		a.Log.ErrorContext(ctx, "insecure connection", "warning", w.Message)
	case a.machine():
		fault.PrintJSONWarning(a.streams.Err, w)
	default:
		fmt.Fprintf(a.streams.Err, "stem: warning: %s\n", escape.Text(w.Message))
	}
}

// every calls f again and again until ctx is done.
func every(ctx context.Context, pause time.Duration, f func()) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f()
		}
	}
}
